"""Find what is wrong with a log, so that nothing is ever missing without a word.

File names and digests tell of flipped bits, cuts and gaps in the middle of a table. What they
cannot tell is a shard missing at a table's end. A finished run's manifest lists its files; in an
unfinished run, every search that ended says how many draws it made, and their rows are written
before its own. An unfinished run that lost rows of open searches only, at the very end, is a run
that was stopped a little earlier: nothing of it is missing. Nor do names and digests tell of a
shard that is another run's, or is there under two numbers; but every row says whose it is, and no
two rows of a table have one key.
"""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.errors import HarnessError
from harness.log import shards, store
from harness.log.manifest import FINISHED, Manifest
from harness.log.prompts import check_prompts
from harness.log.run_folder import RunFolder
from harness.log.schema import KEYS, TABLES
from harness.log.shards import Shard, repair_hint


def find_defects(folder: RunFolder, manifest: Manifest) -> list[tuple[str, Shard | None]]:
    """Return all that is wrong with the files of a run's log, each of which is read.

    It is said in a sentence, with the file that is to be set aside if there is one.

    Raises:
        HarnessError: A file is there that is no shard, or is of a newer version: an update is
            what it needs.
    """
    defects: list[tuple[str, Shard | None]] = []
    for table in TABLES:
        seen = shards.survey(folder.log, table)
        damaged = {shard: what for shard in seen.files if (what := shards.verify(shard))}
        strays = _strays([shard for shard in seen.chosen if shard not in damaged], manifest.run)
        for shard, what in (*damaged.items(), *strays.items()):
            defects.append((f"{shard.path.name} is damaged: {what}", shard))
        for shard, what in seen.rivals.items():
            defects.append((f"{shard.path.name} {what}", shard))
        defects += [(shards.missing(table, first, last), None) for first, last in seen.gaps]
    lost = lost_files(folder, manifest)
    return [*defects, *((f"{name} is listed in the manifest and gone", None) for name in lost)]


def lost_files(folder: RunFolder, manifest: Manifest) -> list[str]:
    """Names of the files that a finished run's manifest lists and that are not there."""
    if manifest.state != FINISHED:
        return []
    there = {path.name for path in folder.log.glob("*.parquet")}
    return [name for name in manifest.files if name not in there]


def _strays(of_table: list[Shard], run: str) -> dict[Shard, str]:
    """Return the shards with rows that are another run's or in an earlier shard, and why."""
    strays: dict[Shard, str] = {}
    own: dict[Shard, pa.Table] = {}
    for shard in of_table:
        rows = shards.read(shard, shard.table, _named(shard.table))
        if what := _foreign(rows, run):
            strays[shard] = what
        else:
            own[shard] = rows
    if own:
        doubles = _doubles(pa.concat_tables(own.values()), of_table[0].table)
        first = 0
        for shard, rows in own.items():
            last = first + len(rows)
            if len(within := doubles.loc[first : last - 1]):
                strays[shard] = _twice(within)
            first = last
    return strays


def _named(table: str) -> list[str]:
    """Columns that no row of a table is without."""
    return ["run", *KEYS[table], *(["settings"] if table == "candidates" else [])]


def _foreign(rows: pa.Table, run: str) -> str:
    """Return why rows are not those of a run, or ""."""
    for other in pc.unique(rows["run"]).to_pylist():
        if other != run:
            return f"a row is of run {str(other)[:16]!r}, not of {run!r}"
    if "settings" in rows.column_names and rows["settings"].null_count:
        return "a draw has no settings"
    return ""


def _doubles(rows: pa.Table, table: str) -> pd.DataFrame:
    """Keys of the rows that an earlier row has, by row number."""
    keys: pd.DataFrame = rows.select(KEYS[table]).to_pandas()
    return keys.loc[keys.duplicated()]


def _twice(doubles: pd.DataFrame) -> str:
    key = doubles.iloc[0].to_dict()
    return f"{', '.join(f'{name} {str(value)[:80]}' for name, value in key.items())} is there twice"


def check(folder: RunFolder) -> None:
    """Refuse a run with prompts or rows that are not its own, or that lacks or doubles some.

    At a table's end no gap shows that a shard is missing.

    Raises:
        HarnessError: A shard is missing, the prompts or rows are others, rows are there twice, or
            the manifest cannot be read.
    """
    manifest = Manifest.read(folder.manifest)
    check_prompts(folder, manifest)
    for name in lost_files(folder, manifest):
        raise HarnessError(
            f"{name}, which the manifest lists, is missing in {folder.log}", repair_hint(folder.log)
        )
    check_rows(folder, manifest.run)
    if manifest.state != FINISHED:
        store.check_agreement(folder.log)


def check_rows(folder: RunFolder, run: str) -> None:
    """Refuse a log with a row that is another run's, or that is there twice.

    Raises:
        HarnessError: It has one, or a shard is missing or damaged.
    """
    for table in TABLES:
        rows = store.read(folder.log, table, _named(table))
        what = _foreign(rows, run)
        if not what and len(doubles := _doubles(rows, table)):
            what = _twice(doubles)
        if what:
            raise HarnessError(
                f"table '{table}' in {folder.log} is damaged: {what}", repair_hint(folder.log)
            )
