"""Claim: the images are the ones that the log speaks of, pixel for pixel.

An image's file is named by the digest of its pixels, which its row repeats; every file that is
there is held to it, and whoever else looks at images looks at those alone that have passed. A run
may come without any of its images; with some of them only, those that are lacking were lost. Files
that a run would not have kept, or under names that no run writes, are somebody else's.
"""

from __future__ import annotations

from pathlib import Path

from harness.audit.audited_run import AuditedRun
from harness.audit.result import CannotCheck, Problems, Result, concluded, count
from harness.log.files import is_leftover
from harness.log.images import fault, image_path
from harness.log.location import local
from harness.log.manifest import FINISHED


def check(run: AuditedRun) -> Result:
    """Decode every image and hold its pixels against its name and the log."""
    required, allowed = _expected(run)
    folder = local(run.folder.images)
    there = {path.relative_to(folder).as_posix(): path for path in _files(run, folder)}
    if not there:
        raise CannotCheck(
            "images were not kept"
            if run.expected_images == "none"
            else f"no image is here; the log speaks of {len(required)}"
        )
    problems = Problems()
    names = {
        local(image_path(folder, digest)).relative_to(folder).as_posix(): digest
        for digest in required | allowed
    }
    for name, digest in sorted(names.items()):
        if digest in required and name not in there:
            problems.add(f"{name} is in the log and not there")
    for name in sorted(there.keys() - names.keys()):
        problems.add(f"{name} is there, and {_surplus(run)}")
    for name in sorted(names.keys() & there.keys()):
        if wrong := _wrong(there[name], names[name]):
            problems.add(f"{name}: {wrong}")
    return concluded(count(len(there), "image"), problems)


def _files(run: AuditedRun, folder: Path) -> list[Path]:
    """Return all in the folder except folders; a link is not looked behind."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]
    if run.manifest.state == FINISHED:
        return paths
    return [path for path in paths if path.parent != folder or not is_leftover(path)]


def _wrong(path: Path, digest: str) -> str:
    """Return the fault of an image; "" if it has none."""
    if path.is_symlink() or not path.is_file():
        return "it is no file of the run's own"
    return fault(path, digest)


def _surplus(run: AuditedRun) -> str:
    if run.expected_images == "none":
        own = run.config.keep_images == "none"
        return f"its {'config' if own else 'bundle'} says that no images are kept"
    return "it belongs to no draw that should have its image kept"


def _expected(run: AuditedRun) -> tuple[set[str], set[str]]:
    """Digests of the images that have to be there, and of those that may be.

    A search that is not over may still need any of its images.
    """
    required: set[str | None] = set()
    allowed: set[str | None] = set()
    for key, rows in run.by_search(["image"]):
        images = {row["draw_index"]: row["image"] for row in rows}
        if key not in run.searches:
            (allowed if run.expected_images == "none" else required).update(images.values())
        elif run.expected_images == "all":
            required.update(images.values())
        elif run.expected_images == "selected":
            required.add(images.get(run.selected(key)))
    return {each for each in required if each}, {each for each in allowed if each}
