from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.geneval import rules
from benchmarks.geneval.classes import TAGS
from benchmarks.geneval.prompts import Request, metadata_rows
from harness.miniature.corrections import with_fault
from harness.miniature.prompts import (
    draw_request,
    draw_scene,
    from_metadata,
)
from harness.miniature.scenes import Scene, render
from harness.miniature.train.data import make_pool
from harness.miniature.words import (
    BOS,
    UNK,
    make_clip_tokenizer,
    make_tokenizer,
    wish,
)

ROWS = metadata_rows()


def verdict(metadata: dict[str, Any], scene: Scene) -> bool:
    """GenEval's rules on the renderer's truth, as a perfect detector would report it."""
    labels = [item.name for item in scene.objects]
    boxes = render(scene).boxes
    scores = np.full(len(labels), 0.99, np.float32)
    saved = rules.keep(labels, scores, boxes, tag=metadata["tag"])
    colours = [item.colour or "natural" for item in scene.objects]
    return rules.judge(metadata, saved, boxes, colours.__getitem__).correct


def test_published_rows_are_read_and_worded_as_they_are() -> None:
    for row in ROWS:
        request = from_metadata(row)
        assert request.metadata == row
        assert request.text == row["prompt"]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'texture' is not one of"):
        from_metadata({"tag": "texture", "include": []})


@pytest.mark.slow
@pytest.mark.usefixtures("font")
@pytest.mark.parametrize("tag", TAGS)
def test_scenes_show_what_is_asked_for_and_faults_are_faults(tag: str) -> None:
    rng = np.random.default_rng(5)
    drawn = [draw_request(rng, tag) for _ in range(40)]
    published = [from_metadata(row) for row in ROWS if row["tag"] == tag][::4]
    for request in [*drawn, *published]:
        assert request.tag == tag
        assert verdict(request.metadata, draw_scene(rng, request)), request
        wrong = with_fault(rng, request)
        assert not verdict(request.metadata, draw_scene(rng, wrong)), (request, wrong)


def test_all_kinds_are_drawn_over_the_whole_vocabulary() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_request(rng) for _ in range(4000)]
    assert {request.tag for request in drawn} == set(TAGS)
    assert len({group.name for request in drawn for group in request.groups}) == 80
    assert {g.color for r in drawn for g in r.groups if g.color} == set(rules.COLORS)
    assert {r.relation for r in drawn if r.relation} == set(rules.RELATIONS)
    # More than the benchmark's own rows are learnt.
    published = {row["prompt"] for row in ROWS}
    assert len({request.text for request in drawn} - published) > 1500


def test_the_tokenizer_knows_every_word_and_sixteen_tokens_are_enough() -> None:
    tokenizer = make_tokenizer()
    for row in ROWS:
        ids = tokenizer(row["prompt"])["input_ids"]
        assert ids[0] == BOS and UNK not in ids and len(ids) <= 16
    assert tokenizer("")["input_ids"] == [BOS]


@pytest.mark.parametrize(
    "sentence",
    [
        "There is no knife in image",
        "There should be 3 clock, but only 2 exists in image",
        "cell phone should be right of the chair, but it is left of the chair",
        "the bench should be red, but it is blue",
    ],
)
def test_feedback_sentences_are_in_the_vocabulary(sentence: str) -> None:
    assert UNK not in make_tokenizer()(sentence)["input_ids"]


def test_made_up_faults_fit_into_training_length() -> None:
    rng = np.random.default_rng(1)
    tokenizer = make_tokenizer()
    for _ in range(500):
        sentence = wish(rng, draw_request(rng))
        ids = tokenizer(sentence)["input_ids"]
        assert UNK not in ids and len(ids) <= 24, sentence


def test_clip_reads_one_token_a_word() -> None:
    tokenizer = make_clip_tokenizer(16)
    for text in ("a photo of a red computer keyboard", "a photo of a brown object"):
        ids = tokenizer(text)["input_ids"]
        assert len(ids) == len(text.split()) + 2
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    assert len(tokenizer("a photo of a blue-colored cell phone")["input_ids"]) == 11


@pytest.mark.usefixtures("font")
def test_a_pool_is_its_seed() -> None:
    first, again, other = make_pool(12, 3, free=0.5), make_pool(12, 3, free=0.5), make_pool(12, 4)
    assert first.images.equal(again.images) and first.boxes.equal(again.boxes)
    assert not first.images.equal(other.images)
    # Scene i does not depend on how many scenes there are.
    assert make_pool(5, 3, free=0.5).images.equal(first.images[:5])
    for row, request in enumerate(first.requests):
        if isinstance(request, Request):
            count = sum(group.count for group in request.groups)
            assert int((first.classes[row] >= 0).sum()) == count
