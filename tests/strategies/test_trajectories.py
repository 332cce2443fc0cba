"""Strategies that search inside trajectories, and those that ask for another prompt."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.options import build
from harness.records import Candidate, Draw, Noise, Question, Reply, Task, Verdict
from harness.testing.strategies import STEPS, StrategyContract, inherited, play, world
from strategies.bank import Bank
from strategies.base import Strategy
from strategies.draft_then_refine import DraftThenRefine
from strategies.funnel import Funnel
from strategies.noise_search import NoiseSearch
from strategies.particle_steering import ParticleSteering
from strategies.prune import Prune, parse, plan
from strategies.rewrite import LONGEST, Rewrite, question, rewritten
from strategies.steering import Population, effective_size
from strategies.threshold import Threshold
from tests.shared import SHARED, needs_shared


class TestNoiseSearch(StrategyContract):
    def strategy(self) -> Strategy:
        return NoiseSearch(first=2, neighbours=3)

    def test_neighbours_turn_from_the_best_noise_so_far(self) -> None:
        _, draws, candidates = play(self.strategy(), 8, world(1))
        pivot = max(candidates[:2], key=lambda c: c.score).draw
        for draw in draws[2:5]:
            assert draw.noise == Noise(pivot.index, ((draw.index, 0.9),))
        again = max(candidates[:5], key=lambda c: c.score).draw
        for draw in draws[5:]:
            assert draw.noise is not None and draw.noise.turns[-1] == (draw.index, 0.9)
            assert draw.noise.turns[:-1] == (again.noise.turns if again.noise else ())


class TestNoiseSearchOfTwoRounds(StrategyContract):
    def strategy(self) -> Strategy:
        return NoiseSearch(first=2, neighbours=3, rounds=2)

    @pytest.mark.parametrize(("budget", "number"), [(4, 4), (8, 8), (20, 8)])
    def test_ends_after_its_rounds_and_draws_the_same_until_then(
        self, budget: int, number: int
    ) -> None:
        _, draws, _ = play(self.strategy(), budget, world(1))
        _, endless, _ = play(NoiseSearch(first=2, neighbours=3), budget, world(1))
        assert draws == endless[:number] and len(endless) == budget


class TestParticleSteering(StrategyContract):
    def strategy(self) -> Strategy:
        return ParticleSteering()


class TestOfficialParticleSteering(StrategyContract):
    def strategy(self) -> Strategy:
        return ParticleSteering(particles=3, potential="diff", adaptive=False, official=True)

    def test_every_copy_but_the_first_is_renoised(self) -> None:
        _, draws, _ = play(self.strategy(), 8, world(3))
        starts = [draw.start for draw in draws if draw.start is not None]
        assert starts and len(
            {(s.draw_id, s.renoise is None) for s in starts if not s.renoise}
        ) == (len([s for s in starts if not s.renoise]))
        assert any(start.renoise for start in starts), "no particle was copied: choose another luck"


class TestPrune(StrategyContract):
    def strategy(self) -> Strategy:
        return Prune()

    def test_twice_as_many_are_begun_as_the_budget_holds(self) -> None:
        _, draws, candidates = play(self.strategy(), 4, world(0))
        stops = [draw.stop for draw in draws]
        assert stops == [STEPS // 4] * 8 + [STEPS // 2] * 4 + [None] * 2
        best = sorted(candidates[:8], key=lambda c: (-c.score, c.draw.index))[:4]
        assert [draw.start.draw_id for draw in draws[8:12] if draw.start] == [c.id for c in best]


class TestBank(StrategyContract):
    def strategy(self) -> Strategy:
        return Bank()

    def test_every_trajectory_is_drawn_to_its_end_from_preview_to_preview(self) -> None:
        search, draws, _ = play(Bank("2,5"), 3, world(0))
        assert [draw.stop for draw in draws] == [2] * 3 + [5] * 3 + [None] * 3
        assert [draw.index for draw in draws] == [0, 3, 6, 1, 4, 7, 2, 5, 8]
        assert [draw.noise for draw in draws] == [Noise(n) for n in range(3)] * 3
        assert search.steps == 3 * STEPS

    def test_what_is_no_preview_is_refused(self) -> None:
        for text in ("", "a", "0", "1.5", "4,2", "2,2"):
            with pytest.raises(UsageError, match="previews"):
                build(Bank, {"previews": text}, flag="-S")
        with pytest.raises(ValueError, match="no preview after step 8 of 8"):
            Bank("8").check(8)


class TestDraftThenRefine(StrategyContract):
    def strategy(self) -> Strategy:
        return DraftThenRefine()

    def test_the_best_drafts_noises_are_drawn_in_full(self) -> None:
        search, draws, candidates = play(self.strategy(), 4, world(2))
        drafts = [draw for draw in draws if draw.settings]
        assert len(drafts) == 8 and {d.settings["num_inference_steps"] for d in drafts} == {2}
        best = sorted(candidates[:8], key=lambda c: (-c.score, c.draw.index))[:2]
        assert [draw.noise for draw in draws[8:]] == [Noise(c.draw.index) for c in best]
        assert search.selected in candidates[8:] and search.steps == 4 * STEPS


class TestThreshold(StrategyContract):
    def strategy(self) -> Strategy:
        return Threshold()

    def test_a_preview_below_the_bar_is_given_up_and_its_steps_roll_over(self) -> None:
        def answer(draw: Draw) -> Candidate:
            score = 0.9 if draw.index >= 3 else 0.1
            return Candidate(draw, f"id{draw.index}", "image", Verdict(False, score))

        search, draws, _ = play(Threshold(looks="0.25"), 3, answer)
        assert [draw.stop for draw in draws] == [2, 2, 2, 2, None, 2, None][: len(draws)]
        assert search.selected is not None and search.selected.draw.stop is None

    def test_something_is_finished_even_if_nothing_reaches_the_bar(self) -> None:
        search, _, _ = play(Threshold(bar=2.0), 2, world(4, accept=0.0))
        assert search.selected is not None and search.selected.draw.stop is None


class TestThresholdAtOnce(StrategyContract):
    def strategy(self) -> Strategy:
        return Threshold(at_once=3, bar=0.3)


class TestRewrite(StrategyContract):
    def strategy(self) -> Strategy:
        return Rewrite()

    def test_the_next_draw_has_the_reply_for_its_prompt(self) -> None:
        search, draws, _ = play(self.strategy(), 3, world(0, accept=0.0))
        assert draws[0].text is None and search.questions == 2
        assert draws[1].text is not None and draws[1].text.startswith("reply 0 to")
        assert not any(draw.feedback for draw in draws)


class TestRewriteBoth(StrategyContract):
    def strategy(self) -> Strategy:
        return Rewrite(use="both")

    def test_the_rejected_image_goes_along(self) -> None:
        _, draws, candidates = play(self.strategy(), 3, world(0, accept=0.0))
        assert [f.draw_id for draw in draws[1:] for f in draw.feedback] == [
            c.id for c in candidates[:-1]
        ]


class TestFunnel(StrategyContract):
    def strategy(self) -> Strategy:
        return Funnel()

    def test_it_prunes_then_reflects_on_the_best(self) -> None:
        _, draws, candidates = play(Funnel(wide=0.5), 4, world(5, accept=0.0))
        whole = [c for c in candidates if c.draw.stop is None and not c.draw.feedback]
        reflected = [draw for draw in draws if draw.feedback]
        assert len(whole) == 1 and len(reflected) == 2
        assert reflected[0].feedback[0].draw_id == whole[0].id


@pytest.mark.parametrize(
    ("text", "steps", "budget", "expected"),
    [("0.25:0.5,0.5:0.25", 20, 4, 8), ("0.5:0.5", 20, 3, 4), ("0.25:1", 8, 2, 2)],
)
def test_a_schedule_begins_as_many_as_its_steps_allow(
    text: str, steps: int, budget: int, expected: int
) -> None:
    number, cuts = plan(text, steps, budget * steps)
    assert number == expected
    cost, at, alive = 0, 0, number
    for cut in cuts:
        cost, at, alive = cost + alive * (cut.step - at), cut.step, cut.survivors
    assert cost + alive * (steps - at) <= budget * steps


@pytest.mark.parametrize("text", ["", "0.5", "0.5:0", "0.5:1.5", "0.5:0.2,0.25:0.1", "a:b",
                                  "0.2:0.2,0.4:0.5", "0:1", "1:0.5"])  # fmt: skip
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"place|share"):
        parse(text)


@inherited
@given(
    steps=st.integers(1, 60), budget=st.integers(1, 12),
    pairs=st.lists(st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 1.0)), min_size=1, max_size=4),
)  # fmt: skip
def test_no_schedule_costs_more_than_allowed(
    steps: int, budget: int, pairs: list[tuple[float, float]]
) -> None:
    places = sorted({round(p, 3) for p, _ in pairs})
    shares = sorted((s for _, s in pairs[: len(places)]), reverse=True)
    text = ",".join(f"{p}:{s}" for p, s in zip(places, shares, strict=False))
    number, cuts = plan(text, steps, budget * steps)
    cost, at, alive = 0, 0, number
    for cut in cuts:
        assert at < cut.step < steps and 1 <= cut.survivors <= alive
        cost, at, alive = cost + alive * (cut.step - at), cut.step, cut.survivors
    assert cost + alive * (steps - at) <= budget * steps


@needs_shared("particle_steering")
def test_populations_are_those_of_the_public_code() -> None:
    names = {"add": "sum", "rt": "reward"}
    looked = 0
    for case in json.loads((SHARED / "particle_steering" / "cases.json").read_text()):
        potential = names.get(case["potential"], case["potential"])
        population = Population(
            case["particles"], potential, case["lambda"], case["reward_min"], case["adaptive"], True
        )
        for step in case["steps"]:
            is_last = step["step"] == case["time_steps"] - 1
            weights = population.look(step["rewards"], is_last=is_last)
            assert (weights is not None) == step["resampled"]
            if weights is not None:
                assert weights == pytest.approx(step["weights"], rel=1e-5, abs=1e-43)
                population.draw(step["indices"], weights)
            after = step["population_rewards_after"]
            assert population.rewards == pytest.approx(after, rel=1e-5)
            products = step["product_of_potentials_after"]
            assert population.products == pytest.approx(products, rel=1e-5)
            looked += 1
    assert looked > 500


def test_a_weight_that_was_not_drawn_with_is_carried_on() -> None:
    rewards = [0.1, 0.2, 0.15, 0.12]
    exact, official = (Population(4, "max", 1.0, official=kind) for kind in (False, True))
    assert exact.look(rewards, is_last=False) is None is official.look(rewards, is_last=False)
    sharper = [3.0, 0.0, 0.0, 0.0]
    first, second = (p.look(sharper, is_last=False) for p in (exact, official))
    assert first is not None and second is not None
    for weight, plain, earlier in zip(first, second, rewards, strict=True):
        assert weight == pytest.approx(plain * math.exp(earlier), rel=1e-6)


def test_weights_that_vanish_are_equal_and_a_failed_particle_has_none() -> None:
    population = Population(3, "reward", 1e6, adaptive=False)
    assert population.look([-1.0, -2.0, None], is_last=False) == [1.0, 1.0, 0.0]
    assert effective_size([1.0, 1.0, 0.0]) == pytest.approx(2.0)


def test_a_prompt_is_taken_from_whatever_a_judge_replies() -> None:
    asked = question(
        Task("two cats", 3, 0), Candidate(Draw(0), "a", "x", Verdict(False, 0.1, "No cat."))
    )
    assert "two cats" in asked and "No cat." in asked
    ask = Question(0, asked)
    assert rewritten(Reply(ask, '\n  "two grey cats"\nbecause')) == "two grey cats"
    assert rewritten(Reply(ask, "   \n")) is None
    assert rewritten(Reply(ask, "", "broke")) is None
    assert len(rewritten(Reply(ask, "a" * 5000)) or "") == LONGEST
