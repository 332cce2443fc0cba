"""The judge's checkpoints that are the scorer's own, and what else it shares with its measures.

A judge that finds with the scorer's detector what the scorer will find is an oracle in all but
name: its score is hardly one of a method. Whether checkpoints are the same is asked of their
content, since a name may be any: by digest, and by the weights themselves where they are here.
Every `config` here is a run's as its manifest holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, UsageError
from harness.models.checkpoints import look
from harness.models.digests import folder_digest
from harness.models.provenance import ROLES, cards, is_processor
from harness.models.remote_code import trusting
from harness.models.weights import HALF, overlap
from harness.registry import JUDGES

LABEL = "JUDGE SHARES SCORER'S CHECKPOINT"


@dataclass(frozen=True, slots=True)
class Shared:
    """The checkpoints that a judge shares with the scorer.

    Attributes:
        parts: The judge's parts that are parts of the scorer.
        deciding: Whether its main part is among them, by which it decides.
    """

    parts: tuple[str, ...]
    deciding: bool


def shared(config: Mapping[str, Any]) -> Shared:
    """Hold the judge's checkpoints against the scorer's.

    Where it is not known which part of a judge decides, every part counts as one that does.
    """
    judge = _contents(config, "judge")
    parts = tuple(dict.fromkeys(part for part, _ in _common(config, "judge", "scorer")))
    main = _main_part(config["judge"]["kind"])
    return Shared(parts, bool(parts) and (main not in judge or main in parts))


def warning(config: Mapping[str, Any]) -> str:
    """Return the warning on a run whose judge decides by the scorer's checkpoint; "" on any other.

    An oracle's run has a label of its own.
    """
    if config["oracle"] or not (sharing := shared(config)).deciding:
        return ""
    return (
        f"{LABEL}: it decides by the scorer's own {' and '.join(sharing.parts)}, as an oracle does"
    )


def notices(config: Mapping[str, Any]) -> list[str]:
    """Return what must be said of a run's judge and the measures that are to check on it.

    That code beside checkpoints may have run; and that the judge has a metric's weights, or learnt
    from data that a metric or the scorer learnt from: a gain there is then partly the judge's own.
    Nothing is concluded from data that is not public.
    """
    sentences = []
    if roles := trusting(config):
        sentences.append(
            f"code beside the checkpoints of {' and '.join(roles)} was trusted, and may have run"
        )
    if config["oracle"]:
        return sentences
    common = _common(config, "judge", "metric")
    weights = dict.fromkeys(b for a, b in common if not (is_processor(a) or is_processor(b)))
    if weights:
        sentences.append(
            f"the judge shares weights with what measures it held out ({', '.join(weights)}): its "
            "gain there is partly its own"
        )
    known = cards(config)
    learnt = {
        role: {data for name, card in known.items() if name.startswith(role) for data in card.data}
        for role in ROLES
    }
    for role in ("scorer", "metric"):
        if both := sorted(learnt["judge"] & learnt[role]):
            sentences.append(f"judge and {role} were trained on the same data ({', '.join(both)})")
    return sentences


def _common(config: Mapping[str, Any], role: str, other: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of two roles that are the same, by digest or by their weights."""
    for part, content in _contents(config, role).items():
        for theirs, held in _contents(config, other).items():
            if content == held or _same_weights(config, f"{role}.{part}", f"{other}.{theirs}"):
                yield part, theirs


def unread(config: Mapping[str, Any]) -> list[str]:
    """List the judge's and scorer's checkpoints whose weights are not here to be compared.

    Returns:
        Names such as "judge.detector"; they were compared by digest alone.
    """
    roles = ("judge", "scorer")
    names = [f"{role}.{part}" for role in roles for part in _contents(config, role)]
    return [name for name in names if not _has_weights(config, name)]


def _contents(config: Mapping[str, Any], role: str) -> dict[str, str]:
    """Return each part of a role by its name: its digest, or else its reference."""
    parts = (config.get(role) or {}).get("checkpoints", {})
    digests = config["digests"]
    return {part: digests.get(f"{role}.{part}", f"at {ref}") for part, ref in parts.items()}


def _same_weights(config: Mapping[str, Any], one: str, other: str) -> bool:
    folders = [_folder(config, name) for name in (one, other)]
    if folders[0] is None or folders[1] is None:
        return False
    seed = " ".join(str(config["digests"].get(name)) for name in (one, other))
    share = _overlap(folders[0], folders[1], seed)
    # Their digests last: large files take minutes, unless they were hashed before.
    return share is not None and share >= HALF and all(_own(config, n) for n in (one, other))


def _has_weights(config: Mapping[str, Any], name: str) -> bool:
    folder = _folder(config, name)
    return folder is not None and _own(config, name) and _overlap(folder, folder, "") is not None


@lru_cache(maxsize=256)
def _overlap(one: Path, other: Path, seed: str) -> float | None:
    try:
        return overlap(one, other, seed)
    except HarnessError:  # whoever loads it says so
        return None


def _folder(config: Mapping[str, Any], name: str) -> Path | None:
    role, _, part = name.partition(".")
    try:
        return look(config[role]["checkpoints"][part]).path
    except HarnessError:
        return None


def _own(config: Mapping[str, Any], name: str) -> bool:
    """Return whether a checkpoint here is the one that the run had."""
    folder = _folder(config, name)
    try:
        if folder is None:
            return False
        code = bool(config[name.partition(".")[0]].get("trust_remote_code"))
        return bool(folder_digest(folder, code=code) == config["digests"].get(name))
    except HarnessError:
        return False


def _main_part(kind: str) -> str:
    # Whoever reads a log imports no code that the log names by import path.
    if ":" in kind:
        return ""
    try:
        return str(getattr(JUDGES.get(kind), "main_part", ""))
    except UsageError:
        return ""
