"""The ladder of batch sizes: large batches while many searches draw, small ones for the few left.

A row's bits depend on how many rows its batch has, so that number belongs to the draw, as its seed
does, and cannot follow from what happens to wait. One number for all draws is either slow for the
first round, where every search draws, or computes padding for the last ones, where a handful of
unsolved prompts draw one image at a time. So it goes by the round of the draw's search: how many
searches will get that far is guessed once, before the run, from its strategy and its number of
searches, and the sizes that follow from the guess are written into the config. A wrong guess costs
speed and never changes a result.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from harness.config import read_config
from harness.engine.searches import Search
from harness.errors import HarnessError
from harness.identity import Earlier, Resolver
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.plan import Plan
from harness.records import Candidate, Draw, Prompt, Question, Reply, Verdict
from harness.registry import GENERATORS, import_paths
from harness.seeds import seed

STEP = 4
"""Each rung has a quarter of the rows of the one above: few shapes to compile and to fill."""

FULL_BATCHES = 8
"""Batches that the draws of a round are expected to fill before a rung is worth it.

Of every kind of draw a short batch is left over here and there. Among eight full ones it computes
little in vain.
"""

MOST_PADDING = 1.15
"""Rows computed for each one asked for, at most, in the first round: its draws are known."""

SAMPLE = 32
"""Pretended searches. Their chances of acceptance are spread evenly from 0 to 1: half of the first
images are accepted, and of k rejected ones one in k + 2 is followed by an accepted one, as where
some prompts are easy and some are never solved."""


def laddered(plan: Plan) -> Plan:
    """Return the plan with batch sizes by round, where its generator can change them.

    Smaller sizes than the suite's (or `--batch-size`) are chosen for rounds that few searches
    reach; a plan whose every round is large stays as it is, and so does one whose strategy must
    not be rehearsed.
    """
    if not (takes_rows(plan) and plan.strategy.can_rehearse):
        return plan
    rows = ladder(rehearsed(plan), plan.config.generator.batch_size)
    return replace(plan, config=plan.config.model_copy(update={"batch_rows": rows}))


def takes_rows(plan: Plan) -> bool:
    """Return whether a plan's generator can change the number of rows from batch to batch."""
    with import_paths(allowed=True):  # the plan's own, which has been imported before
        return bool(getattr(GENERATORS.get(plan.config.generator.kind), "takes_rows", False))


def as_begun(plan: Plan, folder: RunFolder) -> Plan:
    """Return the plan with the batch sizes of the run in a folder, if they are all that differs.

    The same command goes on with the same run, although its prompts may be fewer or more by now
    (which is another's business to refuse) or the rule above may be another program's.
    """
    try:
        config = read_config(Manifest.read(folder.manifest).config)
    except (HarnessError, OSError):
        return plan  # no run; whoever opens it will say so
    begun = plan.config.model_copy(update={"batch_rows": config.batch_rows})
    return replace(plan, config=begun) if begun.digest == config.digest else plan


@dataclass(frozen=True)
class Round:
    """A round of all searches of a plan, as far as it can be guessed.

    Attributes:
        draws: How many draws of a kind are asked for; only draws of a kind share a batch.
        kinds: How many kinds there are.
    """

    draws: float
    kinds: int


def ladder(rounds: Sequence[Round], most: int) -> tuple[int, ...]:
    """Return the rows of a batch, round by round; the last holds for all later rounds.

    Empty if every round of the plan (`rehearsed`) has the most.
    """
    rungs: list[int] = []
    for expected in (round.draws for round in rounds):
        size = rungs[-1] if rungs else most
        # A round that is known is to leave little of its last batch empty; draws of a guessed one
        # come bit by bit.
        while size > 1 and not (
            expected >= FULL_BATCHES * size
            if rungs
            else math.ceil(expected / size) * size <= MOST_PADDING * expected
        ):
            size = max(1, size // STEP)
        rungs.append(size)
        if size == 1:
            break
    while len(rungs) > 1 and rungs[-1] == rungs[-2]:
        rungs.pop()
    return () if rungs == [most] else tuple(rungs)


def batches(rounds: Sequence[Round], rungs: Sequence[int]) -> Counter[int]:
    """Return how many batches of each number of rows are to be expected.

    The last of the rungs, the rows of a batch by round, holds for all later rounds.
    """
    counts: Counter[int] = Counter()
    for number, round in enumerate(rounds):
        size = rungs[min(number, len(rungs) - 1)]
        counts[size] += round.kinds * math.ceil(round.draws / size)
    return counts


def rehearsed(plan: Plan) -> list[Round]:
    """Return the rounds that a plan's searches will take if they go as the fake ones."""
    rounds = []
    scale = len(plan.prompts) * plan.config.replicates / SAMPLE
    resolver = Resolver.of(plan.config.model_copy(update={"batch_rows": ()}))
    chances = [(n + 0.5) / SAMPLE for n in range(SAMPLE)]
    unseeded = plan.config.model_copy(update={"seed": 0})
    prompts = [Prompt(f"{n:06d}", "a thing") for n in range(SAMPLE)]
    searches = [Search.of(unseeded, plan.strategy, prompt, 0) for prompt in prompts]
    asked = [list(search.start()) for search in searches]
    earlier: list[Earlier] = [{} for _ in searches]
    while any(asked):
        kinds: Counter[Hashable] = Counter()
        for number, search in enumerate(searches):
            items, asked[number] = asked[number], []
            for draw in items:
                if isinstance(draw, Question):
                    asked[number] += search.answer(fake_reply(draw))
                    continue
                request = resolver.resolve(search.prompt, 0, draw, earlier=earlier[number])
                kinds[resolver.shape(request)] += 1
                candidate = fake_candidate(0, search.prompt, 0, draw, request.id, chances[number])
                asked[number] += search.answer(candidate)
        if kinds:  # a round of questions draws nothing
            rounds.append(Round(sum(kinds.values()) / len(kinds) * scale, len(kinds)))
    return rounds


def fake_reply(question: Question) -> Reply:
    """Return the answer to a question without a model."""
    return Reply(question, f"reply {question.index}")


def fake_candidate(
    run_seed: int, prompt: Prompt, replicate: int, draw: Draw, id: str, chance: float
) -> Candidate:
    """Return a draw's answer without a model: accepted with a chance, by seed and place alone."""
    value = seed(run_seed, prompt.id, replicate, draw.index, "simulated") / 2**63
    accepted = value < chance
    sentence = "" if accepted else f"wrong in way {draw.index}"
    return Candidate(draw, id, id, Verdict(accepted, 1 - value, sentence))
