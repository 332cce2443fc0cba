"""Makes an unfinished run of a damaged one: what is intact stays, what is not is set aside.

Nothing is deleted: files that are damaged, or that lose rows, go to the folder `damaged` beside
the log. An empty shard takes the place of what is lost, so the numbers have no gap. A search that
lost a row counts as not ended any more. So every reader says n of N, as for any run that is
under way, and resuming draws what is missing again: the same draws, since a draw's noise and
identity hang on nothing that was lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from harness.log import shards, store
from harness.log.damage import Damage, find
from harness.log.files import make_folder, move
from harness.log.images import image_path
from harness.log.location import Location
from harness.log.lock import exclusive
from harness.log.manifest import RUNNING, Manifest, now
from harness.log.run_folder import RunFolder
from harness.log.schema import KEYS, TABLES
from harness.log.shards import Shard
from harness.log.store import SearchId, incomplete_searches


@dataclass(frozen=True)
class Repair:
    """What was wrong and what is left.

    Attributes:
        damage: What was wrong, one sentence each; empty if nothing was.
        set_aside: Files that were moved out of the log.
        aside: The folder that they are in now.
        candidates: Rows left.
        searches: Ended searches left.
        reopened: Searches that had ended and lost something.
    """

    damage: tuple[str, ...]
    set_aside: tuple[str, ...]
    aside: Location
    candidates: int
    searches: int
    reopened: int


def repair(folder: RunFolder, session: dict[str, Any]) -> Repair:
    """Set aside what is damaged in a run's log and keep the rest.

    It can be interrupted and given again at any time.

    Args:
        folder: The run.
        session: Who does it, for the manifest, which gets an entry with what was found.

    Raises:
        HarnessError: The manifest is damaged, a file is of a newer version or no shard, another
            process works on the run, or a file cannot be written.
    """
    with exclusive(folder.path):
        manifest = Manifest.read(folder.manifest)
        work = _Repair(folder)
        found = find(folder, manifest)
        said = tuple(damage.what for damage in found)
        if found:
            # First, so that from here on nobody takes the run for finished.
            entry = {"started": now(), **session, "repaired": list(said)}
            replace(manifest.with_session(entry), state=RUNNING, totals={}, files=()).write(
                folder.manifest
            )
            work.set_aside(found)
        lacking = incomplete_searches(folder.log)
        if lacking:
            said = said or (
                f"{len(lacking)} searches that ended have fewer rows than they made draws",
            )
            work.reopen(lacking)
        return Repair(
            said,
            tuple(work.moved),
            work.aside,
            store.read(folder.log, "candidates", ["draw_index"]).num_rows,
            store.read(folder.log, "searches", ["draws"]).num_rows,
            len(lacking),
        )


class _Repair:
    """Moves and rewrites files of one log. Has state: what was moved so far."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.aside = folder.path / "damaged"
        self.moved: list[str] = []

    def set_aside(self, found: list[Damage]) -> None:
        """Move damaged files away and put empty shards where nothing is left."""
        moved = {damage.shard.path: damage.shard for damage in found if damage.shard is not None}
        for shard in moved.values():
            self._move(shard)
        for table, schema in TABLES.items():
            for first, last in shards.survey(self._folder.log, table).gaps:
                shards.write(self._folder.log, table, first, last, schema.empty_table())

    def reopen(self, lacking: set[SearchId]) -> None:
        """Take back the ends of some searches, and those of their draws whose image is gone.

        Images of a search that has ended may have been let go of; going on with it may need
        them again, as feedback.
        """
        log = self._folder.log
        for shard in shards.discover(log, "candidates"):
            rows = shards.read(shard, "candidates")
            self._rewrite(
                shard,
                rows,
                "candidates",
                [_search(row) in lacking and self._imageless(row) for row in _light(rows, "image")],
            )
        for shard in shards.discover(log, "searches"):
            rows = shards.read(shard, "searches")
            self._rewrite(
                shard, rows, "searches", [_search(row) in lacking for row in _light(rows)]
            )

    def _imageless(self, row: dict[str, Any]) -> bool:
        digest = row["image"]
        return digest is not None and not image_path(self._folder.images, digest).is_file()

    def _rewrite(self, shard: Shard, rows: pa.Table, table: str, unwanted: list[bool]) -> None:
        if any(unwanted):
            self._move(shard)
            kept = rows.filter(pa.array([not row for row in unwanted]))
            shards.write(self._folder.log, table, *shard.range, kept)

    def _move(self, shard: Shard) -> None:
        make_folder(self.aside)
        move(shard.path, self.aside)
        self.moved.append(shard.path.name)


def _light(rows: pa.Table, *more: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rows.select([*KEYS["searches"], *more]).to_pylist()
    return found


def _search(row: dict[str, Any]) -> SearchId:
    return row["prompt_id"], row["replicate"]
