"""The bundled miniature's checkpoints in a run, and the label of such a run.

That is derived from what the run loads: references, content digests against those of all weights
that were ever bundled, and at planning time the weights themselves. A config's own word can only
add to it, so that no copied or edited suite takes the label off. Every `config` here is a run's as
its manifest holds it, which may be anybody's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.models.checkpoints import BUNDLED, references_of
from harness.models.digests import folder_digest
from harness.models.suites import ModelSpec, load_suite
from harness.models.weights import HALF, overlap
from harness.records import Role
from harness.registry import SUITES

MODELS = "miniature models: this says something about searching, nothing about SANA"
KNOWS = "it knows the miniature's drawings, not photographs"

DIGESTS = BUNDLED / "digests.json"
"""Content digests of the bundled checkpoints, former ones included, by name: nothing is hashed to
know them."""

_REFERENCE = "bundled:"


def is_bundled(reference: str, digest: str | None) -> bool:
    """Return whether a checkpoint is a bundled one, of this version or a former one."""
    return reference.startswith(_REFERENCE) or digest in known_digests()


def is_copy(folder: Path) -> bool:
    """Return whether a checkpoint folder has a bundled checkpoint's weights, however disguised.

    Raises:
        HarnessError: The folder holds no checkpoint.
    """
    digest = folder_digest(folder)
    if digest in known_digests():
        return True
    for name in json.loads(DIGESTS.read_text(encoding="utf-8")):
        try:
            share = overlap(folder, BUNDLED / name, digest)
        except HarnessError:  # damaged weights: whoever loads them says so
            return False
        if share is None or share >= HALF:
            return share is not None
    return False


@lru_cache(maxsize=1)
def known_digests() -> frozenset[str]:
    """Return the content digests of all weights that are or were bundled."""
    listed = json.loads(DIGESTS.read_text(encoding="utf-8"))
    return frozenset(digest for digests in listed.values() for digest in digests)


def record_digests() -> None:
    """Add the present weights to the digests, for whoever has trained new ones."""
    listed = json.loads(DIGESTS.read_text(encoding="utf-8"))
    for folder in BUNDLED.iterdir():
        if folder.is_dir():
            former = listed.get(folder.name, [])
            listed[folder.name] = sorted({*former, folder_digest(folder)})
    DIGESTS.write_text(json.dumps(listed, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    known_digests.cache_clear()


def loads_miniature(
    specs: Mapping[Role, ModelSpec], paths: Mapping[Role, Mapping[str, Path]]
) -> bool:
    """Return whether any checkpoint that is about to be loaded is the miniature's, or a copy.

    Raises:
        HarnessError: A folder holds no checkpoint.
    """
    return any(
        is_bundled(ref, None) or is_copy(paths[role][part])
        for role, spec in specs.items()
        for part, ref in spec.checkpoints.items()
    )


def bundled_parts(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of a run's bundled checkpoints, such as "scorer.detector"."""
    digests = config.get("digests")
    digests = digests if isinstance(digests, dict) else {}
    return tuple(name for name, ref in references_of(config) if is_bundled(ref, digests.get(name)))


def is_miniature(config: Mapping[str, Any]) -> bool:
    """Return whether any model of a run is the miniature's."""
    return bool(config.get("miniature")) or bool(bundled_parts(config))


def label(config: Mapping[str, Any]) -> str:
    """Return what must be said of a run with models of the miniature; "" of any other."""
    if not is_miniature(config):
        return ""
    names = [name for name, _ in references_of(config)]
    # By its own word alone it is one as a whole.
    roles = {name.partition(".")[0] for name in bundled_parts(config) or names}
    if Role.GENERATOR in roles or not roles:
        return MODELS
    return f"miniature {' and '.join(sorted(roles))}: {KNOWS}"


def suite_name(config: Mapping[str, Any]) -> str:
    """Return a run's suite by name, and in which checkpoints it is not the built-in one of it.

    A run whose checkpoints are all those of another built-in suite is that suite's, since a name
    may have been given to other models after the run.
    """
    name, others = _built_in(config)
    return f"{name} with another {', '.join(others)}" if others else name


def other_parts(config: Mapping[str, Any]) -> list[str]:
    """Return the checkpoints in which a run differs from the built-in suite of `suite_name`."""
    return _built_in(config)[1]


def _built_in(config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Find the built-in suite of a run, and what of the run is not that suite's."""
    name = config.get("suite")
    if not isinstance(name, str) or name not in SUITES.builtins:
        return str(name), []
    own = _differences(config, name)
    if own:
        kind = load_suite(name).miniature
        for other in SUITES.builtins:
            if load_suite(other).miniature == kind and not _differences(config, other):
                return other, []
    return name, own


def _differences(config: Mapping[str, Any], name: str) -> list[str]:
    suite = load_suite(name)
    own = {
        f"{role}.{part}": ref for role in Role for part, ref in suite.spec(role).checkpoints.items()
    }
    return [
        part
        for part, ref in references_of(config)
        # An oracle judge is the scorer, and says so.
        if own.get(part) != ref and not (config.get("oracle") and part.startswith(Role.JUDGE))
    ]
