"""Stage 6: the judge's own colours: another seed, other scenes, and less to learn from.

A judge that borrowed the scorer's would never differ from it about a colour.
"""

from __future__ import annotations

from dataclasses import replace

from harness.miniature.train import colors
from harness.miniature.train.loop import Schedule, TrainConfig

JUDGE = colors.Variant(
    "judge_colors", 8_000, 31, 43,
    Schedule(steps=300, batch=128, lr=2e-3, cooldown=0.5, ema=0.97, weight_decay=0.05),
)  # fmt: skip

KEENER = replace(
    JUDGE, name="habits_judge_colors", scenes=16_000, schedule=replace(JUDGE.schedule, steps=800)
)
"""The colours of the judge of the world with habits."""


def train(
    setting: TrainConfig, variant: colors.Variant | None = None, *, stop_after: int | None = None
) -> bool:
    """Train the colours of the world's judge, or another variant's; True once it is done."""
    variant = variant or (KEENER if setting.habits else JUDGE)
    return colors.train(setting, variant, stop_after=stop_after)
