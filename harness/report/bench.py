"""How long a report of a very large run takes: `python -m harness bench report`.

The run is made up: every prompt has a difficulty, every draw is correct by chance, the judge's
score is a noisy look at that. Its log has the size and the columns of a real one (553 prompts ×
2048 draws by default, one compacted shard), so that reading it costs what reading a real one does.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from harness.config import Plugin, RunConfig
from harness.log import shards
from harness.log.files import make_folder
from harness.log.location import local
from harness.log.manifest import FINISHED, Manifest, PromptSet, now
from harness.log.run_folder import RunFolder
from harness.log.schema import CANDIDATES, SEARCHES
from harness.models.suites import ModelSpec
from harness.records import Prompt

PROMPTS, DRAWS = 553, 2048
TAGS = ("color_attr", "colors", "counting", "position", "single_object", "two_object")


@dataclass(frozen=True)
class Measured:
    """What one report took.

    Attributes:
        rows: Candidates in the log.
        megabytes: Size of the log.
        seconds: Wall time of the whole command, start of Python included.
        cpu_seconds: Processor time, all threads: what the wall time hangs on when the machine has
            other work.
        peak_megabytes: Peak resident memory of its process.
    """

    rows: int
    megabytes: float
    seconds: float
    cpu_seconds: float
    peak_megabytes: float


def bench_report(folder: Path, prompts: int = PROMPTS, draws: int = DRAWS) -> Measured:
    """Make up a run and measure a report of it in a process of its own.

    Args:
        folder: Where the run and its report go.
        prompts: Of the run.
        draws: For each prompt.

    Raises:
        subprocess.CalledProcessError: The report failed.
    """
    run = make_run(folder / "run", prompts, draws)
    command = [sys.executable, "-m", "harness", "report", str(run.path)]
    started = time.monotonic()
    subprocess.run([*command, "--out", str(folder / "report")], check=True, capture_output=True)
    seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    size = sum(path.stat().st_size for path in local(run.log).iterdir()) / 2**20
    peak = round(used.ru_maxrss / 1024)
    return Measured(prompts * draws, round(size, 1), round(seconds, 2), round(cpu, 2), peak)


def make_run(folder: Path, prompts: int, draws: int, *, seed: int = 0) -> RunFolder:
    """Write a made-up, finished best-of-n run.

    Args:
        folder: Where to.
        prompts: How many.
        draws: For each prompt.
        seed: Of everything in it.
    """
    run = RunFolder(folder)
    make_folder(run.log)
    asked = [Prompt(f"{i:05d}", f"made up {i}", TAGS[i % len(TAGS)]) for i in range(prompts)]
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(prompts, draws))
    chances = 1 / (1 + np.exp(-scores - rng.normal(0.5, 2.0, (prompts, 1))))
    correct = rng.random((prompts, draws)) < chances
    config = _config(draws)
    shards.write(run.log, "candidates", 1, 1, _candidates(config.run, asked, scores, correct, rng))
    shards.write(run.log, "searches", 1, 1, _searches(config.run, asked, scores, draws))
    Manifest(
        run=config.run,
        config=config.model_dump(mode="json"),
        config_digest=config.digest,
        prompt_set=PromptSet.of(asked),
        command="made up by harness.report.bench",
        environment={},
        state=FINISHED,
        created=now(),
    ).write(run.manifest)
    return run


def _config(draws: int) -> RunConfig:
    return RunConfig(
        benchmark=Plugin(name="made-up"),
        strategy=Plugin(name="best-of-n", options={"select": "score"}),
        budget=draws,
        suite="made-up",
        miniature=True,
        generator=ModelSpec(kind="made-up", settings={"height": 64, "width": 64}),
        judge=ModelSpec(kind="made-up"),
        scorer=ModelSpec(),
    )


def _candidates(
    run: str,
    prompts: list[Prompt],
    scores: npt.NDArray[np.float64],
    correct: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> pa.Table:
    rows, draws = scores.size, scores.shape[1]
    which = pa.array(np.repeat(np.arange(len(prompts)), draws))

    def each(values: list[str]) -> pa.Array:
        return pa.array(values).take(which)

    def names(count: int) -> pa.Array:
        digits = rng.integers(0, 16, (count, 32), dtype=np.uint8)
        return pa.array(["".join(f"{digit:x}" for digit in row) for row in digits])

    pool = names(min(rows, 4096))  # drawing a million names would only slow the making down
    boxes = pa.FixedSizeListArray.from_arrays(pa.array(rng.random(rows * 8) * 64, pa.float32()), 4)
    found = pa.StructArray.from_arrays(
        [
            pa.array(["made up"]).take(pa.array(np.zeros(rows * 2, np.int32))),
            boxes,
            pa.array(rng.random(rows * 2), pa.float32()),
            pa.nulls(rows * 2, pa.string()),
        ],
        names=["label", "box", "score", "color"],
    )
    accepted = scores.ravel() > 0.5
    columns: dict[str, pa.Array] = {
        "run": pa.array([run]).take(pa.array(np.zeros(rows, np.int32))),
        "prompt_id": each([p.id for p in prompts]),
        "prompt": each([p.text for p in prompts]),
        "tag": each([p.tag for p in prompts]),
        "replicate": pa.array(np.zeros(rows, np.int32)),
        "draw_index": pa.array(np.tile(np.arange(draws, dtype=np.int32), len(prompts))),
        "draw_id": pool.take(pa.array(rng.integers(0, len(pool), rows))),
        "seed": pa.array(rng.integers(0, 2**62, rows)),
        "settings": pa.array(["{}"]).take(pa.array(np.zeros(rows, np.int32))),
        "feedback": pa.ListArray.from_arrays(
            pa.array(np.zeros(rows + 1, np.int32)),
            pa.array([], CANDIDATES.field("feedback").type.value_type),
        ),
        "image": pool.take(pa.array(rng.integers(0, len(pool), rows))),
        "accepted": pa.array(accepted),
        "judge_score": pa.array(scores.ravel()),
        "judge_sentence": pa.array(["made up", ""]).take(pa.array(accepted.astype(np.int32))),
        "correct": pa.array(correct.ravel()),
        "reason": pa.array(["made up", ""]).take(pa.array(correct.ravel().astype(np.int32))),
        "detections": pa.ListArray.from_arrays(
            pa.array(np.arange(0, 2 * rows + 1, 2, dtype=np.int32)), found
        ),
        "attempts": pa.array(np.ones(rows, np.int32)),
        "generator_nfe": pa.array(np.full(rows, 40)),
    }
    spent = {"generator": (4e12, 1.0), "judge": (5e11, 0.1), "scorer": (1e11, 0.05)}
    for role, (flops, seconds) in spent.items():
        columns[f"{role}_flops"] = pa.array(np.full(rows, flops))
        columns[f"{role}_device_seconds"] = pa.array(rng.gamma(20, seconds / 20, rows))
    filled = [
        columns[field.name].cast(field.type)
        if field.name in columns
        else pa.nulls(rows, field.type)
        for field in CANDIDATES
    ]
    return pa.table(filled, schema=CANDIDATES)


def _searches(
    run: str, prompts: list[Prompt], scores: npt.NDArray[np.float64], draws: int
) -> pa.Table:
    rows = [
        {
            "run": run,
            "prompt_id": prompt.id,
            "replicate": 0,
            "draws": draws,
            "rounds": 1,
            "selected_index": int(best),
        }
        for prompt, best in zip(prompts, scores.argmax(axis=1), strict=True)
    ]
    return pa.Table.from_pylist(rows, SEARCHES)
