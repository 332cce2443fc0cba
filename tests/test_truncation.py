"""What is said of texts that are cut: unknown is not the same as none."""

from __future__ import annotations

from harness.truncation import Truncated


def test_prompts_are_counted_once_whatever_their_number_of_draws() -> None:
    texts = [("b", ["text"]), ("a", ["text", "feedback"]), ("b", []), ("c", []), ("b", ["text"])]
    cut = Truncated.of(3, texts)
    assert cut.sentences == [
        "the text encoder cuts the text of 2 of 3 prompts, by id: a, b",
        "the text encoder cuts the feedback of 1 of 3 prompts, by id: a",
    ]
    assert cut.summary == "; ".join(cut.sentences)


def test_many_ids_are_shortened() -> None:
    cut = Truncated.of(9, [(str(n), ["negative_prompt"]) for n in range(9)])
    assert cut.sentences == [
        "the text encoder cuts the negative prompt of 9 of 9 prompts, by id: 0, 1, 2, 3, 4 and "
        "4 more"
    ]


def test_unknown_is_not_none() -> None:
    assert Truncated.of(2, [("a", None), ("b", None)]).summary == "not recorded"
    assert Truncated.of(2, [("a", []), ("b", [])]).summary == "no text of 2 prompts"
    partly = Truncated.of(2, [("a", []), ("b", None)])
    assert partly.summary == "no text of 1 prompts; 1 not recorded"
    assert not Truncated.of(1, [("a", None)]).sentences
