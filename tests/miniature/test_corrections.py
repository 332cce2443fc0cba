from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.geneval import rules
from benchmarks.geneval.prompts import Group, Request
from harness.miniature.corrections import Sighting, corrected, edge_colours, flawed
from harness.miniature.prompts import draw_request, draw_scene
from harness.miniature.scenes import Scene, render

EDGES = ((200, 210, 220), (190, 200, 210))


def right(request: Request, scene: Scene) -> bool:
    """GenEval's rules on a scene's true objects."""
    boxes = render(scene).boxes
    names = [item.name for item in scene.objects]
    scores = np.linspace(1, 0.95, len(names)).astype(np.float32)
    saved = rules.keep(names, scores, boxes, tag=request.tag)
    colours = [item.colour or "natural" for item in scene.objects]
    return rules.judge(request.metadata, saved, boxes, colours.__getitem__).correct


def sightings(scene: Scene) -> list[Sighting]:
    boxes = render(scene).boxes.tolist()
    return [Sighting(o.name, tuple(b)) for o, b in zip(scene.objects, boxes, strict=True)]


@pytest.mark.slow
@pytest.mark.usefixtures("font")
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_a_corrected_scene_is_right_and_the_flawed_one_was_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    request = draw_request(rng)
    wrong = draw_scene(rng, flawed(rng, request))
    mended = corrected(rng, request, sightings(wrong), EDGES)
    assert right(request, mended)
    assert not right(request, wrong)


@pytest.mark.usefixtures("font")
def test_what_was_right_stays_in_its_place() -> None:
    rng = np.random.default_rng(3)
    request = Request("two_object", (Group("bench"), Group("cow")))
    wrong = draw_scene(rng, Request("single_object", (Group("cow"),)))
    mended = corrected(rng, request, sightings(wrong), EDGES)
    saved = next(item for item in mended.objects if item.name == "cow")
    before = wrong.objects[0]
    assert abs(saved.x - before.x) <= 1 and abs(saved.y - before.y) <= 1
    assert saved.size == before.size


@pytest.mark.usefixtures("font")
def test_a_pair_the_wrong_way_round_changes_places() -> None:
    rng = np.random.default_rng(4)
    request = Request("position", (Group("bench"), Group("cow")), "left of")
    turned = Request("position", (Group("cow"), Group("bench")), "left of")
    wrong = draw_scene(rng, turned)
    mended = corrected(rng, request, sightings(wrong), EDGES)
    middles = {o.name: o.x + o.size / 2 for o in wrong.objects}
    after = {o.name: o.x + o.size / 2 for o in mended.objects}
    assert after["bench"] == pytest.approx(middles["cow"], abs=6)
    assert after["cow"] == pytest.approx(middles["bench"], abs=6)


@pytest.mark.usefixtures("font")
def test_nothing_found_and_too_much_found() -> None:
    rng = np.random.default_rng(5)
    request = Request("counting", (Group("cow", 2),))
    assert right(request, corrected(rng, request, [], EDGES))
    many = draw_scene(rng, Request("counting", (Group("cow", 4),)))
    mended = corrected(rng, request, sightings(many), EDGES)
    assert [item.name for item in mended.objects] == ["cow", "cow"]


@pytest.mark.usefixtures("font")
def test_the_background_is_read_from_the_edges() -> None:
    rng = np.random.default_rng(6)
    scene = draw_scene(rng, Request("two_object", (Group("bench"), Group("cow"))))
    top, bottom = edge_colours(render(scene).image, sightings(scene))
    assert np.abs(np.subtract(top, scene.top)).max() <= 2
    assert np.abs(np.subtract(bottom, scene.bottom)).max() <= 2
