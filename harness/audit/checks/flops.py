"""Claim: the FLOPs in the log are those of the models that the config names.

They are computed anew from the checkpoints' configuration files: for a draw, by its generator's
`expected_cost`, the evaluations of the network, the decoding, and what is encoded once (charged to
the draw that caused it, so it may be missing); for a verdict of detectors the looking, and the
naming of every colour. What is known in part only, such as draws with feedback, is held to a lower
bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, product
from typing import cast

from benchmarks.base import GradingPasses
from harness.audit.audited_run import AuditedRun, Row, named_draw, requested
from harness.audit.regenerator import checkpoints_here
from harness.audit.result import CannotCheck, Problems, Result, checkable, concluded, count
from harness.errors import HarnessError, first_line
from harness.identity import Earlier
from harness.log.schema import ANSWERED, DRAW
from harness.records import Role
from harness.registry import GENERATORS, JUDGES

_ROLES = (Role.GENERATOR, Role.JUDGE, Role.SCORER)

_COLUMNS = ("prompt", "round", *DRAW[1:], "detections", "generator_nfe",
            *(name for role in _ROLES for name in (ANSWERED[role], f"{role}_flops")))  # fmt: skip

Test = Callable[[Row], str]
"""Returns the fault of a row's FLOPs, or ""."""


def check(run: AuditedRun) -> Result:
    """Compute the FLOPs of every draw and verdict anew."""
    if run.imported:
        raise CannotCheck("nobody knows what made the images, nor how large they were")
    tests: dict[Role, Test] = {}
    reasons = []
    if run.config.metric is not None:
        reasons.append("not of the metrics, whose passes nobody declares")
    for role in _ROLES:
        if role is Role.SCORER and run.config.scorer is None:
            continue
        if role is Role.JUDGE and not run.config.judged:
            continue
        try:
            tests[role] = _generator(run) if role is Role.GENERATOR else _grading(run, role)
        except CannotCheck as error:
            reasons.append(f"not of the {role}: {error}")
    if not tests:
        raise CannotCheck("; ".join(reasons))
    problems = Problems()
    numbers = bounded = 0
    for _, rows in run.draws_by_round(_COLUMNS):
        for row, (role, test) in product(rows, tests.items()):
            problem = ""
            if row[f"{role}_flops"] is not None:
                numbers += 1
                bounded += role is Role.GENERATOR and bool(row["feedback"])
                problem = test(row)
            elif row[ANSWERED[role]] is not None:
                problem = f"the {role} counted none"
            if problem:
                problems.add(f"{named_draw(row)}: {problem}")
    evidence = [f"of the {', '.join(tests)}, from the configuration of the checkpoints", *reasons]
    if bounded:
        evidence.append(f"{count(bounded, 'draw')} with feedback held to a lower bound")
    return concluded(count(numbers, "cost"), problems, evidence)


def _generator(run: AuditedRun) -> Test:
    """Of a generator that computes what a request takes."""
    spec = run.config.generator
    build = getattr(run.plugin(GENERATORS, spec.kind), "expected_cost", lambda *_: None)
    with checkable(), run.trusting(spec):
        cost_of = build(spec.loading(checkpoints_here(run, Role.GENERATOR)))
    if cost_of is None:
        raise CannotCheck(f"what a generator '{spec.kind}' takes is not known without running it")

    resolver, earlier = run.resolver, cast(Earlier, {})

    def test(row: Row) -> str:
        try:
            cost = cost_of(requested(resolver, row, earlier))
        except (HarnessError, TypeError, ValueError) as error:
            return f"what it takes cannot be computed: {first_line(error)}"
        nfe, flops = row["generator_nfe"], row["generator_flops"]
        if cost.nfe is not None and nfe != cost.nfe:
            return f"{nfe} NFE, not {cost.nfe}"
        least = nfe * cost.evaluation + cost.decoding
        if not cost.complete:
            fits = flops >= least * (1 - 1e-9)
            return "" if fits else f"{flops:.6g} FLOPs, at least {least:.6g} are taken"
        sums = [
            math.fsum((least, *chosen))
            for number in range(len(cost.once) + 1)
            for chosen in combinations(cost.once, number)
        ]
        return _mismatch(flops, sums)

    return test


def _grading(run: AuditedRun, role: Role) -> Test:
    """Of a judge or scorer that says what it runs."""
    from harness.flops import count as operations

    spec, size = getattr(run.config, role.value), run.config.generator.settings
    loading = spec.loading(checkpoints_here(run, role))
    passes: GradingPasses | None
    height, width = size.get("height"), size.get("width")
    if not isinstance(height, int) or not isinstance(width, int):
        raise CannotCheck("the config does not say how large the images are")
    with checkable():
        if role is Role.SCORER:
            passes = run.benchmark.grading_passes(loading, height, width)
        else:
            build = getattr(run.plugin(JUDGES, spec.kind), "grading_passes", lambda *_: None)
            passes = build(loading, run.benchmark, height, width)
    if passes is None:
        name = spec.kind or run.config.benchmark.name
        raise CannotCheck(f"what a {role} '{name}' takes is not known without running it")
    look, color = operations(passes.image), operations(passes.color)
    colored = {prompt.id for prompt in run.prompts if passes.asks_color(prompt)}

    def test(row: Row) -> str:
        flops = row[f"{role}_flops"]
        if role is Role.SCORER:
            named_colors = sum(d["color"] is not None for d in row["detections"] or ())
            return _mismatch(flops, [look + named_colors * color])
        # How many colours a judge named is not logged: some, where the prompt asks for any.
        crops = round((flops - look) / color) if row["prompt_id"] in colored else 0
        return _mismatch(flops, [look + max(crops, 0) * color])

    return test


def _mismatch(flops: float, expected: Sequence[float]) -> str:
    if any(math.isclose(flops, value, rel_tol=1e-9) for value in expected):
        return ""
    return f"{flops:.6g} FLOPs, not {' or '.join(dict.fromkeys(f'{v:.6g}' for v in expected))}"
