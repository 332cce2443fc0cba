"""A random mixture of faults by script: what strikes whom, and what is to be counted of it."""

from __future__ import annotations

import random
from collections import Counter

from harness.errors import Failure
from harness.records import Role
from tests.stubs import Faults

HARMLESS = {
    Role.GENERATOR: {
        "error": Failure.EXCEPTION,
        "memory": Failure.OUT_OF_MEMORY,
        "nan": Failure.NAN_IMAGE,
        "black": Failure.BLACK_IMAGE,
        "shape": Failure.WRONG_SHAPE,
        "short": Failure.WRONG_SHAPE,
    },
    Role.JUDGE: {"error": Failure.EXCEPTION, "nan": Failure.BAD_NUMBER},
    Role.SCORER: {"memory": Failure.OUT_OF_MEMORY, "nan": Failure.BAD_NUMBER},
}
"""Faults that a worker survives."""

DEADLY = {
    Role.GENERATOR: {"kill": Failure.KILLED, "exit": Failure.KILLED, "hang": Failure.HANG},
    Role.JUDGE: {"kill": Failure.KILLED},
    Role.SCORER: {"freeze": Failure.HANG},
}
"""Faults that take a worker with them."""

Counts = Counter[tuple[Role, Failure]]


def strike_at_random(
    faults: Faults, seed: int, *, deadly: bool, prompts: int = 10
) -> tuple[Counts, Counts]:
    """Have each fault strike once, each at another prompt of its role.

    So no draw is struck more than twice, once in company and once alone, and none is given up.

    Returns:
        The failed tries and the deaths that must be counted.
    """
    draw = random.Random(seed)
    failures: Counts = Counter()
    deaths: Counts = Counter()
    for role in HARMLESS:
        kinds = HARMLESS[role] | (DEADLY[role] if deadly else {})
        struck = draw.sample(range(prompts), len(kinds))
        for prompt, (kind, failure) in zip(struck, kinds.items(), strict=True):
            faults.add(role, kind, f"once-thing {prompt}")
            failures[role, failure] += 1
            deaths[role, failure] += kind in DEADLY[role]
    return failures, +deaths
