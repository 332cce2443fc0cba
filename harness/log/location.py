"""Places of runs: a folder of this machine, or a place in an object store."""

from __future__ import annotations

from pathlib import Path

from harness.errors import UsageError
from harness.log.remote import SCHEME, RemotePath

Location = Path | RemotePath


def location(place: str | Location) -> Location:
    """Return the place that a user names: an `s3://` URI, or a path.

    Raises:
        UsageError: It is a URI that names no place.
    """
    if isinstance(place, RemotePath):
        return place
    if isinstance(place, str) and place.startswith(SCHEME):
        return RemotePath.of(place)
    return local(Path(place))


def local(place: Location) -> Path:
    """A place that must be a folder or file of this machine.

    Raises:
        UsageError: It is in an object store. (A command that knows only paths gets the URI as
            a path, with one slash less.)
    """
    if isinstance(place, RemotePath) or place.parts[:1] == ("s3:",):
        raise UsageError(
            f"this command works on local folders only, not on {place}",
            "copy the run here first; run, resume, repair, show, report and compare know s3://",
        )
    return place
