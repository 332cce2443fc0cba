"""The manifest: what a run is (config, prompts, checkpoints) and where it ran.

Written before the first draw and rewritten, atomically, when a session of work starts or ends.
The identity of a run is the digest of its config; everything else here is evidence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import HarnessError, UsageError
from harness.log.files import read_file, write_atomically
from harness.log.location import Location
from harness.log.schema import SCHEMA_VERSION
from harness.records import (
    LARGEST_BATCH,
    LARGEST_SEED,
    MOST_DRAWS,
    MOST_REPLICATES,
    MOST_THREADS,
    Prompt,
)
from harness.seeds import canonical_json, config_digest
from harness.text import parse_json

RUNNING, FINISHED = "running", "finished"

_RESTORE = "restore it from a copy; the log is untouched"

LARGEST = 64 * 2**20
"""Bytes of the largest manifest that is read."""

LONGEST_TEXT, LARGEST_NUMBER = 2**16, LARGEST_SEED
"""Characters of the longest text, and the largest whole number, that a manifest may hold."""

MOST_PROMPTS, MOST_SEARCHES = 1_000_000, 10_000_000
"""Prompts that a run may be over, and searches that it may make."""


@dataclass(frozen=True)
class PromptSet:
    """The prompts that a run is over.

    Attributes:
        count: How many.
        digest: SHA-256 of their canonical JSON, one a line, in order.
    """

    count: int
    digest: str

    @classmethod
    def of(cls, prompts: Sequence[Prompt]) -> PromptSet:
        """The prompt set of a list of prompts."""
        text = "".join(cls.lines(prompts))
        return cls(len(prompts), hashlib.sha256(text.encode()).hexdigest())

    @staticmethod
    def lines(prompts: Sequence[Prompt]) -> list[str]:
        """Return a line of canonical JSON for each prompt: what the digest is taken of."""
        return [canonical_json([p.id, p.text, p.tag, _plain(p.metadata)]) + "\n" for p in prompts]


class _Open(BaseModel):
    """A JSON object of which some fields are looked up by name; it may have others."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Plugin(_Open):
    name: str
    options: dict[str, Any]


class _Model(_Open):
    kind: str
    checkpoints: dict[str, str]
    settings: dict[str, Any] = {}
    batch_size: Annotated[int, Field(ge=1, le=LARGEST_BATCH)] = 1
    trust_remote_code: bool = False


class _Config(_Open):
    strategy: _Plugin
    benchmark: _Plugin
    generator: _Model
    judge: _Model
    scorer: _Model | None
    suite: str
    budget: Annotated[int, Field(ge=0, le=MOST_DRAWS)]
    replicates: Annotated[int, Field(ge=0, le=MOST_REPLICATES)]
    seed: int
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] = 1
    oracle: bool
    miniature: bool = False
    digests: dict[str, str]


class _Worker(_Open):
    device: str | None = None
    device_name: str | None = None
    memory_bytes: Annotated[int, Field(gt=0)] | None = None


class _Session(_Open):
    started: str | None = None
    ended: str | None = None
    outcome: str | None = None
    host: str | None = None
    command: str | None = None
    pid: int | None = None
    draws: int = 0
    draws_failed: int = 0
    retried: int = 0
    failures: dict[str, dict[str, int]] = {}
    deaths: dict[str, dict[str, int]] | int = 0  # of former versions a number
    reused: dict[str, int] = {}
    packages: dict[str, str | None] = {}
    workers: dict[str, _Worker] = {}
    repaired: list[str] = []


class _Git(_Open):
    commit: str | None = None
    dirty: bool | None = None


class _Environment(_Open):
    packages: dict[str, str | None] = {}
    git: _Git | None = None


class _Prompts(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    count: Annotated[int, Field(ge=0, le=MOST_PROMPTS)]
    digest: str


class _Shape(BaseModel):
    """The fields of a manifest's file, as far as anybody looks them up by name."""

    model_config = ConfigDict(strict=True, extra="forbid")

    run: str
    config: Any
    config_digest: str
    prompt_set: _Prompts
    command: str
    environment: _Environment
    sessions: list[_Session] = []
    state: Literal["running", "finished"] = "running"
    totals: dict[str, int | float | str | None] = {}
    files: list[str] = []
    created: str = ""
    schema_version: Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Manifest:
    """A run folder's record of itself.

    Attributes:
        run: The run's id: the first 16 characters of its config's digest.
        config: The config, complete.
        config_digest: SHA-256 of what identifies the config.
        prompt_set: Which prompts.
        command: The command line that started it.
        environment: Versions, platform, commit, devices, as of the first session.
        sessions: One entry for each time that somebody worked on the run.
        state: "running" until everything is answered, then "finished".
        totals: Draws and costs, once finished.
        files: Shard names, once finished.
        created: When, in UTC.
        schema_version: Of the log.
    """

    run: str
    config: dict[str, Any]
    config_digest: str
    prompt_set: PromptSet
    command: str
    environment: dict[str, Any]
    sessions: tuple[dict[str, Any], ...] = ()
    state: str = RUNNING
    totals: dict[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    created: str = ""
    schema_version: int = SCHEMA_VERSION

    @property
    def judged(self) -> bool:
        """True if the run has a judge that looks at images."""
        return bool(self.config["judge"]["kind"] != "none")

    @property
    def latest(self) -> str:
        """The last time that it records, or ""."""
        times = [session.get(name) for session in self.sessions for name in ("started", "ended")]
        return max((time for time in (self.created, *times) if isinstance(time, str)), default="")

    def with_session(self, session: dict[str, Any]) -> Manifest:
        """The manifest with one more session of work, whose rows have today's schema."""
        sessions = (*self.sessions, session)
        return replace(self, sessions=sessions, schema_version=SCHEMA_VERSION)

    def finished(self, totals: dict[str, Any], files: Sequence[str]) -> Manifest:
        """The manifest of the finished run."""
        return replace(self, state=FINISHED, totals=totals, files=tuple(files))

    def write(self, path: Location) -> None:
        """Write it atomically.

        Raises:
            HarnessError: It cannot be written.
        """
        text = json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"
        write_atomically(path, text.encode())

    @classmethod
    def read(cls, path: Location, *, believed: bool = True) -> Manifest:
        """Read a manifest.

        Args:
            path: The file.
            believed: Whether a config that does not match its digest is damage. An audit reads
                on: telling is its own business. The types of the fields are held to either way.

        Raises:
            UsageError: There is none.
            HarnessError: It is damaged, or of a newer schema.
        """
        try:
            fields = parse_json(read_file(path, LARGEST).decode())
            _bounded(fields)
        except FileNotFoundError as error:
            raise UsageError(f"{path} does not exist", "give the folder of a run") from error
        except (OSError, ValueError) as error:
            raise HarnessError(f"{path} cannot be read: {error}", _RESTORE) from error
        version = fields.get("schema_version") if isinstance(fields, dict) else None
        if type(version) is not int:
            raise HarnessError(f"{path} is no manifest of a run", "give the folder of a run")
        if version > SCHEMA_VERSION:
            raise HarnessError(
                f"{path} has schema version {version}; this program reads up to {SCHEMA_VERSION}",
                "update the harness",
            )
        _hold(_Shape, fields, path)
        fields["prompt_set"] = PromptSet(**fields["prompt_set"])
        fields["sessions"] = tuple(fields.get("sessions", ()))
        fields["files"] = tuple(fields.get("files", ()))
        manifest = cls(**fields)
        config: Any = manifest.config
        if believed and not (
            isinstance(config, dict) and config_digest(config) == manifest.config_digest
        ):
            raise HarnessError(f"{path} is damaged: its config does not match its digest", _RESTORE)
        _hold(_Config, config, path, "config.")
        if manifest.prompt_set.count * config["replicates"] > MOST_SEARCHES:
            raise HarnessError(
                f"{path} is damaged: it stands for more than {MOST_SEARCHES} searches", _RESTORE
            )
        return manifest


def _hold(shape: type[BaseModel], fields: Any, path: Location, prefix: str = "") -> None:
    """Hold what a file says to a shape."""
    try:
        shape.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = (prefix + ".".join(str(part)[:80] for part in first["loc"])).rstrip(".")
        what = first["msg"].lower()
        if first["type"] == "model_type":  # whose message names a class of this program
            what = "input should be an object"
        raise HarnessError(f"{path} is damaged: {place}: {what}", _RESTORE) from error


def _bounded(value: Any) -> None:
    """Hold every text and every whole number of a JSON value to a bound, wherever it is."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise ValueError(f"a text of {len(value)} characters, of {LONGEST_TEXT} at most")
        elif isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            raise ValueError(f"a number beyond {LARGEST_NUMBER}")


def now(*earlier: str, elapsed: float = 0.0) -> str:
    """Return the time in UTC, to the second.

    Args:
        earlier: Times that came before. A clock may be set back; what is recorded stays in order.
        elapsed: Seconds that have passed since the last of them at least.
    """
    times = [datetime.now(UTC)]
    for text in filter(None, earlier):
        try:
            time = datetime.fromisoformat(text).astimezone(UTC)
            times.append(time + timedelta(seconds=int(elapsed)))
        except (TypeError, ValueError, OverflowError):
            continue  # of a damaged manifest, which is for its reader to tell
    return max(times).isoformat(timespec="seconds")


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
