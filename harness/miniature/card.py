"""The figures of the miniature's card, from the verdicts that lie beside it.

``weights/evaluation.parquet`` has a row for every image that was looked at, so that every share in
the card can be counted again; settings and speeds are in ``weights/evaluation.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

TABLE, FACTS, CARD = "evaluation.parquet", "evaluation.json", "CARD.md"
START, END = "<!-- measured -->", "<!-- /measured -->"
ROWS = (
    ("runs' generator, one plain draw, by the scorer", "reflect", "scorer", False),
    ("base before it learnt reflection, by the scorer", "base", "scorer", False),
    ("scorer: true scenes accepted", "true_scene", "scorer", False),
    ("scorer: planted errors rejected", "planted_error", "scorer", True),
    ("judge: true scenes accepted", "true_scene", "judge", False),
    ("judge: planted errors rejected", "planted_error", "judge", True),
)
STAGES = ("base/vae", "base", "detector", "judge", "colors", "judge_colors", "vision", "reflect")


def shares(tags: pd.Series, right: pd.Series) -> dict[str, float]:
    """Share of true verdicts of each tag, their mean (macro) and the share of all (micro)."""
    found = right.groupby(tags, sort=False).mean()
    summed = {"macro": float(np.mean(found)), "micro": float(right.mean())}
    return {str(tag): float(share) for tag, share in found.items()} | summed


def figures(table: pd.DataFrame, facts: dict[str, Any], weights: Path) -> str:
    """What was measured, as Markdown.

    Args:
        table: what, number, tag, scorer and judge (bool) of every image.
        facts: Settings and speeds.
        weights: Folder of the models, for their recipes.
    """
    lines = [
        f"`python -m harness.miniature.evaluate` (float32, {facts['images']} images over all 553"
        f" prompts, {facts['num_inference_steps']} steps, guidance {facts['guidance_scale']});"
        " per cent:",
        "",
    ]
    for number, (label, what, who, denied) in enumerate(ROWS):
        part = table[table["what"] == what]
        found = shares(part["tag"], ~part[who] if denied else part[who])
        if number == 0:
            lines += [f"| | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
        cells = " | ".join(f"{100 * share:.1f}" for share in found.values())
        lines.append(f"| {label} | {cells} |")
    drawn = table[table["what"] == "reflect"]
    agreed = float((drawn["scorer"] == drawn["judge"]).mean())
    over = float((drawn["judge"] & ~drawn["scorer"]).mean())
    under = float((drawn["scorer"] & ~drawn["judge"]).mean())
    lines += [
        "",
        f"Judge and scorer agree on {100 * agreed:.1f} % of the runs' plain draws; the judge"
        f" accepts {100 * over:.1f} % that the scorer rejects and rejects {100 * under:.1f} % that"
        " it accepts.",
        "",
        "Held out, from the recipes:",
        "",
    ]
    for stage in STAGES:
        recipe = json.loads((weights / stage / "recipe.json").read_text(encoding="utf-8"))
        held_out = ", ".join(f"{name} {value}" for name, value in recipe["held_out"].items())
        before = sum(each["training_seconds"] for each in recipe.get("earlier", ()))
        started = f" from weights that had {_duration(before)} of it" if before else ""
        trained = _duration(recipe["training_seconds"])
        lines.append(f"- `{stage}/`: {held_out}; trained for {trained}{started}")
    speeds = facts.get("images_per_second_by_batch")
    if speeds:
        told = ", ".join(f"{batch}: {speed:.1f}" for batch, speed in speeds.items())
        lines += ["", f"Plain draws, decoding included, images a second by batch size: {told}."]
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def write(table: pd.DataFrame, facts: dict[str, Any], weights: Path) -> None:
    """Keep the verdicts beside the weights, and put the figures into the card.

    Raises:
        ValueError: The card has no place marked for them.
    """
    table.to_parquet(weights / TABLE, index=False, compression="zstd")
    (weights / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    text = (weights / CARD).read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, marked, after = rest.partition(END)
    if not marked:
        raise ValueError(f"{weights / CARD} has no place marked {START} … {END}")
    text = f"{before}{START}\n{figures(table, facts, weights)}\n{END}{after}"
    (weights / CARD).write_text(text, encoding="utf-8")


def measured(weights: Path) -> str:
    """The figures once more, from the verdicts that were kept."""
    facts = json.loads((weights / FACTS).read_text(encoding="utf-8"))
    return figures(pd.read_parquet(weights / TABLE), facts, weights)
