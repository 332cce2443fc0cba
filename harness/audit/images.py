"""Claim: the images are the ones that the log speaks of, pixel for pixel.

An image's file is named by the digest of its pixels, which its row repeats. A run may come without
any of its images; with some of them only, those that are lacking were lost.
"""

from __future__ import annotations

from harness.audit.result import CannotCheck, Problems, Result, concluded, count
from harness.audit.subject import Subject
from harness.log.images import decode, image_path
from harness.log.location import local
from harness.seeds import pixel_digest

NAME = "images"
_PNG = b"\x89PNG\r\n\x1a\n"


def check(subject: Subject) -> Result:
    """Decode every image and hold its pixels against its name and the log."""
    expected = _expected(subject)
    folder = local(subject.folder.images)
    files = [path for path in sorted(folder.glob("**/*")) if path.is_file()]
    there = {str(path.relative_to(folder)): path for path in files}
    if not there:
        raise CannotCheck(f"no image is here; the log speaks of {len(expected)}")
    problems = Problems()
    paths = {str(local(image_path(folder, name)).relative_to(folder)): name for name in expected}
    for name in sorted(paths.keys() - there.keys()):
        problems.add(f"{name} is in the log and not there")
    for name in sorted(there.keys() - paths.keys()):
        problems.add(f"{name} is there and belongs to no draw that should have its image kept")
    for name in sorted(paths.keys() & there.keys()):
        try:
            data = there[name].read_bytes()
            found = pixel_digest(decode(data))
        except Exception as error:  # Pillow raises many kinds on bytes that are no picture
            problems.add(f"{name} cannot be read: {type(error).__name__}: {error}")
            continue
        if found != paths[name]:
            problems.add(f"{name} shows other pixels: their digest is {found}")
        elif not data.startswith(_PNG):
            problems.add(f"{name} is no PNG")
    return concluded(NAME, count(len(there), "image"), problems)


def _expected(subject: Subject) -> set[str]:
    kept = subject.images_kept or subject.config.keep_images
    if kept == "none":
        raise CannotCheck("images were not kept")
    found = set()
    for key, rows in subject.by_search(["image"]):
        search = subject.searches.get(key)
        chosen = search["selected_index"] if search is not None else None
        # A search that is not over may still need any of its images.
        every = kept == "all" or search is None
        found |= {row["image"] for row in rows if every or row["draw_index"] == chosen}
    return found - {None}
