from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.geneval import classes
from benchmarks.geneval.classes import CLASSES
from harness.miniature import glyphs
from harness.miniature.glyphs import COLOURS, FontMissingError, sprite
from harness.miniature.scenes import SIDE, Scene, SceneObject, render

GREY = (200, 200, 200)


def test_every_class_and_colour_of_the_benchmark_is_there() -> None:
    assert classes.CLASSES == CLASSES
    assert tuple(COLOURS) == classes.COLORS
    assert len(set(glyphs.GLYPHS.values())) == len(CLASSES)


@pytest.mark.usefixtures("font")
def test_no_two_classes_look_alike() -> None:
    small = []
    for name in CLASSES:
        scene = Scene((SceneObject(name, None, 8, 8, 24),), GREY, GREY)
        small.append(render(scene).image[8:32, 8:32].astype(float).ravel())
    pictures = np.stack(small)
    distances = np.sqrt(np.square(pictures[:, None] - pictures[None]).mean(-1))
    np.fill_diagonal(distances, np.inf)
    assert distances.min() > 15


@pytest.mark.usefixtures("font")
@pytest.mark.parametrize("colour", [None, *COLOURS])
def test_boxes_and_masks_are_those_of_the_glyph(colour: str | None) -> None:
    scene = Scene(
        (SceneObject("zebra", colour, 3, 5, 25), SceneObject("spoon", colour, 34, 30, 22)),
        GREY,
        GREY,
    )
    drawn = render(scene)
    empty = render(replace(scene, objects=())).image
    for index, item in enumerate(scene.objects):
        alpha = sprite(item.name, colour, item.size)[..., 3]
        height, width = alpha.shape
        x0, y0, x1, y1 = drawn.boxes[index].astype(int)
        assert (x0, y0, x1, y1) == (item.x, item.y, item.x + width, item.y + height)
        assert max(height, width) == item.size
        assert np.array_equal(drawn.masks[index][y0:y1, x0:x1], alpha > 127.5)
        assert not drawn.masks[index][:, :x0].any()
        assert not drawn.masks[index][y1:].any()
        # The box is tight: the glyph leaves a trace in each of its outermost rows and columns.
        for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]):
            assert edge.any()
    inside = np.zeros((SIDE, SIDE), bool)
    for x0, y0, x1, y1 in drawn.boxes.astype(int):
        inside[y0:y1, x0:x1] = True
    assert np.array_equal(drawn.image[~inside], empty[~inside])


@pytest.mark.usefixtures("font")
@pytest.mark.parametrize("colour", COLOURS)
def test_a_recoloured_glyph_is_nearest_to_its_colour(colour: str) -> None:
    palette = np.array(list(COLOURS.values()), float)
    for name in CLASSES:
        pixels = sprite(name, colour, 26).astype(float)
        seen = pixels[..., :3][pixels[..., 3] > 127]
        # Light on black is grey, which says less of its colour than the rest does.
        lit = seen[seen.sum(1) >= (0 if colour == "black" else np.median(seen.sum(1)))].mean(0)
        assert list(COLOURS)[np.square(palette - lit).sum(1).argmin()] == colour, name


@pytest.mark.usefixtures("font")
def test_what_is_in_front_takes_the_mask() -> None:
    behind, front = SceneObject("apple", None, 10, 10, 24), SceneObject("bus", None, 16, 14, 24)
    drawn = render(Scene((behind, front), GREY, GREY))
    assert not (drawn.masks[0] & drawn.masks[1]).any()
    assert drawn.masks[1].sum() == render(Scene((front,), GREY, GREY)).masks[0].sum()


@pytest.mark.usefixtures("font")
def test_an_object_may_not_stick_out() -> None:
    with pytest.raises(ValueError, match="outside of the 64x64 scene"):
        render(Scene((SceneObject("cow", None, 50, 10, 24),), GREY, GREY))


def test_the_missing_font_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(glyphs.FONT_ENV, str(tmp_path / "no.ttf"))
    with pytest.raises(FontMissingError, match=r"NotoColorEmoji\.ttf") as caught:
        glyphs.font_path()
    assert str(tmp_path / "no.ttf") in caught.value.message
    assert "fonts-noto-color-emoji" in caught.value.hint
