"""Claim: every row is one that the harness could have written.

The shards have the declared columns; no value is missing that must be there, and none is there
that cannot be known; a draw counts as failed only after as many tries as the harness makes, and
keeps what other roles answered; numbers are finite; rows stand in the order in which a log is
written.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.audit.audited_run import AuditedRun, Row, named, named_draw
from harness.audit.result import Problems, Result, concluded, count, readable_log
from harness.engine.engine import MAX_ATTEMPTS
from harness.engine.searches import SearchKey
from harness.log import shards
from harness.log.schema import KEYS, LATER, METERED, SCORE, TABLES, VERDICT, WHOLE_VERDICT
from harness.models.metrics.together import metric_names
from harness.seeds import canonical_json
from harness.truncation import TEXTS

_ALWAYS = ("run", "prompt_id", "prompt", "tag", "replicate", "draw_index", "draw_id", "settings",
           "attempts", "time")  # fmt: skip


def check(run: AuditedRun) -> Result:
    """Look at the schema of every shard, at the order of its rows, and at every value."""
    problems = Problems()
    for table in TABLES:
        with readable_log():
            parts = shards.discover(run.folder.log, table)
        for shard in parts:
            _schema(shard, table, problems)
            _order(shard, table, problems)
    rows = searches = 0
    for rows, row in enumerate(run.rows("candidates"), start=1):  # noqa: B007
        problems.extend(named_draw(row), _wrong(row, run))
    for searches, row in enumerate(run.rows("searches"), start=1):  # noqa: B007
        key = SearchKey(row["prompt_id"], row["replicate"])
        problems.extend(named(key), _wrong_search(row))
    for row in run.rows("replies"):
        key = SearchKey(row["prompt_id"], row["replicate"])
        problems.extend(f"{named(key)}, question {row['question_index']}", _wrong_reply(row))
    looked = f"{count(rows, 'draw')}, {count(searches, 'search', 'searches')}"
    return concluded(looked, problems)


def _schema(shard: shards.Shard, table: str, problems: Problems) -> None:
    try:
        schema = pq.read_schema(shard.path).remove_metadata()
    except (OSError, pa.ArrowException) as error:
        problems.add(f"{shard.path.name}: {error}")
        return
    for field in TABLES[table]:
        if field.name not in schema.names:
            if field.name in LATER:
                continue
            problems.add(f"{shard.path.name} has no column '{field.name}'")
        elif not schema.field(field.name).type.equals(field.type):
            problems.add(f"{shard.path.name}: '{field.name}' is {schema.field(field.name).type}")
    for name in schema.names:
        if name not in TABLES[table].names:
            problems.add(f"{shard.path.name} has a surplus column '{name}'")


def _order(shard: shards.Shard, table: str, problems: Problems) -> None:
    """A merged shard is in order of its keys; one that was never merged, in order of time."""
    names = KEYS[table]
    with readable_log():
        read = shards.read(shard, table, [*names, "time"])
    keys = list(zip(*(read[name].to_pylist() for name in names), strict=True))
    times = read["time"].to_pylist()
    if None in times or any(None in key for key in keys):
        return  # a missing value is reported as such
    if keys != sorted(keys) and (shard.first != shard.last or times != sorted(times)):
        problems.add(f"{shard.path.name}: its rows are not in the order of a log")


def _wrong(row: Row, run: AuditedRun) -> list[str]:
    problems = [f"no {name}" for name in _ALWAYS if row[name] is None]
    if problems:
        return problems
    role = row["error_role"]
    if role is not None and role not in METERED:
        problems.append(f"it failed by '{role}', which is no role")
    if (role is None) != (row["error"] is None):
        problems.append("an error without a role, or a role without an error")
    return [*problems, *_presence(row, run), *_values(row)]


def _presence(row: Row, run: AuditedRun) -> list[str]:
    """Name what has to be there, given how far the draw came, and is not, or cannot be."""
    role, problems = row["error_role"], []
    image = role != "generator"
    if not run.imported and (row["image"] is not None) != image:
        problems.append("an image" if not image else "no image")
    if run.imported and row["seed"] is not None:
        problems.append("a seed, of an image that was made elsewhere")
    # A draw that one role failed on is still answered by the others, except that nobody can
    # look at an image that was never made.
    if role in (None, "scorer", "metric"):
        problems += [f"no {name}" for name in VERDICT if row[name] is None]
    if role in (None, "metric") and run.config.scorer is not None:
        problems += [f"no {name}" for name in ("correct", "reason") if row[name] is None]
        problems += ["no evidence"] if row["detections"] is None and row["answers"] is None else []
    measures = set(metric_names(run.config.metric))
    measured = {name for name, _ in row["metrics"] or ()}
    if measured != (measures if role is None else measured & measures):
        problems.append(f"measured by {_listed(measured)}, not by {_listed(measures)}")
    if role is not None and not run.imported and row["attempts"] <= MAX_ATTEMPTS:
        problems.append(f"given up after {row['attempts'] - 1} tries, not {MAX_ATTEMPTS}")
    if role in ("generator", "judge"):
        problems += [
            f"{name} of a draw without verdict" for name in WHOLE_VERDICT if row[name] is not None
        ]
    if role in ("generator", "metric") and row["metrics"] is not None:
        problems.append("metrics of an unmeasured draw")
    if role in ("generator", "scorer") or run.config.scorer is None:
        problems += [f"{name} of an unscored draw" for name in SCORE if row[name] is not None]
    return problems


def _values(row: Row) -> list[str]:
    problems = []
    if row["draw_index"] < 0 or row["replicate"] < 0:
        problems.append("a negative index")
    if row["attempts"] < 1:
        problems.append("no attempt")
    if row["judge_score"] is not None and not math.isfinite(row["judge_score"]):
        problems.append(f"the judge's score is {row['judge_score']}")
    if not all(value is not None and math.isfinite(value) for value in row["judge_members"] or ()):
        problems.append(f"the judge's members give {row['judge_members']}")
    if row["value"] is not None and not (math.isfinite(row["value"]) and row["value"] >= 0):
        problems.append(f"the grade is {row['value']}")
    for name, value in row["metrics"] or ():
        if value is None or not math.isfinite(value):
            problems.append(f"the metric '{name}' is {value}")
    if row["correct"] and row["reason"]:
        problems.append(f"correct, and yet wrong: {row['reason'].splitlines()[0]}")
    for detection in row["detections"] or []:
        if not _plausible(detection):
            problems.append(f"an impossible detection: {detection}")
    if unknown := set(row["truncated"] or ()) - set(TEXTS):
        problems.append(f"texts of unknown kinds were cut: {', '.join(map(str, unknown))}")
    try:
        settings = json.loads(row["settings"])
        if not isinstance(settings, dict) or canonical_json(settings) != row["settings"]:
            problems.append("settings that are no canonical JSON object")
    except ValueError:
        problems.append("settings that are no JSON")
    return problems


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _plausible(detection: dict[str, Any]) -> bool:
    box, score = detection["box"], detection["score"]
    return bool(
        detection["label"]
        and box is not None
        and all(edge is not None and math.isfinite(edge) for edge in box)
        and score is not None
        and 0 <= score <= 1
    )


def _wrong_search(row: Row) -> list[str]:
    must = ("run", "prompt_id", "replicate", "draws", "rounds", "time")
    problems = [f"no {name}" for name in must if row[name] is None]
    chosen = row["selected_index"] is not None
    if chosen != (row["selected_id"] is not None):
        problems.append("a selected draw without its id, or the reverse")
    if chosen == (row["error"] is not None):
        problems.append("selected something and failed" if chosen else "selected nothing, no error")
    return problems


def _wrong_reply(row: Row) -> list[str]:
    must = ("run", "prompt_id", "replicate", "question_index", "text", "round", "attempts", "time")
    problems = [f"no {name}" for name in must if row[name] is None]
    if (row["reply"] is None) == (row["error"] is None):
        what = "neither a reply nor" if row["reply"] is None else "a reply and"
        problems.append(f"{what} an error")
    if row["reply"] is not None and not row["judge_device_seconds"]:
        problems.append("the judge replied and took no time")
    return problems
