"""A place in an object store: the few things that a run does with paths, on S3.

An object appears whole when its upload is complete and not before, so an upload is what a
temporary file and a rename are on a disk. Nothing can be appended to or locked. A lost connection
is tried again, with longer and longer pauses, before it becomes an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from harness.errors import HarnessError, UsageError

SCHEME = "s3://"

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further try: a connection may be away for half a minute."""

_FINAL = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH")
_PARAMETERS = ("endpoint_override", "region", "scheme")

Answer = TypeVar("Answer")


@dataclass(frozen=True, order=True)
class RemotePath:
    """An object of a store, or all objects below a prefix. Spelled like `pathlib.Path`.

    Attributes:
        key: Bucket and key, as pyarrow's file systems take them.
        query: What follows the `?` in its URI, or "".
        filesystem: A `pyarrow.fs.FileSystem`.
    """

    key: str
    query: str = field(default="", compare=False)
    filesystem: Any = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, uri: str) -> RemotePath:
        """The place that an `s3://bucket/prefix` names; parameters as pyarrow's URIs have them.

        Raises:
            UsageError: It is no such URI, or holds credentials.
        """
        parts = urlsplit(uri)
        key = f"{parts.netloc}{parts.path}".strip("/")
        parameters = dict(parse_qsl(parts.query))
        if "@" in parts.netloc or "@" in parameters.get("endpoint_override", ""):
            raise UsageError(
                "credentials in a URI would be written into the manifest",
                "give them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
        if parts.scheme != "s3" or "/" not in key:
            raise UsageError(f"{uri} names no place for a run", "give s3://bucket/prefix")
        if unknown := sorted(parameters.keys() - set(_PARAMETERS)):
            raise UsageError(
                f"{uri} has the unknown parameter '{unknown[0]}'",
                f"known: {', '.join(_PARAMETERS)}",
            )
        return cls(key, parts.query, connect(key.partition("/")[0], parameters))

    def __str__(self) -> str:
        return f"{SCHEME}{self.key}" + (f"?{self.query}" if self.query else "")

    def __truediv__(self, name: str) -> RemotePath:
        return self._at(f"{self.key}/{name}")

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self.name.rpartition(".")[0] or self.name

    @property
    def parent(self) -> RemotePath:
        """What is one part shorter."""
        return self._at(self.key.rpartition("/")[0])

    def exists(self) -> bool:
        """Whether there is such an object, or any below it."""
        return self._type() != "NotFound"

    def is_file(self) -> bool:
        """Whether there is such an object."""
        return self._type() == "File"

    def is_dir(self) -> bool:
        """Whether there are objects below it."""
        return self._type() == "Directory"

    def iterdir(self) -> Iterator[RemotePath]:
        """What is directly below."""
        return self.glob("*")

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """What is below and matches, part by part."""
        from pyarrow.fs import FileSelector

        wanted = pattern.split("/")
        selector = FileSelector(self.key, recursive=len(wanted) > 1, allow_not_found=True)
        for info in self._insist(lambda: self.filesystem.get_file_info(selector)):
            parts = info.path.removeprefix(f"{self.key}/").split("/")
            if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted)):
                yield self._at(info.path)

    def read_bytes(self) -> bytes:
        """The object.

        Raises:
            FileNotFoundError: It is not there.
            HarnessError: The store cannot be reached, or refuses.
        """

        def read() -> bytes:
            with self.filesystem.open_input_file(self.key) as file:
                return bytes(file.read())

        return self._insist(read)

    def read_text(self, encoding: str = "utf-8") -> str:
        """The object as text."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, data: bytes) -> None:
        """Make or replace the object; readers see the old one or the new one.

        Raises:
            HarnessError: The store cannot be reached, or refuses.
        """

        def write() -> None:
            with self.filesystem.open_output_stream(self.key) as file:
                file.write(data)

        self._insist(write)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        try:
            self._insist(lambda: self.filesystem.delete_file(self.key))
        except FileNotFoundError:
            # Also what a second try finds whose first one got through unheard.
            if not missing_ok:
                raise

    def rename(self, target: RemotePath) -> RemotePath:
        """Copy the object, then delete it: a crash in between leaves both."""
        target.write_bytes(self.read_bytes())
        self.unlink(missing_ok=True)
        return target

    def rmdir(self) -> None:
        """A prefix without objects is gone already."""

    def _at(self, key: str) -> RemotePath:
        return RemotePath(key, self.query, self.filesystem)

    def _type(self) -> str:
        info = self._insist(lambda: self.filesystem.get_file_info(self.key))
        return str(info.type.name)

    def _insist(self, act: Callable[[], Answer]) -> Answer:
        for pause in (*PAUSES, None):
            try:
                return act()
            except FileNotFoundError:
                raise
            except OSError as error:
                if pause is None or any(word in str(error) for word in _FINAL):
                    # The store's words are long; what matters comes first.
                    reason = str(error).split("; Details:")[0].split(" (Request ID")[0]
                    raise HarnessError(
                        f"cannot reach {self}: {reason}",
                        "see to the connection and the credentials; what was written is intact",
                    ) from error
                time.sleep(pause)
        raise AssertionError("unreachable")


def connect(bucket: str, parameters: dict[str, str]) -> Any:
    """Pyarrow's S3 file system; credentials and endpoint from the environment as usual.

    Raises:
        UsageError: This pyarrow was built without S3.
    """
    try:
        from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem, resolve_s3_region
    except ImportError as error:
        raise UsageError("this build of pyarrow has no S3", "pip install pyarrow") from error
    import os

    endpoint = parameters.get("endpoint_override") or os.environ.get("AWS_ENDPOINT_URL", "")
    scheme, _, address = endpoint.rpartition("://")
    region = parameters.get("region") or os.environ.get("AWS_REGION")
    if region is None and not endpoint:
        try:
            region = resolve_s3_region(bucket)
        except OSError as error:
            raise UsageError(
                f"no region found for the bucket '{bucket}': {error}", "set AWS_REGION"
            ) from error
    return S3FileSystem(
        endpoint_override=address or None,
        scheme=parameters.get("scheme") or scheme or "https",
        region=region or "us-east-1",
        # A small object is one request, made when all of it is there.
        allow_delayed_open=True,
        background_writes=False,
        connect_timeout=10,
        request_timeout=60,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=2),
    )
