"""What other programs leave behind: images in GenEval's layout, the Reflect-DiT script's output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image as Pillow

from benchmarks.geneval.benchmark import GenEval
from harness.interop.importing import Imported, import_reflect_dit
from harness.log.run_folder import RunFolder

PLACES = (0, 1, 85, 90, 180, 190, 270, 360, 460)
"""Places of some official prompts, of all six tags."""

BUDGET = 12
"""Draws of a chain of the script, at most."""


def make_images(root: Path, *, most: int = 3) -> Path:
    """One to three random images a prompt, in two sizes, png and jpg."""
    rng = np.random.default_rng(5)
    prompts = GenEval().prompts()
    for place in PLACES:
        folder = root / f"{place:05d}"
        (folder / "samples").mkdir(parents=True)
        (folder / "metadata.jsonl").write_text(json.dumps(prompts[place].metadata))
        for number in range(1 + place % most):
            size = (48, 32, 3) if number == 1 else (32, 32, 3)
            picture = Pillow.fromarray(rng.integers(0, 256, size, dtype=np.uint8))
            suffix = "jpg" if number == 2 else "png"
            picture.save(folder / "samples" / f"{number:04d}.{suffix}")
    return root


def script_output(root: Path, *, prompts: int = 20, seed: int = 0, suffix: str = "png") -> Path:
    """Folders as the script leaves them: chains that end at acceptance or at the budget.

    Some files hold a list whose last entry counts, and numbers instead of booleans.
    """
    rng = np.random.default_rng(seed)
    for prompt in GenEval().prompts()[:prompts]:
        folder = root / prompt.id
        (folder / "samples").mkdir(parents=True)
        (folder / "metadata.jsonl").write_text(json.dumps(prompt.metadata))
        for index in range(BUDGET):
            accepted = bool(rng.random() < 0.15) and prompt.id != "00000"
            name = f"{index:05d}.{suffix}"
            picture = Pillow.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            picture.save(folder / "samples" / name)
            output: dict[str, Any] = {
                "correct": bool(rng.random() < (0.8 if accepted else 0.3)),
                "text_feedback": "from the detector",
                "tag": prompt.tag,
                "prompt": prompt.text,
                "correct_verifier": accepted,
                "text_feedback_verifier": "" if accepted else f"wrong {index}",
                "gen_idx_gt": index,
                "filename": f"outputs/{prompt.id}/samples/{name}",
            }
            if index % 3 == 1:
                output = {**output, "correct": int(output["correct"])}
            content = [{"correct": 7}, output] if index % 2 else output
            (folder / "samples" / f"{name}.feedback.json").write_text(json.dumps(content))
            if accepted:
                break
    (root / "annotations_rank_0_of_1.json").write_text("[]")
    return root


def published(root: Path) -> list[float]:
    """Mean correctness at every N: the last image of each prompt, carried forward."""
    rows = []
    for path in root.glob("**/*.feedback.json"):
        content = json.loads(path.read_text())
        entry = content[-1] if isinstance(content, list) else content
        rows.append((entry["prompt"], int(path.name[:5]), float(entry["correct"])))
    wide = pd.DataFrame(rows).pivot(index=0, columns=1, values=2)
    carried: list[float] = wide.ffill(axis=1).mean().tolist()
    return carried


def imported(source: Path, out: Path, **how: Any) -> Imported:
    return import_reflect_dit(source, RunFolder(out), command="test", **how)
