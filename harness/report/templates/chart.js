// The chart at the head of the page: score over realised cost, drawn by Plotly.
// Without scripts the static figure stands in its place.
(() => {
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

  const points = (run, score, axis) => {
    const curve = run.curves[score];
    return curve.budget
      .map((budget, i) => ({ budget, x: curve[axis][i], y: curve.score[i], low: curve.low[i], high: curve.high[i] }))
      .filter((point) => point.x !== null && point.x > 0 && point.y !== null);
  };

  // What no other point beats: nothing costs less and scores as much.
  const front = (score, axis) => {
    const all = data.runs.flatMap((run) => points(run, score, axis));
    all.sort((a, b) => a.x - b.x || b.y - a.y);
    let best = -Infinity;
    return all.filter((point) => point.y > best && ((best = point.y), true));
  };

  const traces = (score, axis) => {
    const drawn = data.runs.flatMap((run, number) => {
      const line = points(run, score, axis);
      const band = line.filter((point) => point.low !== null && point.high !== null);
      const group = `run${number}`;
      return [
        {
          x: [...band.map((p) => p.x), ...band.map((p) => p.x).reverse()],
          y: [...band.map((p) => p.high), ...band.map((p) => p.low).reverse()],
          fill: "toself", fillcolor: tinted(run.color, 0.15), line: { width: 0 }, mode: "lines",
          hoverinfo: "skip", showlegend: false, legendgroup: group, type: "scatter",
        },
        {
          x: line.map((p) => p.x), y: line.map((p) => p.y), name: inert(run.name),
          customdata: line.map((p) => [p.budget, p.low, p.high]),
          hovertemplate: "%{y:.3f} (%{customdata[1]:.3f}–%{customdata[2]:.3f})<br>" +
            "%{x:.4~g} " + data.axes[axis] + ", budget %{customdata[0]}<extra>%{fullData.name}</extra>",
          mode: "lines+markers", type: "scatter", legendgroup: group,
          line: { color: run.color, dash: run.dash, width: 2 },
          marker: { symbol: run.symbol, size: 6 },
        },
      ];
    });
    const best = front(score, axis);
    drawn.push({
      x: best.map((p) => p.x), y: best.map((p) => p.y), name: "Pareto front", mode: "markers",
      type: "scatter", hoverinfo: "skip",
      marker: { symbol: "circle-open", size: 13, color: color("--soft"), line: { width: 1.2 } },
    });
    return drawn;
  };

  // 1, 2 and 5 of every decade, written out.
  const ticks = (score, axis) => {
    const costs = data.runs.flatMap((run) => points(run, score, axis).map((p) => p.x));
    if (!costs.length) return [];
    const [low, high] = [Math.min(...costs), Math.max(...costs)].map(Math.log10).map(Math.floor);
    const decades = Array.from({ length: high - low + 2 }, (_, i) => low + i);
    return decades.flatMap((decade) => [1, 2, 5].map((digit) => Number(`${digit}e${decade}`)));
  };

  const layout = (score, axis) => ({
    autosize: true, margin: { l: 56, r: 12, t: 12, b: 48 }, hovermode: "closest",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: color("--ink"), family: "system-ui, sans-serif", size: 13 },
    legend: { orientation: "h", y: -0.22, yanchor: "top" },
    xaxis: { type: "log", title: { text: data.axes[axis] }, gridcolor: color("--line"),
      zeroline: false, tickvals: ticks(score, axis),
      ticktext: ticks(score, axis).map((value) => value.toLocaleString("en", { maximumSignificantDigits: 3 })) },
    yaxis: { title: { text: "score, 95% interval" }, gridcolor: color("--line"), zeroline: false },
  });

  const draw = () => {
    const [axis, score] = [form.elements.axis.value, form.elements.score.value];
    Plotly.react(host, traces(score, axis), layout(score, axis),
      { responsive: true, displayModeBar: false });
  };
  form.hidden = false;
  host.hidden = false;
  document.getElementById("static-chart")?.setAttribute("hidden", "");
  form.addEventListener("change", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
})();
