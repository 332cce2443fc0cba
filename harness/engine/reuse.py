"""Draws that another run has made already, so that this one need not.

A draw's identity is a hash of all that determines its pixels: whoever asks for a draw of the same
identity gets the same image, and the other run's row can answer. What an answer hangs on besides
(the judge, the scorer, the prompts' metadata; threads, versions and devices for the last bits) has
to be the same in both runs, or nothing is taken. So a log has the content it would have had alone.

The row keeps what the draw did cost, since a search pays for its draws whoever made them; it names
the other run where a worker would stand.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from harness.config import RECORDED_IMAGES, RunConfig, differences, read_config
from harness.engine.rows import logged_reply, logged_score, logged_verdict
from harness.engine.sources import Known, Source
from harness.errors import HarnessError, UsageError
from harness.log import images, integrity, store
from harness.log.costs import COSTS, REPLIES
from harness.log.environment import NUMERIC, device_names, other_versions
from harness.log.manifest import Manifest, PromptSet
from harness.log.prompts import check_prompts
from harness.log.run_folder import RunFolder
from harness.log.schema import QUESTION, SCORE, UNITS, WHOLE_VERDICT, reused_from
from harness.plan import Plan
from harness.prompts import read_prompts
from harness.records import Cost, Draw, Prompt, Question, Role
from harness.registry import import_paths

FREE = frozenset({"strategy", "budget", "replicates", "tags", "limit", "keep_images", "suite",
                  "miniature", "metric"})  # fmt: skip
"""Fields of the config in which runs may differ and still have draws in common."""


_COLUMNS = ["draw_id", "image", *WHOLE_VERDICT, *SCORE, "metrics", *COSTS, "error"]
_REPLY = [*REPLIES, *QUESTION, "reply"]


@dataclass(frozen=True)
class RunDraws:
    """A run whose draws may be taken.

    Attributes:
        keep_images: Which images it kept ("all", "selected", "none").
        measured: Whether it measured all images by the plan's own metrics, and no others.
        devices: Names of the devices it ran on.
        rows: What became of its draws, without those that failed.
        places: Row of each draw, by identity.
        replies: What the judge replied, by prompt, replicate and question. Its seed is of these.
    """

    folder: RunFolder
    run: str
    keep_images: str
    measured: bool
    devices: Collection[str]
    rows: pa.Table = field(repr=False)
    places: Mapping[str, int] = field(repr=False)
    replies: Mapping[tuple[str, int, Question], dict[str, Any]] = field(repr=False)

    @classmethod
    def open(cls, folder: RunFolder, plan: Plan) -> Self:
        """Read a run's draws, if they are what a plan's would be.

        Raises:
            UsageError: They are not.
            HarnessError: Its manifest or log is damaged.
        """
        manifest = Manifest.read(folder.manifest)
        try:
            config = read_config(manifest.config)
        except HarnessError as error:
            raise HarnessError(
                f"draws of {folder.path} cannot be reused: {error.message}", error.hint
            ) from error
        if config.generator.kind == RECORDED_IMAGES:
            raise UsageError(
                f"draws of {folder.path} cannot be reused: its images were made elsewhere",
                "leave it out",
            )
        if different := _differences(folder, manifest, config, plan):
            raise UsageError(
                f"draws of {folder.path} cannot be reused: it differs in {', '.join(different)}",
                "leave it out, or give the run the options it was made with",
            )
        integrity.check(folder)
        answered = pc.field("error").is_null()
        rows = store.read(folder.log, "candidates", _COLUMNS, answered).combine_chunks()
        places = {identity: place for place, identity in enumerate(rows["draw_id"].to_pylist())}
        return cls(
            folder,
            manifest.run,
            config.keep_images,
            _measures(config) == _measures(plan.config),
            device_names(manifest.sessions),
            rows,
            places,
            {
                (row["prompt_id"], row["replicate"], logged_reply(row).question): row
                for row in store.read(folder.log, "replies", _REPLY, answered).to_pylist()
            },
        )

    def row(self, identity: str) -> dict[str, Any] | None:
        """Return the answer to a draw, if it was made."""
        place = self.places.get(identity)
        if place is None:
            return None
        row: dict[str, Any] = self.rows.slice(place, 1).to_pylist()[0]
        return row

    def image(self, digest: str) -> bytes | None:
        """An encoded image, or None if the run did not keep it.

        Raises:
            HarnessError: It is damaged.
        """
        try:
            return images.read(self.folder.images, digest, check=True)
        except HarnessError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            error.hint = f"{error.hint}; or leave it out of --reuse"
            raise


@dataclass(frozen=True)
class Pool(Source):
    """The draws of some runs.

    Attributes:
        sources: The runs; where several have made a draw, the first answers.
        with_images: Whether a draw's image is needed, to be kept or looked at again.
    """

    sources: Sequence[RunDraws] = ()
    with_images: bool = True

    @classmethod
    def open(cls, folders: Sequence[RunFolder], plan: Plan) -> Self:
        """Read the runs whose draws a plan may take.

        Raises:
            UsageError: A run's draws are not what the plan's would be.
            HarnessError: A run is damaged.
        """
        sources = [RunDraws.open(folder, plan) for folder in folders]
        with_images = plan.stores_images or not all(source.measured for source in sources)
        for source in sources:
            if with_images and source.keep_images == "none":
                raise UsageError(
                    f"draws of {source.folder.path} cannot be reused: it kept no images",
                    f"{_needed(plan, source)}; leave it out",
                )
        return cls(sources, with_images)

    def check_devices(self, workers: Mapping[str, Any]) -> None:
        """See that all draws were made where the run's own will be made.

        Raises:
            UsageError: They were not, so that last bits could differ.
        """
        own = device_names([workers])
        for source in self.sources:
            other = sorted(set(source.devices) - own)
            if other or not source.devices:
                raise UsageError(
                    f"draws of {source.folder.path} cannot be reused: they were made on "
                    f"{_listed(other)}, and this is {_listed(sorted(own))}",
                    "other devices can give other last bits; leave it out",
                )

    def answer(self, prompt: Prompt, replicate: int, draw: Draw, id: str) -> Known | None:
        """Return what became of a draw elsewhere; without a needed image that is no answer."""
        for source in self.sources:
            row = source.row(id)
            if row is None or row["image"] is None:
                continue
            png = source.image(row["image"]) if self.with_images else None
            if png is None and self.with_images:
                continue
            known = Known(
                png=png,
                image=row["image"],
                verdict=logged_verdict(row),
                score=logged_score(row),
                metrics=dict(row["metrics"]) if source.measured and row["metrics"] else None,
                run=source.run,
            )
            for role in Role:
                if role is Role.METRIC and known.metrics is None:
                    continue
                _charge(known, role, row)
            return known
        return None

    def reply(self, prompt: Prompt, replicate: int, question: Question) -> Known | None:
        """Return what the judge replied elsewhere to the same question at the same place."""
        for source in self.sources:
            row = source.replies.get((prompt.id, replicate, question))
            if row is not None:
                known = Known(reply=row["reply"], run=source.run)
                _charge(known, Role.JUDGE, row)
                return known
        return None


def _charge(known: Known, role: Role, row: Mapping[str, Any]) -> None:
    """Write down what a role spent in the run that a row is of, if it worked there."""
    spent = {unit: row[f"{role}_{unit}"] for unit in UNITS}
    if spent["device_seconds"] is None:
        return
    known.costs[role] = Cost(**spent)
    if any(spent.values()):
        known.workers[role] = reused_from(known.run)


def _needed(plan: Plan, source: RunDraws) -> str:
    """Return the reason that a draw's image is needed."""
    if plan.looks_again:
        return "they are needed for feedback"
    if plan.config.keep_images == "none" and not source.measured:
        return "they have to be measured by this run's metrics, which it did not have"
    return "they are to be kept, which --keep-images none would not ask for"


def _digests(config: RunConfig, *, metric: bool) -> dict[str, str]:
    """Digests of the checkpoints of a run's metrics, or of all others."""
    prefix = f"{Role.METRIC}."
    return {k: v for k, v in config.digests.items() if k.startswith(prefix) is metric}


def _measures(config: RunConfig) -> tuple[Any, ...]:
    """Return a run's metrics, by content."""
    return config.identity().get("metric"), _digests(config, metric=True)


def _listed(devices: Sequence[str]) -> str:
    return ", ".join(devices) or "nobody knows what"


def _differences(folder: RunFolder, manifest: Manifest, config: RunConfig, plan: Plan) -> list[str]:
    """Name what a run and a plan have not in common, of all that a draw's answer depends on."""
    theirs, ours = (
        {name: value for name, value in each.identity().items() if name not in FREE}
        | {"digests": _digests(each, metric=False)}
        for each in (config, plan.config)
    )
    if different := differences(theirs, ours):
        return different
    versions = other_versions(manifest.environment, manifest.sessions)
    different = [f"the version of {name}" for name in NUMERIC if name in versions]
    # The config names where prompts come from, such as a file, and not what is in it.
    check_prompts(folder, manifest)
    try:
        with import_paths(allowed=True):  # the plan's own, which has been imported before
            before = {prompt.id: prompt for prompt in read_prompts(folder, manifest)}
    except HarnessError:  # it kept none, and they cannot be had again
        return [*different, "its prompts"]
    pairs = ((before[prompt.id], prompt) for prompt in plan.prompts if prompt.id in before)
    other = any(PromptSet.of([one]) != PromptSet.of([two]) for one, two in pairs)
    return [*different, "its prompts"] if other else different
