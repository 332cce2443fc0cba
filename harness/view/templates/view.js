// Keeps the list of runs, and the numbers of a running one, up to date.
(() => {
  const table = document.querySelector("table[data-live]");
  const reload = async () => {
    try {
      const answer = await fetch(location.href);
      const fresh = answer.ok && new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("table");
      if (fresh) table.tBodies[0].replaceWith(fresh.tBodies[0]);
      if (fresh && !("live" in fresh.dataset)) return;
    } catch { return; /* the explorer was stopped; what is shown stays */ }
    setTimeout(reload, 5000);
  };
  if (table) setTimeout(reload, 5000);

  // The chart of a run that is going on is asked for again where searches ended, at most a tenth of the time.
  const place = document.getElementById("over-cost");
  let [drawn, next] = [-1, 0];
  const chart = async (searches, isLast) => {
    if (!place || searches === drawn || !isLast && (performance.now() < next || place.querySelector("select:focus"))) return;
    const begun = performance.now();
    next = Infinity;
    try {
      const answer = await fetch(place.dataset.address);
      const text = await answer.text();
      const fresh = new DOMParser().parseFromString(answer.ok ? text : "<p class=warning></p>", "text/html");
      if (!answer.ok) fresh.body.firstChild.textContent = text;
      for (const field of place.querySelectorAll("[name]")) {
        const same = fresh.getElementsByName(field.name)[0];
        if (same) [same.value, same.checked, same.autofocus] = [field.value, field.checked, field === document.activeElement];
      }
      place.replaceChildren(place.firstElementChild, ...fresh.body.childNodes);
      place.querySelector("[autofocus]")?.focus();
      drawChart();
      drawn = searches;
    } catch { /* as above */ }
    next = performance.now() + Math.max(5000, 9 * (performance.now() - begun));
  };

  const list = document.getElementById("progress");
  if (!list) {
    chart(0, true);
    return;
  }
  const number = (value, digits = 0) => value === null ? "unknown" : value.toLocaleString("en", { maximumFractionDigits: digits });
  const duration = (seconds) => seconds > 5400 ? `${number(seconds / 3600, 1)} h` : seconds > 90 ? `${number(seconds / 60)} min` : `${number(seconds)} s`;
  const show = (state) => {
    const soFar = state.state === "finished" ? "" : " so far";
    const rows = [
      ["state", state.state],
      ["searches", `${number(state.searches)} of ${number(state.searches_total)}`],
      ["draws", `${number(state.draws)}, ${number(state.draws_failed)} failed`],
    ];
    if (state.score) rows.push([`micro${soFar}`, state.score]);
    rows.push([`cost${soFar}`, `${number(state.cost.nfe)} NFE, ${state.cost.flops === null ? "FLOPs not counted" : `${number(state.cost.flops / 1e12, 2)} TFLOPs`}, ${number(state.cost.device_seconds, 1)} device-seconds`]);
    rows.push(["spent", state.spent]);
    if (state.fill !== null) rows.push(["fill of batches", `${number(100 * state.fill)}%`]);
    if (state.retries) rows.push(["failed tries", number(state.retries)]);
    if (state.rate !== null) rows.push(["rate", `${number(state.rate, 2)} draws a second`]);
    if (state.seconds_left !== null) rows.push(["time left", `about ${duration(state.seconds_left)}`]);
    list.replaceChildren(...rows.flatMap(([name, value]) => {
      const [term, text] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      text.textContent = value;
      return [term, text];
    }));
  };
  const refresh = async () => {
    try {
      const answer = await fetch(list.dataset.address);
      if (answer.ok) {
        const state = await answer.json();
        show(state);
        chart(state.searches, state.state !== "running");
        if (state.state !== "running") return;
      }
    } catch { /* as above, but it may be started again at this port */ }
    setTimeout(refresh, 3000);
  };
  refresh();
})();
