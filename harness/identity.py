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
from harness.records import Draw, Prompt, Request, Role, Setting
from harness.seeds import canonical_json, draw_id, seed


def usual_shape(request: Request[Any]) -> Hashable:
    """Return the batch shape of a generator that does not say otherwise.

    Requests share a batch if they are equal in settings and in their number of feedbacks.
    """
    return len(request.feedback), canonical_json(dict(request.settings))


@dataclass(frozen=True)
class Resolver:
    """Resolves the draws of one run.

    Attributes:
        generator: The generator's identity, part of every draw's.
        seed: The run's seed.
        settings: The run's sampler settings, complete.
        shape: A request's batch shape: only requests of equal shape share a batch.
    """

    generator: str
    seed: int
    settings: Mapping[str, Setting] = field(default_factory=dict)
    shape: Callable[[Request[Any]], Hashable] = usual_shape

    @classmethod
    def of(cls, config: RunConfig, factory: Any = None) -> Resolver:
        """Return the resolver of a run.

        Args:
            config: The run's.
            factory: The generator's class; without it batches have the usual shapes.
        """
        name, spec = generator_identity(config), config.generator
        return cls(name, config.seed, spec.settings, shape_of(factory))

    def resolve(self, prompt: Prompt, replicate: int, draw: Draw) -> Request[Any]:
        """Return a draw with its defaults filled in and its identity.

        Args:
            prompt: What is searched for.
            replicate: Which independent search of the prompt.
            draw: The strategy's request.

        Raises:
            ValueError: A setting is NaN or infinite, so that nothing can be hashed.
            TypeError: A setting is not JSON-like.
        """
        text = draw.text if draw.text is not None else prompt.text
        noise_seed = seed(self.seed, prompt.id, replicate, draw.index, "noise")
        settings = {**self.settings, **draw.settings}
        name = draw_id(
            generator=self.generator,
            text=text,
            noise_seed=noise_seed,
            settings=settings,
            feedback=tuple((f.draw_id, f.sentence) for f in draw.feedback),
        )
        return Request(name, text, noise_seed, settings, draw.feedback)


def shape_of(factory: Any) -> Callable[[Request[Any]], Hashable]:
    """Return what gives the batch shapes of a generator, by its class."""
    shape: Callable[[Request[Any]], Hashable] = getattr(factory, "shape", usual_shape)
    return shape


def judge_seed(draw_id: str) -> int:
    """Return the seed of a judge that samples its answer about a draw."""
    return int(draw_id[:15], 16)


def generator_identity(config: RunConfig) -> str:
    """Return the identity of a config's generator, part of every draw's."""
    prefix = f"{Role.GENERATOR}."
    own = {
        name.removeprefix(prefix): value
        for name, value in config.digests.items()
        if name.startswith(prefix)
    }
    return identity(config.generator, own)
