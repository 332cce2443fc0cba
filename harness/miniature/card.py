"""The figures of the miniature's card, from the verdicts that lie beside it.

``weights/evaluation.parquet`` has a row for every image that was looked at, so that every share in
the card can be counted again; settings and speeds are in ``weights/evaluation.json``. Those of the
world with habits are in ``evaluation-habits``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.log.files import write_json
from harness.miniature import WORLDS

PROMPTS = 553
"""Of the benchmark; images of one stand together."""
TABLE, FACTS, CARD = "evaluation{}.parquet", "evaluation{}.json", "CARD.md"
START, END = "<!-- measured{} -->", "<!-- /measured{} -->"
ROWS = (
    ("runs' generator, one plain draw, by the scorer", "reflect", "scorer", False),
    ("base, one plain draw, by the scorer", "base", "scorer", False),
    ("scorer: true scenes accepted", "true_scene", "scorer", False),
    ("scorer: planted errors rejected", "planted_error", "scorer", True),
    ("judge: true scenes accepted", "true_scene", "judge", False),
    ("judge: planted errors rejected", "planted_error", "judge", True),
)
STAGES = ("base/vae", "base", "detector", "judge", "colors", "judge_colors", "vision", "reflect")


def shares(tags: pd.Series, right: pd.Series) -> dict[str, float]:
    """Share of true verdicts of each tag, their mean (macro) and the share of all (micro)."""
    by_tag = right.groupby(tags, sort=False).mean()
    summed = {"macro": float(np.mean(by_tag)), "micro": float(right.mean())}
    return {str(tag): float(share) for tag, share in by_tag.items()} | summed


def figures(table: pd.DataFrame, facts: dict[str, Any], weights: Path, world: str) -> str:
    """Return the measurements as Markdown.

    Args:
        table: what, number, tag, scorer and judge (bool) of every image.
        facts: Settings and speeds.
        weights: Folder of the models, for their recipes.
        world: One of `WORLDS`.
    """
    own = WORLDS[world]
    stages = (own.components, own.reflect, *own.judge) if own.components else STAGES
    lines = [
        f"`python -m harness.miniature.evaluate` (float32, {facts['images']} images over all 553"
        f" prompts, {facts['num_inference_steps']} steps, guidance {facts['guidance_scale']});"
        " per cent:",
        "",
    ]
    present = [row for row in ROWS if (table["what"] == row[1]).any()]
    for number, (label, what, who, denied) in enumerate(present):
        part = table[table["what"] == what]
        by_tag = shares(part["tag"], ~part[who] if denied else part[who])
        if number == 0:
            lines += [f"| | {' | '.join(by_tag)} |", "|---" * (len(by_tag) + 1) + "|"]
        cells = " | ".join(f"{100 * share:.1f}" for share in by_tag.values())
        lines.append(f"| {label} | {cells} |")
    drawn = table[table["what"] == present[0][1]]
    agreed = float((drawn["scorer"] == drawn["judge"]).mean())
    over = float((drawn["judge"] & ~drawn["scorer"]).mean())
    under = float((drawn["scorer"] & ~drawn["judge"]).mean())
    lines += [
        "",
        f"Judge and scorer agree on {100 * agreed:.1f} % of the runs' plain draws; the judge"
        f" accepts {100 * over:.1f} % that the scorer rejects and rejects {100 * under:.1f} % that"
        " it accepts.",
        "",
        *_spread(table, facts["images"]),
        "Held out, from the recipes:",
        "",
    ]
    for stage in stages:
        recipe = json.loads((weights / stage / "recipe.json").read_text(encoding="utf-8"))
        held_out = ", ".join(f"{name} {value}" for name, value in recipe["held_out"].items())
        before = sum(each["training_seconds"] for each in recipe.get("earlier", ()))
        started = f" from weights that had {_duration(before)} of it" if before else ""
        trained = _duration(recipe["training_seconds"])
        lines.append(f"- `{stage}/`: {held_out}; trained for {trained}{started}")
    if "touched" in facts:
        shares_of = ", ".join(f"{tag} {100 * share:.0f}" for tag, share in facts["touched"].items())
        lines += ["", f"Prompts of the benchmark that habits touch, per cent: {shares_of}."]
    speeds = facts.get("images_per_second_by_batch")
    if speeds:
        listed = ", ".join(f"{batch}: {speed:.1f}" for batch, speed in speeds.items())
        lines += ["", f"Plain draws, decoding included, images a second by batch size: {listed}."]
    return "\n".join(lines)


def _spread(table: pd.DataFrame, images: int) -> list[str]:
    """Return how often prompts succeed, one by one: what sampling alone can mend."""
    lines = []
    for label, what, who, _ in ROWS[:2]:
        part = table[table["what"] == what]
        if part.empty:
            continue
        count = images // PROMPTS
        right = part.groupby(part["number"] // count)[who].sum()
        shares = [f"{100 * (right == n).mean():.0f}" for n in range(count + 1)]
        lines.append(
            f"Of {count} draws of a prompt ({label}) so many were right, per cent of prompts: "
            + ", ".join(f"{n}: {share}" for n, share in enumerate(shares))
            + "."
        )
    return [*lines, ""]


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def write(table: pd.DataFrame, facts: dict[str, Any], weights: Path, world: str) -> None:
    """Keep the verdicts beside the weights, and put their figures into the card.

    Raises:
        ValueError: The card has no place marked for them.
    """
    suffix = WORLDS[world].suffix
    table.to_parquet(weights / TABLE.format(suffix), index=False, compression="zstd")
    write_json(weights / FACTS.format(suffix), facts)
    start, end = START.format(suffix), END.format(suffix)
    text = (weights / CARD).read_text(encoding="utf-8")
    before, _, rest = text.partition(start)
    _, marked, after = rest.partition(end)
    if not marked:
        raise ValueError(f"{weights / CARD} has no place marked {start} … {end}")
    text = f"{before}{start}\n{measured(weights, world)}\n{end}{after}"
    (weights / CARD).write_text(text, encoding="utf-8")


def measured(weights: Path, world: str) -> str:
    """The figures once more, from the verdicts that were kept."""
    suffix = WORLDS[world].suffix
    facts = json.loads((weights / FACTS.format(suffix)).read_text(encoding="utf-8"))
    return figures(pd.read_parquet(weights / TABLE.format(suffix)), facts, weights, world)
