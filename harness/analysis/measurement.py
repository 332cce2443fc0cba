"""The conditions of a run's scores, part by part, by value, to be equal where two are compared.

A config spells what was asked for, and every road spells it in its own way: with defaults or
without, a benchmark's options or none, checkpoints by references that mean something in one place
only. Here defaults are filled in by the plug-in that has them, and checkpoints and prompts count by
content. What is not on record is None, which is no difference and no agreement.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from harness.config import RECORDED_IMAGES, RECORDED_SCORER
from harness.errors import UsageError
from harness.log.manifest import Manifest
from harness.models.bundled import is_miniature
from harness.options import build, resolved
from harness.registry import BENCHMARKS
from harness.seeds import digest

IMAGE_SIZES = "image_sizes"
"""Among a manifest's totals, where images came from elsewhere: their sizes, as "64x48 64x64"."""


def measurement(manifest: Manifest, prompts: Collection[str] | None) -> dict[str, Any]:
    """Return the parts of a run's protocol, by name; None for what is not on record.

    Args:
        manifest: The run's.
        prompts: Contents of its prompts (`harness.analysis.prompt_sets`), if they are known.
    """
    config = manifest.config
    options, settings = _resolved(config)
    return {
        "benchmark": (config["benchmark"]["name"], _sorted(options)),
        "prompt set": manifest.prompt_set.digest if prompts is None else digest(sorted(prompts)),
        "resolution": resolution(manifest),
        "scorer": _scorer(config, settings),
        "miniature models": _miniature(config),
    }


def resolution(manifest: Manifest) -> frozenset[tuple[int, int]] | None:
    """Return the heights and widths of a run's images; None if they are not on record."""
    generator = manifest.config["generator"]
    if generator["kind"] != RECORDED_IMAGES:
        settings = generator.get("settings", {})
        return frozenset({(settings.get("height"), settings.get("width"))})
    sizes = manifest.totals.get(IMAGE_SIZES)
    try:
        pairs = [tuple(map(int, size.split("x"))) for size in str(sizes or "").split()]
    except ValueError:  # of a manifest that was edited
        return None
    return frozenset((pair[0], pair[1]) for pair in pairs if len(pair) == 2) or None


def sizes_total(sizes: set[tuple[int, int]]) -> dict[str, str]:
    """Return what a manifest's totals say of the heights and widths of images."""
    text = " ".join(f"{height}x{width}" for height, width in sorted(sizes))
    return {IMAGE_SIZES: text} if text else {}


def _resolved(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the benchmark's options beside those of its prompts, and the scorer's settings.

    As they are on record where the benchmark is not installed here, or is code that a manifest
    names and nobody has allowed: the same words are the same protocol then, and no others are.
    """
    options = config["benchmark"].get("options", {})
    settings = (config["scorer"] or {}).get("settings", {})
    try:
        benchmark = build(BENCHMARKS.get(config["benchmark"]["name"]), options, flag="-B")
        complete = resolved(benchmark)
        settings = benchmark.scorer_settings(settings)
    except UsageError:
        return options, settings
    return {k: v for k, v in complete.items() if k not in benchmark.prompt_options}, settings


def _scorer(config: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    scorer = config["scorer"] or {}
    if scorer.get("kind") == RECORDED_SCORER:
        return None
    digests = {k: v for k, v in config.get("digests", {}).items() if k.startswith("scorer.")}
    # By content where there are digests; a checkpoint's name may be a path of its own place.
    return (
        _sorted(digests or scorer.get("checkpoints", {})),
        scorer.get("dtype"),
        _sorted(settings),
    )


def _miniature(config: Mapping[str, Any]) -> bool | None:
    """Return whether models are the miniature's; None where nobody knows what made the images."""
    if is_miniature(config):
        return True
    return None if config["generator"]["kind"] == RECORDED_IMAGES else False


def _sorted(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(values.items())
