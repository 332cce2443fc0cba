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
from jinja2 import StrictUndefined, Template

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
DRAWN = ("reflect", "base")
STAGES = ("base/vae", "base", "detector", "judge", "colors", "judge_colors", "vision", "reflect")
_SOURCE = Path(__file__).with_name("card.md.j2").read_text(encoding="utf-8")
_TEMPLATE = Template(_SOURCE, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


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
    present = [row for row in ROWS if (table["what"] == row[1]).any()]
    measured = {}
    for label, what, who, denied in present:
        part = table[table["what"] == what]
        measured[label] = shares(part["tag"], ~part[who] if denied else part[who])
    drawn = table[table["what"] == present[0][1]]
    count = facts["images"] // PROMPTS
    spread = {}  # how often prompts succeed, one by one: what sampling alone can mend
    for label, what, who, _ in present:
        if what in DRAWN:
            part = table[table["what"] == what]
            right = part.groupby(part["number"] // count)[who].sum()
            spread[label] = [(right == number).mean() for number in range(count + 1)]
    files = {stage: weights / stage / "recipe.json" for stage in stages}
    text: str = _TEMPLATE.render(
        facts=facts,
        measured=measured,
        agreed=(drawn["scorer"] == drawn["judge"]).mean(),
        over=(drawn["judge"] & ~drawn["scorer"]).mean(),
        under=(drawn["scorer"] & ~drawn["judge"]).mean(),
        count=count,
        spread=spread,
        recipes={
            stage: json.loads(file.read_text(encoding="utf-8")) for stage, file in files.items()
        },
        duration=_duration,
    )
    return text.rstrip()


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
