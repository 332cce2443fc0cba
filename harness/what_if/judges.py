"""Another judge for a replay: the oracle, or a metric whose values the run has logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from harness.config import RunConfig, read_config
from harness.engine.rows import logged_value, logged_verdict
from harness.errors import UsageError
from harness.log import store
from harness.log.measured import Shown, measured_later, measurements
from harness.log.run_folder import RunFolder
from harness.log.schema import CANDIDATES, UNITS
from harness.models.judges import verdicts
from harness.models.judges.chosen import chosen_judge
from harness.models.metrics.together import metric_names, own
from harness.models.suites import ModelSpec
from harness.records import Role, Score, Verdict
from harness.registry import JUDGES
from harness.replay import Row
from harness.what_if.trajectories import Judging

ORACLE = "oracle"


def chosen(
    folder: RunFolder, config: RunConfig, given: str | None, settings: Mapping[str, str]
) -> ModelSpec:
    """Return the judge of a replay: the run's own, the oracle, or a metric that was logged.

    Args:
        folder: The run.
        config: Its config.
        given: KIND or KIND=REF; None for the run's own.
        settings: Options, as given.

    Raises:
        UsageError: Its verdicts are not in the log.
    """
    if given is None:
        if settings:
            raise UsageError("-J is an option of --judge", "say --judge metric=NAME -J accept=0.3")
        return config.judge
    spec = chosen_judge(config.judge, given, settings, config.metric or ModelSpec())
    if spec == config.judge:
        return spec
    names = metric_names(config.metric)
    if spec.kind == ORACLE and config.scorer is not None:
        return config.scorer.model_copy(update={"kind": ORACLE})
    if spec.kind == "metric" and (name := str(spec.settings.get("name"))) in names:
        logged = own((config.metric or ModelSpec()).settings, name)
        for option, value in spec.settings.items():
            if option not in ("name", "accept") and value != logged.get(option):
                raise UsageError(
                    f"{folder.path} has no values of the metric '{name}' with {option}={value}",
                    f"leave -J {option} out; it was measured with "
                    f"{', '.join(f'{n}={v}' for n, v in logged.items()) or 'no options'}",
                )
        return spec
    can = [judge_name(config.judge), *(f"metric={name}" for name in names)]
    can += [ORACLE] if config.scorer else []
    raise UsageError(
        f"what the judge '{given}' says of the images of {folder.path} is not in its log",
        f"it can answer for --judge {' or '.join(can)}; or measure the images first: "
        "python -m harness score RUN --metrics NAME",
    )


def measured(folder: RunFolder, config: RunConfig, table: pa.Table) -> tuple[RunConfig, pa.Table]:
    """Return a run's config and candidates with what was measured of its images afterwards."""
    rows: dict[Shown, Row] = {}
    spec = config.metric or ModelSpec()
    names = {*metric_names(config.metric)}
    for later, manifest in measurements(folder):
        own = read_config(manifest.config).metric or ModelSpec()
        names |= {*metric_names(own)}
        spec = own.model_copy(
            update={
                "kind": ",".join(sorted(names)),
                "checkpoints": {**spec.checkpoints, **own.checkpoints},
                "settings": {**spec.settings, **own.settings},
            }
        )
        columns = ["prompt_id", "image", *(f"metric_{unit}" for unit in UNITS)]
        for row in store.read(later.log, "candidates", columns).to_pylist():
            rows[row["prompt_id"], row["image"]] = row
    if not rows:
        return config, table
    values = measured_later(folder)
    shown = list(zip(table["prompt_id"].to_pylist(), table["image"].to_pylist(), strict=True))
    changed: dict[str, Any] = {
        "metrics": [
            [*{**dict(pairs or ()), **values.get(each, {})}.items()]
            for pairs, each in zip(table["metrics"].to_pylist(), shown, strict=True)
        ]
    }
    if len(names) == 1:  # of several measurements no one cost is that of an image
        for unit in UNITS:
            name = f"metric_{unit}"
            changed[name] = [rows[each][name] if each in rows else None for each in shown]
    return config.model_copy(update={"metric": spec}), with_columns(table, changed)


def judge_name(spec: ModelSpec) -> str:
    """Return what a judge is called on the command line."""
    return f"metric={spec.settings['name']}" if spec.kind == "metric" else spec.kind


def judging_of(spec: ModelSpec, *, is_logged: bool) -> Judging:
    """Return how a judge's verdicts are read from a log.

    Args:
        spec: The judge's.
        is_logged: Whether it is the one that the run had.
    """
    if is_logged:
        return Judging(logged_verdict, getattr(JUDGES.get(spec.kind), "samples", True))
    if spec.kind == ORACLE:
        return Judging(_by_scorer, samples=False, is_logged=False)
    name, accept = str(spec.settings["name"]), spec.settings.get("accept")
    least = float(accept) if isinstance(accept, int | float) else None
    return Judging(partial(_by_metric, name, least), samples=False, is_logged=False)


def _by_scorer(row: Row) -> Verdict | None:
    value = logged_value(row)
    if value is None:
        return None
    return verdicts.of_score(Score(value, row["correct"], row["reason"]))


def _by_metric(name: str, accept: float | None, row: Row) -> Verdict | None:
    value = dict(row["metrics"] or ()).get(name)
    return None if value is None else verdicts.of_metric(value, accept)


def rejudged(
    table: pa.Table, rows: Sequence[Row], judging: Judging, spec: ModelSpec, config: RunConfig
) -> pa.Table:
    """Return a log's rows as another judge would have judged them, at its cost.

    Args:
        table: Candidates.
        rows: What each is logged as, in the same order.
        judging: Of the judge.
        spec: Likewise.
        config: The run's.
    """
    verdicts = [judging.verdict(row) if row["image"] else None for row in rows]
    changed: dict[str, Any] = {
        "accepted": [v and v.accepted for v in verdicts],
        "judge_score": [v and v.score for v in verdicts],
        "judge_sentence": [v and v.sentence for v in verdicts],
        "judge_prompt": [None] * len(verdicts),
        "judge_members": [None] * len(verdicts),
    }
    lost = [role == Role.JUDGE for role in table["error_role"].to_pylist()]
    for name in ("error_role", "error"):
        values = zip(lost, table[name].to_pylist(), strict=True)
        changed[name] = [None if is_lost else value for is_lost, value in values]
    # All metrics of a run are measured together, so what one of several takes nobody knows.
    alone = spec.kind == ORACLE or len(metric_names(config.metric)) == 1
    role = Role.SCORER if spec.kind == ORACLE else Role.METRIC
    for unit in UNITS:
        changed[f"judge_{unit}"] = table[f"{role}_{unit}"] if alone else pa.nulls(len(table))
    return with_columns(table, changed)


def with_columns(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """Return a table of candidates with some columns replaced, those that it has."""
    for name, values in columns.items():
        if name not in table.column_names:
            continue
        field = CANDIDATES.field(name)
        place = table.column_names.index(name)
        is_array = isinstance(values, pa.Array | pa.ChunkedArray)
        column = values.cast(field.type) if is_array else pa.array(values, field.type)
        table = table.set_column(place, field, column)
    return table
