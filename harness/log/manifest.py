"""The manifest: what a run is (config, prompts, checkpoints) and where it ran.

Written before the first draw and rewritten, atomically, when a session of work starts or ends.
The identity of a run is the digest of its config; everything else here is evidence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from harness.errors import HarnessError, UsageError
from harness.log.files import write_atomically
from harness.log.location import Location
from harness.log.schema import SCHEMA_VERSION
from harness.records import Prompt
from harness.seeds import canonical_json, config_digest

RUNNING, FINISHED = "running", "finished"


@dataclass(frozen=True)
class PromptSet:
    """Which prompts a run is over.

    Attributes:
        count: How many.
        digest: SHA-256 of their canonical JSON, one a line, in order.
    """

    count: int
    digest: str

    @classmethod
    def of(cls, prompts: Sequence[Prompt]) -> PromptSet:
        """The prompt set of a list of prompts."""
        lines = (canonical_json([p.id, p.text, p.tag, _plain(p.metadata)]) + "\n" for p in prompts)
        return cls(len(prompts), hashlib.sha256("".join(lines).encode()).hexdigest())


@dataclass(frozen=True)
class Manifest:
    """What a run folder says of itself.

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

    def with_session(self, session: dict[str, Any]) -> Manifest:
        """The manifest with one more session of work."""
        return replace(self, sessions=(*self.sessions, session))

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
                on: telling is its own business, and so is what else is wrong.

        Raises:
            UsageError: There is none.
            HarnessError: It is damaged, or of a newer schema.
        """
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UsageError(f"{path} does not exist", "give the folder of a run") from error
        except (OSError, ValueError) as error:
            raise HarnessError(
                f"{path} cannot be read: {error}", "restore it from a copy; the log is untouched"
            ) from error
        version = fields.get("schema_version") if isinstance(fields, dict) else None
        if not isinstance(version, int):
            raise HarnessError(f"{path} is no manifest of a run", "give the folder of a run")
        if version > SCHEMA_VERSION:
            raise HarnessError(
                f"{path} has schema version {version}; this program reads up to {SCHEMA_VERSION}",
                "update the harness",
            )
        try:
            fields["prompt_set"] = PromptSet(**fields["prompt_set"])
            fields["sessions"] = tuple(fields["sessions"])
            fields["files"] = tuple(fields["files"])
            manifest = cls(**fields)
        except (KeyError, TypeError) as error:
            raise HarnessError(f"{path} lacks or has surplus fields: {error}") from error
        if not manifest.is_readable():
            raise HarnessError(
                f"{path} is damaged: its environment or sessions are not what a run writes",
                "restore it from a copy; the log is untouched",
            )
        if believed and not manifest.is_of_its_config():
            raise HarnessError(
                f"{path} is damaged: its config does not match its digest",
                "restore it from a copy; the log is untouched",
            )
        return manifest

    def is_readable(self) -> bool:
        """Whether what is looked up in it by name has names."""
        outer = (self.environment, *self.sessions)
        return all(isinstance(each, dict) for each in outer) and all(
            isinstance(each, dict)
            for each in (
                self.environment.get("packages", {}),
                *(session.get("workers", {}) for session in self.sessions),
            )
        )

    def is_of_its_config(self) -> bool:
        """Whether the config is the one that the digest was taken of."""
        try:
            return config_digest(self.config) == self.config_digest
        except (AttributeError, ValueError):  # a file may hold anything there
            return False


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
