"""Which file each row of a scored folder's log is about, and the official programs' files of them.

GenEval's is `results.jsonl`.

Same keys and forms as `evaluation/evaluate_images.py` of github.com/djghosh13/geneval writes, so
that its `summary_scores.py` and everything built on it reads the file. An image that was refused
or could not be scored has a line too, with the reason, and null for `correct`: the official script
would have stopped there. pandas, and so the official summary, leaves null out of every mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.base import Scored
from benchmarks.geneval import rules
from benchmarks.geneval.classes import CLASSES
from harness.config import read_config
from harness.engine.rows import logged_score
from harness.errors import HarnessError
from harness.interop.plan import ScoringPlan, named
from harness.log import store
from harness.log.files import read_file, write_atomically
from harness.log.location import local
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.log.schema import SCORE
from harness.prompts import benchmark_of, read_prompts
from harness.records import Prompt

RESULTS = "results.jsonl"

OFFICIAL = (RESULTS, "score_lists.json", "dpg-bench_results.txt")
"""Names of the official programs' files."""

FILES = "files.jsonl"
"""Beside the manifest: one JSON object an image, with the name of its file."""

LARGEST = 2**30
"""Bytes of the largest such file that is read."""

_COLUMNS = ("prompt_id", "replicate", "tag", *SCORE, "error")


def write_files(ready: ScoringPlan, folder: RunFolder) -> None:
    """Write the names of the files that will be scored, relative to their folder.

    Raises:
        HarnessError: The file cannot be written.
    """
    rows = (
        {
            "prompt_id": file.prompt.id,
            "replicate": file.replicate,
            "file": named(file.path, ready.root),
        }
        for file in ready.files
    )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(folder.path / FILES, text.encode())


def read_files(folder: RunFolder) -> dict[tuple[str, int], str]:
    """Name of each image's file by prompt and replicate, in the order of scoring.

    Raises:
        HarnessError: The file is missing or damaged.
    """
    file = folder.path / FILES
    try:
        lines = read_file(file, LARGEST).decode().split("\n")
        rows = [json.loads(line) for line in lines if line]
        return {(row["prompt_id"], row["replicate"]): row["file"] for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HarnessError(
            f"{file} cannot be read: {error}",
            "restore it from a copy; as long as not all is scored, `score` writes it again",
        ) from error


def write_results(folder: RunFolder, root: Path) -> tuple[Path, ...]:
    """Write the results of scored images beside their log.

    Args:
        folder: Of a run that `harness.interop.session.score` made.
        root: The folder of images; file names start with it, as in the official file.

    Returns:
        The files.

    Raises:
        HarnessError: The log is damaged, or the file cannot be written.
    """
    manifest = Manifest.read(folder.manifest)
    scorer = manifest.config["scorer"] or {}
    prompts = {prompt.id: prompt for prompt in read_prompts(folder, manifest)}
    names = read_files(folder)
    rows = store.read(folder.log, "candidates", _COLUMNS).to_pylist()
    row_of = {(row["prompt_id"], row["replicate"]): row for row in rows}
    texts: Mapping[str, str]
    benchmark = benchmark_of(read_config(manifest.config))
    if benchmark.matches_images:  # to its own prompts, and so has results of its own
        texts = benchmark.result_files(
            [
                Scored(prompts[key[0]], key[1], name, logged_score(row_of[key]))
                for key, name in names.items()
                if key in row_of
            ],
            benchmark.scorer_settings(scorer.get("settings", {})),
        )
    else:
        overlap = float(scorer.get("settings", {}).get("max_overlap", rules.MAX_OVERLAP))
        lines = [
            json.dumps(_line(str(root / name), prompts[key[0]], row_of[key], overlap)) + "\n"
            for key, name in names.items()
            if key in row_of
        ]
        texts = {RESULTS: "".join(lines)}
    paths = []
    for name, text in texts.items():
        paths.append(local(folder.path) / name)
        write_atomically(paths[-1], text.encode())
    return tuple(paths)


def _line(
    filename: str, prompt: Prompt, row: Mapping[str, Any], max_overlap: float
) -> dict[str, Any]:
    scored = row["correct"] is not None
    return {
        "filename": filename,
        "tag": prompt.tag,
        "prompt": prompt.text,
        "correct": row["correct"],
        "reason": row["reason"] if scored else f"not scored: {row['error']}",
        "metadata": json.dumps(prompt.metadata),
        "details": json.dumps(_without_overlaps(row["detections"] or [], prompt.tag, max_overlap)),
    }


def _without_overlaps(
    detections: list[dict[str, Any]], tag: str, max_overlap: float
) -> dict[str, list[list[float]]]:
    """Boxes with scores of the objects that count, by class in the detector's order."""
    labels = [d["label"] for d in detections]
    boxes = np.array([d["box"] for d in detections], np.float32).reshape(-1, 4)
    scores = np.array([d["score"] for d in detections], np.float32)
    counted = rules.keep(labels, scores, boxes, tag=tag, max_overlap=max_overlap)
    return {
        label: [[*boxes[index].tolist(), float(scores[index])] for index in counted[label]]
        for label in CLASSES
        if label in counted
    }
