"""Folders of a run's checkpoints on this machine, and the digests of their content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.config import RunConfig
from harness.errors import HarnessError
from harness.models import checkpoints
from harness.models.digests import folder_digest
from harness.models.suites import ModelSpec
from harness.records import Role

Paths = Mapping[Role, Mapping[str, Path]]


def locate(specs: Mapping[Role, ModelSpec]) -> Paths:
    """Return each checkpoint's folder; downloads what a hub id names and is not here yet.

    Raises:
        HarnessError: One is missing.
    """
    return {
        role: {part: _located(part, ref) for part, ref in spec.checkpoints.items()}
        for role, spec in specs.items()
    }


def located_here(config: RunConfig, role: Role) -> dict[str, Path]:
    """Return where a role's checkpoints lie on this machine, by part; nothing is downloaded.

    Raises:
        HarnessError: One is not here, or not the run's.
    """
    paths: dict[str, Path] = {}
    for part, reference in config.specs[role].checkpoints.items():
        path = checkpoints.look(reference).path
        if path is None:
            raise HarnessError(f"checkpoint '{reference}' of the {role} is not here")
        code = config.specs[role].trust_remote_code
        if folder_digest(path, code=code) != config.digests.get(f"{role}.{part}"):
            raise HarnessError(f"checkpoint '{reference}' here is not the one of the run")
        paths[part] = path
    return paths


def _located(part: str, ref: str) -> Path:
    try:
        return checkpoints.resolve(ref)
    except HarnessError as error:
        if part != "detector" or ref.startswith("bundled:"):
            raise
        # No hub has it in this form, so it is missing on every machine at first.
        convert = (
            "GenEval's official detector, an mmdet .pth file, becomes such a folder with "
            "`python -m harness convert-detector FILE.pth --out FOLDER`"
        )
        raise type(error)(error.message, f"{error.hint}; {convert}") from error


def digests(specs: Mapping[Role, ModelSpec], paths: Paths) -> dict[str, str]:
    """Content digest of every checkpoint, by "role.part"."""
    return {
        f"{role}.{part}": folder_digest(path, code=specs[role].trust_remote_code)
        for role, parts in paths.items()
        for part, path in parts.items()
    }
