"""The place where a run was made: versions, platform, commit. Evidence, never identity."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("inference-scaling-harness", "torch", "diffusers", "transformers", "ray", "numpy",
            "pyarrow", "pillow", "opencv-python-headless", "safetensors",
            "tokenizers")  # fmt: skip

NUMERIC = tuple(
    name for name in PACKAGES if name not in ("inference-scaling-harness", "ray", "pyarrow")
)
"""Of these, the ones whose version can change last bits."""


def environment() -> dict[str, Any]:
    """Package versions, Python, platform, processor count, git commit and dirty flag."""
    return {
        "packages": packages(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "git": git_state(Path(__file__).parent),
    }


def packages() -> dict[str, str | None]:
    """Versions of the packages that matter; None for one that is not installed."""
    return {name: _version(name) for name in PACKAGES}


def package_versions(
    environment: Mapping[str, Any], sessions: Iterable[Mapping[str, Any]]
) -> dict[str, list[str]]:
    """By package, all versions that a run was made with.

    Args:
        environment: A manifest's, as of the first session.
        sessions: Entries of the manifest. One of an older program does not say.
    """
    entries = [environment, *(session for session in sessions if session.get("packages"))]
    return {
        name: sorted({str((entry.get("packages") or {}).get(name)) for entry in entries})
        for name in PACKAGES
    }


def other_versions(
    environment: Mapping[str, Any], sessions: Iterable[Mapping[str, Any]]
) -> dict[str, str]:
    """By package, how the versions that a run was made with differ from those here."""
    here = packages()
    return {
        name: f"was {' and '.join(versions)}, is {here[name]}"
        for name, versions in package_versions(environment, sessions).items()
        if versions != [str(here[name])]
    }


def device_names(sessions: Iterable[Mapping[str, Any]]) -> set[str]:
    """Names of the devices that sessions of work ran on."""
    return {
        str(worker["device_name"])
        for session in sessions
        for worker in session.get("workers", {}).values()
        if isinstance(worker, dict) and worker.get("device_name") is not None
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout a folder is in; None outside a checkout."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(status)}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
