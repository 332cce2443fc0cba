"""A place in an object store: the few things that a run does with paths, on S3.

An object appears whole when its upload is complete and not before, so an upload is what a
temporary file and a rename are on a disk. Nothing can be appended to or locked, but an object can
be made only if there is none, or replaced only if it is still the one that was read
(`harness.log.lease`). A lost connection is tried again, with longer and longer pauses, before it
becomes an error.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from harness.errors import HarnessError, UsageError

SCHEME = "s3://"

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further try: a connection may be away for half a minute."""

_FINAL = re.compile(r"non-2xx status code: 4(?!08|09|29)\d\d")
"""Answers of a store that are the same whenever it is asked again."""

_PARAMETERS = ("endpoint_override", "region", "scheme")

Answer = TypeVar("Answer")


@dataclass(frozen=True, order=True)
class RemotePath:
    """An object of a store, or all objects below a prefix. Spelled like `pathlib.Path`.

    All that asks the store raises `HarnessError` where it cannot be reached, or refuses.

    Attributes:
        key: Bucket and key, without slashes at its ends.
        query: What follows the `?` in its URI, or "".
        store: The bucket, an `obstore.store.ObjectStore`.
    """

    key: str
    query: str = field(default="", compare=False)
    store: Any = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, uri: str) -> RemotePath:
        """Return the place that an `s3://bucket/prefix?parameter=value` names.

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
        if parts.scheme != "s3" or "/" not in key or {"", ".", ".."} & set(key.split("/")):
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
        """The prefix that is one part shorter."""
        return self._at(self.key.rpartition("/")[0])

    def exists(self) -> bool:
        """Return whether there is such an object, or any below it."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Return whether there is such an object."""
        try:
            self._insist(lambda: self.store.head(self._name))
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Return whether there are objects below it."""
        return bool(self._list(lambda: list(next(iter(self.store.list(self._name)), ()))))

    def iterdir(self) -> Iterator[RemotePath]:
        """List what is directly below."""
        return self.glob("*")

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """List what is below and matches, part by part."""
        patterns = pattern.split("/")
        for name in self._list(lambda: self._names(is_deep=len(patterns) > 1)):
            parts = name.removeprefix(f"{self._name}/").split("/")
            if len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns)):
                yield self._at(f"{self._bucket}/{name}")

    def read_bytes(self) -> bytes:
        """Read the object.

        Raises:
            FileNotFoundError: It is not there.
        """
        return self.read_tagged()[0]

    def read_tagged(self, largest: int | None = None) -> tuple[bytes, str]:
        """Read the object together with the tag that names this content of it.

        Raises:
            FileNotFoundError: It is not there.
            OSError: It is larger.
        """

        def read() -> tuple[bytes, str]:
            result = self.store.get(self._name)
            size = result.meta["size"]
            if largest is not None and size > largest:
                raise OSError(errno.EFBIG, f"it has {size} bytes, and at most {largest} are read")
            return bytes(result.bytes()), str(result.meta["e_tag"])

        return self._insist(read)

    def write_bytes(self, data: bytes) -> None:
        """Make or replace the object; readers see the old one or the new one."""
        self._put(data, "overwrite")

    def create(self, data: bytes) -> str | None:
        """Make the object if there is none; of several who try at once, one does.

        Returns:
            Its tag. None: there is one already, which may be this one if an answer was lost.
        """
        return self._put(data, "create")

    def replace(self, data: bytes, tag: str) -> str | None:
        """Replace the object if it is still the one that had this tag.

        Returns:
            Its new tag. None: it is gone or another, which may be this one if an answer was lost.
        """
        return self._put(data, {"e_tag": tag})

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object; S3 does not say if it was there."""
        try:
            self._insist(lambda: self.store.delete(self._name))
        except FileNotFoundError:
            # Also what a second try finds whose first one got through unheard.
            if not missing_ok:
                raise

    def rename(self, target: RemotePath) -> RemotePath:
        """Copy the object within its bucket, then delete it: a crash in between leaves both."""
        self._insist(lambda: self.store.copy(self._name, target._name))
        self.unlink(missing_ok=True)
        return target

    def rmdir(self) -> None:
        """Do nothing: a prefix without objects is gone already."""

    @property
    def _bucket(self) -> str:
        return self.key.partition("/")[0]

    @property
    def _name(self) -> str:
        return self.key.partition("/")[2]

    def _at(self, key: str) -> RemotePath:
        return RemotePath(key, self.query, self.store)

    def _list(self, act: Callable[[], list[Any]]) -> list[Any]:
        """List something; a bucket that is not there holds nothing."""
        try:
            return self._insist(act)
        except FileNotFoundError:
            return []

    def _names(self, *, is_deep: bool) -> list[str]:
        if is_deep:
            return [item["path"] for chunk in self.store.list(self._name) for item in chunk]
        listing = self.store.list_with_delimiter(self._name)
        return [*listing["common_prefixes"], *(item["path"] for item in listing["objects"])]

    def _put(self, data: bytes, mode: str | dict[str, str]) -> str | None:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            result = self._insist(lambda: self.store.put(self._name, data, mode=mode))
        except (AlreadyExistsError, PreconditionError):
            return None
        except FileNotFoundError as error:
            raise HarnessError(
                f"cannot write {self}: there is no bucket '{self._bucket}'", "make it first"
            ) from error
        return str(result["e_tag"])

    def _insist(self, act: Callable[[], Answer]) -> Answer:
        from obstore import exceptions

        answers = (exceptions.AlreadyExistsError, exceptions.PreconditionError)
        refusals = (
            exceptions.PermissionDeniedError,
            exceptions.UnauthenticatedError,
            exceptions.NotSupportedError,
        )
        for pause in (*PAUSES, None):
            try:
                return act()
            except answers:
                raise
            except exceptions.BaseError as error:
                if "<Code>NoSuchBucket<" in str(error):
                    raise FileNotFoundError(errno.ENOENT, _reason(error), str(self)) from error
                final = isinstance(error, refusals) or _FINAL.search(str(error))
                if pause is None or final:
                    raise HarnessError(
                        f"cannot reach {self}: {_reason(error)}",
                        "see to the connection and the credentials; what was written is intact",
                    ) from error
                time.sleep(pause)
        raise AssertionError("unreachable")


def _reason(error: Exception) -> str:
    """Return what a store's error says in one line, without the request and its bookkeeping."""
    text = str(error).partition("\n\nDebug source")[0]
    if code := re.search(r"<Code>(.*?)</Code>", text):
        message = re.search(r"<Message>(.*?)</Message>", text, re.DOTALL)
        return f"{code[1]}{f': {message[1]}' if message else ''}"
    return " ".join(text.rpartition(" - ")[2].split())


def connect(bucket: str, parameters: dict[str, str]) -> Any:
    """Return a bucket of S3; what the URI does not say comes from the environment.

    Raises:
        UsageError: No region is known.
    """
    from obstore.store import S3Store

    endpoint = parameters.get("endpoint_override") or os.environ.get("AWS_ENDPOINT_URL", "")
    scheme, _, address = endpoint.rpartition("://")
    scheme = parameters.get("scheme") or scheme or "https"
    options: dict[str, Any] = {"endpoint": f"{scheme}://{address}"} if address else {}
    if (provider := _profile()) is not None:
        options["credential_provider"] = provider
    return S3Store(
        bucket,
        region=parameters.get("region") or _region(bucket, endpoint),
        client_options={
            "allow_http": scheme == "http",
            "connect_timeout": "10 seconds",
            "timeout": "60 seconds",
        },
        retry_config={"max_retries": 0, "retry_timeout": timedelta(0)},  # `_insist` tries again
        **options,
    )


def _region(bucket: str, endpoint: str) -> str:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region or endpoint:
        return region or "us-east-1"
    from pyarrow.fs import resolve_s3_region

    try:
        return str(resolve_s3_region(bucket))
    except OSError as error:
        raise UsageError(
            f"no region found for the bucket '{bucket}': {error}", "set AWS_REGION"
        ) from error


def _profile() -> Any:
    """Return the credentials of a profile of the user's, which boto3 knows how to read.

    None leaves them to obstore: the environment, a web identity, or the role of the machine.
    """
    files = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.expanduser(
        "~/.aws/credentials"
    )
    if os.environ.get("AWS_ACCESS_KEY_ID") or not (
        os.environ.get("AWS_PROFILE") or os.path.isfile(files)
    ):
        return None
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise UsageError(
            "the credentials of a profile are read by boto3, which is not installed",
            "pip install boto3, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ) from error
    return Boto3CredentialProvider()
