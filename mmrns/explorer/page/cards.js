// Whatever carries a row can be chosen.
element.addEventListener("click", (event) => {
  const chosen = event.target.closest("[data-row]");
  if (!chosen) return;
  const {row, run} = chosen.dataset;
  trigger("choose", run === undefined ? {row: Number(row)} : {row: Number(row), run: Number(run)});
});
