"""Parquet shards that cannot lie about themselves.

A shard's name says which table it belongs to, which numbers it covers and the digest of its
bytes: `candidates-000003-000003-5f0c….parquet`. So flipped bits, a shard cut short and a
missing shard are all seen when the log is opened, without a ledger that would itself have to be
kept consistent. Compaction writes one shard that covers a range and then removes what it
replaces; a crash in between leaves both, and the wider one wins.
"""

from __future__ import annotations

import hashlib
import io
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.errors import HarnessError, first_line
from harness.log.files import read_file, write_atomically
from harness.log.location import Location
from harness.log.schema import KEYS, LATER, SCHEMA_VERSION, TABLES
from harness.records import MOST_DRAWS
from harness.text import parse_json

_NAME = re.compile(
    r"(?P<table>[a-z]+)-(?P<first>[0-9]{6}|[1-9][0-9]{6,17})-(?P<last>[0-9]{6}|[1-9][0-9]{6,17})"
    r"-(?P<digest>[0-9a-f]{16})"
)

BATCH_ROWS = 65536
"""Rows that are looked through at once at most."""

BATCH_BYTES = 256 * 2**20
"""Bytes that a column of one batch may unpack to at worst."""

LARGEST, LARGEST_FOOTER = 2**30, 64 * 2**20
"""Bytes of the largest shard and of the largest footer that are read; a merged one has about a
megabyte."""

_IMAGE = "^[0-9a-f]{32}$"
"""What names an image, which becomes a part of a path."""

_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999 in microseconds: what Python has for times."""

LARGEST_UNPACKED, MOST_ROWS = 4 * 2**30, 10_000_000
"""Bytes that a shard's rows may unpack to, and their largest number."""


@dataclass(frozen=True, order=True)
class Shard:
    """One file of a table.

    Attributes:
        first: First number it covers.
        last: Last number it covers; equal to `first` unless it is compacted.
        digest: First 16 hex characters of the SHA-256 of its bytes.
        path: Where it is.
    """

    first: int
    last: int
    digest: str
    path: Location

    @property
    def table(self) -> str:
        """The table it belongs to, by its name."""
        return self.path.name.partition("-")[0]

    @property
    def range(self) -> tuple[int, int]:
        """First and last number it covers."""
        return self.first, self.last


def write(folder: Location, table: str, first: int, last: int, rows: pa.Table) -> Shard:
    """Write rows as one shard, whole or not at all.

    Raises:
        HarnessError: The file cannot be written, or its numbers are too large for a name.
    """
    buffer = io.BytesIO()
    stamped = rows.replace_schema_metadata({"schema_version": str(SCHEMA_VERSION)})
    pq.write_table(stamped, buffer, compression="zstd")
    data = buffer.getvalue()
    digest = _digest(data)
    path = folder / f"{table}-{first:06d}-{last:06d}-{digest}.parquet"
    if _NAME.fullmatch(path.stem) is None:  # nobody would read it again
        raise HarnessError(f"no number is left for a shard of table '{table}' in {folder}")
    write_atomically(path, data)
    return Shard(first, last, digest, path)


@dataclass(frozen=True)
class Survey:
    """The state of a table as its file names give it, before any file is read.

    Attributes:
        files: All files of the table.
        chosen: Those that make it up, in order: the widest where several cover a number.
        gaps: First and last number of every range that no file covers.
        rivals: Files that no compaction leaves beside another one, and what they do: cover exactly
            what it covers, with other bytes, or some of it, and more. With both, rows would be
            there twice.
    """

    files: list[Shard]
    chosen: list[Shard]
    gaps: list[tuple[int, int]]
    rivals: dict[Shard, str]


def survey(folder: Location, table: str) -> Survey:
    """Look at a table's file names.

    Raises:
        HarnessError: A file is there that is no shard.
    """
    surveyed = Survey([], [], [], {})
    for path in folder.glob(f"{table}-*.parquet"):
        name = _NAME.fullmatch(path.stem)
        if name is None or not 1 <= int(name["first"]) <= int(name["last"]):
            raise HarnessError(
                f"{path.name} in {folder} is no shard of this log",
                "move files that do not belong to the run out of its folder",
            )
        surveyed.files.append(Shard(int(name["first"]), int(name["last"]), name["digest"], path))
    covered = 0  # by what is chosen
    reached = 0  # by anything
    for shard in sorted(surveyed.files, key=lambda s: (s.first, -s.last, s.digest)):
        if shard.last <= covered:
            if surveyed.chosen and (shard.first, shard.last) == surveyed.chosen[-1].range:
                surveyed.rivals[shard] = "covers what another shard covers, with other rows"
            continue
        if shard.first <= covered:
            surveyed.rivals[shard] = "covers part of what another shard covers, and more"
            reached = max(reached, shard.last)
            continue
        if shard.first > reached + 1:
            surveyed.gaps.append((reached + 1, shard.first - 1))
        surveyed.chosen.append(shard)
        covered = shard.last
        reached = max(reached, covered)
    return surveyed


def discover(folder: Location, table: str) -> list[Shard]:
    """The shards that make up a table, in order, without reading them.

    Raises:
        HarnessError: A number is missing, or two files claim the same, or some of the same.
    """
    surveyed = survey(folder, table)
    for shard, what in surveyed.rivals.items():
        raise HarnessError(
            f"{shard.path.name} in {folder} {what}",
            f"two drivers have written to this run; {repair_hint(folder)}",
        )
    for first, last in surveyed.gaps:
        raise HarnessError(f"{missing(table, first, last)} in {folder}", repair_hint(folder))
    return surveyed.chosen


def missing(table: str, first: int, last: int) -> str:
    """A sentence about numbers that no file covers."""
    if first == last:
        return f"shard {first:06d} of table '{table}' is missing"
    return f"shards {first:06d} to {last:06d} of table '{table}' are missing"


def repair_hint(log: Location) -> str:
    """The hint for whoever meets a damaged log."""
    run = shlex.quote(str(log.parent))
    return f"restore it from a copy, or keep the intact rest: python -m harness repair {run}"


def superseded(folder: Location, table: str) -> list[Location]:
    """Files that a compacted shard has replaced and that may be removed."""
    current = {shard.path for shard in discover(folder, table)}
    return [path for path in folder.glob(f"{table}-*.parquet") if path not in current]


def read(
    shard: Shard,
    table: str,
    columns: Sequence[str] | None = None,
    where: pc.Expression | None = None,
) -> pa.Table:
    """Read one shard after checking its digest.

    Args:
        shard: Which.
        table: The table it belongs to.
        columns: Only these, in this order; all by default.
        where: Only the rows for which this holds; of columns that are asked for.

    Raises:
        HarnessError: The bytes are not what was written, or a newer version wrote them.
    """
    # The schema is given, not taken from the file: a column added later must not vanish.
    schema = TABLES[table]
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in columns])
    try:
        file = _opened(shard)
        there = [name for name in schema.names if name in file.schema_arrow.names]
        # Batch by batch, so that a few rows of a long log do not need room for all of it.
        parts = [
            part if where is None else part.filter(where)
            for part in _rows(file, table, schema, there)
        ]
    except OSError as error:
        raise HarnessError(
            f"cannot read {shard.path}: {error.strerror or error}", repair_hint(shard.path.parent)
        ) from error
    except _NoShard as error:
        raise HarnessError(
            f"{shard.path} is damaged: {error}", repair_hint(shard.path.parent)
        ) from error
    return pa.concat_tables([schema.empty_table(), *parts])


def _rows(
    file: pq.ParquetFile, table: str, schema: pa.Schema, columns: Sequence[str] | None
) -> Iterator[pa.Table]:
    """Yield a shard's rows under a schema of the log's, batch by batch.

    Args:
        file: The shard.
        table: The table it belongs to.
        schema: What to yield.
        columns: The columns to decode; all that the file has by default.
    """
    names = file.schema_arrow.names
    for name in (*KEYS[table], *TABLES[table].names):
        if name not in names and name not in LATER:
            raise _NoShard(f"it has no column '{name}'")
    if len(set(names)) < len(names):
        raise _NoShard("it has two columns of one name")
    for batch in _batches(file, columns):
        yield _keyed(_typed(batch, schema, file.schema_arrow), table)


def _keyed(rows: pa.Table, table: str) -> pa.Table:
    """Return rows whose keys can be keys, times times, images digests and settings settings.

    What is counted by keys stays small, no reader meets a time that Python does not have, and no
    path leaves the folder of images.
    """
    if "settings" in rows.column_names:
        for text in pc.unique(rows["settings"].drop_null()).to_pylist():
            if not _is_object(text):
                raise _NoShard("column 'settings' has a value that is no JSON object")
    if "image" in rows.column_names:
        digests = pc.match_substring_regex(rows["image"], _IMAGE)
        if not pc.all(digests, min_count=0).as_py():
            raise _NoShard("column 'image' has a value that is no digest of an image")
    for name in rows.column_names:
        if pa.types.is_timestamp(rows[name].type) and len(rows):
            times = pc.min_max(rows[name].cast(pa.int64())).as_py()
            if times["min"] is not None and not _FIRST <= times["min"] <= times["max"] <= _LAST:
                raise _NoShard(f"column '{name}' has a time beyond the years 1 to 9999")
    for name in KEYS[table]:
        if name not in rows.column_names:
            continue
        column = rows[name]
        if column.null_count:
            raise _NoShard(f"column '{name}' has a row without a value")
        if pa.types.is_integer(column.type) and len(column):
            extremes = pc.min_max(column).as_py()
            if not 0 <= extremes["min"] <= extremes["max"] < MOST_DRAWS:
                value = extremes["min"] if extremes["min"] < 0 else extremes["max"]
                raise _NoShard(f"column '{name}' has the value {value}")
    return rows


def _is_object(text: str) -> bool:
    try:
        return isinstance(parse_json(text), dict)
    except ValueError:
        return False


def _typed(batch: pa.RecordBatch, schema: pa.Schema, own: pa.Schema) -> pa.Table:
    """Return a batch under the log's schema: a column that it lacks is null."""
    columns = []
    for field in schema:
        if field.name not in batch.schema.names:
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        column = batch.column(field.name)
        try:
            columns.append(column.cast(field.type))
        except (pa.ArrowException, OverflowError) as error:
            raise _NoShard(f"column '{field.name}' is {own.field(field.name).type}") from error
    return pa.table(columns, schema=schema)


def verify(shard: Shard) -> str:
    """Return what is wrong with a shard's bytes, or "".

    Raises:
        HarnessError: Nothing is wrong with them, but a newer version wrote them.
    """
    try:
        for _ in _rows(_opened(shard), shard.table, TABLES[shard.table], None):
            pass
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    except _NoShard as error:
        return str(error)
    return ""


class _NoShard(Exception):
    """Bytes that are no shard, whether or not they match their digest; the message says why."""


def _opened(shard: Shard) -> pq.ParquetFile:
    """Open a shard; what its bytes unpack to is held to bounds before any of it is.

    Raises:
        OSError: It cannot be read.
    """
    data = read_file(shard.path, LARGEST)
    if _digest(data) != shard.digest:
        raise _NoShard("its bytes do not match the digest in its name")
    try:
        file = pq.ParquetFile(
            pa.BufferReader(data),
            thrift_string_size_limit=LARGEST_FOOTER,
            thrift_container_size_limit=LARGEST_FOOTER,
        )
        version = int((file.schema_arrow.metadata or {}).get(b"schema_version", b"0"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _NoShard(f"it is no Parquet file of a log ({first_line(error)})") from error
    if file.metadata.num_rows > MOST_ROWS:
        raise _NoShard(f"it claims {file.metadata.num_rows} rows, and at most {MOST_ROWS} are read")
    if version > SCHEMA_VERSION:
        raise HarnessError(
            f"{shard.path} has schema version {version}; this program reads up to {SCHEMA_VERSION}",
            "update the harness",
        )
    return file


def _batches(file: pq.ParquetFile, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """Yield a shard's rows, at most `LARGEST_UNPACKED` bytes of them in all.

    A page of a few bytes may stand for a value of megabytes, repeated in every row. So batches are
    short enough for the longest value that the file can hold, and their sum is kept.
    """
    groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
    chunks = [group.column(index) for group in groups for index in range(group.num_columns)]
    longest = max((chunk.total_uncompressed_size for chunk in chunks), default=1)
    if longest > LARGEST_UNPACKED:
        raise _NoShard(f"it unpacks to more than {LARGEST_UNPACKED} bytes")
    size, total = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, longest))), 0
    try:
        for batch in file.iter_batches(size, columns=columns):
            total += batch.nbytes
            if total > LARGEST_UNPACKED:
                raise _NoShard(f"it unpacks to more than {LARGEST_UNPACKED} bytes")
            yield batch
    except (pa.ArrowException, OSError) as error:
        raise _NoShard(f"its rows cannot be decoded ({first_line(error)})") from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
