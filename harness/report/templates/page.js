// Filters the gallery and keeps every choice in the address, so that a view can be shared.
// Without scripts every card is shown and the controls stay hidden.
(() => {
  // Paper cannot unfold anything, so what is folded is printed open; but for what is said of single
  // draws, and searches of which there are no images, which fill a hundred pages.
  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll("details:not([open], .shot *, .card > *)")];
    for (const details of unfolded) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of unfolded) details.open = false;
    unfolded = [];
  });

  const forms = ["chart-form", "filter"].map((id) => document.getElementById(id)).filter(Boolean);
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const form of forms) {
    for (const field of form.elements) {
      const value = asked.get(field.name);
      if (value === null || !field.name) continue;
      if (field.type === "checkbox") field.checked = value === "1";
      else if (field.tagName !== "SELECT" || [...field.options].some((o) => o.value === value)) field.value = value;
    }
  }
  const remember = () => {
    const state = new URLSearchParams();
    for (const form of forms) {
      for (const field of form.elements) {
        const value = field.type === "checkbox" ? (field.checked ? "1" : "0") : field.value;
        const initial = field.type === "checkbox" ? (field.defaultChecked ? "1" : "0")
          : field.tagName === "SELECT" ? ([...field.options].find((o) => o.defaultSelected) ?? field.options[0]).value
            : field.defaultValue;
        if (field.name && value !== initial) state.set(field.name, value);
      }
    }
    const hash = state.toString();
    try { history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search); } catch { /* a file's address may be fixed */ }
  };
  for (const form of forms) form.addEventListener("input", remember);

  const form = document.getElementById("filter");
  if (!form) return;
  const cards = [...document.querySelectorAll(".card")];
  const texts = cards.map((card) => card.querySelector("h3").textContent.toLowerCase());
  const count = document.getElementById("count");
  const gallery = document.getElementById("gallery");
  // Scores are means over a prompt's searches: "right" is more often right, where there are several.
  const relations = {
    first: (a, b) => a > b,
    second: (a, b) => b > a,
    both: (a, b) => a === 1 && b === 1,
    neither: (a, b) => a === b && a < 1,
  };
  const apply = () => {
    const value = (name) => form.elements[name]?.value ?? "*";
    const runs = [value("a"), value("b")].filter((run) => run !== "*");
    const words = value("words").toLowerCase();
    let shown = 0;
    cards.forEach((card, number) => {
      const searches = [...card.querySelectorAll(".search")];
      for (const search of searches) search.hidden = runs.length && !runs.includes(search.dataset.run);
      const scores = JSON.parse(card.dataset.scores);
      const relation = runs.length === 2 && relations[value("pair")];
      const fits = (value("tag") === "*" || card.dataset.tag === value("tag")) &&
        (value("outcome") === "*" || searches.some((search) => !search.hidden && search.dataset.outcome === value("outcome"))) &&
        (!relation || runs.every((run) => typeof scores[run] === "number") && relation(...runs.map((run) => scores[run]))) &&
        texts[number].includes(words);
      card.hidden = !fits;
      shown += fits;
    });
    if (form.elements.pair) form.elements.pair.disabled = runs.length !== 2;
    count.textContent = `${shown} of ${cards.length} prompts`;
    gallery.classList.toggle("bare", !form.elements.boxes.checked);
    gallery.classList.toggle("pair", runs.length === 2);
    gallery.classList.toggle("only-selected", value("draws") === "selected");
    gallery.classList.toggle("only-others", value("draws") === "others");
  };
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
})();
