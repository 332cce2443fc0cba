"""A made-up finished run of any size, without a model: for reports and for measuring them.

Every prompt has a difficulty, every draw is correct by chance, the judge's score is a noisy look
at that. The log has the columns of a real one, in compacted shards, so that reading it costs what
reading a real one does.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.geneval.benchmark import GenEval
from harness.config import Plugin, RunConfig
from harness.log import shards
from harness.log.files import make_folder
from harness.log.manifest import FINISHED, Manifest, PromptSet, now
from harness.log.prompts import write_prompts
from harness.log.run_folder import RunFolder
from harness.log.schema import CANDIDATES, SEARCHES
from harness.log.store import MERGED_ROWS
from harness.models.suites import ModelSpec
from harness.records import Prompt
from harness.seeds import config_digest

SANA = "Efficient-Large-Model/Sana_1600M_1024px_MultiLing_diffusers"
TAGS = ("color_attr", "colors", "counting", "position", "single_object", "two_object")


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
    candidates = _candidates(config.run, asked, scores, correct, rng)
    for number, first in enumerate(range(0, len(candidates), MERGED_ROWS), start=1):
        rows = candidates.slice(first, MERGED_ROWS)
        shards.write(run.log, "candidates", number, number, rows)
    shards.write(run.log, "searches", 1, 1, _searches(config.run, asked, scores, draws))
    Manifest(
        run=config.run,
        config=config.model_dump(mode="json"),
        config_digest=config.digest,
        prompt_set=PromptSet.of(asked),
        command="made up by tests.made_up",
        environment={},
        state=FINISHED,
        created=now(),
    ).write(run.manifest)
    return run


def official(folder: Path, *, side: int = 1024, without: range = range(0)) -> Path:
    """A made-up run whose manifest says it was measured as the published ones were.

    Args:
        folder: Where to.
        side: Of its images.
        without: Places of the published prompts that it is not over.
    """
    prompts = [p for place, p in enumerate(GenEval().prompts()) if place not in without]
    run: RunFolder = make_run(folder, len(prompts), 4)
    write_prompts(run, prompts)
    manifest = replace(Manifest.read(run.manifest), prompt_set=PromptSet.of(prompts))
    config = manifest.config
    config["miniature"] = False
    config["benchmark"] = {"name": "geneval", "options": {"seed": 43, "size": 100}}
    config["generator"]["checkpoints"] = {"model": SANA}
    config["generator"]["settings"] = {"height": side, "width": side}
    config["scorer"]["checkpoints"] = {
        "detector": "mask2former-swin-s-coco",
        "colors": "openai/clip-vit-large-patch14",
    }
    replace(manifest, config=config, config_digest=config_digest(config)).write(run.manifest)
    return run.path


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
    result = pa.StructArray.from_arrays(
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
            pa.array(np.arange(0, 2 * rows + 1, 2, dtype=np.int32)), result
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
