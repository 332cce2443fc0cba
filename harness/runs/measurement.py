"""The conditions of a run's scores, by content, to be equal where two runs are compared.

A config spells what was asked for, and every road spells it in its own way: with defaults or
without, a benchmark's options or none, checkpoints by references that mean something in one place
only. Here defaults are filled in by the plug-in that has them, and checkpoints count by content.
What is not on record is None, which is no difference and no agreement.

Prompts count by what they ask for and are scored by. Ids tell the prompts of one run apart; between
runs they are names: images that were exported and scored elsewhere may have come back under others,
and other prompts under the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from benchmarks.geneval import metadata
from benchmarks.geneval.prompts import metadata_rows
from harness.config import RECORDED_IMAGES, RECORDED_SCORER
from harness.errors import HarnessError, UsageError
from harness.log import store
from harness.log.manifest import FINISHED, Manifest
from harness.log.run_folder import RunFolder
from harness.models.bundled import is_miniature
from harness.options import build, resolved
from harness.prompts import read_prompts
from harness.records import Prompt
from harness.registry import BENCHMARKS
from harness.seeds import digest

IMAGE_SIZES = "image_sizes"
"""Among a manifest's totals, where images came from elsewhere: their sizes, as "64x48 64x64"."""

GENEVAL = "geneval"


def measurement(manifest: Manifest, prompts: Collection[str] | None) -> dict[str, Any]:
    """Return the parts of a run's protocol, by name; None for what is not on record.

    Args:
        manifest: The run's.
        prompts: Its prompts by content (`by_content`), if they are known.
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


_FIELDS = ("prompt", "tag")
"""Metadata that repeats a prompt's own fields."""

LISTED = 3
"""Prompts that a sentence names."""


def content(prompt: Prompt, benchmark: str) -> str:
    """Return a digest of a prompt's text and tag and of the metadata that it is scored by.

    Args:
        prompt: The prompt.
        benchmark: Whose scorer it is: GenEval's is known to read some keys only.
    """
    scored = prompt.metadata
    if benchmark == GENEVAL:
        with suppress(metadata.BadMetadata):  # no scorer reads such a row, so all of it counts
            scored = metadata.requirements(scored)
    others = {k: v for k, v in scored.items() if k not in _FIELDS and v is not None}
    return digest([prompt.text, prompt.tag, others])


def by_content(folder: RunFolder, manifest: Manifest) -> dict[str, Prompt] | None:
    """Return a run's prompts by their contents; None if nobody knows them any more.

    Equal contents are numbered in order of id, so that each has one counterpart elsewhere.
    """
    benchmark = manifest.config["benchmark"]["name"]
    try:
        prompts = read_prompts(folder, manifest)
    except HarnessError:  # of a former version, and the benchmark is not here or gives others
        return None
    seen: Counter[str] = Counter()
    result = {}
    for prompt in sorted(prompts, key=lambda prompt: prompt.id):
        key = content(prompt, benchmark)
        result[f"{key} {seen[key]}" if seen[key] else key] = prompt
        seen[key] += 1
    return result


def listed(prompts: Sequence[Prompt]) -> str:
    """Name the first of some prompts by id and text, and say how many more there are."""
    names = [f"{prompt.id} '{prompt.text}'" for prompt in prompts[:LISTED]]
    more = len(prompts) - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class Coverage:
    """The share of GenEval's published prompt set that a run is over.

    Attributes:
        total: Prompts of the published set.
        missing: Those that the run is not over, in official order.
        others: Prompts of the run that are none of them, or one of them again.
        chosen: Whether the run asked for some prompts only (tags, a limit), so that nobody needs
            the names of the others.
    """

    total: int
    missing: tuple[Prompt, ...]
    others: int
    chosen: bool = False

    @property
    def sentence(self) -> str:
        """A note for readers; "" if the run is over exactly the published set."""
        parts = [f"{self.total - len(self.missing)} of GenEval's {self.total} prompts"]
        if self.others:
            parts.append(f"and {self.others} other{'s' if self.others > 1 else ''}")
        if len(self.missing) == self.total:
            return f"none of GenEval's {self.total} prompts"
        if not (self.missing or self.others):
            return ""
        named = self.missing and not self.chosen
        return " ".join(parts) + (f", without {listed(self.missing)}" if named else "")


def coverage_of(prompts: Iterable[Prompt]) -> Coverage:
    """Hold some prompts against GenEval's published ones, by content."""
    official = _official()
    present = Counter(content(prompt, GENEVAL) for prompt in prompts)
    missing = tuple(prompt for key, prompt in official.items() if key not in present)
    return Coverage(len(official), missing, present.total() - (len(official) - len(missing)))


def coverage(
    folder: RunFolder, manifest: Manifest, prompts: Mapping[str, Prompt] | None
) -> Coverage | None:
    """Hold a run's prompts against GenEval's published ones.

    A prompt that came without images is none of those that images from elsewhere are of.

    Args:
        folder: The run's.
        manifest: Its manifest.
        prompts: Its prompts by content (`by_content`), if they are known.

    Returns:
        None where the benchmark is another, or nobody knows the prompts any more.

    Raises:
        HarnessError: The log is damaged.
    """
    config = manifest.config
    if config["benchmark"]["name"] != GENEVAL or prompts is None:
        return None
    if config["generator"]["kind"] == RECORDED_IMAGES and manifest.state == FINISHED:
        ended = set(store.read(folder.log, "searches", ["prompt_id"])["prompt_id"].to_pylist())
        return coverage_of(prompt for prompt in prompts.values() if prompt.id in ended)
    chosen = bool(config.get("limit") or config.get("tags"))
    return replace(coverage_of(prompts.values()), chosen=chosen)


def covered(folder: RunFolder, manifest: Manifest) -> list[str]:
    """Return the line about GenEval's prompts beside a run's scores, if there is anything to say.

    Raises:
        HarnessError: The log is damaged.
    """
    known = coverage(folder, manifest, by_content(folder, manifest))
    return [f"prompts   {known.sentence}"] if known is not None and known.sentence else []


@cache
def _official() -> Mapping[str, Prompt]:
    """GenEval's published prompts by content, in official order."""
    prompts = (
        Prompt(f"{place:05d}", row["prompt"], row["tag"], row)
        for place, row in enumerate(metadata_rows())
    )
    return {content(prompt, GENEVAL): prompt for prompt in prompts}
