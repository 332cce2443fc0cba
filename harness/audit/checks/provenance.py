"""Claims about a run's origin that nobody can check: versions, commit, devices, hosts, command.

It is compared with this machine's where there is something to compare, and passes nothing.
"""

from __future__ import annotations

from harness.audit.audited_run import AuditedRun
from harness.audit.result import Result, Status
from harness.errors import shortened
from harness.log.environment import NUMERIC, device_names, environment, other_versions
from harness.log.manifest import Manifest


def check(run: AuditedRun) -> Result:
    """List it."""
    manifest = run.manifest
    versions = other_versions(manifest.environment, manifest.sessions)
    named = {
        "devices": device_names(manifest.sessions),
        "hosts": {str(session.get("host")) for session in manifest.sessions},
    }
    claims = [
        *(
            f"{name} {how}: "
            + ("can change last bits" if name in NUMERIC else "does not touch numbers")
            for name, how in versions.items()
        ),
        _commit(manifest),
        *(f"{what} {shortened(sorted(of)) or 'not on record'}" for what, of in named.items()),
        f"command {manifest.command}",
    ]
    return Result("versions, commit, devices, hosts", Status.CLAIMED, tuple(claims))


def _commit(manifest: Manifest) -> str:
    git, here = manifest.environment.get("git"), environment()["git"]
    if git is None:
        return "made outside a git checkout: its code is not on record"
    dirty = ", with changes that were not committed" if git.get("dirty") else ""
    same = "as here" if here and here["commit"] == git.get("commit") else "not this one"
    return f"made at commit {str(git.get('commit'))[:12]} ({same}){dirty}"
