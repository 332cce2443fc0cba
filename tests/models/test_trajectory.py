"""Parts of a trajectory, by every solver: the whole's bits, the schedule's levels of noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from harness.errors import HarnessError
from harness.models.sana import SanaGenerator
from harness.models.trajectory import Trajectory, renoised
from harness.records import Loading, Request

STEPS = 4

SOLVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "its own": ("", {}),
    "DPM-Solver++ of third order": (
        "DPMSolverMultistepScheduler",
        {"solver_order": 3, "use_flow_sigmas": True, "prediction_type": "flow_prediction"},
    ),
    "flow Euler": ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "DDIM": ("DDIMScheduler", {"clip_sample": False}),
    "UniPC": ("UniPCMultistepScheduler", {"solver_order": 2}),
    "stochastic DPM-Solver++": (
        "DPMSolverMultistepScheduler",
        {
            "algorithm_type": "sde-dpmsolver++",
            "use_flow_sigmas": True,
            "prediction_type": "flow_prediction",
        },
    ),
    "stochastic flow Euler": ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}),
    "ancestral Euler": ("EulerAncestralDiscreteScheduler", {}),
    "DDPM": ("DDPMScheduler", {"clip_sample": False}),
    "LCM": ("LCMScheduler", {"clip_sample": False, "original_inference_steps": 100}),
}


@pytest.fixture(params=SOLVERS)
def generator(request: pytest.FixtureRequest, tiny_pipeline: Path) -> SanaGenerator:
    generator = SanaGenerator.load(Loading({"pipeline": tiny_pipeline}, batch_size=2))
    name, config = SOLVERS[request.param]
    if name:
        generator.pipeline.scheduler = getattr(diffusers, name)(**config)
    return generator


@pytest.fixture
def requests() -> list[Request]:
    settings = {"num_inference_steps": STEPS, "height": 64, "width": 64, "max_sequence_length": 16}
    return [Request(f"id{n}", "a cow", ((n, 1.0),), settings) for n in (1, 2)]  # type: ignore[arg-type]


@pytest.mark.sampled(3)
def test_stopped_and_continued_equals_the_whole(
    generator: SanaGenerator, requests: list[Request]
) -> None:
    whole = generator.generate(requests)
    for step in range(1, STEPS):
        starts = [replace(request, stop=step) for request in requests]
        previews = generator.generate(starts)
        # The other way round, and through one more stop: a state is a row's own.
        rest = [
            replace(request, start=start, state=made.state)
            for request, start, made in zip(requests, starts, previews, strict=True)
        ][::-1]
        for one, other in zip(generator.generate(rest)[::-1], whole, strict=True):
            assert np.array_equal(one.image, other.image)
        assert [made.cost.nfe for made in previews] == [whole[0].cost.nfe * step // STEPS] * 2
        if step == 1:
            assert not np.array_equal(previews[0].image, whole[0].image)
    for one, other in zip(generator.generate(requests), whole, strict=True):
        assert np.array_equal(one.image, other.image), "a part left something behind"


@pytest.mark.sampled(3)
def test_a_preview_comes_closer_to_the_image(
    generator: SanaGenerator, requests: list[Request]
) -> None:
    """The prediction after all steps but one is nearer to the end than that after the first."""
    whole = generator.generate(requests)
    first, late = (
        generator.generate([replace(request, stop=step) for request in requests])
        for step in (1, STEPS - 1)
    )

    def distance(made: list[Any]) -> float:
        pairs = zip(made, whole, strict=True)
        return sum(float(np.abs(a.image.astype(int) - b.image).mean()) for a, b in pairs)

    assert distance(late) < distance(first)


@pytest.mark.sampled(3)
def test_renoising_keeps_the_marginal_of_the_schedule(
    generator: SanaGenerator, requests: list[Request]
) -> None:
    """Of images with mean 0.7 and deviation 0.5 at every level: alpha * image + sigma * noise."""
    scheduler = generator.pipeline.scheduler
    part = Trajectory([replace(requests[0], stop=1)], [], scheduler, requests[0].settings)
    scheduler.set_timesteps(STEPS)
    randomness = torch.Generator().manual_seed(0)

    def normal() -> torch.Tensor:
        return torch.randn(200_000, generator=randomness)

    image = 0.7 + 0.5 * normal()
    for low in range(1, STEPS + 1):
        alpha, sigma = part._level(low)
        latents = alpha * image + sigma * normal()
        for high in range(low):
            back = renoised(latents, normal(), (alpha, sigma), part._level(high))
            higher_alpha, higher_sigma = part._level(high)
            deviation = ((0.5 * higher_alpha) ** 2 + higher_sigma**2) ** 0.5
            assert float(back.mean()) == pytest.approx(0.7 * higher_alpha, abs=0.02 * deviation)
            assert float(back.std()) == pytest.approx(deviation, rel=0.01)
            # What is kept of the image is in it, too.
            saved = float(((back - back.mean()) * (image - image.mean())).mean()) / 0.25
            assert saved == pytest.approx(higher_alpha, abs=0.03 * deviation)


@pytest.mark.sampled(3)
def test_renoised_particles_part_under_a_deterministic_solver(
    generator: SanaGenerator, requests: list[Request]
) -> None:
    start = replace(requests[0], stop=3)
    state = generator.generate([start])[0].state
    particles = [replace(r, start=start, state=state, renoise=1) for r in requests]
    one, other = generator.generate(particles)
    assert not np.array_equal(one.image, other.image)
    assert one.cost.nfe == generator.generate(requests)[0].cost.nfe * 3 // 4


@pytest.mark.slow
@pytest.mark.sampled(3)
def test_noise_on_the_way_is_each_rows_own(
    generator: SanaGenerator, requests: list[Request]
) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, other = generator.generate(requests)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(generator.generate(requests[1:])[0].image, other.image)
    assert np.array_equal(generator.generate(requests[::-1])[1].image, one.image)


@pytest.mark.parametrize(
    ("solver", "options", "says"),
    [
        (
            "DPMSolverMultistepScheduler",
            {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
            "algorithm_type=dpmsolver",
        ),
        ("PNDMScheduler", {}, "the solver PNDMScheduler cannot stop"),
        ("HeunDiscreteScheduler", {}, "the solver HeunDiscreteScheduler cannot stop"),
    ],
)
def test_a_solver_without_a_prediction_of_the_image_cannot_stop(
    tiny_pipeline: Path,
    requests: list[Request],
    solver: str,
    options: dict[str, Any],
    says: str,
) -> None:
    generator = SanaGenerator.load(Loading({"pipeline": tiny_pipeline}, batch_size=2))
    generator.pipeline.scheduler = getattr(diffusers, solver)(**options)
    with pytest.raises(HarnessError, match=says):
        generator.generate([replace(requests[0], stop=1)])


def test_a_state_of_another_step_or_schedule_is_refused(
    tiny_pipeline: Path, requests: list[Request]
) -> None:
    generator = SanaGenerator.load(Loading({"pipeline": tiny_pipeline}, batch_size=2))
    start = replace(requests[0], stop=1)
    state = generator.generate([start])[0].state
    with pytest.raises(HarnessError, match="after step 2 of 4"):
        generator.generate([replace(requests[0], start=replace(start, stop=2), state=state)])
    longer = {**requests[0].settings, "num_inference_steps": 6}
    with pytest.raises(HarnessError, match="after step 1 of 6"):
        generator.generate([replace(requests[0], settings=longer, start=start, state=state)])
    with pytest.raises(HarnessError, match="without the state"):
        generator.generate([replace(requests[0], start=start)])
