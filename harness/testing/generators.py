"""The promises of a generator. Subclass `GeneratorContract` to hold yours against it.

class TestMine(GeneratorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def generator(cls):
        return MyGenerator.load(Loading(...))

    @pytest.fixture(scope="class")
    @classmethod
    def requests(cls):
        return [Request(...), ...]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from harness.engine.validate import check_cost, check_image
from harness.errors import HarnessError, UsageError
from harness.models.base import Generator
from harness.records import Ability, Feedback, Image, Made, Request, Role, Setting
from harness.truncation import TEXTS, Truncation


class GeneratorContract:
    """Rows depend on themselves alone, order is kept, costs are sane, bad requests are refused.

    Define the fixtures `generator`, loaded on the CPU, and `requests`: a full batch of at least
    two requests of equal settings, each with noise of its own.

    Attributes:
        other_texts: Prompts, not all of which come out as the requests' first.
    """

    other_texts: tuple[str, ...] = ("a blue cow", "a red bench")

    @pytest.fixture(scope="class")
    @classmethod
    def truncation(cls) -> Truncation | None:
        """The function that `truncation` of its class returns; None for a class that has none."""
        return None

    @pytest.fixture(scope="class")
    @classmethod
    def other_setting(cls, requests: list[Request]) -> Mapping[str, Setting]:
        """A setting's name with a valid value that the requests do not have."""
        steps = requests[0].settings.get("num_inference_steps")
        if not isinstance(steps, int):
            raise NotImplementedError("return a setting with another value than the requests'")
        return {"num_inference_steps": steps + 1}

    @pytest.fixture(scope="class")
    @classmethod
    def images(cls, generator: Generator, requests: list[Request]) -> list[Image]:
        """The images of the full batch."""
        return _images(generator, requests)

    def test_its_settings_are_declared_without_loading_it(self, generator: Generator) -> None:
        declared = type(generator).Settings  # type: ignore[attr-defined]
        assert isinstance(declared, type) and dataclasses.is_dataclass(declared)
        assert all(
            isinstance(value, str | int | float | bool | None)
            for value in dataclasses.asdict(declared()).values()
        )

    def test_each_request_gets_an_rgb_image(
        self, images: list[Image], requests: list[Request]
    ) -> None:
        assert len(images) == len(requests) >= 2
        for request, image in zip(requests, images, strict=True):
            check_image(image, request.settings)
            assert image.ndim == 3 and image.shape[2] == 3

    def test_other_noise_gives_another_image(self, images: list[Image]) -> None:
        assert len({image.tobytes() for image in images}) == len(images)

    def test_another_text_gives_another_image(
        self, generator: Generator, requests: list[Request], images: list[Image]
    ) -> None:
        texts = [replace(requests[0], text=text) for text in self.other_texts]
        others = [_images(generator, [request])[0] for request in texts]
        assert any(not np.array_equal(other, images[0]) for other in others)

    def test_feedback_changes_the_image_or_is_refused(
        self, generator: Generator, requests: list[Request], images: list[Image]
    ) -> None:
        feedback = (
            *requests[0].feedback,
            Feedback("rejected", "There is no blue cow in the image."),
        )
        pictures = {**requests[0].images, "rejected": images[1]}
        request = replace(requests[0], feedback=feedback, images=pictures)
        if Ability.FEEDBACK not in generator.abilities:  # type: ignore[attr-defined]
            with pytest.raises(HarnessError):
                generator.generate([request])
            return
        assert not np.array_equal(_images(generator, [request])[0], images[0])

    def test_a_row_alone_is_bitwise_the_row_in_company(
        self, generator: Generator, requests: list[Request], images: list[Image]
    ) -> None:
        for request, image in zip(requests, images, strict=True):
            assert np.array_equal(_images(generator, [request])[0], image)

    def test_a_row_is_bitwise_the_same_at_any_position_among_any_neighbours(
        self, generator: Generator, requests: list[Request], images: list[Image]
    ) -> None:
        backwards = _images(generator, requests[::-1])
        for image, again in zip(images, backwards[::-1], strict=True):
            assert np.array_equal(image, again)
        among_copies = _images(generator, [requests[-1]] * (len(requests) - 1) + [requests[0]])
        assert np.array_equal(among_copies[-1], images[0])

    def test_neighbours_of_a_noise_share_a_batch_and_differ(
        self, generator: Generator, requests: list[Request], images: list[Image]
    ) -> None:
        first, *others = requests
        turned = [replace(first, noise=(*first.noise, (n, 0.9))) for n in range(len(others))]
        neighbours = _images(generator, [first, *turned])
        assert np.array_equal(neighbours[0], images[0])
        assert len({image.tobytes() for image in neighbours}) == len(requests)

    def test_a_batch_is_padded_to_the_rows_that_its_requests_name(
        self, generator: Generator, requests: list[Request]
    ) -> None:
        if not getattr(generator, "takes_rows", False):
            pytest.skip("this generator runs at one batch size")
        pair = [replace(request, rows=2) for request in requests[:2]]
        images = _images(generator, pair)
        for request, image in zip(pair, images, strict=True):
            assert np.array_equal(_images(generator, [request])[0], image)
        for rows, batch in ((2, pair), (1, [replace(requests[0], rows=1)])):
            costs = [made.cost for made in generator.generate(batch)]
            assert sum(cost.rows or 0 for cost in costs) == rows
        with pytest.raises(HarnessError):
            generator.generate([replace(request, rows=1) for request in requests[:2]])
        with pytest.raises(HarnessError):
            generator.generate([pair[0], replace(pair[1], rows=3)])

    def test_stopped_and_continued_equals_the_whole_at_every_step(
        self, generator: Generator, requests: list[Request], images: list[Image]
    ) -> None:
        last = _steps(generator, requests[0])
        whole = generator.generate(requests)[0].cost.nfe
        for step in range(1, last):
            previews = generator.generate(_stopped(requests, step))
            assert all(made.state for made in previews)
            ends = generator.generate(_continued(requests, previews, step))
            for end, preview, image in zip(ends, previews, images, strict=True):
                assert np.array_equal(end.image, image)
                assert end.state is None and preview.image.shape == image.shape
                assert preview.cost.nfe + end.cost.nfe == whole

    def test_a_stop_at_the_last_step_is_the_whole_with_a_state(
        self, generator: Generator, requests: list[Request], images: list[Image]
    ) -> None:
        last = _steps(generator, requests[0])
        for made, image in zip(generator.generate(_stopped(requests, last)), images, strict=True):
            assert np.array_equal(made.image, image) and made.state

    def test_stops_add_up_step_by_step_and_in_other_company(
        self, generator: Generator, requests: list[Request], images: list[Image]
    ) -> None:
        """One row goes its way a step at a time, each step in a batch of its own."""
        last = _steps(generator, requests[0])
        request = replace(requests[0], stop=1)
        made = generator.generate([request])[0]
        for stop in (*range(2, last), None):
            request = replace(requests[0], start=request, state=made.state, stop=stop)
            made = generator.generate([request])[0]
        assert np.array_equal(made.image, images[0])

    def test_renoised_continuations_differ_and_are_their_own(
        self, generator: Generator, requests: list[Request], images: list[Image]
    ) -> None:
        last = _steps(generator, requests[0])
        if last < 2:
            pytest.skip("a trajectory of one step has nothing to be renoised")
        start = replace(requests[0], stop=last - 1)
        state = generator.generate([start])[0].state
        back = [
            replace(request, start=start, state=state, renoise=last - 2) for request in requests
        ]
        ends = _images(generator, back)
        assert len({image.tobytes() for image in (*ends, images[0])}) == len(requests) + 1
        for request, image in zip(back, ends, strict=True):
            assert np.array_equal(_images(generator, [request])[0], image)

    def test_asking_again_gives_the_same_bits(
        self, generator: Generator, requests: list[Request], images: list[Image]
    ) -> None:
        for image, again in zip(images, _images(generator, requests), strict=True):
            assert np.array_equal(image, again)

    def test_global_randomness_is_neither_used_nor_moved(
        self, generator: Generator, requests: list[Request], images: list[Image]
    ) -> None:
        import torch

        torch.manual_seed(12345)
        before = torch.get_rng_state()
        numpy_before = str(np.random.get_state())
        again = _images(generator, requests)
        assert torch.equal(before, torch.get_rng_state())
        assert str(np.random.get_state()) == numpy_before
        assert np.array_equal(again[0], images[0])

    def test_costs_are_counted_and_do_not_depend_on_company(
        self, generator: Generator, requests: list[Request]
    ) -> None:
        together = [made.cost for made in generator.generate(requests)]
        alone = generator.generate(requests[:1])[0].cost
        for cost in together:
            assert cost.nfe == alone.nfe > 0
            check_cost(Role.GENERATOR, cost)
            # The worker that runs a model holds the clock.
            assert cost.device_seconds == 0
        # Every prompt has been encoded by now, so nothing is charged for that any more.
        assert together[0].flops == alone.flops

    def test_nothing_asked_nothing_made(self, generator: Generator) -> None:
        assert generator.generate([]) == []

    def test_a_cut_text_makes_no_difference(
        self, generator: Generator, requests: list[Request], truncation: Truncation | None
    ) -> None:
        if truncation is None:
            assert not hasattr(type(generator), "truncation"), "give the fixture what it returns"
            return
        request = requests[0]
        assert set(truncation(request)) <= set(TEXTS) - {"text"}
        first, *_, last = request.text.split()
        whole = request.text
        while "text" not in truncation(replace(request, text=f"{whole} {last}")):
            whole = f"{whole} {last}"
            assert len(whole) < 10**5
        texts = [whole, whole.removesuffix(last) + first, *(f"{whole} {last} {w}" for w in "ab")]
        fits, other, cut, same = (
            _images(generator, [replace(request, text=text)])[0] for text in texts
        )
        assert not np.array_equal(fits, other)
        assert np.array_equal(cut, same)

    def test_an_unknown_setting_is_refused(
        self, generator: Generator, requests: list[Request]
    ) -> None:
        with pytest.raises(UsageError, match="no_such_setting"):
            generator.generate([_with(requests[0], no_such_setting=1)])

    def test_another_setting_gives_another_image(
        self,
        generator: Generator,
        requests: list[Request],
        images: list[Image],
        other_setting: Mapping[str, Setting],
    ) -> None:
        other = _images(generator, [_with(requests[0], **other_setting)])[0]
        assert not np.array_equal(other, images[0])

    def test_mixed_settings_are_refused(
        self, generator: Generator, requests: list[Request], other_setting: Mapping[str, Setting]
    ) -> None:
        with pytest.raises(HarnessError):
            generator.generate([requests[0], _with(requests[1], **other_setting)])


def _steps(generator: Generator, request: Request) -> int:
    """Return the steps of a whole draw of a generator that can stop on its way."""
    if Ability.PARTIAL not in generator.abilities:  # type: ignore[attr-defined]
        pytest.skip("this generator makes whole draws only")
    return request.last


def _stopped(requests: Sequence[Request], step: int) -> list[Request]:
    return [replace(request, stop=step) for request in requests]


def _continued(requests: Sequence[Request], made: Sequence[Made], step: int) -> list[Request]:
    return [
        replace(request, start=replace(request, stop=step), state=answer.state)
        for request, answer in zip(requests, made, strict=True)
    ]


def _images(generator: Generator, requests: Sequence[Request]) -> list[Image]:
    return [made.image for made in generator.generate(requests)]


def _with(request: Request, **settings: object) -> Request:
    return replace(request, settings={**request.settings, **settings})  # type: ignore[dict-item]
