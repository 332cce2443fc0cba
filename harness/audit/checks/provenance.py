"""Claims about a run's origin that nobody can check: versions, commit, devices, hosts, command.

It is compared with this machine's where there is something to compare, and passes nothing.
"""

from __future__ import annotations

from harness.audit.audited_run import AuditedRun
from harness.audit.result import Result, Status
from harness.errors import shortened
from harness.log.environment import NUMERIC, device_names, environment, other_versions
from harness.log.manifest import Manifest

NAME = "provenance"


def check(run: AuditedRun) -> Result:
    """List it."""
    manifest = run.manifest
    claims = [
        *_versions(manifest),
        _commit(manifest),
        f"devices {_listed(device_names(manifest.sessions))}",
        f"hosts {_listed({str(session.get('host')) for session in manifest.sessions})}",
        f"command {manifest.command}",
    ]
    return Result(NAME, "versions, commit, devices, hosts", Status.CLAIMED, tuple(claims))


def _versions(manifest: Manifest) -> list[str]:
    return [
        f"{name} {how}: {'can change last bits' if name in NUMERIC else 'does not touch numbers'}"
        for name, how in other_versions(manifest.environment, manifest.sessions).items()
    ]


def _commit(manifest: Manifest) -> str:
    git, here = manifest.environment.get("git"), environment()["git"]
    if git is None:
        return "made outside a git checkout: its code is not on record"
    dirty = ", with changes that were not committed" if git.get("dirty") else ""
    same = "as here" if here and here["commit"] == git.get("commit") else "not this one"
    return f"made at commit {str(git.get('commit'))[:12]} ({same}){dirty}"


def _listed(names: set[str]) -> str:
    return shortened(sorted(names)) or "not on record"
