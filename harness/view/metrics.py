"""What the explorer tells Prometheus: gauges of every run, in its text exposition format.

Format: prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.view.runs import Progress

MEDIA_TYPE = "text/plain; version=0.0.4"

GAUGES: Mapping[str, tuple[str, Callable[[Progress], float | None]]] = {
    "running": ("1 while somebody drives the run, else 0.", lambda p: p.state == "running"),
    "searches_ended": ("Searches that ended.", lambda p: p.searches),
    "searches_total": ("Searches that there will be.", lambda p: p.searches_total),
    "draws": ("Draws in the log.", lambda p: p.draws),
    "draws_failed": ("Draws in the log that failed.", lambda p: p.draws_failed),
    "retries": ("Failed tries of draws.", lambda p: p.retries),
    "draws_per_second": ("Over the last minutes of the log.", lambda p: p.rate),
    "seconds_left": ("Until the run ends, at its present rate.", lambda p: p.seconds_left),
    "batch_fill": ("Share of the generator's rows that were asked for.", lambda p: p.fill),
    "micro_score": ("Mean over prompts.", lambda p: p.micro and p.micro[0]),
    "micro_score_low": ("Lower end of its 95% interval.", lambda p: p.micro and p.micro[1]),
    "micro_score_high": ("Upper end of its 95% interval.", lambda p: p.micro and p.micro[2]),
    "cost_nfe": ("Over all roles.", lambda p: p.cost["nfe"]),
    "cost_flops": ("Over all roles.", lambda p: p.cost["flops"]),
    "cost_device_seconds": ("Over all roles.", lambda p: p.cost["device_seconds"]),
}


def exposition(runs: Mapping[str, Progress]) -> str:
    """Return the gauges of some runs by folder; a number that nobody knows has no line."""
    lines = []
    for name, (help_text, read) in GAUGES.items():
        lines += [f"# HELP harness_{name} {help_text}", f"# TYPE harness_{name} gauge"]
        for run, progress in runs.items():
            value = read(progress)
            if value is not None:
                lines.append(f'harness_{name}{{run="{_escaped(run)}"}} {float(value)!r}')
    return "\n".join(lines) + "\n"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
