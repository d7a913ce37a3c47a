// Whatever carries a row can be chosen.
element.addEventListener("click", (event) => {
  const chosen = event.target.closest("[data-row]");
  if (chosen) trigger("choose", {row: Number(chosen.dataset.row), run: Number(chosen.dataset.run || 0)});
});
