"""Claim: the run's checkpoints are the named ones, and its rows are of its own time.

Where they are the miniature's, it says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from harness.audit.audited_run import AuditedRun
from harness.audit.result import Problems, Result, concluded
from harness.errors import HarnessError
from harness.models.bundled import bundled_parts, is_bundled, is_copy, label, other_parts
from harness.models.checkpoints import look
from harness.models.digests import folder_digest
from harness.records import Role


def check(run: AuditedRun) -> Result:
    """Compare checkpoints here with the run's, and rows with its creation."""
    problems = Problems()
    evidence = _checkpoints(run, problems)
    evidence += _miniature(run.manifest.config, problems)
    _times(run, problems)
    return concluded("checkpoints, times", problems, evidence)


def _checkpoints(run: AuditedRun, problems: Problems) -> list[str]:
    config = run.config
    same, missing = 0, []
    known = set()
    for role in Role:
        spec = getattr(config, role.value)
        for part, reference in (spec.checkpoints if spec else {}).items():
            name = f"{role}.{part}"
            known.add(name)
            if name not in config.digests:
                problems.add(f"checkpoint {name} ('{reference}') has no digest")
                continue
            try:
                path = look(reference).path
            except HarnessError as error:
                problems.add(error.message)
                continue
            if path is None:
                missing.append(reference)
            elif folder_digest(path, code=spec.trust_remote_code) != config.digests[name]:
                problems.add(f"checkpoint {name} ('{reference}') has other content here")
            else:
                same += 1
                bundled = config.miniature or is_bundled(reference, config.digests[name])
                if not bundled and is_copy(path):
                    problems.add(
                        f"checkpoint {name} has the miniature's weights, and the run does not say "
                        "so"
                    )
    for name in sorted(config.digests.keys() - known):
        problems.add(f"there is a digest of '{name}', which is no checkpoint of the run")
    evidence = [f"{same} checkpoints have the content that the config names"]
    return evidence + ([f"claimed, not here: {', '.join(sorted(set(missing)))}"] if missing else [])


def _miniature(config: Mapping[str, Any], problems: Problems) -> list[str]:
    """Hold the run's own word to what its references and digests say of its models."""
    parts = bundled_parts(config)
    if parts and not config.get("miniature"):
        problems.add(
            f"{', '.join(parts)} of the run of suite '{config['suite']}' are the bundled "
            "miniature's, and it does not say so"
        )
    others = other_parts(config)
    difference = f"suite '{config['suite']}' is built in with another {', '.join(others)}"
    return [*filter(None, [label(config)]), *([difference] if others else [])]


def _times(run: AuditedRun, problems: Problems) -> None:
    manifest = run.manifest
    try:
        created = datetime.fromisoformat(manifest.created)
    except (TypeError, ValueError):
        problems.add(f"it was created at '{manifest.created}', which is no time")
        return
    if run.imported:
        return
    if not manifest.sessions:
        problems.add("nobody is on record to have worked on it")
    now = datetime.now(UTC)
    for table in ("candidates", "searches"):
        times = [row["time"] for row in run.rows(table, ["time"]) if row["time"] is not None]
        if times and min(times) < created:
            problems.add(f"rows of '{table}' are older than the run, from {min(times):%F %T}")
        if times and max(times) > now:
            problems.add(f"rows of '{table}' are from the future, {max(times):%F %T}")
