"""Claim: a run measured as a published score was comes to that score.

The published score is inside the run's 95% interval or not; and the parts of the protocol in
which the two differ are named, with those that the source does not print. Only where nothing is
known to differ, and the comparison was asked for, is a score outside a failure: a published score
has a sampling error of its own, which no source prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from harness.analysis.published import (
    load_published,
    published_differences,
    published_points,
    stops_early,
)
from harness.analysis.tables import runs_table
from harness.audit.audited_run import AuditedRun
from harness.audit.result import CannotCheck, Problems, Result, Status, checkable, concluded
from harness.errors import UsageError, did_you_mean
from harness.options import build, resolved
from harness.registry import STRATEGIES
from harness.runs.loading import load_run
from harness.runs.logged_run import LoggedRun

Point = Mapping[str, Any]
"""A row of `harness.analysis.published.published_points`."""

_REFLECT = {"distinct": True, "accept": 1, "select": "last"}

METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "base": ("single", {}),
    "best-of-N": ("best-of-n", {}),
    "Reflect-DiT": ("reflect", {"context": 3, **_REFLECT}),
    "Reflect-DiT K=1": ("reflect", {"context": 1, **_REFLECT}),
    "Reflect-DiT K=2": ("reflect", {"context": 2, **_REFLECT}),
}
"""Published methods: the strategy, and the options that make it the method. Of one strategy the
first is what a run with none of these options is held against."""

_EARLY = {"select": "first-accepted"}
"""Options of a best-of-N that is known to stop early. How the others select is not printed."""

JUDGES = {"none": "none", "vlm": "VLM judge"}
"""Kinds of judges, and what the published numbers call a selection by them."""


def check(run: AuditedRun) -> Result:
    """Hold micro and macro scores against published ones."""
    asked = run.options.published
    with checkable():
        logged = load_run(run.folder.path)
        points = published_points(load_published(), [logged])
        chosen = select(points, asked) if asked else _of_same_method(points, logged)
    table = runs_table([logged], ["this run"], seed=run.options.report_seed)
    own = {row["kind"]: row for row in table.to_dict("records") if row["kind"] != "tag"}
    problems = Problems()
    evidence: list[str] = []
    inside_all = True
    differing: dict[str, dict[str, None]] = {}
    for row, of in chosen[chosen["kind"] != "tag"].groupby(_ROW, sort=False, dropna=False):
        name = f"{row[0]} at {row[1]:g}, {row[2]}"
        records: list[Point] = of.to_dict("records")  # type: ignore[assignment]
        mismatches = differences(logged, records[0])
        if "unknown" in set(of["kind"]):
            mismatches["mean"] = "whether the printed overall is micro or macro is not known"
        for point in records:
            means = ("micro", "macro") if point["kind"] == "unknown" else (point["kind"],)
            for mean in means:
                sentence, inside = _compared(name, point, mean, own[mean])
                inside_all &= inside
                evidence.append(sentence)
                if asked and not inside and not mismatches:
                    problems.add(sentence)
        listed = "; ".join(f"{part} ({how})" for part, how in mismatches.items())
        differing.setdefault(listed, {})[name] = None
    for listed, names in differing.items():
        if listed:
            evidence.append(f"{', '.join(names)} differs in {listed}")
    config = logged.manifest.config
    steps = config["generator"]["settings"].get("num_inference_steps", "unknown")
    evidence.append(
        f"not printed: images a prompt (here {logged.images_per_prompt}), steps (here {steps}), "
        "and intervals"
    )
    looked = f"{chosen.groupby(_ROW, dropna=False).ngroups} published, by {asked or 'method'}"
    well = Status.PASS if inside_all and not any(differing) else Status.NOT_APPLICABLE
    return concluded(looked, problems, [e for e in evidence if e not in set(problems)], well)


_ROW = ["method", "n", "generator", "source"]


def select(points: pd.DataFrame, words: str) -> pd.DataFrame:
    """Return the published scores in whose row all of some words are: method, budget, generator.

    The points have columns `method`, `n` and `generator` or `base_model`; in words such as
    "best-of-n 20 sana-1.0-1.6b" it does not matter whether letters are large.

    Raises:
        UsageError: No row has them.
    """
    generator = points["generator" if "generator" in points else "base_model"]
    names = [
        f"{method} {n:g} {model}".casefold().split()
        for method, n, model in zip(points["method"], points["n"], generator, strict=True)
    ]
    terms = words.casefold().split()
    chosen: pd.DataFrame = points[[bool(terms) and set(terms) <= set(name) for name in names]]
    if chosen.empty:
        known = sorted({word for name in names for word in name})
        strange = next((word for word in terms if word not in known), words)
        raise UsageError(f"no published score is of '{words}'", did_you_mean(strange, known))
    return chosen


def _of_same_method(points: pd.DataFrame, logged: LoggedRun) -> pd.DataFrame:
    config = logged.manifest.config
    method = _method(config)
    same_method: pd.DataFrame = points[
        (points["method"] == method) & (points["n"] == config["budget"])
    ]
    if same_method.empty:
        raise CannotCheck(
            f"no published score is of {config['strategy']['name']} with {config['budget']} "
            "draws a prompt; --published names another"
        )
    matched: pd.DataFrame = same_method[same_method["reason"] == ""]
    if matched.empty:
        reasons = "; ".join(dict.fromkeys(same_method["reason"]))
        raise CannotCheck(f"published scores of {method} are not comparable: {reasons}")
    return matched


def _method(config: Mapping[str, Any]) -> str:
    """Return the published name of a run's method, or of what comes nearest to it."""
    if config["budget"] == 1:
        return "base"
    name = str(config["strategy"]["name"])
    named = [method for method, (strategy, _) in METHODS.items() if strategy == name]
    exact = [method for method in named if not _other_options(config, METHODS[method][1])]
    return (exact or named or [name])[0]


def _other_options(config: Mapping[str, Any], published: Mapping[str, Any]) -> str:
    """Return the options in which a run differs from a method, both ways; "" if none do."""
    strategy = config["strategy"]
    # An option that was not there yet when the run was made has its default.
    defaults = resolved(build(STRATEGIES.get(strategy["name"]), {}, flag="-S"))
    own = {**defaults, **strategy["options"]}
    differing = sorted(name for name, value in published.items() if own[name] != value)
    there, here = (", ".join(f"{n}={of[n]}" for n in differing) for of in (published, own))
    return f"{there}, here {here}" if differing else ""


def differences(logged: LoggedRun, point: Point) -> dict[str, str]:
    """Return the parts of the protocol in which a run differs from a published score, and how."""
    config = logged.manifest.config
    differing = published_differences(str(point["generator"]), str(point["benchmark"]), logged)
    name, single = config["strategy"]["name"], config["budget"] == 1
    strategy, options = METHODS.get(point["method"], ("", {}))
    if point["method"] == "best-of-N" and stops_early(point["method"], point["source"]):
        options = _EARLY
    if (point["method"] != "base") if single else (strategy != name):
        differing["method"] = f"{point['method']}, here {name}"
    elif not single and (other := _other_options(config, options)):
        differing["options"] = other
    if config["budget"] != point["n"]:
        differing["budget"] = f"{point['n']:g}, here {config['budget']}"
    kind = config["judge"]["kind"]
    if config["oracle"]:
        differing["judge"] = f"{point['selection']}, here the oracle"
    elif config["budget"] > 1 and JUDGES.get(kind) != point["selection"]:
        differing["judge"] = f"{point['selection']}, here {kind}"
    return differing


def _compared(name: str, point: Point, mean: str, own: Any) -> tuple[str, bool]:
    inside = bool(own["low"] <= point["score"] <= own["high"])
    printed = "from its printed tags" if point["derived"] else "printed"
    return (
        f"{name}: {point['score']:.3f} {printed} is {'inside' if inside else 'outside'} this "
        f"run's {mean} {own['score']:.3f} [{own['low']:.3f}, {own['high']:.3f}]",
        inside,
    )
