"""Makes an unfinished run of a damaged one: what is intact stays, what is not is set aside.

Nothing is deleted: files that are damaged, or that lose rows, go to the folder `damaged` beside
the log. An empty shard takes the place of what is lost, so the numbers have no gap. A search that
lost a row counts as not ended any more. So every reader says n of N, as for any run that is
under way, and resuming draws what is missing again: the same draws, since a draw's noise and
identity hang on nothing that was lost.

An image that is damaged, or that a search may still need as feedback and is gone, takes its
draw's row with it, so that the draw is made again. Images of searches that have ended may have been
let go of: one that is not there is no damage, one that is there and is another is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from harness.log import shards, store
from harness.log.files import make_folder, move
from harness.log.images import fault, image_path
from harness.log.integrity import find_defects
from harness.log.location import Location
from harness.log.lock import exclusive
from harness.log.manifest import RUNNING, Manifest, now
from harness.log.run_folder import RunFolder
from harness.log.schema import KEYS, TABLES, keys_of
from harness.log.shards import Shard
from harness.log.store import SearchId, incomplete_searches

DrawId = tuple[str, int, int]
"""Prompt id, replicate and draw index."""


@dataclass(frozen=True)
class Repair:
    """The outcome of a repair: what was wrong and what is left.

    Attributes:
        defects: What was wrong, one sentence each; empty if nothing was.
        set_aside: Files that were moved away.
        aside: The folder that they are in now.
        candidates: Rows left.
        searches: Ended searches left.
        reopened: Searches that had ended and lost something.
    """

    defects: tuple[str, ...]
    set_aside: tuple[str, ...]
    aside: Location
    candidates: int
    searches: int
    reopened: int


def repair(folder: RunFolder, session: dict[str, Any], *, images: bool = True) -> Repair:
    """Set aside what is damaged in a run's log and keep the rest.

    It can be interrupted and given again at any time.

    Args:
        folder: The run.
        session: Who does it, for the manifest, which gets an entry with what was found.
        images: Whether the run makes and stores images; one of scores keeps none of its own.

    Raises:
        HarnessError: The manifest is damaged, a file is of a newer version or no shard, another
            process works on the run, or a file cannot be written.
    """
    with exclusive(folder.path):
        manifest = Manifest.read(folder.manifest)
        work = _Repair(folder)
        started = now(manifest.latest)

        def note(sentences: tuple[str, ...]) -> None:
            entry = {"started": started, **session, "repaired": list(sentences)}
            replace(manifest.with_session(entry), state=RUNNING, totals={}, files=()).write(
                folder.manifest
            )

        defects = find_defects(folder, manifest)
        sentences = tuple(what for what, _ in defects)
        if defects:
            note(sentences)  # first, so that from here on nobody takes the run for finished
            work.set_aside([shard for _, shard in defects if shard is not None])
        reopened = incomplete_searches(folder.log)
        if reopened:
            sentences = sentences or (
                f"{len(reopened)} searches that ended have fewer rows than they made draws",
            )
        lost, what = work.lost_images(reopened) if images else (set(), [])
        if what:
            sentences = (*sentences, *what)
            note(sentences)
        reopened |= {draw[:2] for draw in lost} & work.ended()
        if reopened or lost:
            work.reopen(reopened, lost)
        return Repair(
            sentences,
            tuple(work.moved),
            work.aside,
            store.read(folder.log, "candidates", ["draw_index"]).num_rows,
            store.read(folder.log, "searches", ["draws"]).num_rows,
            len(reopened),
        )


class _Repair:
    """Moves and rewrites files of one log. Has state: what was moved so far."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.aside = folder.path / "damaged"
        self.moved: list[str] = []

    def set_aside(self, damaged: list[Shard]) -> None:
        """Move damaged files away and put empty shards where nothing is left."""
        for path in dict.fromkeys(shard.path for shard in damaged):
            self._move(path)
        for table, schema in TABLES.items():
            for first, last in shards.survey(self._folder.log, table).gaps:
                shards.write(self._folder.log, table, first, last, schema.empty_table())

    def ended(self) -> set[SearchId]:
        """Return the searches that the log says have ended."""
        return set(keys_of(store.read(self._folder.log, "searches", KEYS["searches"]), "searches"))

    def lost_images(self, reopened: set[SearchId]) -> tuple[set[DrawId], list[str]]:
        """Find images that are not well, and those that a search needs and that are not there.

        Those that are not well are moved away: what is drawn again is to take their place.

        Args:
            reopened: Searches that had ended and are to go on. Their images may have been let go
                of, and no damage is meant then.

        Returns:
            Their draws, and what is wrong with them, in sentences.
        """
        log = self._folder.log
        over = self.ended() - reopened
        lost: set[DrawId] = set()
        wrong: dict[str, str] = {}
        missing: list[str] = []
        rows = store.read(log, "candidates", [*KEYS["candidates"], "image"])
        for draw, digest in zip(
            keys_of(rows, "candidates"), rows["image"].to_pylist(), strict=True
        ):
            if digest is None:
                continue
            path = image_path(self._folder.images, digest)
            if digest in wrong:  # of two draws that came out alike
                lost.add(draw)
            elif not path.is_file():
                if draw[:2] in over:
                    continue
                lost.add(draw)
                if draw[:2] not in reopened:
                    missing.append(str(path))
            elif what := fault(path, digest):
                lost.add(draw)
                wrong[digest] = f"{path} is damaged: {what}"
                self._move(path)
        damaged = list(wrong.values())
        if missing:
            damaged.append(
                f"{len(missing)} images of searches that had not ended are missing, the first "
                f"of them {missing[0]}"
            )
        return lost, damaged

    def reopen(self, reopened: set[SearchId], lost: Collection[DrawId]) -> None:
        """Take back the ends of some searches, and the draws whose image is lost."""
        unwanted: dict[str, Collection[Any]] = {"candidates": lost, "searches": reopened}
        for table, gone in unwanted.items():
            for shard in shards.discover(self._folder.log, table):
                rows = shards.read(shard, table)
                stays = [key not in gone for key in keys_of(rows, table)]
                if not all(stays):
                    self._move(shard.path)
                    shards.write(
                        self._folder.log, table, *shard.range, rows.filter(pa.array(stays))
                    )

    def _move(self, path: Location) -> None:
        make_folder(self.aside)
        move(path, self.aside)
        self.moved.append(path.name)
