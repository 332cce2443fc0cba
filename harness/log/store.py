"""The log of a run: append rows, read them back.

Rows are buffered and written as whole shards, at least every `SHARD_ROWS` rows and every
`SHARD_SECONDS` seconds, so a crash costs at most that much work. Until a row is in a shard it
does not count as acknowledged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from harness.errors import HarnessError
from harness.log import shards
from harness.log.files import make_folder, remove_leftovers
from harness.log.location import Location
from harness.log.manifest import now
from harness.log.schema import KEYS, TABLES, keys_of
from harness.log.shards import Shard

SHARD_ROWS = 500
SHARD_SECONDS = 10.0

MERGED_ROWS = 5000
"""Rows at which a merged shard is full: one flipped bit costs no more than these."""

SearchId = tuple[str, int]
"""Prompt id and replicate."""


class LogWriter:
    """Appends rows to the tables of one run. Has state: buffers and the next shard's number.

    Rows are in order of time, whatever becomes of the clock while a run goes on. Where a shard
    cannot be written `HarnessError` is raised, and its rows stay in the buffer.

    Args:
        folder: The log's.
        since: The last time that the run has on record, which no row is from before; "" for none.
    """

    def __init__(self, folder: Location, *, since: str = "") -> None:
        make_folder(folder)
        remove_leftovers(folder)
        self._folder = folder
        self._buffers: dict[str, list[Mapping[str, Any]]] = {name: [] for name in TABLES}
        listed = {name: shards.discover(folder, name) for name in TABLES}
        self._next = {name: of[-1].last + 1 if of else 1 for name, of in listed.items()}
        self._flushed = time.monotonic()
        self._after_flush: list[Callable[[], None]] = []
        self._latest = datetime.fromisoformat(now(since))
        self._read = time.monotonic()

    def after_flush(self, act: Callable[[], None]) -> None:
        """Have something done whenever all rows so far are safe."""
        self._after_flush.append(act)

    def append(self, table: str, row: Mapping[str, Any]) -> None:
        """Add one row; it is safe once a shard holds it."""
        self._buffers[table].append(self._in_order(row))
        if len(self._buffers[table]) >= SHARD_ROWS:
            self.flush()

    def _in_order(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """A row whose time is that of its clock, unless the clock was set back."""
        written, read = row.get("time"), time.monotonic()
        if written is None:
            return row
        if is_late := written < self._latest:
            written = self._latest + timedelta(seconds=read - self._read)
        self._latest, self._read = written, read
        return {**row, "time": written} if is_late else row

    def tick(self) -> None:
        """Write what has waited too long. Call it often; it is cheap."""
        if time.monotonic() - self._flushed >= SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write all buffered rows.

        Candidates go first: a search's row must never be there before its candidates'.
        """
        for table, schema in TABLES.items():
            rows = self._buffers[table]
            if rows:
                number = self._next[table]
                shards.write(
                    self._folder, table, number, number, pa.Table.from_pylist(rows, schema)
                )
                self._buffers[table] = []
                self._next[table] = number + 1
        self._flushed = time.monotonic()
        for act in self._after_flush:
            act()

    def compact(self) -> None:
        """Merge neighbouring shards of each table until they are full, each in key order.

        Raises:
            HarnessError: A shard is damaged or cannot be written; nothing is lost.
        """
        self.flush()
        for table in TABLES:
            group: list[Shard] = []
            rows: list[pa.Table] = []
            for shard in shards.discover(self._folder, table):
                group.append(shard)
                rows.append(shards.read(shard, table))
                if sum(part.num_rows for part in rows) >= MERGED_ROWS:
                    self._merge(table, group, rows)
                    group, rows = [], []
            self._merge(table, group, rows)
            for path in shards.superseded(self._folder, table):
                path.unlink()

    def _merge(self, table: str, group: list[Shard], rows: list[pa.Table]) -> None:
        if len(group) > 1:
            order = [(key, "ascending") for key in KEYS[table]]
            merged = pa.concat_tables(rows).sort_by(order)
            shards.write(self._folder, table, group[0].first, group[-1].last, merged)


def read(
    folder: Location,
    table: str,
    columns: Sequence[str] | None = None,
    where: pc.Expression | None = None,
) -> pa.Table:
    """The rows of a table in a log's folder, in shard order; the rest is as of `shards.read`.

    Raises:
        HarnessError: A shard is missing, damaged, or of a newer schema.
    """
    parts = _parts(folder, table, columns, where)
    schema = TABLES[table]
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in columns])
    return pa.concat_tables([schema.empty_table(), *parts])


def _parts(
    folder: Location, table: str, columns: Sequence[str] | None, where: pc.Expression | None
) -> list[pa.Table]:
    shards_here = shards.discover(folder, table)
    while True:
        try:
            return [shards.read(shard, table, columns, where) for shard in shards_here]
        except HarnessError as error:
            # The driver of a run that is going on may have merged shards since they were listed.
            listed, shards_here = shards_here, shards.discover(folder, table)
            if shards_here == listed or not isinstance(error.__cause__, FileNotFoundError):
                raise


def check_agreement(folder: Location) -> None:
    """See that every search that ended has its candidates.

    Candidates are written first, so whatever else it may be, it is no crash if they are missing.

    Raises:
        HarnessError: They are, or a shard is damaged.
    """
    if incomplete := incomplete_searches(folder):
        raise HarnessError(
            f"a shard of table 'candidates' is missing in {folder}: {len(incomplete)} searches "
            "that ended have fewer rows there than they made draws",
            shards.repair_hint(folder),
        )


def incomplete_searches(folder: Location) -> set[SearchId]:
    """Searches that ended and have fewer rows than they made draws or asked questions.

    Raises:
        HarnessError: A shard is missing or damaged.
    """
    keys = list(KEYS["searches"])
    searches = read(folder, "searches", [*keys, "draws", "questions"])
    incomplete: set[SearchId] = set()
    for table, asked in (("candidates", "draws"), ("replies", "questions")):
        if searches[asked].null_count == len(searches):
            continue
        counts = read(folder, table, keys).group_by(keys).aggregate([([], "count_all")])
        joined = searches.join(counts, keys=keys)
        short = pc.less(pc.fill_null(joined["count_all"], 0), joined[asked])
        incomplete.update(keys_of(joined.filter(pc.fill_null(short, False)), "searches"))
    return incomplete
