"""The names of everything in a run's folder, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.log.files import check_entries
from harness.log.location import Location, local, location


@dataclass(frozen=True)
class RunFolder:
    """A run, on disk or in an object store.

    Attributes:
        path: The folder.
    """

    path: Location

    @property
    def manifest(self) -> Location:
        """What was run, with what, where: JSON."""
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
    def is_run(self) -> bool:
        """Whether a run was ever started here."""
        return self.manifest.is_file()

    @classmethod
    def existing(cls, path: Location | str) -> RunFolder:
        """The folder of a run that exists.

        Raises:
            UsageError: There is none.
            HarnessError: It holds a link, or what is no regular file.
        """
        folder = cls(location(path))
        if isinstance(folder.path, Path):
            local(folder.path)
        if folder.path.is_dir():
            check_entries(folder.path)
        if not folder.is_run:
            raise UsageError(
                f"{path} is not a run: it has no manifest.json",
                "`python -m harness ls runs` lists the runs under results/",
            )
        return folder


def find_runs(root: Path) -> list[RunFolder]:
    """All runs below a folder, sorted by path."""
    return sorted(
        (RunFolder(p.parent) for p in root.glob("**/manifest.json")), key=lambda r: str(r.path)
    )
