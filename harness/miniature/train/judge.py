"""Stage 4: the judge's detector: smaller, with another seed and less to learn from.

It errs where the scorer does not, and that is its purpose: the gap between what a search's judge
accepts and what the benchmark's scorer accepts is one of the things the harness measures.
"""

from __future__ import annotations

from dataclasses import replace

from harness.miniature.train import detector
from harness.miniature.train.loop import Schedule, TrainConfig

JUDGE = detector.Variant(
    "judge", (20, 48, 72), 8_000, 31,
    Schedule(steps=600, batch=64, lr=2e-3, cooldown=0.5, ema=0.99),
)  # fmt: skip

KEENER = replace(
    JUDGE, name="habits_judge", scenes=16_000, schedule=replace(JUDGE.schedule, steps=1_000)
)
"""The judge of the world with habits, where an acceptance ends a search that feedback was about to
mend. With `JUDGE` 0.18 of 242 acceptances were wrong, with this one 0.16 of 244, and with a network
of the scorer's size and schedule 0.16 of 244, though it reads 0.996 of unseen scenes exactly: what
is left are images in which two networks see different things.
"""


def train(
    setting: TrainConfig, variant: detector.Variant | None = None, *, stop_after: int | None = None
) -> bool:
    """Train the world's judge, or another variant, and export it; True once it is done."""
    variant = variant or (KEENER if setting.habits else JUDGE)
    return detector.train(setting, variant, stop_after=stop_after)
