// The entity box: asks the server while a name is being typed, and offers what it finds with pictures.
const input = element.querySelector("input"), list = element.querySelector("ul");
let asked = 0, active = -1;

function close() {
  list.hidden = true;
  active = -1;
  input.setAttribute("aria-expanded", "false");
  input.removeAttribute("aria-activedescendant");
}

function option(found, number) {
  const item = document.createElement("li");
  item.id = `mx-option-${number}`;
  item.setAttribute("role", "option");
  item.dataset.row = found.row;
  const portrait = document.createElement("span");
  portrait.className = "portrait small";
  if (found.picture) {
    const image = document.createElement("img");
    image.src = found.picture;
    image.alt = "";
    portrait.append(image);
  } else {
    const letter = document.createElement("span");
    letter.className = "letter";
    letter.textContent = found.label.slice(0, 1);
    portrait.append(letter);
  }
  const name = document.createElement("span"), kind = document.createElement("small");
  name.textContent = found.label;
  kind.textContent = found.type || found.id;
  item.append(portrait, name, kind);
  return item;
}

async function look() {
  const turn = ++asked;
  const found = await server.suggest(input.value);
  if (turn !== asked) return; // a later letter has been typed meanwhile
  list.replaceChildren(...found.map(option));
  list.hidden = found.length === 0;
  active = -1;
  input.setAttribute("aria-expanded", String(!list.hidden));
}

function mark(number) {
  const items = [...list.children];
  if (!items.length) return;
  active = (number + items.length) % items.length;
  items.forEach((item, at) => item.setAttribute("aria-selected", String(at === active)));
  items[active].scrollIntoView({block: "nearest"});
  input.setAttribute("aria-activedescendant", items[active].id);
}

function choose(row) {
  asked++;
  close();
  input.value = "";
  trigger("choose", {row: Number(row)});
}

input.addEventListener("input", look);
input.addEventListener("focus", look);
input.addEventListener("blur", () => setTimeout(close, 150));
input.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") mark(active + 1);
  else if (event.key === "ArrowUp") mark(active - 1);
  else if (event.key === "Escape") close();
  else if (event.key === "Enter") {
    if (active >= 0) choose(list.children[active].dataset.row);
    else if (input.value.trim()) {
      asked++;
      close();
      trigger("submit", {text: input.value});
    }
  } else return;
  event.preventDefault();
});
list.addEventListener("mousedown", (event) => {
  const item = event.target.closest("li");
  if (item) choose(item.dataset.row);
});
