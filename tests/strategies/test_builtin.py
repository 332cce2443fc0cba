from __future__ import annotations

from harness.records import Candidate, Draw, Verdict
from harness.testing.strategies import StrategyContract, play, world
from strategies.base import Strategy, best, last, ranked
from strategies.best_of_n import BestOfN
from strategies.single import Single


class TestSingle(StrategyContract):
    def strategy(self) -> Strategy:
        return Single()

    def test_draws_once(self) -> None:
        assert len(play(Single(), 20, world(0))[1]) == 1


class TestBestOfN(StrategyContract):
    def strategy(self) -> Strategy:
        return BestOfN()

    def test_draws_all_and_takes_the_best_score(self) -> None:
        search, draws, candidates = play(BestOfN(), 9, world(3))
        assert len(draws) == 9 and search.rounds == 1
        assert search.selected is not None
        assert search.selected.score == max(c.score for c in candidates)


class TestFirstAccepted(StrategyContract):
    def strategy(self) -> Strategy:
        return BestOfN(select="first-accepted")

    def test_stops_at_the_first_accepted(self) -> None:
        search, draws, candidates = play(self.strategy(), 50, world(1, accept=0.2))
        assert len(draws) < 50 and search.selected == candidates[-1]
        assert [c.accepted for c in candidates] == [False] * (len(draws) - 1) + [True]

    def test_falls_back_to_the_last(self) -> None:
        search, draws, candidates = play(self.strategy(), 5, world(1, accept=0.0))
        assert len(draws) == 5 and search.selected == candidates[-1]


def test_best_breaks_ties_by_the_earliest_draw_and_passes_failures_over() -> None:
    failed = Candidate(Draw(0), "a", None, None, "broke")
    one, two = (Candidate(Draw(i), str(i), "x", Verdict(False, 0.5)) for i in (1, 2))
    assert best([failed, two, one]) is one
    assert best([failed]) is None and last([failed]) is None
    assert last([two, failed, one]) is two


def test_members_rank_each_on_its_own_scale_among_the_candidates_alone() -> None:
    rows = [(9.0, 0.1), (8.0, 0.3), (1.0, 0.4), (9.0, 0.2)]
    one, two, three, four = (
        Candidate(Draw(i), str(i), "x", Verdict(False, 0.0, members=row))
        for i, row in enumerate(rows)
    )
    # Mean ranks: 2.75, 2.5, 2.5 and 2.25.
    assert ranked([four, two, three, one]) == [four, two, three, one]
    assert best([one, two, three]) is one  # mean ranks 2, 2 and 2: the earliest
    assert best([one, three]) is one and best([two, three]) is two
    failed = Candidate(Draw(9), "9", None, None, "broke")
    assert ranked([failed, three, one]) == [one, three]


def test_the_world_of_the_contract_answers_by_all_of_a_draw() -> None:
    draws = [Draw(0), Draw(1), Draw(0, text="a cat"), Draw(0, settings={"guidance_scale": 1.0})]
    answers = [world(0)(draw).image for draw in (*draws, Draw(0))]
    assert len(set(answers)) == 4 and answers[-1] == answers[0]
