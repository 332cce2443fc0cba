"""Whether a judge looks with the scorer's eyes: which of its checkpoints are the scorer's own.

A judge that finds with the scorer's detector what the scorer will find is an oracle in all but
name: its score is hardly one of a method. Whether checkpoints are the same is asked of their
content, since a name may be any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError
from harness.registry import JUDGES


@dataclass(frozen=True, slots=True)
class Eyes:
    """What a judge has of the scorer.

    Attributes:
        shared: The judge's parts that are parts of the scorer.
        deciding: Whether its main part is among them, by which it decides.
    """

    shared: tuple[str, ...]
    deciding: bool


def eyes(config: Mapping[str, Any]) -> Eyes:
    """Hold the judge's checkpoints against the scorer's.

    Where it is not known which part of a judge decides, every part counts as one that does.

    Args:
        config: Of a run, as its manifest holds it.
    """
    judge, scorer = _contents(config, "judge"), _contents(config, "scorer")
    shared = tuple(part for part, content in judge.items() if content in scorer.values())
    main = _main_part(config["judge"]["kind"])
    return Eyes(shared, bool(shared) and (main not in judge or main in shared))


def warning(config: Mapping[str, Any]) -> str:
    """What must be said of a run whose judge has the scorer's eyes; "" of any other.

    An oracle's run has a label of its own.
    """
    found = eyes(config)
    if config["oracle"] or not found.deciding:
        return ""
    parts = " and ".join(found.shared)
    return f"SCORER'S EYES: the judge looks with the scorer's own {parts}, as an oracle does"


def _contents(config: Mapping[str, Any], role: str) -> dict[str, str]:
    """What each part of a role is, by its name: its digest, or else its reference."""
    parts = (config[role] or {}).get("checkpoints", {})
    digests = config["digests"]
    return {part: digests.get(f"{role}.{part}", f"at {ref}") for part, ref in parts.items()}


def _main_part(kind: str) -> str:
    # Whoever reads a log imports no code that the log names by import path.
    if ":" in kind:
        return ""
    try:
        return str(getattr(JUDGES.get(kind), "main_part", ""))
    except UsageError:
        return ""
