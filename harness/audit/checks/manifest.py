"""Claim: the manifest is whole, and its names are digests of what they name.

The run's id and the config's digest follow from the config; somebody who edits the config has to
edit both, and every row of the log, which carries the id.
"""

from __future__ import annotations

from harness.audit.audited_run import AuditedRun
from harness.audit.result import CannotCheck, Problems, Result, Status, concluded
from harness.config import differences
from harness.log.manifest import FINISHED, RUNNING
from harness.seeds import present


def check(run: AuditedRun) -> Result:
    """Recompute the run's id and the config's digest."""
    try:
        manifest, config = run.manifest, run.config
    except CannotCheck as error:
        return Result("manifest.json", Status.FAIL, (str(error),))
    problems = Problems()
    surplus = differences(present(manifest.config), present(config.model_dump(mode="json")))
    if surplus:
        problems.add(f"the config is not in its canonical form: {', '.join(surplus)}")
    if manifest.config_digest != config.digest:
        problems.add(
            f"the config's digest is {config.digest[:16]}…, the manifest says "
            f"{manifest.config_digest[:16]}…"
        )
    if manifest.run != config.run:
        problems.add(f"the config makes it run {config.run}, the manifest says {manifest.run}")
    if manifest.state not in (RUNNING, FINISHED):
        problems.add(f"its state is '{manifest.state}'")
    for table in ("candidates", "searches"):
        others = {str(row["run"]) for row in run.rows(table, ["run"])} - {config.run}
        if others:
            problems.add(f"the table '{table}' has rows of {', '.join(sorted(others)[:3])}")
    return concluded("manifest.json", problems, [f"run {manifest.run}, {manifest.state}"])
