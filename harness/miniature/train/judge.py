"""Stage 4: the judge's detector: smaller, with another seed and less to learn from.

It errs where the scorer does not, and that is its purpose: the gap between what a search's judge
accepts and what the benchmark's scorer accepts is one of the things the harness measures.
"""

from __future__ import annotations

from harness.miniature.train import detector
from harness.miniature.train.loop import Schedule, TrainConfig

JUDGE = detector.Variant(
    "judge", (20, 48, 72), 8_000, 31,
    Schedule(steps=600, batch=64, lr=2e-3, cooldown=0.5, ema=0.99),
)  # fmt: skip


def train(
    setting: TrainConfig, variant: detector.Variant = JUDGE, *, stop_after: int | None = None
) -> bool:
    """Train and export to ``out/judge``; True once it is done."""
    return detector.train(setting, variant, stop_after=stop_after)
