from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.seeds import canonical_json, digest, draw_id, pixel_digest, seed

ARGUMENTS = dict(generator="g", text="a cat", noise_seed=1, settings={"steps": 2}, feedback=())


def test_known_values_never_change() -> None:
    # These are in people's logs. A change here makes every old run impossible to resume.
    assert seed(0, "00000", 0, 0, "noise") == 1993591334579724513
    assert draw_id(**ARGUMENTS) == "8ceb80c7cc72b0eec6aad7f893213488"
    assert pixel_digest(np.zeros((2, 3, 3), np.uint8)) == "a82ad40515c1f490894ebfb5eb7335be"


@given(
    st.tuples(
        st.integers(0, 2**31), st.text(max_size=8), st.integers(0, 9), st.integers(-1, 99),
        st.sampled_from(["noise", "strategy", "judge"]),
    )
)  # fmt: skip
def test_seeds_fit_63_bits_and_depend_on_their_name_alone(
    name: tuple[int, str, int, int, str],
) -> None:
    assert seed(*name) == seed(*name)
    assert 0 <= seed(*name) < 2**63


def test_every_part_of_a_seeds_name_counts() -> None:
    names = [
        (0, "p", 0, 0, "noise"), (1, "p", 0, 0, "noise"), (0, "q", 0, 0, "noise"),
        (0, "p", 1, 0, "noise"), (0, "p", 0, 1, "noise"), (0, "p", 0, 0, "judge"),
        (0, "1", 0, 0, "noise"), (0, "", 10, 0, "noise"),
    ]  # fmt: skip
    assert len({seed(*name) for name in names}) == len(names)


@pytest.mark.parametrize(
    "change",
    [
        {"generator": "h"},
        {"text": "a dog"},
        {"noise_seed": 2},
        {"settings": {"steps": 3}},
        {"settings": {"steps": 2, "guidance": 1.0}},
        {"feedback": (("id", "no cat"),)},
    ],
)
def test_every_field_counts_towards_a_draws_identity(change: dict[str, object]) -> None:
    assert draw_id(**{**ARGUMENTS, **change}) != draw_id(**ARGUMENTS)


def test_order_and_boundaries_of_feedback_count() -> None:
    one, two = ("a", "b"), ("c", "d")
    ids = {
        draw_id(**{**ARGUMENTS, "feedback": feedback})
        for feedback in [(one, two), (two, one), (("a", "bc"), ("", "d")), (one,)]
    }
    assert len(ids) == 4


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=6))
def test_canonical_json_does_not_depend_on_insertion_order(fields: dict[str, object]) -> None:
    backwards = dict(reversed(list(fields.items())))
    assert canonical_json(fields) == canonical_json(backwards)
    assert digest(fields) == digest(backwards)


def test_nan_has_no_spelling() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


def test_pixel_digest_is_of_pixels_and_shape() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert pixel_digest(image) == pixel_digest(np.asfortranarray(image))
    assert pixel_digest(image) != pixel_digest(image.reshape(4, 2, 3))
    for wrong in (image.astype(float), image[..., 0], np.zeros((2, 2, 4), np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            pixel_digest(wrong)


def test_what_a_draw_does_not_have_is_not_in_its_id() -> None:
    plain = draw_id(**ARGUMENTS)  # type: ignore[arg-type]
    assert draw_id(**ARGUMENTS, turns=[], start=None, stop=None) == plain  # type: ignore[arg-type]
    parts = ({"turns": [[3, 0.9]]}, {"start": ["id", None]}, {"start": ["id", 0]}, {"stop": 1})
    names = {draw_id(**ARGUMENTS, **part) for part in parts}  # type: ignore[arg-type]
    assert len(names | {plain}) == 5
