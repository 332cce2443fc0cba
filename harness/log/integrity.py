"""Find what is wrong with a log, so that nothing is ever missing without a word.

File names and digests tell of flipped bits, cuts and gaps in the middle of a table. What they
cannot tell is a shard missing at a table's end. A finished run's manifest lists its files; in an
unfinished run, every search that ended says how many draws it made, and their rows are written
before its own. An unfinished run that lost rows of open searches only, at the very end, is a run
that was stopped a little earlier: nothing of it is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import HarnessError
from harness.log import shards, store
from harness.log.manifest import FINISHED, Manifest
from harness.log.prompts import check_prompts
from harness.log.run_folder import RunFolder
from harness.log.schema import TABLES
from harness.log.shards import Shard, repair_hint


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong with a log.

    Attributes:
        table: Which table.
        what: What is wrong, in one sentence.
        shard: The file, if it is there; it is to be set aside.
        gap: First and last number that no file covers, if that is what is wrong.
    """

    table: str
    what: str
    shard: Shard | None = None
    gap: tuple[int, int] | None = None


def find_defects(folder: RunFolder, manifest: Manifest) -> list[Defect]:
    """Return all that is wrong with the files of a run's log, each of which is read.

    Raises:
        HarnessError: A file is there that is no shard, or is of a newer version: an update is
            what it needs.
    """
    defects: list[Defect] = []
    for table in TABLES:
        seen = shards.survey(folder.log, table)
        for shard in seen.files:
            if what := shards.verify(shard):
                defects.append(Defect(table, f"{shard.path.name} is damaged: {what}", shard))
        for shard in seen.rivals:
            what = f"{shard.path.name} covers what another shard covers, with other rows"
            defects.append(Defect(table, what, shard))
        for shard in seen.overlaps:
            what = f"{shard.path.name} covers part of what another shard covers, and more"
            defects.append(Defect(table, what, shard))
        for first, last in seen.gaps:
            defects.append(Defect(table, shards.missing(table, first, last), gap=(first, last)))
    for name in lost_files(folder, manifest):
        defects.append(Defect(name.partition("-")[0], f"{name} is listed in the manifest and gone"))
    return defects


def lost_files(folder: RunFolder, manifest: Manifest) -> list[str]:
    """Names of the files that a finished run's manifest lists and that are not there."""
    if manifest.state != FINISHED:
        return []
    there = {path.name for path in folder.log.glob("*.parquet")}
    return [name for name in manifest.files if name not in there]


def check(folder: RunFolder) -> None:
    """Refuse a run with other prompts than its own, or with a table that lacks a shard at its end.

    At a table's end no gap shows that a shard is missing.

    Raises:
        HarnessError: A shard is missing, the prompts are others, or the manifest cannot be read.
    """
    manifest = Manifest.read(folder.manifest)
    check_prompts(folder, manifest)
    for name in lost_files(folder, manifest):
        raise HarnessError(
            f"{name}, which the manifest lists, is missing in {folder.log}", repair_hint(folder.log)
        )
    if manifest.state != FINISHED:
        store.check_agreement(folder.log)
