"""The names of everything in a run's folder, in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.log.files import check_entries
from harness.log.location import Location, location


@dataclass(frozen=True)
class RunFolder:
    """A run, on disk or in an object store.

    Attributes:
        path: The folder.
    """

    path: Location

    @property
    def manifest(self) -> Location:
        """The file that says what was run, with what and where: JSON."""
        return self.path / "manifest.json"

    @property
    def log(self) -> Location:
        """The folder of Parquet shards."""
        return self.path / "log"

    @property
    def images(self) -> Location:
        """The folder of images by pixel digest."""
        return self.path / "images"

    @property
    def metrics(self) -> Location:
        """The folder of what was measured of its images afterwards (`harness.log.measured`)."""
        return self.path / "metrics"

    @property
    def is_run(self) -> bool:
        """True if a run was ever started here."""
        return self.manifest.is_file()

    @classmethod
    def existing(cls, path: Location | str) -> RunFolder:
        """The folder of a run that exists.

        Raises:
            UsageError: There is none.
            HarnessError: It holds a link, or what is no regular file.
        """
        folder = cls(location(path))
        try:
            if folder.path.is_dir():
                check_entries(folder.path)
            is_run = folder.is_run
        except OSError:  # such as a name that is too long for any
            is_run = False
        if not is_run:
            raise UsageError(
                f"{path} is not a run: it has no manifest.json",
                "`python -m harness ls runs` lists the runs under results/",
            )
        return folder


def find_runs(root: Path) -> list[RunFolder]:
    """Return all runs below a folder, sorted by path.

    Links are not followed, a folder that cannot be listed holds none, and depth has no limit.
    """
    runs, waiting = [], [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                names = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        except OSError:
            continue
        run = RunFolder(folder)
        if run.manifest.name in names:
            runs.append(run)
            names.pop(run.images.name, None)  # thousands of files, and no run
            names.pop(run.metrics.name, None)  # a part of the run
        waiting += [folder / name for name, is_folder in names.items() if is_folder]
    return sorted(runs, key=lambda run: str(run.path))
