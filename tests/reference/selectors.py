"""What a selector is worth at every budget, search by search, from first principles.

Over all subsets of n of a search's N draws by counting them (exact integers of `math.comb`), or by
driving the strategy again at a smaller budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import groupby, pairwise

from harness.replay import Replayed
from tests.reference.counted import COSTS, Counted, Drawn, added, worth

SUBSETS = ("score", "accepted", "oracle", "random")
REPLAYS = ("strategy", "score", "oracle", "random")

Worth = tuple[float, dict[str, float]]
"""A selector's expected score, and what the search is expected to spend."""


@lru_cache(maxsize=1 << 16)
def none_of(few: int, draws: int, n: int) -> float:
    """Share of the subsets of n of some draws that hold none of a few."""
    return math.comb(draws - few, n) / math.comb(draws, n)


def over_subsets(search: Counted, selector: str, n: int) -> Worth:
    """A selector's worth over all subsets of n of a search's draws."""
    draws = search.draws
    if not draws:
        return math.nan, dict.fromkeys(COSTS, 0.0)
    size = len(draws)
    scored = [draw for draw in draws if draw.scored]
    graded = partial(_by_level, draws)
    everyone = search.spent()
    spent = {name: everyone[name] / size * n for name in COSTS}

    def some(these: Sequence[Drawn]) -> float:
        return 1 - none_of(len(these), size, n)

    if selector == "oracle":
        return _given(graded(some), some(scored)), spent
    answered = [draw for draw in draws if draw.answered]
    if selector == "random":
        return worth(answered), spent
    if selector == "score":
        best = partial(_best, draws, n)
        return _given(graded(best), best(scored)), spent
    taken = [draw for draw in draws if draw.accepted]
    refused = [draw for draw in answered if not draw.accepted]

    def first(these: Sequence[Drawn]) -> float:
        accepted, others = ([d for d in these if d.accepted is which] for which in (True, False))
        chance = _share(accepted, taken) * some(taken)
        return chance + _share(others, refused) * (some(answered) - some(taken))

    until = sum(none_of(len(taken), size, before) for before in range(n))
    before, last = [d for d in draws if not d.accepted], taken
    rejected, accepted = added([d.spent for d in before]), added([d.spent for d in last])
    costs = {
        name: rejected[name] / max(len(before), 1) * (until - some(taken))
        + accepted[name] / max(len(last), 1) * some(taken)
        for name in COSTS
    }
    return _given(graded(first), first(scored)), costs


def _by_level(draws: Sequence[Drawn], chance: Callable[[Sequence[Drawn]], float]) -> float:
    """Expected grade of what is selected: over levels, the chance that it reaches the level."""
    levels = sorted({draw.value for draw in draws if draw.value > 0})
    return sum(
        (level - below) * chance([draw for draw in draws if draw.value >= level])
        for below, level in pairwise([0.0, *levels])
    )


def _given(grade: float, known: float) -> float:
    """Expected grade of what is selected, given that it has a score."""
    return grade / known if known > 0 else math.nan


def _share(part: Sequence[Drawn], whole: Sequence[Drawn]) -> float:
    return len(part) / len(whole) if whole else 0.0


def _best(draws: Sequence[Drawn], n: int, marked: Sequence[Drawn]) -> float:
    """Chance that the best of n by the judge's score is marked; equal scores share the choice."""
    ranked = sorted(draws, key=lambda draw: -draw.score)
    chance, above = 0.0, 0
    for score, group in groupby(ranked, key=lambda draw: draw.score):
        tied = list(group)
        first = none_of(above, len(draws), n) - none_of(above + len(tied), len(draws), n)
        if score > -math.inf:
            chance += first * sum(draw in marked for draw in tied) / len(tied)
        above += len(tied)
    return chance


def replayed(search: Counted, selector: str, result: Replayed) -> Worth:
    """A selector's worth among the draws that a replay asked for."""
    asked = [draw for draw in search.draws if draw.index in set(result.asked)]
    spent = added([draw.spent for draw in asked])
    answered = [draw for draw in asked if draw.answered]
    if selector == "strategy":
        return worth([d for d in asked if d.index == result.selected]), spent
    if selector == "oracle":
        return max((draw.value for draw in asked if draw.scored), default=math.nan), spent
    if selector == "random":
        return worth(answered), spent
    best = max(answered, key=lambda draw: (draw.score, -draw.index), default=None)
    return worth([best] if best is not None else []), spent
