"""Claim: a run of the same config is the same run.

Two runs are identical, or statistically indistinguishable (with the smallest difference that
would have been noticed), or different. For runs of different configs that is told and is no
failure; for one config on one kind of machine only identity will do.
"""

from __future__ import annotations

from pathlib import Path

from harness.analysis.comparison import comparison_table
from harness.audit.audited_run import AuditedRun
from harness.audit.result import CannotCheck, Problems, Result, Status, concluded
from harness.config import differences
from harness.errors import HarnessError
from harness.log.environment import NUMERIC, device_names, package_versions
from harness.log.location import Location
from harness.log.manifest import Manifest
from harness.log.schema import TABLES, content
from harness.runs.loading import load_run

SIGNIFICANT = 0.05
"""P-values below this count as a difference."""


def check(run: AuditedRun) -> Result:
    """Hold the run against another one."""
    path, other = run.options.against, run.other
    if path is None or other is None:
        raise CannotCheck("no other run was given (--against)")
    fields = differences(run.config.identity(), other.config.identity())
    same = all(
        content(run.table(table)).to_pylist() == content(other.table(table)).to_pylist()
        for table in TABLES
    )
    evidence = [
        f"configs differ in {', '.join(fields)}" if fields else "the configs are the same",
        "identical, every row" if same else _compared(run.folder.path, path),
    ]
    if fields:
        return Result(str(path), Status.NOT_APPLICABLE, tuple(evidence))
    problems = Problems()
    machines = _machine(run.manifest), _machine(other.manifest)
    if not same and machines[0] == machines[1]:
        problems.add("two runs of one config, by the same versions and devices, differ")
    elif not same:
        evidence.append("versions or devices differ, which can change last bits")
    return concluded(str(path), problems, evidence)


def _machine(manifest: Manifest) -> tuple[object, ...]:
    versions = package_versions(manifest.environment, manifest.sessions)
    devices = sorted(device_names(manifest.sessions))
    return (*(tuple(versions[name]) for name in NUMERIC), tuple(devices))


def _compared(first: Location, second: Path) -> str:
    try:
        table = comparison_table([load_run(first), load_run(second)], ["this", "other"])
    except HarnessError as error:
        return f"not identical, and not comparable: {error.message}"
    row = table[table["kind"] == "micro"].iloc[0]
    differing = row["protocol_differences"]
    word = "different" if row["p"] < SIGNIFICANT else "statistically indistinguishable"
    return (
        f"{word}: other minus this {row['difference']:+.3f} "
        f"[{row['low']:+.3f}, {row['high']:+.3f}] micro over {row['prompts']} prompts, "
        f"p = {row['p']:.3g}; detectable with 80% power: {row['detectable']:.3f}"
        + (f"; protocols differ in {differing}" if differing else "")
    )
