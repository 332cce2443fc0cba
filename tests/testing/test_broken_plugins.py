"""Every test of every contract can fail: for each there is a plug-in that breaks what it holds."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from benchmarks.geneval.detectors.base import Detections
from example_plugins.benchmark import ColouredSquares, SquareScorer
from example_plugins.generator import SquareGenerator
from example_plugins.judge import SquareJudge
from example_plugins.metric import Vividness
from example_plugins.strategy import SecondHalf
from harness.models.suites import Suite, load_suite
from harness.records import Cost, Draw, Image, Made, Prompt, Request, Task
from harness.testing import (
    BenchmarkContract,
    DetectorContract,
    GeneratorContract,
    JudgeContract,
    MetricContract,
    ScorerContract,
    StrategyContract,
    SuiteContract,
)
from strategies.base import Rounds
from tests.stubs import StubGenerator

SETTINGS = {"height": 32, "width": 32, "obedience": 1.0}


def contract_tests(contract: type) -> set[str]:
    return {name for name in dir(contract) if name.startswith("test_")}


def break_each(contract: type, members: Callable[[Any], dict[str, Any]], **broken: Any) -> None:
    """Make a class for each test of a contract, with that test alone and the plug-in it refuses."""
    assert broken.keys() == contract_tests(contract), broken.keys() ^ contract_tests(contract)
    for test, plugin in broken.items():
        others = dict.fromkeys(contract_tests(contract) - {test})
        name = f"TestBroken{contract.__name__}_{test}"
        globals()[name] = type(name, (contract,), {**others, **members(plugin), "broken": True})


def fixed(value: Any, scope: Any = "class") -> Any:
    """A fixture of a class."""

    @pytest.fixture(scope=scope)
    @classmethod
    def fixture(cls: Any) -> Any:
        return value() if callable(value) else value

    return fixture


# --- strategies


class Overdraws(SecondHalf):
    def search(self, task: Task) -> Rounds:
        candidates = yield [Draw(i) for i in range(task.budget + 1)]
        return candidates[0]


class RollsDice(SecondHalf):
    def search(self, task: Task) -> Rounds:
        candidates = yield [Draw(random.SystemRandom().randrange(10**6))]
        return candidates[0] if candidates[0].ok else None


class GoesByTheBudget(SecondHalf):
    budget_only_limits: ClassVar[bool] = True

    def search(self, task: Task) -> Rounds:
        candidates = yield [Draw(task.budget)]
        return candidates[0] if candidates[0].ok else None


class TakesTheFirst(SecondHalf):
    def search(self, task: Task) -> Rounds:
        candidates = yield [Draw(0)]
        return candidates[0]


class Shouts(SecondHalf):
    name: ClassVar[str] = "SHOUTS"


class Changes(SecondHalf):
    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


break_each(
    StrategyContract,
    lambda plugin: {"strategy": lambda self: plugin()},
    test_ends_within_budget_with_a_candidate_it_was_sent=Overdraws,
    test_same_answers_same_search=RollsDice,
    test_goes_the_same_under_a_smaller_budget_if_it_says_so=GoesByTheBudget,
    test_survives_every_draw_failing=TakesTheFirst,
    test_has_a_name_and_says_what_it_is_for=Shouts,
    test_is_immutable=Changes,
)


# --- benchmarks


class Nameless(ColouredSquares):
    name: ClassVar[str] = ""


class Shuffled(ColouredSquares):
    def prompts(self) -> list[Prompt]:
        return random.SystemRandom().sample(super().prompts(), k=12)


class Empty(ColouredSquares):
    def prompts(self) -> list[Prompt]:
        return []


class Repeats(ColouredSquares):
    def prompts(self) -> list[Prompt]:
        return super().prompts() * 2


class Unloggable(ColouredSquares):
    def prompts(self) -> list[Prompt]:
        return [replace(prompt, metadata={"x": {1}}) for prompt in super().prompts()]


class Unscored(ColouredSquares):
    scored: ClassVar[bool] = False


class OtherOptions(ColouredSquares):
    prompt_options: ClassVar[frozenset[str]] = frozenset({"size"})


break_each(
    BenchmarkContract,
    lambda plugin: {"benchmark_plugin": fixed(plugin, "function")},
    test_is_a_frozen_dataclass_with_a_name=Nameless,
    test_prompts_are_deterministic=Shuffled,
    test_there_are_prompts_with_texts=Empty,
    test_ids_are_unique_and_printable=Repeats,
    test_metadata_can_be_logged=Unloggable,
    test_it_has_a_scorer_if_it_declares_one=Unscored,
    test_its_prompt_options_are_options=OtherOptions,
)


# --- judges and scorers

Rows = list[tuple[Any, Cost]]


def pairs() -> list[tuple[Prompt, Image]]:
    images = (np.full((32, 32, 3), rgb, np.uint8) for rgb in ((220, 40, 40), (50, 70, 220)))
    return list(zip([p for p in ColouredSquares(each=1).prompts()[:2]], images, strict=True))


def looking(plugin: type, method: str, spoil: Callable[[Any, Rows, Any], Rows]) -> type:
    """A judge or a scorer whose answers are spoiled."""

    def ask(self: Any, *batch: Any) -> Rows:
        return spoil(self, getattr(plugin(), method)(*batch), images_of(batch))

    return type("Spoiled", (plugin,), {method: ask, "calls": 0})


def images_of(batch: Sequence[Any]) -> Sequence[Image]:
    return batch[1] if len(batch) > 1 else [look.image for look in batch[0]]


def each(change: Callable[[Any], Any]) -> Callable[[Any, Rows, Any], Rows]:
    return lambda self, rows, images: [(change(answer), cost) for answer, cost in rows]


def shift(self: Any, rows: Rows, images: Sequence[Image]) -> Rows:
    return rows[-1:] + rows[:-1]


def alternate(self: Any, rows: Rows, images: Sequence[Image]) -> Rows:
    self.calls += 1
    return rows if self.calls % 2 else rows[::-1]


def darken(self: Any, rows: Rows, images: Sequence[Image]) -> Rows:
    for image in images:
        image //= 2
    return rows


ROWS: dict[str, Callable[[Any, Rows, Any], Rows]] = {
    "test_each_row_gets_one_answer": lambda self, rows, images: rows[1:],
    "test_a_row_depends_on_itself_alone": shift,
    "test_asking_again_gives_the_same": alternate,
    "test_the_images_are_left_as_they_were": darken,
    "test_costs_are_sane": lambda self, rows, images: [(a, Cost(nfe=1)) for a, _ in rows],
    "test_no_images_no_answers": lambda self, rows, images: rows or [(None, Cost())],
}


class Moody(SquareJudge):
    """Goes by the seed, and says that it does not."""

    def judge(self, prompts: Any, images: Any, seeds: Sequence[int]) -> Rows:
        rows = zip(super().judge(prompts, images, seeds), seeds, strict=True)
        return [(replace(v, score=v.score + seed % 7 / 1000), cost) for (v, cost), seed in rows]


def grudging(verdict: Any) -> Any:
    return replace(verdict, score=-verdict.score)


break_each(
    JudgeContract,
    lambda plugin: {"judge": fixed(plugin), "pairs": fixed(pairs)},
    **{test: looking(SquareJudge, "judge", spoil) for test, spoil in ROWS.items()},
    test_it_declares_whether_it_is_an_oracle=type("Coy", (SquareJudge,), {"oracle": "perhaps"}),
    test_each_verdict_can_be_logged=looking(
        SquareJudge, "judge", each(lambda verdict: replace(verdict, score=float("nan")))
    ),
    test_one_that_samples_nothing_says_the_same_under_any_seed=Moody,
    test_what_is_accepted_ranks_above_what_is_not=looking(SquareJudge, "judge", each(grudging)),
)

break_each(
    ScorerContract,
    lambda plugin: {"scorer": fixed(plugin), "pairs": fixed(pairs)},
    **{test: looking(SquareScorer, "score", spoil) for test, spoil in ROWS.items()},
    test_each_score_can_be_logged=looking(
        SquareScorer, "score", each(lambda score: replace(score, value=-1.0))
    ),
)

break_each(
    MetricContract,
    lambda plugin: {"metric": fixed(plugin), "pairs": fixed(pairs)},
    **{test: looking(Vividness, "measure", spoil) for test, spoil in ROWS.items()},
    test_its_options_and_parts_are_known_unloaded=type("Coy", (Vividness,), {"Settings": dict}),
    test_each_row_gets_a_finite_number=looking(Vividness, "measure", each(lambda value: 0.5)),
)


# --- generators


class Counting(SquareGenerator):
    """Does something else at every call."""

    def __init__(self) -> None:
        self.calls = 0

    def generate(self, requests: Sequence[Request]) -> Any:
        self.calls += 1
        return [
            replace(made, image=made.image + np.uint8(self.calls))
            for made in super().generate(requests)
        ]


def asked(change: Callable[[Request], Request]) -> type[SquareGenerator]:
    """A generator that makes something else than was asked for."""

    class Asked(SquareGenerator):
        def generate(self, requests: Sequence[Request]) -> Any:
            return super().generate([change(request) for request in requests])

    return Asked


def made(change: Callable[[int, int, Made], Made]) -> type[SquareGenerator]:
    """A generator that spoils what it made, by position and number of rows."""

    class Made(SquareGenerator):
        def generate(self, requests: Sequence[Request]) -> Any:
            rows = super().generate(requests)
            return [change(n, len(rows), made) for n, made in enumerate(rows)]

    return Made


class TakesGlobalRandomness(SquareGenerator):
    def generate(self, requests: Sequence[Request]) -> Any:
        torch.rand(1)
        return super().generate(requests)


class AlwaysMakesOne(SquareGenerator):
    def generate(self, requests: Sequence[Request]) -> Any:
        return super().generate(requests or some_requests()[:1])


class TakesAnything(SquareGenerator):
    def generate(self, requests: Sequence[Request]) -> Any:
        return [super(TakesAnything, self).generate([request])[0] for request in requests]


def some_requests() -> list[Request]:
    texts = ("a red square", "a blue square", "a white square")
    return [Request(f"id{n}", text, ((40 + n, 1.0),), SETTINGS) for n, text in enumerate(texts)]


def walking(
    change: Callable[[Request, Made], Made], ask: Callable[[Request], Request] = lambda r: r
) -> type[StubGenerator]:
    """A generator that stops and goes on, and spoils what it made or was asked for."""

    class Walking(StubGenerator):
        def __init__(self) -> None:
            super().__init__(None, batch_size=3)

        def generate(self, requests: Sequence[Request]) -> Any:
            rows = super().generate([ask(request) for request in requests])
            return [change(r, made) for r, made in zip(requests, rows, strict=True)]

    return Walking


def long_requests() -> list[Request]:
    settings = {"height": 8, "width": 8, "num_inference_steps": 4}
    return [replace(request, settings=settings) for request in some_requests()]


def known_settings(request: Request) -> Request:
    known = {key: value for key, value in request.settings.items() if key in SETTINGS}
    return replace(request, settings=known)


def lies(request: Request) -> tuple[str, ...]:
    return ("text",) if len(request.text) > 50 else ()


def generator_members(plugin: Any) -> dict[str, Any]:
    return {
        "generator": fixed(plugin),
        "requests": fixed(long_requests if issubclass(plugin, StubGenerator) else some_requests),
        "other_setting": fixed(lambda: {"height": 48}),
        "truncation": fixed(lambda: lies if hasattr(plugin, "truncation") else None),
    }


def brighter(made: Made, by: int) -> Made:
    return replace(made, image=made.image + np.uint8(by))


break_each(
    GeneratorContract,
    generator_members,
    test_its_settings_are_declared_without_loading_it=type(
        "Undeclared", (SquareGenerator,), {"Settings": dict}
    ),
    test_each_request_gets_an_rgb_image=made(
        lambda n, rows, made: replace(made, image=made.image * 0)
    ),
    test_other_noise_gives_another_image=asked(
        lambda request: replace(request, noise=((0, 1.0),), text="a red square")
    ),
    test_another_text_gives_another_image=asked(lambda request: replace(request, text="a red")),
    test_another_setting_gives_another_image=asked(
        lambda request: replace(request, settings=SETTINGS)
    ),
    test_feedback_changes_the_image_or_is_refused=asked(
        lambda request: replace(request, feedback=())
    ),
    test_a_row_alone_is_bitwise_the_row_in_company=made(lambda n, rows, made: brighter(made, rows)),
    test_a_row_is_bitwise_the_same_at_any_position_among_any_neighbours=made(
        lambda n, rows, made: brighter(made, n)
    ),
    test_neighbours_of_a_noise_share_a_batch_and_differ=asked(
        lambda request: replace(request, noise=request.noise[:1])
    ),
    test_a_batch_is_padded_to_the_rows_that_its_requests_name=type(
        "Unpadded", (SquareGenerator,), {"takes_rows": True}
    ),
    test_stopped_and_continued_equals_the_whole_at_every_step=walking(
        lambda request, made: brighter(made, 1) if request.start else made
    ),
    test_a_stop_at_the_last_step_is_the_whole_with_a_state=walking(
        lambda request, made: replace(made, state=None)
    ),
    test_stops_add_up_step_by_step_and_in_other_company=walking(
        lambda request, made: brighter(made, 1) if request.start and request.start.start else made
    ),
    test_renoised_continuations_differ_and_are_their_own=walking(
        lambda request, made: made, lambda request: replace(request, renoise=None)
    ),
    test_asking_again_gives_the_same_bits=Counting,
    test_global_randomness_is_neither_used_nor_moved=TakesGlobalRandomness,
    test_costs_are_counted_and_do_not_depend_on_company=made(
        lambda n, rows, made: replace(made, cost=Cost(nfe=rows))
    ),
    test_nothing_asked_nothing_made=AlwaysMakesOne,
    test_a_cut_text_makes_no_difference=type(
        "CutsNothing", (SquareGenerator,), {"truncation": lies}
    ),
    test_an_unknown_setting_is_refused=asked(known_settings),
    test_mixed_settings_are_refused=TakesAnything,
)


# --- detectors


@dataclass
class Finder:
    """Finds one apple in every image that is not black, and less surely a pizza."""

    calls: int = 0
    options: ClassVar[frozenset[str]] = frozenset()

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        return [self.look(image) for image in images]

    def look(self, image: Image) -> Detections:
        count = 2 if image.any() else 0
        return Detections(
            ("apple", "pizza")[:count],
            np.array([0.9, 0.5], np.float32)[:count],
            np.zeros((count, 4), np.float32),
            np.ones((count, *image.shape[:2]), bool),
        )

    def flops(self, height: int, width: int) -> float:
        return 1.0 * height * width

    def probe(self, image: Image) -> torch.Tensor:
        return torch.ones(3)


class WithBadOptions(Finder):
    options: ClassVar[Any] = ("batch_size",)


class WorstFirst(Finder):
    def look(self, image: Image) -> Detections:
        right = super().look(image)
        return replace(right, scores=right.scores[::-1])


class Neighbourly(Finder):
    def detect(self, images: Sequence[Image]) -> list[Detections]:
        return [self.look(images[0]) for _ in images]


class Fickle(Finder):
    def look(self, image: Image) -> Detections:
        self.calls += 1
        right = super().look(image)
        return replace(right, boxes=right.boxes + self.calls)


class Painter(Finder):
    def look(self, image: Image) -> Detections:
        image += 1
        return super().look(image)


class Free(Finder):
    def flops(self, height: int, width: int) -> float:
        return float("nan")


class Doubles(Finder):
    def probe(self, image: Image) -> torch.Tensor:
        return torch.ones(3, dtype=torch.float64)


class SeesThings(Finder):
    def detect(self, images: Sequence[Image]) -> list[Detections]:
        return super().detect(images) or [self.look(np.zeros((8, 8, 3), np.uint8))]


def pictures() -> list[Image]:
    return [np.full((16, 8, 3), 9, np.uint8), np.zeros((8, 16, 3), np.uint8)]


break_each(
    DetectorContract,
    lambda plugin: {
        "detector": fixed(plugin),
        "images": fixed(pictures),
    },
    test_its_options_are_declared=WithBadOptions,
    test_detections_fit_their_image=WorstFirst,
    test_an_image_s_detections_depend_on_it_alone=Neighbourly,
    test_asking_again_gives_the_same_bits=Fickle,
    test_the_images_are_left_as_they_were=Painter,
    test_flops_are_a_number=Free,
    test_its_probe_is_the_same_every_time=Doubles,
    test_no_images_no_detections=SeesThings,
)


class TestFinder(DetectorContract):
    """Whole, it keeps the contract."""

    detector = fixed(Finder)
    images = fixed(pictures)


# --- suites


def suite(**generator: Any) -> Suite:
    whole = load_suite("miniature")
    return whole.model_copy(update={"generator": whole.generator.model_copy(update=generator)})


break_each(
    SuiteContract,
    lambda plugin: {"suite_name": "miniature", "suite": fixed(plugin, "function")},
    test_it_has_the_name_that_it_is_asked_for_by=lambda: suite().model_copy(update={"name": "a"}),
    test_its_models_are_installed=lambda: suite(kind="no-such-generator"),
    test_its_settings_are_the_generator_s=lambda: suite(settings={"no_such_setting": 1}),
)


class TestMiniature(SuiteContract):
    suite_name = "miniature"
