"""A run under audit: its folder, and what its manifest refers to, read only when asked for.

Nothing in the folder is believed. What cannot be read here makes the checks that need it "not
applicable", with the reason, and is a failure of the check whose business it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness import replay
from harness.audit.loaded import Loaded
from harness.audit.result import CannotCheck, checkable, readable_log
from harness.config import RECORDED_IMAGES, Plugin, RunConfig, read_config
from harness.engine.deadline import deadline
from harness.engine.rows import logged_draw
from harness.engine.searches import Search, SearchKey
from harness.errors import HarnessError
from harness.identity import Earlier, Resolver
from harness.log import images, store
from harness.log.location import local
from harness.log.manifest import Manifest
from harness.log.prompts import prompts_path, stored_prompts
from harness.log.run_folder import RunFolder
from harness.log.schema import KEYS
from harness.models.remote_code import remote_code
from harness.models.suites import ModelSpec
from harness.options import build
from harness.prompts import select_prompts
from harness.records import Prompt, Request
from harness.registry import BENCHMARKS, STRATEGIES, Registry, import_paths
from strategies.base import Strategy

Row = Mapping[str, Any]

_PIECE = 8192
_DIGEST = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class Options:
    """Options of an audit.

    Attributes:
        published: A published score to hold it against, in words of its row
            (`harness.audit.checks.published.select`).
        report: Folder of the report to check; the run's own `report` folder by default.
        plugins: Import plug-ins that the manifest names by import path. A stranger's manifest
            must not decide what code is imported here.
    """

    regenerate: int = 0
    rescore: int = 0
    seed: int = 0
    against: Path | None = None
    published: str | None = None
    report: Path | None = None
    report_seed: int = 0
    device: str = "cpu"
    plugins: bool = False


@dataclass
class AuditedRun:
    """A run under audit. Has state: what was read of it so far.

    Attributes:
        bundled_images: "all", "selected" or "none" where a bundle left images out; else None, and
            the config says it.
        loaded: Models that were loaded; several runs may share them.
        regenerator: Draws made again (`harness.audit.regenerator`), once needed.
    """

    folder: RunFolder
    options: Options = field(default_factory=Options)
    bundled_images: str | None = None
    loaded: Loaded = field(default_factory=Loaded)
    regenerator: Any = None

    @cached_property
    @checkable()
    def manifest(self) -> Manifest:
        """The manifest."""
        return Manifest.read(self.folder.manifest, believed=False)

    @cached_property
    @checkable()
    def config(self) -> RunConfig:
        """The config in the manifest."""
        return read_config(self.manifest.config)

    @property
    def expected_images(self) -> str:
        """The images that should be here: "all", "selected" or "none".

        A bundle may bring fewer than its run kept, and never more.
        """
        own = self.config.keep_images
        return own if own == "none" else self.bundled_images or own

    def image(self, digest: str | None) -> bytes | None:
        """Return an image of the run, encoded; None if it is not here, or shows other pixels.

        Nobody judges what has not passed here.
        """
        if digest is None or not _DIGEST.fullmatch(digest):
            return None
        try:
            return images.read(local(self.folder.images), digest, check=True)
        except HarnessError:
            return None

    @property
    def imported(self) -> bool:
        """True if the images were made elsewhere, so that nobody knows how."""
        return self.config.generator.kind == RECORDED_IMAGES

    @cached_property
    def resolver(self) -> Resolver:
        """Turns logged draws into requests; batches have the usual shapes."""
        return Resolver.of(self.config)

    def plugin(self, registry: Registry, named: str) -> Any:
        """Return the plug-in that a name in the manifest stands for."""
        with checkable(hints=True), import_paths(allowed=self.options.plugins):
            return registry.get(named)

    @contextmanager
    def trusting(self, spec: ModelSpec) -> Iterator[None]:
        """Run code beside a model's checkpoints within it, as far as spec and options have it.

        Raises:
            ImportRefused: The spec has it run, and the options do not.
        """
        with (
            import_paths(allowed=self.options.plugins),
            remote_code(trusted=spec.trust_remote_code),
        ):
            yield

    def _built(self, registry: Registry, plugin: Plugin, flag: str) -> Any:
        cls = self.plugin(registry, plugin.name)
        with checkable(hints=True):
            return build(cls, plugin.options, flag=flag)

    @cached_property
    def strategy(self) -> Strategy:
        """The strategy, from its name and options in the config."""
        strategy: Strategy = self._built(STRATEGIES, self.config.strategy, "-S")
        return strategy

    @property
    def brings_prompts(self) -> bool:
        """True if its prompts are those that its folder holds, and no others can be had.

        Images from elsewhere bring theirs, and a benchmark whose prompts come from a file is
        whatever that file was. A run over any other benchmark would choose by such a file which
        prompts it is held to, and what is right.
        """
        if not self.holds_prompts or self.imported:
            return self.holds_prompts
        try:
            return bool(getattr(self.benchmark, "external", False))
        except CannotCheck:
            return False

    @property
    def holds_prompts(self) -> bool:
        """True if there is a file of prompts in the folder."""
        return prompts_path(self.folder).exists()

    @cached_property
    def benchmark(self) -> Any:
        """The benchmark."""
        return self._built(BENCHMARKS, self.config.benchmark, "-B")

    @cached_property
    @checkable()
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompts that the config stands for, in order, with their answer keys."""
        if self.brings_prompts:
            return tuple(stored_prompts(self.folder, self.manifest) or ())
        every = self.benchmark.prompts()
        return tuple(select_prompts(every, self.config.tags, self.config.limit))

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A table of the log, some columns of it."""
        with readable_log():
            return store.read(self.folder.log, name, columns)

    def rows(self, name: str, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Rows of a table in the log's own order, a few thousand at a time in memory."""
        for piece in self.table(name, columns).to_batches(max_chunksize=_PIECE):
            yield from piece.to_pylist()

    def by_search(self, columns: Sequence[str]) -> Iterator[tuple[SearchKey, list[Row]]]:
        """Candidates of each search, in order of draw index."""
        keys = KEYS["candidates"]
        names = [*keys, *(name for name in columns if name not in keys)]
        return replay.by_search(self.table("candidates", names))

    def draws(self, columns: Sequence[str]) -> Iterator[Row]:
        """Candidates with the columns that name them, by search and draw index."""
        for _, rows in self.by_search(columns):
            yield from rows

    def draws_by_round(self, columns: Sequence[str]) -> Iterator[tuple[SearchKey, list[Row]]]:
        """Candidates of each search in the order of their rounds; the columns have `round`."""
        for key, rows in self.by_search(columns):
            yield key, sorted(rows, key=lambda row: (row["round"] or 0, row["draw_index"]))

    def selected(self, key: SearchKey) -> int | None:
        """The index of the draw that a search selected; None if it has not ended, or failed."""
        search = self.searches.get(key)
        return None if search is None else search["selected_index"]

    @cached_property
    def replays(self) -> Mapping[SearchKey, replay.Replayed]:
        """Every search replayed against the log, by the strategy that the config names."""
        replies = dict(replay.by_search(self.table("replies", list(replay.REPLY)), "replies"))
        strategy = self.strategy
        with deadline(0):
            return {
                key: replay.replay(
                    Search.of(self.config, strategy, prompt, key.replicate),
                    replay.LoggedAnswers(rows, replies.get(key, ()), same_rounds=True),
                )
                for key, prompt, rows in self._logged_searches()
            }

    def _logged_searches(self) -> Iterator[tuple[SearchKey, Prompt, Sequence[Row]]]:
        try:
            texts = {prompt.id: prompt.text for prompt in self.prompts}
        except CannotCheck:
            texts = {}
        logged = set()
        for key, rows in self.by_search(("prompt", "tag", *replay.COLUMNS)):
            logged.add(key)
            text = str(texts.get(key.prompt_id, rows[0]["prompt"]))
            yield key, Prompt(key.prompt_id, text, str(rows[0]["tag"])), rows
        for key in self.searches.keys() - logged:
            yield key, Prompt(key.prompt_id, str(texts.get(key.prompt_id, ""))), ()

    @cached_property
    def other(self) -> AuditedRun | None:
        """The run to hold it against, if one is given."""
        path = self.options.against
        return None if path is None else AuditedRun(RunFolder.existing(path))

    @cached_property
    def searches(self) -> dict[SearchKey, Row]:
        """The rows of the ended searches by key; of doubles, the last."""
        return {SearchKey(row["prompt_id"], row["replicate"]): row for row in self.rows("searches")}


def requested(resolver: Resolver, row: Row, earlier: Earlier) -> Request[Any]:
    """Return what a row says was asked for, after the requests that it may start from.

    Raises:
        HarnessError, TypeError, ValueError: It says nothing that could be asked for.
    """
    prompt, draw = Prompt(row["prompt_id"], row["prompt"]), logged_draw(row)
    return resolver.resolve(prompt, row["replicate"], draw, row["round"] or 1, earlier)


def named(key: SearchKey, index: int | None = None) -> str:
    """Return the name of a search, or of a draw of it, in evidence."""
    of = f"prompt {key.prompt_id}, replicate {key.replicate}"
    return of if index is None else f"{of}, draw {index}"


def named_draw(row: Row) -> str:
    """Return the name of a row's draw, in evidence."""
    return named(SearchKey(row["prompt_id"], row["replicate"]), row["draw_index"])
