"""The driver alone while images of 2 MB are made: processor time by the image, and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.perf.references import Driver, drive, drive_ray

pytestmark = pytest.mark.perf


def note(benchmark: Any, driver: Driver) -> None:
    first, last = driver.memory
    benchmark.extra_info |= {
        "images": driver.images,
        "images_per_second": round(driver.images / driver.seconds),
        "driver_cores_at_1000_images_per_second": round(
            1000 * driver.processor_seconds / driver.images, 3
        ),
        "memory_growth_mb": round((last - first) / 2**20, 1),
    }


@pytest.mark.parametrize("workers", [64, 256, 512])
def test_pretended_workers(benchmark: Any, tmp_path: Path, workers: int) -> None:
    sizes = {"prompts": 500, "budget": 40, "latency": 8 * workers / 1000}
    note(benchmark, benchmark.pedantic(drive, (tmp_path,), {"workers": workers, **sizes}, rounds=1))


@pytest.mark.usefixtures("ray_cluster")
def test_real_actors(benchmark: Any, tmp_path: Path) -> None:
    note(benchmark, benchmark.pedantic(drive_ray, (tmp_path,), {"batches": 60}, rounds=1))
