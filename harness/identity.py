"""From a draw to its request, its name, its batch shape and its seeds: one place for all of them.

The engine, the simulation, the audit and the benchmark of speed all resolve draws here, so a draw
cannot be one thing where it is made and another where it is checked or predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.config import RunConfig
from harness.models.suites import identity
from harness.records import Draw, Noise, Prompt, Question, Request, Role, Setting
from harness.seeds import canonical_json, draw_id, seed

Earlier = dict[str, Request[Any]]
"""The draws of a search from whose states later ones may start, resolved, by identity."""


def usual_shape(request: Request[Any]) -> Hashable:
    """Return what requests of a generator that does not say otherwise must have in common.

    Requests share a batch if they are equal in settings, in their number of feedbacks and in the
    steps that they make, from noise or from a state. Which noise that is plays no part.
    """
    start = (request.first, request.origin) if request.start is not None else None
    return len(request.feedback), canonical_json(dict(request.settings)), start, request.stop


@dataclass(frozen=True)
class Resolver:
    """Resolves the draws of one run.

    Attributes:
        generators: The generator's identity, part of every draw's, by the rows of its batches.
        settings: The run's sampler settings, complete.
        kind: What requests must have in common to share a batch, beside its rows.
        rows: Rows of a batch, by round; the last holds for all later rounds.
    """

    generators: Mapping[int, str]
    seed: int
    settings: Mapping[str, Setting] = field(default_factory=dict)
    kind: Callable[[Request[Any]], Hashable] = usual_shape
    rows: tuple[int, ...] = (1,)

    @classmethod
    def of(cls, config: RunConfig, factory: Any = None) -> Resolver:
        """Return a run's resolver; without its generator's class batches have the usual shapes."""
        spec, prefix = config.generator, f"{Role.GENERATOR}."
        of_role = {k: v for k, v in config.digests.items() if k.startswith(prefix)}
        own = {name.removeprefix(prefix): value for name, value in of_role.items()}
        rows = config.batch_rows or (spec.batch_size,)
        # A draw is the same whether its rows are one of a ladder's sizes or the run's only one.
        sized = {size: spec.model_copy(update={"batch_size": size}) for size in rows}
        names = {size: identity(each, own) for size, each in sized.items()}
        return cls(names, config.seed, spec.settings, shape_of(factory), rows)

    def shape(self, request: Request[Any]) -> Hashable:
        """Return a request's batch shape: only requests of equal shape share a batch."""
        return request.rows, self.kind(request)

    def resolve(
        self,
        prompt: Prompt,
        replicate: int,
        draw: Draw,
        round: int = 1,
        earlier: Earlier | None = None,
    ) -> Request[Any]:
        """Return a draw of a search's round, from 1, with its defaults filled in and its identity.

        It may start from earlier draws of the search, which it joins if it has a stop.

        Raises:
            ValueError: A setting is NaN or infinite, so that nothing can be hashed; or the draw
                starts from one that is not among the earlier ones.
            TypeError: A setting is not JSON-like.
        """
        text = draw.text if draw.text is not None else prompt.text
        named = draw.noise or Noise(draw.index)
        noise = tuple(
            (seed(self.seed, prompt.id, replicate, index, "noise"), cosine)
            for index, cosine in ((named.index, 1.0), *named.turns)
        )
        settings = {**self.settings, **draw.settings}
        rows = self.rows[min(round, len(self.rows)) - 1]
        begin, known = draw.start, {} if earlier is None else earlier
        if begin is not None and begin.draw_id not in known:
            raise ValueError(f"it starts from '{begin.draw_id}', which is no earlier draw")
        name = draw_id(
            generator=self.generators[rows],
            text=text,
            noise_seed=noise[0][0],
            settings=settings,
            feedback=tuple((f.draw_id, f.sentence) for f in draw.feedback),
            turns=[list(turn) for turn in noise[1:]],
            start=[begin.draw_id, begin.renoise] if begin is not None else None,
            stop=draw.stop,
        )
        request: Request[Any] = Request(
            name,
            text,
            noise,
            settings,
            draw.feedback,
            start=known[begin.draw_id] if begin is not None else None,
            renoise=begin.renoise if begin is not None else None,
            stop=draw.stop,
            rows=rows,
        )
        if draw.stop is not None:
            known[name] = request
        return request


def shape_of(factory: Any) -> Callable[[Request[Any]], Hashable]:
    """Return what gives the batch shapes of a generator, by its class."""
    shape: Callable[[Request[Any]], Hashable] = getattr(factory, "shape", usual_shape)
    return shape


def question_seed(run_seed: int, prompt: Prompt, replicate: int, question: Question) -> int:
    """Return the seed of a judge that samples its answer to a question."""
    return seed(run_seed, prompt.id, replicate, question.index, "question")


def judge_seed(draw_id: str) -> int:
    """Return the seed of a judge that samples its answer about a draw."""
    return int(draw_id[:15], 16)
