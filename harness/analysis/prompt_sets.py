"""The prompts of runs, by what these ask for and are scored by, whatever they are called.

Ids tell the prompts of one run apart; between runs they are names: images that were exported and
scored elsewhere may have come back under others, and other prompts under the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache

from benchmarks.geneval import metadata
from benchmarks.geneval.prompts import metadata_rows
from harness.config import RECORDED_IMAGES
from harness.errors import HarnessError
from harness.log import store
from harness.log.manifest import FINISHED, Manifest
from harness.log.run_folder import RunFolder
from harness.prompts import read_prompts
from harness.records import Prompt
from harness.seeds import digest

GENEVAL = "geneval"

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


def coverage(folder: RunFolder, manifest: Manifest) -> Coverage | None:
    """Hold a run's prompts against GenEval's published ones.

    A prompt that came without images is none of those that images from elsewhere are of.

    Returns:
        None where the benchmark is another, or nobody knows the prompts any more.

    Raises:
        HarnessError: The log is damaged.
    """
    config = manifest.config
    prompts = by_content(folder, manifest) if config["benchmark"]["name"] == GENEVAL else None
    if prompts is None:
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
    known = coverage(folder, manifest)
    return [f"prompts   {known.sentence}"] if known is not None and known.sentence else []


@cache
def _official() -> Mapping[str, Prompt]:
    """GenEval's published prompts by content, in official order."""
    prompts = (
        Prompt(f"{place:05d}", row["prompt"], row["tag"], row)
        for place, row in enumerate(metadata_rows())
    )
    return {content(prompt, GENEVAL): prompt for prompt in prompts}
