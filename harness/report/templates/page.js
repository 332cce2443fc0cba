// Filters the gallery. Without scripts every card is shown and the controls stay hidden.
(() => {
  // Paper cannot unfold anything, so what is folded is printed open.
  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll("details:not([open])")];
    for (const details of unfolded) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of unfolded) details.open = false;
    unfolded = [];
  });
  const form = document.getElementById("filter");
  if (!form) return;
  const cards = [...document.querySelectorAll(".card")];
  const count = document.getElementById("count");
  const apply = () => {
    const tag = form.elements.tag.value;
    const outcome = form.elements.outcome.value;
    let shown = 0;
    for (const card of cards) {
      const fits = (tag === "*" || card.dataset.tag === tag) &&
        (outcome === "*" || card.dataset.outcomes.split(" ").includes(outcome));
      card.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${cards.length} prompts`;
    document.getElementById("gallery").classList.toggle("bare", !form.elements.boxes.checked);
  };
  form.hidden = false;
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
})();
