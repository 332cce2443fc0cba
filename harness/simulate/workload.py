"""The simulated work: seconds of batches, and how easily each prompt's images are accepted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.config import read_config
from harness.engine.ladder import fake_candidate, fake_reply
from harness.engine.searches import Search
from harness.errors import UsageError
from harness.identity import Resolver, shape_of, usual_shape
from harness.log import integrity, store
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.records import Candidate, Draw, Prompt, Question, Reply, Request, Role, Setting
from harness.registry import GENERATORS


@dataclass(frozen=True)
class Workload:
    """The models and prompts of a simulated run.

    Attributes:
        seconds: What a batch of each role takes, full or padded; a role that is not in it does
            not take part.
        batch_sizes: Rows of a batch, by role.
        acceptance: Probability that one image is accepted, prompt by prompt.
        alone: What a batch of a single row takes, as a share of the full one's time; in between
            it goes in a straight line. 1 / rows where a device is busy with one row already.
        replicates: Searches of each prompt.
        seed: Of the verdicts. They hang on prompt, replicate and draw alone, so every number of
            GPUs, and the static split, meets the same ones.
        settings: The run's sampler settings.
        kind: What requests must have in common to share a batch; None for the usual.
        batch_rows: Rows of the generator's batches by round, where not its batch size throughout.
    """

    seconds: Mapping[Role, float]
    batch_sizes: Mapping[Role, int]
    acceptance: tuple[float, ...]
    alone: float = 0.25
    replicates: int = 1
    seed: int = 0
    settings: Mapping[str, Setting] = field(default_factory=dict)
    kind: Callable[[Request[Any]], Hashable] | None = None
    batch_rows: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for role in (Role.GENERATOR, *self.seconds):
            if not self.seconds.get(role, 0) > 0:
                raise UsageError(f"a batch of the {role} must take more than 0 seconds")
            if self.batch_sizes.get(role, 0) < 1:
                raise UsageError(f"a batch of the {role} must have at least one row")
        if not all(0 <= p <= 1 for p in self.acceptance):
            raise UsageError("a probability of acceptance lies between 0 and 1")
        if not 0 < self.alone <= 1:
            raise UsageError("a single row takes more than nothing and no more than a full batch")

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts, told apart by their number alone."""
        return [Prompt(f"{n:06d}", f"prompt {n}") for n in range(len(self.acceptance))]

    def resized(self, rows: int) -> Workload:
        """The same with batches of so many rows, where they are larger."""
        sizes = {role: min(rows, size) for role, size in self.batch_sizes.items()}
        seconds = {role: self.seconds_of(role, sizes[role]) for role in self.seconds}
        rungs = tuple(min(rows, size) for size in self.batch_rows)
        return replace(self, seconds=seconds, batch_sizes=sizes, batch_rows=rungs)

    def seconds_of(self, role: Role, rows: int) -> float:
        """Return what a batch of so many rows takes, padding included."""
        full = self.batch_sizes[role]
        share = (rows - 1) / (full - 1) if full > 1 else 1.0
        return self.seconds[role] * (self.alone + (1 - self.alone) * share)

    @cached_property
    def resolver(self) -> Resolver:
        """The resolver that turns draws into requests."""
        rows = self.batch_rows or (self.batch_sizes[Role.GENERATOR],)
        names = {size: f"simulated {size}" for size in rows}
        return Resolver(names, self.seed, self.settings, self.kind or usual_shape, rows)

    def answer(self, search: Search, item: Draw | Question, id: str) -> Candidate | Reply:
        """Return what became of a search's draw of an identity, or of a question."""
        if isinstance(item, Question):
            return fake_reply(item)
        chance = self.acceptance[int(search.prompt.id)]
        return fake_candidate(self.seed, search.prompt, search.replicate, item, id, chance)


def logged_workload(path: Path) -> dict[str, Any]:
    """Return a run's batch times, sizes and shapes and its acceptance, as `Workload` takes them.

    Sizes are its config's. A batch's time is the median over the batches of its role. A prompt's
    acceptance is that of its judged images, drawn towards the mean of all prompts as if by one
    further image. There is no shape if the generator's class is not at hand.

    Raises:
        HarnessError: The log or the manifest is damaged.
        UsageError: It is no run, or holds too little.
    """
    folder = RunFolder.existing(path)
    integrity.check(folder)
    config = read_config(Manifest.read(folder.manifest).config)
    timed = [f"{role}_{what}" for role in Role for what in ("device_seconds", "batch", "worker")]
    rows = store.read(folder.log, "candidates", ["prompt_id", "accepted", *timed]).to_pandas()
    shape = {}
    with contextlib.suppress(UsageError):  # not installed here, or not to be imported
        shape["kind"] = shape_of(GENERATORS.get(config.generator.kind))
    seconds: dict[Role, float] = {}
    sizes: dict[Role, int] = {}
    for role in Role:
        # Batches are numbered anew in every session of work, and rows of one share its time
        # equally: that tells two of the same number apart. Draws of another run are in none.
        batches = rows.groupby([f"{role}_{what}" for what in ("worker", "batch", "device_seconds")])
        counts = batches.size()
        if len(counts) and (spec := getattr(config, role)):
            shares = counts.index.get_level_values(f"{role}_device_seconds")
            seconds[role] = float((counts * shares).median())
            sizes[role] = spec.batch_size
    verdicts = rows["accepted"].dropna().astype(float)
    if Role.GENERATOR not in seconds or verdicts.empty:
        raise UsageError(f"the log of {path} holds no timed draws", "choose another --from")
    judged = verdicts.groupby(rows["prompt_id"])
    return {
        "seconds": seconds,
        "batch_sizes": sizes,
        "settings": config.generator.settings,
        "batch_rows": config.batch_rows,
        **shape,
        "acceptance": tuple((judged.sum() + verdicts.mean()) / (judged.size() + 1)),
    }
