"""What models can do of what a strategy may ask of them, checked before anything is loaded."""

from __future__ import annotations

from harness.errors import UsageError
from harness.models.remote_code import remote_code
from harness.models.suites import ModelSpec
from harness.options import describe
from harness.records import Ability, whole_steps
from harness.registry import GENERATORS, JUDGES
from strategies.base import Strategy

_OF_GENERATORS = {
    Ability.FEEDBACK: "conditions draws on feedback",
    Ability.PARTIAL: "stops draws before their last step and continues them",
}
"""What a strategy does that needs an ability of the generator."""

_OF_JUDGES = {
    Ability.FEEDBACK: "conditions draws on what a judge says",
    Ability.REPLY: "asks a judge questions",
}
"""Likewise of the judge."""


def abilities_of(generator: ModelSpec) -> frozenset[Ability]:
    """Return what a generator can do of what a strategy may need."""
    factory = GENERATORS.get(generator.kind)
    own = getattr(factory, "abilities_for", None)
    with remote_code(trusted=generator.trust_remote_code):
        abilities: frozenset[Ability] = own(generator.checkpoints) if own else factory.abilities
    return abilities


def has_scale(judge: ModelSpec) -> bool:
    """Return whether a judge's scores compare images of different searches."""
    own = getattr(JUDGES.get(judge.kind), "has_scale", None)
    return own is None or bool(own(judge.settings))


def check_abilities(
    strategy: Strategy, generator: ModelSpec, judge: ModelSpec, budget: int
) -> None:
    """See that models have what a strategy needs, and that its options fit them.

    Raises:
        UsageError: They lack something, nobody judges what the strategy chooses among, or its
            options do not fit.
    """
    makers = abilities_of(generator)
    factory = GENERATORS.get(generator.kind)
    judges = getattr(JUDGES.get(judge.kind), "abilities", frozenset({Ability.FEEDBACK}))
    for ability in sorted(strategy.needs()):
        if ability in _OF_GENERATORS and ability not in makers:
            raise UsageError(
                f"strategy '{strategy.name}' {_OF_GENERATORS[ability]}, which generator "
                f"'{generator.kind}' does not take"
                + (" with this checkpoint" if ability in factory.abilities else ""),
                "choose a --model whose generator does, or another --strategy",
            )
        if ability in _OF_JUDGES and ability not in judges:
            raise UsageError(
                f"strategy '{strategy.name}' {_OF_JUDGES[ability]}, and --judge {judge.kind} "
                "says nothing",
                "leave --judge out, name another, or choose another --strategy",
            )
    steps = whole_steps(generator.settings)
    if Ability.PARTIAL in strategy.needs() and steps < 2:
        raise UsageError(
            f"strategy '{strategy.name}' {_OF_GENERATORS[Ability.PARTIAL]}, and a draw of this "
            "run has no more than one",
            "give it more: -G num_inference_steps=20",
        )
    try:
        strategy.check(steps)
    except ValueError as error:
        raise UsageError(
            f"strategy '{strategy.name}' cannot search so: {error}",
            f"its options: {describe(type(strategy))}",
        ) from error
    if strategy.needs_scale and not has_scale(judge):
        raise UsageError(
            f"strategy '{strategy.name}' reads scores, and this --judge {judge.kind} only ranks "
            "the images of a search",
            "choose -J rule=vote or -J rule=minimum, or another --strategy",
        )
    if strategy.needs_judge and budget > 1 and judge.kind == "none":
        raise UsageError(
            f"strategy '{strategy.name}' keeps the draw that the judge prefers, and --judge none "
            f"prefers none: of {budget} draws it would keep one for no reason",
            "name a --judge, such as vlm=ORG/NAME; or draw without choosing: --strategy single, "
            "with --replicates for several images a prompt",
        )
