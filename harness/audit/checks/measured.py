"""Claim: what was measured afterwards is of the run's own images, and complete.

The values themselves are not measured again here.
"""

from __future__ import annotations

import math

from harness.audit.audited_run import AuditedRun
from harness.audit.checks import files, manifest
from harness.audit.result import CannotCheck, Problems, Result, concluded, count
from harness.errors import HarnessError
from harness.log.measured import Shown, measurements


def check(run: AuditedRun) -> Result:
    """Hold what lies under the run's `metrics/` against its manifests and the run's images."""
    images: set[Shown] = set()
    for row in run.rows("candidates", ["prompt_id", "image"]):
        if row["image"] is not None:
            images.add((row["prompt_id"], row["image"]))
    problems = Problems()
    number = 0
    evidence = []
    for folder, measured in measurements(run.folder):
        names = set(measured.config["metric"]["kind"].split(","))
        try:
            seen = _images(AuditedRun(folder, run.options), names, images, problems)
        except (CannotCheck, HarnessError) as error:  # here that is a failure: it was listed whole
            problems.add(f"{folder.path.name}: {error}")
            seen = 0
        number += seen
        evidence.append(f"{', '.join(sorted(names))}: {count(seen, 'image')}")
    if not evidence:
        raise CannotCheck("nothing was measured afterwards")
    return concluded(count(number, "value"), problems, evidence)


def _images(run: AuditedRun, names: set[str], images: set[Shown], problems: Problems) -> int:
    """Hold the rows of what was measured against the images of the run; return how many it has."""
    name = run.folder.path.name
    for result in (manifest.check(run), files.check(run)):
        problems.extend(name, result.evidence if result.failed else ())
    seen: set[Shown] = set()
    for row in run.rows("candidates", ["prompt_id", "image", "metrics", "error"]):
        shown = (row["prompt_id"], row["image"])
        values = dict(row["metrics"] or ())
        if shown not in images or shown in seen:
            problems.add(f"{name}: {shown[0]} has no such image, or has it twice: {shown[1]}")
        if row["error"] is None and values.keys() != names:
            problems.add(f"{name}: an image of {shown[0]} lacks {names - values.keys()}")
        if not all(map(math.isfinite, values.values())):
            problems.add(f"{name}: an image of {shown[0]} has a value that is no number")
        seen.add(shown)
    if missing := len(images - seen):
        problems.add(f"{name}: {count(missing, 'image')} not measured")
    return len(seen)
