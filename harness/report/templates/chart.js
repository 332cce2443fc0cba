// The chart at the head of the page: score over realised cost, drawn by Plotly.
// Without scripts the static figure stands in its place.
// Called again where a page has another chart in the place of the first.
let redrawChart = () => {};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redrawChart());
const drawChart = () => {
  const host = document.getElementById("chart");
  const form = document.getElementById("chart-form");
  if (!host || !form || typeof Plotly === "undefined") return;
  const data = JSON.parse(host.dataset.chart);
  const inert = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const tinted = (color, share) => {
    const parts = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
    return `rgba(${parts.join(",")},${share})`;
  };
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const points = (run, score, axis) => along(run.curves[score], axis);
  const along = (curve, axis) => {
    return curve.budget
      .map((budget, i) => ({ budget, x: curve[axis][i], y: curve.score[i], low: curve.low[i], high: curve.high[i] }))
      .filter((point) => point.x !== null && point.x > 0 && point.y !== null);
  };

  // Nothing costs less and scores as much, to three digits. A coin flip between two of these points has what lies
  // on the line between them.
  const front = (runs, score, axis) => {
    const all = runs.flatMap((run) => points(run, score, axis));
    all.sort((a, b) => a.x - b.x || b.y - a.y);
    let best = -Infinity;
    return all.filter((point) => point.y > best + 0.001 && ((best = point.y), true));
  };

  const hover = (axis) => "%{y:.3f} (%{customdata[1]:.3f}–%{customdata[2]:.3f})<br>" +
    `%{x:.4~g} ${data.axes[axis]}, budget %{customdata[0]}<extra>%{fullData.name}</extra>`;
  const FEW = 3; // bands of more runs would hide each other
  const isMarked = (budget, i, line) => i === line.length - 1 || Number.isInteger(Math.log2(budget));
  const traces = (runs, score, axis) => {
    const best = front(runs, score, axis);
    const bands = runs.length <= FEW ? runs.map((run) => {
      const known = points(run, score, axis).filter((point) => point.low !== null && point.high !== null);
      return {
        x: [...known, ...known.toReversed()].map((p) => p.x),
        y: [...known.map((p) => p.high), ...known.map((p) => p.low).reverse()],
        fill: "toself", fillcolor: tinted(run.color, 0.15), line: { width: 0 }, mode: "lines",
        hoverinfo: "skip", type: "scatter",
      };
    }) : [];
    const drawn = [...bands, ...(data.runs.length > 1 ? [{
      x: best.map((p) => p.x), y: best.map((p) => p.y), mode: "lines", type: "scatter",
      name: "Pareto front", hoverinfo: "skip",
      line: { width: 10, color: tinted(color("--ink"), 0.2) },
    }] : [])];
    for (const run of runs) {
      const line = points(run, score, axis);
      const bar = (side) => line.map((p, i) => i === line.length - 1 && p.low !== null ? Math.abs(p[side] - p.y) : 0);
      drawn.push({
        x: line.map((p) => p.x), y: line.map((p) => p.y), name: inert(run.name),
        customdata: line.map((p) => [p.budget, p.low, p.high]),
        hovertemplate: hover(axis),
        mode: "lines+markers", type: "scatter", line: { color: run.color, width: 2, dash: run.dash },
        error_y: { visible: runs.length > FEW || line.length === 1, type: "data", array: bar("high"), arrayminus: bar("low"), thickness: 1, width: 3, color: run.color },
        marker: { symbol: run.symbol, line: { width: 0 }, size: line.map((p, i) => isMarked(p.budget, i, line) ? 8 : 3) },
      });
      const ahead = score === "micro" && form.elements.forecast?.checked ? along(run.forecast, axis) : [];
      if (!ahead.length) continue;
      const from = [...line.slice(-1), ...ahead];
      drawn.push({
        x: from.map((p) => p.x), y: from.map((p) => p.y), name: `${inert(run.name)}, forecast`,
        customdata: from.map((p) => [p.budget, p.low, p.high]),
        hovertemplate: hover(axis),
        mode: "lines", type: "scatter", line: { color: run.color, width: 2, dash: "dash" },
      });
    }
    return drawn;
  };

  // 1, 2 and 5 of every decade, written out.
  const ticks = (runs, score, axis) => {
    const costs = runs.flatMap((run) => points(run, score, axis).map((p) => p.x));
    if (!costs.length) return [];
    const [low, high] = [Math.min(...costs), Math.max(...costs)].map(Math.log10).map(Math.floor);
    const decades = Array.from({ length: high - low + 2 }, (_, i) => low + i);
    return decades.flatMap((decade) => [1, 2, 5].map((digit) => Number(`${digit}e${decade}`)));
  };

  const layout = (runs, score, axis) => ({
    autosize: true, margin: { l: 56, r: 12, t: 12, b: 48 }, hovermode: "closest",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: color("--ink"), family: "system-ui, sans-serif", size: 13 },
    showlegend: false,
    xaxis: { type: "log", title: { text: data.axes[axis] }, gridcolor: color("--line"),
      zeroline: false, tickvals: ticks(runs, score, axis),
      ticktext: ticks(runs, score, axis).map((value) => value.toLocaleString("en", { maximumSignificantDigits: 3 })) },
    yaxis: { title: { text: "score, 95% interval" }, gridcolor: color("--line"), zeroline: false },
  });

  const draw = () => {
    const [axis, score] = [form.elements.axis.value, form.elements.score.value];
    const runs = data.runs.filter((_, number) => form.elements[`run${number}`].checked);
    Plotly.react(host, traces(runs, score, axis), layout(runs, score, axis),
      { responsive: true, displayModeBar: false });
    for (const table of document.querySelectorAll("[data-axis]")) table.hidden = table.dataset.axis !== axis;
  };
  const signs = { circle: "●", square: "■", "triangle-up": "▲", diamond: "◆", "triangle-down": "▼", cross: "✚", x: "✖" };
  data.runs.forEach((run, number) => {
    const sign = document.createElement("span");
    sign.textContent = signs[run.symbol];
    sign.style.color = run.color;
    form.elements[`run${number}`].after(sign);
  });
  form.hidden = false;
  host.hidden = false;
  document.getElementById("static-chart")?.setAttribute("hidden", "");
  form.addEventListener("change", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  redrawChart = draw;
  draw();
};
drawChart();
