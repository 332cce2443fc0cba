"""``python -m harness.miniature.known_images``: the bundled images with known answers.

Scenes whose truth is known by construction, one of each of GenEval's kinds that needs no colour,
beside the two detectors; objects of known colour beside the colour classifier. Of a few random
ones, those are taken that the present weights are surest of, so that a 16-bit number format or
another device's rounding turns no answer over.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from benchmarks.geneval.colors import ClipColorClassifier, Crop
from benchmarks.geneval.loading import load_scorer
from benchmarks.geneval.prompts import Group, Request
from benchmarks.geneval.scorer import GenEvalScorer
from benchmarks.geneval.self_test import ANSWERS, FOLDER
from harness.miniature import WEIGHTS, WORLDS
from harness.miniature.glyphs import COLOURS
from harness.miniature.prompts import draw_request, draw_scene
from harness.miniature.scenes import Rendered, render
from harness.records import Loading

PAIRS = (("detector", "colors"), *(world.judge for world in WORLDS.values()))
KINDS = ("single_object", "two_object", "counting", "position")
TRIES = 40
"""Random scenes of each kind, and objects of each colour, to choose from."""


def scenes(kind: str) -> Iterator[tuple[Request, Rendered]]:
    """Random requests of a kind and scenes that show what they ask for."""
    for seed in range(TRIES):
        rng = np.random.default_rng([seed, KINDS.index(kind)])
        request = draw_request(rng, kind)
        yield request, render(draw_scene(rng, request))


def surest_scene(scorers: list[GenEvalScorer], kind: str) -> tuple[Request, Rendered]:
    """The scene whose least sure object all scorers are surest of."""

    def sureness(case: tuple[Request, Rendered]) -> float:
        request, drawn = case
        prompt = request.prompt("")
        least = 1.0
        for scorer in scorers:
            [result] = scorer.examine([prompt], [drawn.image])
            # Nothing else may be near the threshold either.
            scores = result.detections.scores
            count = len(drawn.boxes)
            if not result.outcome.correct or len(scores) < count:
                return 0.0
            rest = float(scores[count:].max(initial=0.0))
            least = min(least, float(scores[count - 1]), 1 - rest)
        return least

    return max(scenes(kind), key=sureness)


def surest_object(classifier: ClipColorClassifier, colour: str) -> tuple[str, Any]:
    """Class and RGBA cutting of the object of a colour that is told best from other colours."""
    best: tuple[float, str, Any] = (-1.0, "", None)
    place = list(COLOURS).index(colour)
    for seed in range(TRIES):
        rng = np.random.default_rng([seed, 10 + place])
        name = draw_request(rng, "colors").groups[0].name
        request = Request("colors", (Group(name, 1, colour),))
        drawn = render(draw_scene(rng, request))
        x0, y0, x1, y1 = drawn.boxes[0].astype(int)
        mask = drawn.masks[0][y0:y1, x0:x1]
        cut = np.dstack([drawn.image[y0:y1, x0:x1], mask.astype(np.uint8) * 255])
        box = np.array([0, 0, x1 - x0, y1 - y0], np.float32)
        [row] = classifier.similarities([Crop(cut[..., :3], mask, box, name)])
        others = row.clone()
        others[place] = -1
        lead = float(row[place] - others.max())
        if lead > best[0]:
            best = (lead, name, cut)
    return best[1], best[2]


def write(folder: Path, rows: list[dict[str, Any]], images: dict[str, Any]) -> None:
    """Write one checkpoint's images and answers afresh."""
    place = folder / FOLDER
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name, pixels in images.items():
        Pillow.fromarray(pixels).save(place / name, optimize=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (place / ANSWERS).write_text(text, encoding="utf-8")


def main() -> None:
    """Choose and write the images of all bundled checkpoints."""
    scorers = [
        load_scorer(Loading({"detector": WEIGHTS / detector, "colors": WEIGHTS / colors}))
        for detector, colors in PAIRS
    ]
    chosen = {kind: surest_scene(scorers, kind) for kind in KINDS}
    rows = []
    for number, (kind, (request, drawn)) in enumerate(chosen.items()):
        # Its own image shows what a prompt asks for, the next one's does not.
        names = [group.name for group in request.groups for _ in range(group.count)]
        boxes = [[round(float(edge)) for edge in box] for box in drawn.boxes]
        objects = [{"class": n, "box": b} for n, b in zip(names, boxes, strict=True)]
        shown, other = f"{kind}.png", f"{KINDS[(number + 1) % len(KINDS)]}.png"
        asked = {"metadata": request.metadata}
        rows.append({"image": shown, **asked, "correct": True, "objects": objects})
        rows.append({"image": other, **asked, "correct": False})
    for name, _ in PAIRS:
        images = {f"{kind}.png": drawn.image for kind, (_, drawn) in chosen.items()}
        write(WEIGHTS / name, rows, images)
    for scorer, (_, name) in zip(scorers, PAIRS, strict=True):
        classifier = scorer.classifier
        assert isinstance(classifier, ClipColorClassifier)
        cuttings = {colour: surest_object(classifier, colour) for colour in COLOURS}
        write(
            WEIGHTS / name,
            [{"image": f"{c}.png", "class": name, "color": c} for c, (name, _) in cuttings.items()],
            {f"{colour}.png": cut for colour, (_, cut) in cuttings.items()},
        )


if __name__ == "__main__":
    main()
