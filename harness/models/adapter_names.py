"""Names of LoRA adapters among a generator's checkpoints.

An adapter is a checkpoint like any other, so its digest is in every draw's identity and a run goes
on with no other one. Its part is named `lora`, `lora-NAME`, and, where it is not to count in full,
`lora@WEIGHT` or `lora-NAME@WEIGHT`: the weight is in the name, since it changes the images, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.errors import UsageError

_PART = re.compile(r"lora(?:-[\w.-]+)?(?:@-?\d{1,3}(?:\.\d{1,6})?)?")


def is_adapter(part: str) -> bool:
    """Tell whether a checkpoint's part names an adapter.

    Raises:
        UsageError: It begins like one, and does not go on like one.
    """
    if not part.startswith("lora"):
        return False
    if _PART.fullmatch(part) is None:
        raise UsageError(
            f"'{part}' is no name of an adapter",
            "give lora, lora-NAME, lora@WEIGHT or lora-NAME@WEIGHT, such as lora-ink@0.8",
        )
    return True


def adapters(given: Iterable[str]) -> dict[str, str]:
    """Return references by part of adapters given as `REF`, `NAME=REF` or `NAME@WEIGHT=REF`.

    Raises:
        UsageError: A name is none, or is given twice.
    """
    references: dict[str, str] = {}
    for word in given:
        left, _, reference = word.rpartition("=")
        name, at, weight = left.partition("@")
        part = f"lora{f'-{name}' if name else ''}{at}{weight}"
        if part in references or not reference:
            raise UsageError(
                f"--lora {word} names {'the adapter twice' if reference else 'no checkpoint'}",
                "give each a name: --lora ink=REF --lora line@0.5=REF",
            )
        is_adapter(part)
        references[part] = reference
    return references
