"""What a request takes, from configuration alone: as generators count it, and as counted twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.models.base import ExpectedCost
from harness.models.sana import SanaGenerator
from harness.models.suites import Suite, sampler_settings
from harness.records import Loading, Request
from tests.reference.sana_networks import SanaNetworks


@pytest.fixture(scope="module")
def loading(tiny_pipeline: Path) -> Loading:
    return Loading({"pipeline": tiny_pipeline}, batch_size=2)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"guidance_scale": 1.0}, {"num_inference_steps": 3}])
def test_it_is_what_the_generator_logs(
    loading: Loading, tiny_suite: Suite, changes: dict[str, float]
) -> None:
    settings = {**sampler_settings(tiny_suite.generator), **changes}
    requests = [
        Request(f"id{n}", f"a photo of {n} benches", ((n, 1.0),), settings) for n in range(2)
    ]
    cost_of = SanaGenerator.expected_cost(loading)
    assert cost_of is not None
    expected = [cost_of(request) for request in requests]
    assert expected[0] == expected[1] and expected[0].complete
    own = expected[0]
    assert own.nfe is not None and len(own.once) == (2 if settings["guidance_scale"] > 1 else 1)
    first, second = (made.cost for made in SanaGenerator.load(loading).generate(requests))
    base = own.nfe * own.evaluation + own.decoding
    assert first.nfe == second.nfe == own.nfe
    assert first.flops == pytest.approx(base + sum(own.once))
    assert second.flops == pytest.approx(base + own.once[0])


def test_two_counters_agree(loading: Loading, tiny_suite: Suite) -> None:
    settings = sampler_settings(tiny_suite.generator)
    cost_of = SanaGenerator.expected_cost(loading)
    assert cost_of is not None
    own: ExpectedCost = cost_of(Request("id", "a bench", ((0, 1.0),), settings))
    networks = SanaNetworks(loading.checkpoints["pipeline"])
    height, width, length = (
        int(settings[name] or 0) for name in ("height", "width", "max_sequence_length")
    )
    assert own.evaluation == networks.denoising(height, width, length)
    assert own.decoding == networks.decoding(height, width)
    assert own.once[1] == networks.encoding(length)


def test_nothing_is_known_without_a_pipeline(loading: Loading) -> None:
    assert SanaGenerator.expected_cost(replace(loading, checkpoints={})) is None
