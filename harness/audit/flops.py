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
from pathlib import Path
from typing import Any

from benchmarks.geneval.detectors.registry import DEFAULT_BACKEND
from harness.audit.remade import checkpoints_here
from harness.audit.result import CannotCheck, Problems, Result, concluded, count
from harness.audit.subject import Row, Subject, named
from harness.records import Role

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
            tests[role] = _generator(subject) if role is Role.GENERATOR else _looking(subject, role)
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


def _looking(subject: Subject, role: Role) -> Test:
    """Of a judge or scorer that looks as GenEval's does."""
    from harness.audit.recount.networks import detecting, naming_a_color

    spec = getattr(subject.config, role.value)
    looks = role is Role.SCORER or spec.kind in ("detector", "oracle")
    if subject.config.benchmark.name != "geneval" or not looks:
        raise CannotCheck(f"what a {role} '{spec.kind or subject.config.benchmark.name}' takes is "
                          "not known here")  # fmt: skip
    backend = str(spec.settings.get("backend", DEFAULT_BACKEND))
    paths = checkpoints_here(subject, role)
    size: Any = subject.config.generator.settings
    look = detecting(Path(paths["detector"]), size["height"], size["width"], backend)
    if look is None:
        raise CannotCheck("its detector's network is not built from a configuration alone")
    color = naming_a_color(Path(paths["colors"]))
    colored = {
        prompt.id
        for prompt in subject.prompts
        if any("color" in wanted for wanted in prompt.metadata.get("include", ()))
    }

    def test(row: Row) -> str:
        found = row[f"{role}_flops"]
        if role is Role.SCORER:
            named_colors = sum(d["color"] is not None for d in row["detections"] or ())
            return _unlike(found, [look + named_colors * color])
        # How many colours a judge named is not logged: some, where the prompt asks for any.
        crops = round((found - look) / color) if row["prompt_id"] in colored else 0
        return _unlike(found, [look + max(crops, 0) * color])

    return test


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
