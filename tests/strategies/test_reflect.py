from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import Candidate, Draw, Feedback, Verdict
from harness.testing.strategies import StrategyContract, inherited, play, world
from strategies.base import Strategy
from strategies.context import choose
from strategies.explore_then_reflect import ExploreThenReflect
from strategies.reflect import Reflect
from strategies.reflect_beam import ReflectBeam
from strategies.reflect_or_restart import ReflectOrRestart


class TestReflect(StrategyContract):
    def strategy(self) -> Strategy:
        return Reflect()

    @inherited
    @given(luck=st.integers(0, 10**6))
    def test_is_the_published_loop(self, luck: int) -> None:
        search, draws, candidates = play(Reflect(), 20, world(luck, accept=0.05))
        assert draws[0].feedback == ()
        for number, draw in enumerate(draws):
            earlier = [Feedback(c.id, c.verdict.sentence) for c in candidates[:number] if c.verdict]
            assert len(set(draw.feedback)) == len(draw.feedback) <= 3
            assert set(draw.feedback) <= set(earlier)
            if number <= 3:
                assert list(draw.feedback) == earlier
            else:
                sentences = [f.sentence for f in draw.feedback]
                assert len(set(sentences)) == len(sentences)
        assert [c.accepted for c in candidates[:-1]] == [False] * (len(candidates) - 1)
        assert search.selected == candidates[-1]
        assert candidates[-1].accepted or len(draws) == 20

    def test_select_best_takes_the_best(self) -> None:
        search, _, candidates = play(Reflect(select="best"), 12, world(2, accept=0.0))
        assert search.selected is not None
        assert search.selected.score == max(c.score for c in candidates)

    @inherited
    @given(luck=st.integers(0, 10**6), expected=st.integers(1, 25))
    def test_goes_on_for_as_many_acceptances_as_asked(self, luck: int, expected: int) -> None:
        asked = Reflect(accept=expected, select="best")
        search, draws, candidates = play(asked, 20, world(luck, accept=0.3))
        accepted = [c for c in candidates if c.accepted]
        if len(accepted) < expected:
            assert len(draws) == 20
        else:
            assert len(accepted) == expected and candidates[-1].accepted
        assert search.selected is not None
        assert search.selected.score == max(c.score for c in accepted or candidates)
        rejected = {c.id for c in candidates if not c.accepted}
        assert {f.draw_id for draw in draws for f in draw.feedback} <= rejected
        published = play(Reflect(), 20, world(luck, accept=0.3))[1]
        assert draws[: len(published)] == published

    def test_a_context_of_any_sentences_repeats_them(self) -> None:
        def answer(draw: Draw) -> Candidate:
            return Candidate(draw, f"id{draw.index}", "image", Verdict(False, 0.1, "the same"))

        lengths = {
            distinct: [len(d.feedback) for d in play(Reflect(distinct=distinct), 6, answer)[1]]
            for distinct in (True, False)
        }
        assert lengths == {True: [0, 1, 2, 3, 1, 1], False: [0, 1, 2, 3, 3, 3]}

    def test_shares_its_first_draw_with_best_of_n(self) -> None:
        assert play(Reflect(), 1, world(0))[1] == [Draw(0)]


class TestExploreThenReflect(StrategyContract):
    def strategy(self) -> Strategy:
        return ExploreThenReflect(explore=3)

    def test_reflects_on_the_best_of_the_plain_draws(self) -> None:
        _, draws, candidates = play(self.strategy(), 8, world(5, accept=0.0))
        assert [d.feedback for d in draws[:3]] == [(), (), ()]
        start = max(candidates[:3], key=lambda c: c.score)
        assert [f.draw_id for f in draws[3].feedback] == [start.id]
        assert [f.draw_id for f in draws[4].feedback] == [start.id, candidates[3].id]


@pytest.mark.parametrize("strategy", [ExploreThenReflect(explore=4), ReflectBeam()])
def test_of_a_round_s_accepted_images_the_best_is_selected(strategy: Strategy) -> None:
    scores = [0.9, 0.6, 0.8, 0.7]  # the first is rejected, whatever its score

    def answer(draw: Draw) -> Candidate:
        verdict = Verdict(draw.index > 0, scores[draw.index], "so")
        return Candidate(draw, f"id{draw.index}", "image", verdict)

    search, draws, candidates = play(strategy, 8, answer)
    assert len(draws) == 4 and search.selected == candidates[2]


class TestReflectBeam(StrategyContract):
    def strategy(self) -> Strategy:
        return ReflectBeam(width=2, branch=2)

    def test_only_the_best_chains_go_on(self) -> None:
        search, draws, candidates = play(self.strategy(), 12, world(8, accept=0.0))
        assert search.rounds == 3 and all(not d.feedback for d in draws[:4])
        saved = sorted(candidates[:4], key=lambda c: -c.score)[:2]
        parents = [d.feedback[-1].draw_id for d in draws[4:8]]
        assert parents == [saved[0].id, saved[0].id, saved[1].id, saved[1].id]

    def test_a_narrow_beam_is_a_chain(self) -> None:
        narrow = play(ReflectBeam(width=1, branch=1), 9, world(4, accept=0.05))
        chain = play(Reflect(select="best"), 9, world(4, accept=0.05))
        assert narrow[1] == chain[1] and narrow[0].selected == chain[0].selected


class TestReflectOrRestart(StrategyContract):
    def strategy(self) -> Strategy:
        return ReflectOrRestart(patience=2)

    def test_restarts_after_so_many_draws_without_improvement(self) -> None:
        scores = [0.5, 0.4, 0.5, 0.9, 0.95, 0.1, 0.2, 0.3]

        def answer(draw: Draw) -> Candidate:
            verdict = Verdict(False, scores[draw.index], f"wrong {draw.index}")
            return Candidate(draw, f"id{draw.index}", "image", verdict)

        _, draws, _ = play(self.strategy(), 8, answer)
        assert [len(d.feedback) for d in draws] == [0, 1, 2, 0, 1, 2, 3, 0]


@given(st.lists(st.integers(0, 4), max_size=12), st.integers(1, 5), st.integers(0, 99))
def test_a_context_holds_distinct_complaints(sentences: list[int], size: int, seed: int) -> None:
    pairs = [Feedback(f"id{n}", f"complaint {s}") for n, s in enumerate(sentences)]
    chosen = choose(pairs, size, random.Random(seed))
    if len(pairs) <= size:
        assert list(chosen) == pairs
    else:
        assert len(chosen) == min(size, len(set(sentences)))
        assert all(pair == next(p for p in pairs if p.sentence == pair.sentence) for pair in chosen)
    assert chosen == choose(pairs, size, random.Random(seed))


def test_every_pair_can_be_chosen() -> None:
    pairs = [Feedback(f"id{n}", f"complaint {n}") for n in range(6)]
    drawn = {pair for seed in range(200) for pair in choose(pairs, 3, random.Random(seed))}
    assert drawn == set(pairs)
