"""Claim: the FLOPs in the log are those of the models that the config names.

They are computed anew from the checkpoints' configuration files, by a counter of its own: for a
draw the evaluations of the transformer, the decoding, and the encoding of its prompt (charged to
the draw that caused it, so it may be missing, and the first of a batch may bear the empty
prompt's); for a verdict of detectors the looking, and the naming of every colour. Draws with
feedback are held to what they would take without, as a lower bound.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.base import GradingPasses
from harness.audit.remade import checkpoints_here
from harness.audit.result import CannotCheck, Problems, Result, concluded, count
from harness.audit.subject import Row, Subject, named
from harness.errors import HarnessError
from harness.records import Role
from harness.registry import JUDGES

NAME = "flops"

_ANSWER = {Role.GENERATOR: "image", Role.JUDGE: "accepted", Role.SCORER: "correct"}

_COLUMNS = (
    "settings",
    "feedback",
    *_ANSWER.values(),
    "detections",
    "generator_nfe",
    *(f"{role}_flops" for role in Role),
)

Test = Callable[[Row], str]
"""What is wrong with a row's FLOPs, or ""."""


def check(subject: Subject) -> Result:
    """Compute the FLOPs of every draw and verdict anew."""
    if subject.foreign:
        raise CannotCheck("nobody knows what made the images, nor how large they were")
    tests: dict[Role, Test] = {}
    reasons = []
    for role in Role:
        if role is Role.SCORER and subject.config.scorer is None:
            continue
        if role is Role.JUDGE and not subject.config.judged:
            continue
        try:
            tests[role] = _generator(subject) if role is Role.GENERATOR else _grading(subject, role)
        except CannotCheck as error:
            reasons.append(f"not of the {role}: {error}")
    if not tests:
        raise CannotCheck("; ".join(reasons))
    problems = Problems()
    numbers = bounded = 0
    for key, rows in subject.by_search(_COLUMNS):
        for row in rows:
            for role, test in tests.items():
                if row[f"{role}_flops"] is None:
                    if row[_ANSWER[role]] is not None:
                        problems.add(f"{named(key, row['draw_index'])}: the {role} counted none")
                    continue
                numbers += 1
                bounded += role is Role.GENERATOR and bool(row["feedback"])
                if problem := test(row):
                    problems.add(f"{named(key, row['draw_index'])}: {problem}")
    evidence = [f"of the {', '.join(tests)}, from the configuration of the checkpoints", *reasons]
    if bounded:
        evidence.append(f"{count(bounded, 'draw')} with feedback held to a lower bound")
    return concluded(NAME, count(numbers, "cost"), problems, evidence)


def _generator(subject: Subject) -> Test:
    from harness.audit.recount.networks import SanaNetworks

    spec = subject.config.generator
    if spec.kind not in ("sana", "reflect-dit"):
        raise CannotCheck(f"what a generator '{spec.kind}' takes is not known here")
    paths = checkpoints_here(subject, Role.GENERATOR)
    networks = SanaNetworks(paths["pipeline"], paths.get("transformer"))
    before = (
        networks.instruction_tokens(_instruction())
        if spec.settings.get("complex_human_instruction")
        else 0
    )

    def test(row: Row) -> str:
        own = {**spec.settings, **json.loads(row["settings"])}
        height, width, tokens = own["height"], own["width"], own["max_sequence_length"]
        rows = 2 if own["guidance_scale"] > 1 else 1
        nfe, found = row["generator_nfe"], row["generator_flops"]
        if networks.calls_a_step and nfe != own["num_inference_steps"] * rows:
            return f"{nfe} NFE in {own['num_inference_steps']} steps of {rows}"
        base = nfe * networks.denoising(height, width, tokens) + networks.decoding(height, width)
        if row["feedback"]:
            least = base * (1 - 1e-9)
            return "" if found >= least else f"{found:.6g} FLOPs, at least {base:.6g} are taken"
        prompt, empty = networks.encoding(tokens + before), networks.encoding(tokens)
        extra = [0.0, prompt, *([empty, prompt + empty] if rows == 2 else [])]
        return _unlike(found, [base + more for more in extra])

    return test


def _grading(subject: Subject, role: Role) -> Test:
    """Of a judge or scorer that says what it runs."""
    from harness.audit.recount.operations import operations

    spec, size = getattr(subject.config, role.value), subject.config.generator.settings
    loading = spec.loading(checkpoints_here(subject, role))
    passes: GradingPasses | None
    height, width = size.get("height"), size.get("width")
    if not isinstance(height, int) or not isinstance(width, int):
        raise CannotCheck("the config does not say how large the images are")
    try:
        if role is Role.SCORER:
            passes = subject.benchmark.grading_passes(loading, height, width)
        else:
            build = getattr(subject.plugin(JUDGES, spec.kind), "grading_passes", _unknown)
            passes = build(loading, subject.benchmark, height, width)
    except HarnessError as error:
        raise CannotCheck(error.message) from error
    if passes is None:
        name = spec.kind or subject.config.benchmark.name
        raise CannotCheck(f"what a {role} '{name}' takes is not known without running it")
    look, color = operations(passes.image), operations(passes.color)
    colored = {prompt.id for prompt in subject.prompts if passes.asks_color(prompt)}

    def test(row: Row) -> str:
        flops = row[f"{role}_flops"]
        if role is Role.SCORER:
            named_colors = sum(d["color"] is not None for d in row["detections"] or ())
            return _unlike(flops, [look + named_colors * color])
        # How many colours a judge named is not logged: some, where the prompt asks for any.
        crops = round((flops - look) / color) if row["prompt_id"] in colored else 0
        return _unlike(flops, [look + max(crops, 0) * color])

    return test


def _unknown(*_: Any) -> None:
    """Stand for `grading_passes` of a judge that leaves it out."""


def _unlike(found: float, expected: Sequence[float]) -> str:
    if any(math.isclose(found, value, rel_tol=1e-9) for value in expected):
        return ""
    return f"{found:.6g} FLOPs, not {' or '.join(_distinct(expected))}"


def _distinct(values: Sequence[float]) -> Iterator[str]:
    yield from dict.fromkeys(f"{value:.6g}" for value in values)


def _instruction() -> str:
    """SANA's instruction, from the pipeline that owns it."""
    from diffusers import SanaPipeline

    default: Any = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"]
    return "\n".join(default.default)
