"""Stand-ins for models: instant, deterministic, and able to fail on command.

Named on the command line or in a suite by import path (`tests.stubs:StubGenerator`), so they
take the very road that real ones take, on every executor.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from benchmarks.base import Benchmark
from harness.records import (
    Ability,
    Answer,
    Candidate,
    Cost,
    Detection,
    Draw,
    Evidence,
    Feedback,
    Image,
    Inquiry,
    Loading,
    Look,
    Made,
    Prompt,
    Question,
    Request,
    Score,
    Start,
    Task,
    Verdict,
    whole_steps,
)
from strategies.base import Rounds, Strategy, best

SIDE = 8

DYING_SECONDS = 0.5
"""A process that dies at once takes the answer before it along, if that is still on its way."""

SUITE = """\
name = "stub"
miniature = true

[generator]
kind = "tests.stubs:StubGenerator"
checkpoints = {{ faults = "{faults}" }}
dtype = "float32"
batch_size = 4

[judge]
kind = "tests.stubs:StubJudge"
checkpoints = {{ faults = "{faults}" }}
dtype = "float32"
batch_size = 4

[scorer]
checkpoints = {{ faults = "{faults}" }}
dtype = "float32"
batch_size = 4
"""


class Faults:
    """Faults to come, as files in a folder that all workers share.

    A token `ROLE.KIND.NUMBER` strikes once, at the next batch of that role, and is gone. A
    token `ROLE.KIND.on-WORD` strikes whenever the batch has a prompt with that word, one
    `ROLE.KIND.once-WORD` the first time. They lie in a hidden folder so that they do not count
    towards the checkpoint's digest.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / ".faults"

    @classmethod
    def make(cls, folder: Path) -> Faults:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("{}")
        (folder / ".faults").mkdir(exist_ok=True)
        return cls(folder)

    def add(self, role: str, kind: str, which: int | str) -> None:
        (self.folder / f"{role}.{kind}.{which}").touch()

    def left(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def release(self) -> None:
        """Let go of all batches on hold."""
        (self.folder.parent / ".go").touch()

    def loaded(self) -> int:
        """How many generators have been loaded from this folder."""
        return len(list(self.folder.parent.glob(".loaded-*")))

    def strike(self, role: str, texts: Sequence[str]) -> str | None:
        """Suffer the next fault; returns the kind if it is one that spoils the output."""
        for path in sorted(self.folder.glob(f"{role}.*")):
            _, kind, which = path.name.split(".")
            when, dash, word = which.partition("-")
            if dash and not any(word in text for text in texts):
                continue
            if when != "on":
                try:
                    path.unlink()
                except FileNotFoundError:
                    continue
            if kind == "hold":
                while not (self.folder.parent / ".go").exists():
                    time.sleep(0.02)
                continue
            if kind in ("kill", "exit"):
                time.sleep(DYING_SECONDS)
            if kind == "hang":
                time.sleep(3600)
            if kind == "freeze":
                os.kill(os.getpid(), signal.SIGSTOP)
            if kind == "memory":
                raise MemoryError("scripted")
            if kind == "error":
                raise RuntimeError("scripted failure")
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)
            if kind == "exit":
                os._exit(1)
            if kind == "sysexit":
                sys.exit(1)
            return kind
        return None


def _hash(*parts: object) -> bytes:
    return hashlib.sha256(json.dumps([str(p) for p in parts]).encode()).digest()


@dataclass(frozen=True)
class StubSettings:
    height: int = SIDE
    width: int = SIDE
    num_inference_steps: int = 2


class StubGenerator:
    """Pictures made of a hash of everything that should determine them."""

    Settings = StubSettings
    abilities = frozenset({Ability.FEEDBACK, Ability.PARTIAL})
    takes_rows = True

    def __init__(self, faults: Faults | None, batch_size: int) -> None:
        self.faults = faults
        self.batch_size = batch_size

    @classmethod
    def load(cls, loading: Loading) -> StubGenerator:
        folder = loading.checkpoints.get("faults")
        faults = Faults(folder) if folder else None
        if faults is not None:
            faults.strike("load", [])
            (faults.folder.parent / f".loaded-{os.getpid()}").touch()
        return cls(faults, loading.batch_size)

    def generate(self, requests: Sequence[Request]) -> list[Made]:
        if not requests:
            return []
        assert len(requests) <= (requests[0].rows or self.batch_size) <= self.batch_size
        assert len({r.rows for r in requests}) == 1, "mixed batch sizes"
        assert len({len(r.feedback) for r in requests}) == 1, "mixed buckets"
        kind = self.faults.strike("generator", [r.text for r in requests]) if self.faults else None
        assert len({(r.first, r.stop, r.renoise is None) for r in requests}) == 1, "mixed steps"
        made = [self._make(r) for r in requests]
        first = made[0].image
        if kind == "black":
            made[0] = replace(made[0], image=np.zeros_like(first))
        if kind == "nan":
            made[0] = replace(made[0], image=np.full(first.shape, np.nan, np.float32))  # type: ignore[arg-type]
        if kind == "shape":
            made[0] = replace(made[0], image=first[:-1])
        if kind == "short":
            made.pop()
        return made

    def _make(self, request: Request) -> Made:
        """A trajectory is all that determined it: noise, and fresh noise at steps."""
        made, whole = request.last - request.first, whole_steps(request.settings)
        path: list[object] = [list(request.noise[1:])] if request.noise[1:] else []
        seed = request.seed
        if request.start is not None:
            assert request.state is not None, "a request without the state that it starts from"
            seed, path, step = json.loads(request.state)
            assert step == request.start.last
            if request.renoise is not None:
                path.append([request.renoise, request.noise])
        cost = Cost(nfe=2 * made, flops=5e8 * made)
        state = None if request.stop is None else json.dumps([seed, path, request.stop]).encode()
        preview = [] if request.last == whole else [f"after {request.last} steps"]
        return Made(self._paint(request, seed, [*path, *preview]), cost, state)

    def _paint(self, request: Request, seed: int, path: list[object]) -> Image:
        context = [(f.sentence, request.images[f.draw_id].tobytes()) for f in request.feedback]
        settings: list[object] = sorted(request.settings.items())
        if request.rows not in (0, self.batch_size):  # as with a real model's last bits
            settings.append(request.rows)
        state = _hash(request.text, seed, settings, context, *path)
        rng = np.random.default_rng(int.from_bytes(state[:8], "big"))
        shape = (int(request.settings["height"]), int(request.settings["width"]), 3)
        return rng.integers(0, 256, shape, dtype=np.uint8)


class StubJudge:
    """A score from the picture's bytes; accepts one in six. Answers questions with a hash."""

    abilities = frozenset({Ability.FEEDBACK, Ability.REPLY})

    def __init__(self, faults: Faults | None) -> None:
        self.faults = faults

    @classmethod
    def load(cls, loading: Loading, benchmark: Benchmark) -> StubJudge:
        folder = loading.checkpoints.get("faults")
        return cls(Faults(folder) if folder else None)

    def judge(
        self, prompts: Sequence[Prompt], images: Sequence[Image], seeds: Sequence[int]
    ) -> list[tuple[Verdict, Cost]]:
        kind = self.faults.strike("judge", [p.text for p in prompts]) if self.faults else None
        result = []
        for prompt, image, seed in zip(prompts, images, seeds, strict=True):
            score = _hash("judge", prompt.text, image.tobytes(), seed)[0] / 255
            verdict = Verdict(
                score > 5 / 6, score, "" if score > 5 / 6 else f"wrong by {score:.3f}"
            )
            result.append((verdict, Cost(flops=1e6, tokens=3)))
        if kind == "nan":
            result[0] = (replace(result[0][0], score=float("nan")), result[0][1])
        return result

    def reply(self, inquiries: Sequence[Inquiry]) -> list[tuple[str, Cost]]:
        asked = [i.text for i in inquiries]
        kind = self.faults.strike("judge", asked) if self.faults else None
        replies = []
        for inquiry in inquiries:
            shown = [image.tobytes() for image in inquiry.images]
            state = _hash("reply", inquiry.prompt.text, inquiry.text, inquiry.seed, shown).hex()
            replies.append((f"{inquiry.prompt.text}, {state[:6]}", Cost(flops=1e6, tokens=5)))
        if kind == "nan":
            replies[0] = (None, replies[0][1])  # type: ignore[assignment]
        return replies


class StubScorer:
    """Correct or not by the picture's bytes."""

    def __init__(self, faults: Faults | None) -> None:
        self.faults = faults

    def score(self, prompts: Sequence[Prompt], images: Sequence[Image]) -> list[tuple[Score, Cost]]:
        kind = self.faults.strike("scorer", [p.text for p in prompts]) if self.faults else None
        result = []
        for prompt, image in zip(prompts, images, strict=True):
            state = _hash("scorer", prompt.text, image.tobytes())
            correct = state[0] < 128
            box = (0.0, 0.0, float(state[1]), float(state[2]))
            detection = Detection("cat", box, state[3] / 255, "red" if correct else None)
            score = Score.of(correct, "" if correct else "expected cat>=1, found 0", (detection,))
            result.append((score, Cost(flops=1e6)))
        if kind == "nan":
            broken = replace(result[0][0].detections[0], score=float("nan"))
            result[0] = (replace(result[0][0], evidence=(broken,)), result[0][1])
        return result


@dataclass(frozen=True)
class MetricSettings:
    sign: float = 1.0


class StubMetric:
    """A number from the picture's bytes, on a scale from 0 to 10."""

    Settings = MetricSettings
    main_part = "faults"
    checkpoints: ClassVar[Mapping[str, str]] = {}

    def __init__(self, faults: Faults, sign: float) -> None:
        self.faults = faults
        self.sign = sign

    @classmethod
    def load(cls, loading: Loading) -> StubMetric:
        sign = float(loading.settings.get("sign", 1.0) or 0.0)
        return cls(Faults(loading.checkpoints["faults"]), sign)

    def measure(self, looks: Sequence[Look]) -> list[tuple[float, Cost]]:
        kind = self.faults.strike("metric", [look.prompt.text for look in looks])
        values = [
            self.sign * _hash("metric", look.prompt.text, look.image.tobytes())[0] / 25.5
            for look in looks
        ]
        if kind == "nan":
            values[0] = float("nan")
        return [(value, Cost(flops=1e6)) for value in values]


class OtherMetric(StubMetric):
    """The opposite, as another metric would be."""

    def measure(self, looks: Sequence[Look]) -> list[tuple[float, Cost]]:
        return [(-value, cost) for value, cost in super().measure(looks)]


@dataclass(frozen=True)
class StubBenchmark(Benchmark):
    """Some prompts in two tags."""

    name: ClassVar[str] = "stub"
    parts: ClassVar[Mapping[str, str]] = {"faults": ""}
    size: Annotated[int, Field(ge=0, le=10_000)] = 10

    def prompts(self) -> list[Prompt]:
        return [
            Prompt(f"{i:05d}", f"thing {i}", "odd" if i % 2 else "even") for i in range(self.size)
        ]

    def load_scorer(self, loading: Loading) -> StubScorer:
        folder = loading.checkpoints.get("faults")
        return StubScorer(Faults(folder) if folder else None)


class GradedScorer:
    """Asks two questions of an image, whose answers its bytes give: grades 0.25, 0.5 and 1."""

    def score(self, prompts: Sequence[Prompt], images: Sequence[Image]) -> list[tuple[Score, Cost]]:
        scores = []
        for prompt, image in zip(prompts, images, strict=True):
            state = _hash("graded", prompt.text, image.tobytes())
            answers = (
                Answer("Is it a thing?", "yes", "yes", 0.5 if state[0] % 2 else 1.0),
                Answer("Is it red?", "yes", "", 0.25 if state[1] % 2 else 1.0, 2.0, (0,), "color"),
            )
            scores.append((grade(answers), Cost(flops=1e6)))
        return scores


def grade(answers: Evidence) -> Score:
    """The least probability; a question whose parent is not certain is not asked."""
    probability = {n: a.probability or 0.0 for n, a in enumerate(answers) if isinstance(a, Answer)}
    value = probability[0] if probability[0] < 1 else probability[1]
    return Score(value, value == 1, "" if value == 1 else f"only {value:g} is right", answers)


@dataclass(frozen=True)
class GradedBenchmark(StubBenchmark):
    """The same prompts with grades between wrong and right."""

    name: ClassVar[str] = "graded"

    def load_scorer(self, loading: Loading) -> GradedScorer:  # type: ignore[override]
        return GradedScorer()

    def rescore(self, prompt: Prompt, evidence: Evidence, settings: Mapping[str, Any]) -> Score:
        return grade(evidence)


CHAIN = "tests.stubs:Chain"


@dataclass(frozen=True)
class Chain(Strategy):
    """Draws one at a time, each with feedback on the last two."""

    name: ClassVar[str] = "chain"

    def needs(self) -> frozenset[Ability]:
        return frozenset({Ability.FEEDBACK})

    def search(self, task: Task) -> Rounds:
        seen: list[Candidate] = []
        for index in range(task.budget):
            context = tuple(
                Feedback(c.id, c.verdict.sentence) for c in seen[-2:] if c.verdict is not None
            )
            seen += yield [Draw(index, context)]
            if seen[-1].accepted:
                break
        return best(seen)


REWRITER = "tests.stubs:Rewriter"


@dataclass(frozen=True)
class Rewriter(Strategy):
    """Asks the judge for a better wording after every rejected image, and draws that."""

    name: ClassVar[str] = "rewriter"

    def needs(self) -> frozenset[Ability]:
        return frozenset({Ability.REPLY})

    def search(self, task: Task) -> Rounds:
        """Draw, ask about the image, draw the reply, and so on."""
        seen: list[Candidate] = yield [Draw(0)]
        for index in range(1, task.budget):
            if not seen[-1].ok:
                continue
            text = f"How else to say '{task.prompt}'?"
            (reply,) = yield [Question(index - 1, text, (seen[-1].id,))]
            seen += yield [Draw(index, text=reply.text if reply.ok else None)]
            if seen[-1].accepted:
                break
        return best(seen)


HALVES = "tests.stubs:Halves"


@dataclass(frozen=True)
class Halves(Strategy):
    """Draws twice as many as its budget up to half of the steps; the better half goes on.

    Attributes:
        renoise: Whether the best one goes on a second time, from fresh noise at its first step.
    """

    name: ClassVar[str] = "halves"
    renoise: bool = False

    def needs(self) -> frozenset[Ability]:
        return frozenset({Ability.PARTIAL})

    def search(self, task: Task) -> Rounds:
        """Draw halves, judge their previews, continue."""
        half = task.steps // 2
        if half == 0 or task.budget < 2:
            whole = yield [Draw(0)]
            return best(whole)
        number = task.budget
        previews: list[Candidate] = yield [Draw(i, stop=half) for i in range(number)]
        ranked = sorted((p for p in previews if p.ok), key=lambda p: -p.score)
        if not ranked:
            return None
        saved = ranked[: max(1, number // 2 - self.renoise)]
        draws = [Draw(number + i, start=Start(p.id)) for i, p in enumerate(saved)]
        if self.renoise:
            draws.append(Draw(2 * number, start=Start(ranked[0].id, renoise=0)))
        ends = yield draws[: max(1, number // 2)]
        return best(ends) or best(previews)


def make_stub_suite(folder: Path) -> tuple[Path, Faults]:
    """A suite of stubs, and the faults that can be made to strike them."""
    faults = Faults.make(folder / "faults")
    suite = folder / "stub.toml"
    suite.write_text(SUITE.format(faults=folder / "faults"))
    return suite, faults
