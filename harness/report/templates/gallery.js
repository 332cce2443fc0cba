// Enlarges the picture of a draw, with all that stands beside it. Arrow keys go along its search.
(() => {
  const dialog = document.getElementById("enlarged");
  if (!dialog) return;
  const [close, place] = dialog.children;
  let current = null;
  const show = (picture) => {
    current = picture.closest(".shot");
    const [shot, title] = [current.cloneNode(true), document.createElement("h3")];
    title.textContent = current.closest(".card").querySelector("h3").textContent;
    for (const details of shot.querySelectorAll("details")) details.open = true;
    const copy = document.createElement("div");
    copy.className = "picture";
    copy.append(...shot.querySelector(".picture").children);
    shot.querySelector(".picture").replaceWith(copy);
    if (picture.href) copy.querySelector("img").src = picture.href;
    place.replaceChildren(title, ...shot.children);
    if (!dialog.open) dialog.showModal();
  };
  document.addEventListener("click", (event) => {
    const picture = event.target.closest(".chain .picture:not(.empty)");
    if (!picture || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(picture);
  });
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    const next = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" }[event.key];
    const picture = next && current[next]?.querySelector(".picture:not(.empty)");
    if (picture) show(picture);
  });
})();
