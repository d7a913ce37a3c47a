// The embedding map: points on a canvas. The value is JSON {rows, x, y, kind, kinds, labels, ready, given, answers}.
const canvas = element.querySelector("canvas"), tip = element.querySelector(".tip"), legend = element.querySelector(".legend");
const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D31", "#7F6FC4", "#999999"];
let data = null, view = {scale: 1, x: 0, y: 0}, hidden = new Set(), hovered = -1, drag = null, waiting = 0;

const size = () => ({width: canvas.clientWidth, height: canvas.clientHeight});
function at(number) {
  const {width, height} = size(), side = Math.min(width, height) - 30;
  return [
    width / 2 + ((data.x[number] - 0.5) * side + view.x) * view.scale,
    height / 2 + ((0.5 - data.y[number]) * side + view.y) * view.scale,
  ];
}

function draw() {
  if (!data || !canvas.clientWidth) return;
  const {width, height} = size(), ratio = window.devicePixelRatio || 1, pen = canvas.getContext("2d");
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const radius = Math.min(6, 2.4 * Math.sqrt(view.scale));
  pen.globalAlpha = 0.7;
  data.rows.forEach((_, number) => {
    if (hidden.has(data.kind[number])) return;
    const [x, y] = at(number);
    pen.fillStyle = COLOURS[data.kind[number]];
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.fill();
  });
  pen.globalAlpha = 1;
  const ink = getComputedStyle(canvas).color, paper = getComputedStyle(canvas).backgroundColor;
  const ring = (number, colour, reach, name) => {
    const [x, y] = at(number);
    pen.strokeStyle = colour;
    pen.lineWidth = 2.5;
    pen.beginPath();
    pen.arc(x, y, reach, 0, 7);
    pen.stroke();
    if (!name) return;
    pen.font = "600 13px system-ui, sans-serif";
    pen.lineWidth = 4;
    pen.strokeStyle = paper;
    pen.strokeText(data.labels[number], x + reach + 4, y + 4);
    pen.fillStyle = ink;
    pen.fillText(data.labels[number], x + reach + 4, y + 4);
  };
  data.answers.forEach((row) => data.place.has(row) && ring(data.place.get(row), "#D55E00", radius + 3, false));
  if (data.place.has(data.given)) ring(data.place.get(data.given), ink, radius + 5, true);
  if (hovered >= 0) ring(hovered, ink, radius + 2, false);
}

function nearest(event) {
  if (!data) return -1;
  const box = canvas.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
  let best = -1, least = event.pointerType === "touch" ? 24 : 10;
  data.rows.forEach((_, number) => {
    if (hidden.has(data.kind[number])) return;
    const [x, y] = at(number), distance = Math.hypot(x - px, y - py);
    if (distance < least) [best, least] = [number, distance];
  });
  return best;
}

async function tell(number) {
  tip.hidden = number < 0;
  if (number < 0) return;
  const [x, y] = at(number), name = document.createElement("span");
  name.textContent = `${data.labels[number]} · ${data.kinds[data.kind[number]]}`;
  tip.replaceChildren(name);
  tip.style.left = `${Math.min(x + 12, size().width - 180)}px`;
  tip.style.top = `${Math.min(y + 12, size().height - 60)}px`;
  const picture = await server.picture(data.rows[number]);
  if (picture && hovered === number) {
    const image = document.createElement("img");
    image.src = picture;
    image.alt = "";
    tip.prepend(image);
  }
}

function zoom(factor, px, py) {
  const {width, height} = size(), next = Math.max(1, Math.min(40, view.scale * factor));
  const dx = (px ?? width / 2) - width / 2, dy = (py ?? height / 2) - height / 2;
  view.x += dx / next - dx / view.scale;
  view.y += dy / next - dy / view.scale;
  view.scale = next;
  if (factor === 0 || next === 1) view = {scale: 1, x: 0, y: 0};
  tell(-1);
  draw();
}

canvas.addEventListener("pointerdown", (event) => {
  drag = {x: event.clientX, y: event.clientY, moved: false};
});
canvas.addEventListener("pointermove", (event) => {
  if (drag && event.buttons) {
    const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
    if (drag.moved || Math.hypot(dx, dy) > 4) {
      view.x += dx / view.scale;
      view.y += dy / view.scale;
      drag = {x: event.clientX, y: event.clientY, moved: true};
      tip.hidden = true;
      draw();
    }
    return;
  }
  const found = nearest(event);
  if (found !== hovered) {
    hovered = found;
    canvas.style.cursor = found < 0 ? "grab" : "pointer";
    tell(found);
    draw();
  }
});
canvas.addEventListener("pointerleave", () => {
  drag = null;
  hovered = -1;
  tell(-1);
  draw();
});
canvas.addEventListener("click", (event) => {
  const moved = drag && drag.moved, found = nearest(event);
  drag = null;
  if (!moved && found >= 0) trigger("choose", {row: data.rows[found]});
});
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.offsetX, event.offsetY);
}, {passive: false});
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-zoom]"), kind = event.target.closest("[data-kind]");
  if (button) zoom(Number(button.dataset.zoom));
  if (kind) {
    const number = Number(kind.dataset.kind);
    if (!hidden.delete(number)) hidden.add(number);
    kind.setAttribute("aria-pressed", String(!hidden.has(number)));
    draw();
  }
});

function show() {
  clearTimeout(waiting);
  if (!props.value) return;
  const before = data && data.key;
  data = JSON.parse(props.value);
  data.place = new Map(data.rows.map((row, number) => [row, number]));
  if (before !== data.key) view = {scale: 1, x: 0, y: 0};
  legend.replaceChildren(...data.kinds.map((name, number) => {
    const item = document.createElement("button"), dot = document.createElement("span");
    item.type = "button";
    item.dataset.kind = number;
    item.setAttribute("aria-pressed", String(!hidden.has(number)));
    dot.className = "dot";
    dot.style.background = COLOURS[number];
    item.append(dot, document.createTextNode(name));
    return item;
  }));
  canvas.dataset.points = data.rows.length;
  canvas.dataset.key = data.key;
  requestAnimationFrame(draw);
  if (!data.ready) waiting = setTimeout(async function again() {
    if (await server.ready()) trigger("refresh");
    else waiting = setTimeout(again, 2000);
  }, 2000);
}
watch("value", show);
new ResizeObserver(draw).observe(canvas);
show();
