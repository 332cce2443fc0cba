"""Claim: what was spent is in the log, all of it, and adds up to the manifest's totals.

Whoever answered has spent time, and who spent any has answered. Rows of one batch share its time
equally, took as many evaluations and were made by one worker; no batch is larger than the config's
batch shape.
"""

from __future__ import annotations

import math
from collections import defaultdict

from harness.audit.audited_run import AuditedRun, Row, named_draw
from harness.audit.result import Problems, Result, concluded, count
from harness.config import RECORDED_SCORER
from harness.engine.launch import totals
from harness.errors import HarnessError
from harness.log.manifest import FINISHED
from harness.log.schema import ANSWERED, METERED, UNITS, origin
from harness.runs.measurement import IMAGE_SIZES

_COLUMNS = [
    *ANSWERED.values(),
    "round",
    *(f"{role}_{unit}" for role in METERED for unit in (*UNITS, "worker", "batch")),
]


def check(run: AuditedRun) -> Result:
    """Add up every cost, and hold rows of one batch against each other."""
    problems = Problems()
    manifest = run.manifest
    batches: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    draws = reused = 0
    free = _unpaid(run)
    counted: defaultdict[str, set[bool]] = defaultdict(set)
    # Batches are numbered anew in every session of work.
    one_session = len(manifest.sessions) == 1
    for row in run.draws(_COLUMNS):
        draws += 1
        reused += bool(origin(row["generator_worker"]))
        problems.extend(named_draw(row), _wrong(row, free, run.config.judged))
        for role in METERED:
            if role not in free and row[ANSWERED[role]] is not None:
                counted[role].add(row[f"{role}_flops"] is not None)
            if one_session and row[f"{role}_batch"] is not None:
                batches[role, row[f"{role}_batch"]].append(row)
    for role, answers in counted.items():
        if len(answers) > 1:  # one model counts or does not
            problems.add(f"FLOPs of the {role} are counted for some draws and not for others")
    for (role, batch), rows in batches.items():
        problems.extend(f"batch {batch} of the {role}", _wrong_batch(role, rows, run))
    evidence = []
    if manifest.state == FINISHED:
        evidence.append(_totals(run, problems))
    if one_session and batches:
        evidence.append(f"{count(len(batches), 'batch', 'batches')} hold together")
    if reused:
        evidence.append(f"{count(reused, 'draw')} of other runs, with what they cost there")
    if free:
        evidence.append(f"what the {' and the '.join(sorted(free))} spent is not on record")
    return concluded(count(draws, "draw"), problems, evidence)


def _unpaid(run: AuditedRun) -> set[str]:
    """Roles that did not work in this run, whose answers came with the images."""
    if not run.imported:
        return set()
    scorer = run.config.scorer
    recorded = scorer is not None and scorer.kind == RECORDED_SCORER
    return {"generator", "judge", *(["scorer"] if recorded else [])}


def _wrong(row: Row, free: set[str], judged: bool) -> list[str]:
    problems = []
    for role in METERED:
        spent = {unit: row[f"{role}_{unit}"] for unit in UNITS}
        answered = row[ANSWERED[role]] is not None
        for unit, value in spent.items():
            if value is not None and not (math.isfinite(value) and value >= 0):
                problems.append(f"{role}_{unit} is {value}")
        if role in free:
            if any(value is not None for value in spent.values()):
                problems.append(f"a cost of the {role}, which did not work in this run")
        elif role == "judge" and not judged:
            continue  # nobody is asked, and it costs nothing
        elif answered and not spent["device_seconds"]:
            problems.append(f"the {role} answered and took no time")
        elif answered and any(
            spent[unit] is None for unit in UNITS if unit not in ("flops", "rows")
        ):
            problems.append(f"the {role} answered and a cost is missing")  # FLOPs need no counting
        elif role == "generator" and answered and not spent["nfe"]:
            problems.append("an image without an evaluation of the network")
        elif not answered and any(value is not None for value in spent.values()):
            problems.append(f"a cost of the {role}, whose answer is not there")
    return problems


def _wrong_batch(role: str, rows: list[Row], run: AuditedRun) -> list[str]:
    problems = []
    for unit, what in (
        ("device_seconds", "times"),
        ("nfe", "numbers of evaluations"),
        ("worker", "workers"),
    ):
        if len({row[f"{role}_{unit}"] for row in rows}) > 1:
            problems.append(f"its rows have different {what}")
    size = getattr(run.config, role).batch_size
    if role == "generator" and (ladder := run.config.batch_rows):
        rounds = {min(row["round"] or 1, len(ladder)) for row in rows}
        sizes = {ladder[round - 1] for round in rounds}
        size = max(sizes)
        if len(sizes) > 1:
            problems.append("its rows are of rounds with different batch sizes")
    # A folder of images is scored in jobs of several batches.
    if len(rows) > size and not run.imported:
        problems.append(f"{len(rows)} rows where the batch shape has {size}")
    return problems


def _totals(run: AuditedRun, problems: Problems) -> str:
    try:
        sums = totals(run.folder, judged=run.config.judged)
    except HarnessError as error:
        problems.add(error.message)
        return ""
    recorded = run.manifest.totals
    for name, value in sums.items():
        claimed = recorded.get(name)
        if not value and claimed in (None, 0):  # older programs did not tell the two apart
            continue
        # Sums of floats depend on how many pieces the log was in.
        if (
            value is None
            or not isinstance(claimed, int | float)
            or not math.isclose(claimed, value, rel_tol=1e-9)
        ):
            sum_of = "is unknown" if value is None else f"adds up to {value:.6g}"
            problems.add(f"{name} {sum_of}, the manifest says {claimed}")
    for name in recorded.keys() - sums.keys() - ({IMAGE_SIZES} if run.imported else set()):
        problems.add(f"the manifest has a surplus total '{name}'")
    flops, seconds = (
        [sums[f"{role}_{unit}"] for role in METERED if f"{role}_{unit}" in sums]
        for unit in ("flops", "device_seconds")
    )
    counted = "FLOPs not counted" if None in flops else f"{sum(flops) / 1e12:.4g} TFLOPs"
    held = "time not recorded" if None in seconds else f"{sum(seconds):.1f} device-seconds"
    return f"{sums['draws']} draws, {counted}, {held}"
