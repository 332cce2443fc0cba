"""Stage 6: the judge's own colours: another seed, other scenes, and less to learn from.

A judge that borrowed the scorer's would never differ from it about a colour.
"""

from __future__ import annotations

from harness.miniature.train import colors
from harness.miniature.train.loop import Schedule, TrainConfig

JUDGE = colors.Variant(
    "judge_colors", 8_000, 31, 43,
    Schedule(steps=300, batch=128, lr=2e-3, cooldown=0.5, ema=0.97, weight_decay=0.05),
)  # fmt: skip


def train(
    setting: TrainConfig, variant: colors.Variant = JUDGE, *, stop_after: int | None = None
) -> bool:
    """Train and export to ``out/judge_colors``; True once it is done."""
    return colors.train(setting, variant, stop_after=stop_after)
