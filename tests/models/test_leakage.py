"""A judge that looks through the scorer's checkpoints, by whatever name and however disguised."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.models.checkpoints import BUNDLED
from harness.models.leakage import Shared, notices, shared, unread, warning
from harness.models.provenance import UNKNOWN, card, cards
from harness.models.suites import load_suite
from harness.plan import Ask, plan
from harness.registry import METRICS, SUITES
from tests.models.disguises import DISGUISES

OWN = {"detector": "a", "colors": "b"}
SCORERS = {"detector": "c", "colors": "d"}


def config(judge: dict[str, str], kind: str = "detector", **values: Any) -> dict[str, Any]:
    parts = [("judge", judge), ("scorer", SCORERS)]
    return {
        "oracle": False,
        "judge": {"kind": kind, "checkpoints": {part: "/x" for part in judge}},
        "scorer": {"kind": "", "checkpoints": {part: "/y" for part in SCORERS}},
        "digests": {f"{role}.{part}": value for role, of in parts for part, value in of.items()},
        **values,
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (config(OWN), Shared((), False)),
        (config(SCORERS), Shared(("detector", "colors"), True)),
        (config(OWN | {"detector": "c"}), Shared(("detector",), True)),
        (config(OWN | {"colors": "d"}), Shared(("colors",), False)),
        (config({"model": "a", "processor": "d"}, "vlm"), Shared(("processor",), False)),
        (config({"model": "c", "processor": "a"}, "vlm"), Shared(("model",), True)),
        # The part that decides is not there by its name, or its name is not known.
        (config({"main": "c", "more": "a"}), Shared(("main",), True)),
        (config({"main": "c", "more": "a"}, "somebodys:Judge"), Shared(("main",), True)),
        (config({"main": "c", "more": "a"}, "not-installed"), Shared(("main",), True)),
        (config({}, "none"), Shared((), False)),
        (config(SCORERS, scorer=None), Shared((), False)),
        # Without digests the references say what is the same.
        (config(OWN, digests={}), Shared((), False)),
    ],
)
def test_what_is_shared_and_whether_it_decides(fields: dict[str, Any], expected: Shared) -> None:
    assert shared(fields) == expected
    assert bool(warning(fields)) is expected.deciding


def test_an_oracle_has_its_own_label() -> None:
    assert warning(config(SCORERS)) and not warning(config(SCORERS, oracle=True))


@pytest.mark.parametrize(
    ("asked", "deciding"),
    [
        ({}, False),
        ({"judge": "detector=bundled:detector"}, True),
        ({"scorer": {"colors": "bundled:habits_judge_colors"}}, False),
        (
            {
                "scorer": {
                    "detector": "bundled:habits_judge",
                    "colors": "bundled:habits_judge_colors",
                }
            },
            True,
        ),
    ],
)
def test_the_miniature_s_judge_and_scorer_exchange_checkpoints(
    asked: dict[str, Any], deciding: bool
) -> None:
    config = plan(Ask(limit=1, **asked)).config
    assert not config.oracle
    assert shared(config.model_dump(mode="json")).deciding is deciding


@pytest.mark.sampled(4)
@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
def test_a_disguised_copy_of_the_scorer_s_detector_is_found(
    tmp_path: Path, disguise: Callable[[Path], None]
) -> None:
    copy = tmp_path / "mine"
    shutil.copytree(BUNDLED / "detector", copy)
    disguise(copy)
    fields = plan(Ask(limit=1, judge=f"detector={copy}")).config.model_dump(mode="json")
    assert shared(fields) == Shared(("detector",), True)
    assert unread(fields) == []
    assert "detector" in warning(fields)


def test_weights_that_are_not_the_run_s_prove_nothing(tmp_path: Path) -> None:
    """The folder of that name has been given the scorer's detector since."""
    copy = tmp_path / "mine"
    shutil.copytree(BUNDLED / "judge", copy)
    fields = plan(Ask(limit=1, judge=f"detector={copy}")).config.model_dump(mode="json")
    shutil.copytree(BUNDLED / "detector", copy, dirs_exist_ok=True)
    assert shared(fields) == Shared((), False)
    assert unread(fields) == ["judge.detector"]


def test_what_is_not_here_is_compared_by_digest(tmp_path: Path) -> None:
    fields = config(OWN)
    assert unread(fields) == ["judge.detector", "judge.colors", "scorer.detector", "scorer.colors"]


QWEN = "Qwen/Qwen2.5-VL-7B-Instruct"
CLIP, OTHER = "openai/clip-vit-large-patch14", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


def measured(judge: str, metric: str, benchmark: str = "prompt-file", **values: Any) -> Any:
    parts = {"judge": {"name.model": judge}, "metric": {"other.model": metric}}
    fields = {role: {"kind": "metric", "checkpoints": of} for role, of in parts.items()}
    return {"oracle": False, "digests": {}, "scorer": None, **fields,
            "benchmark": {"name": benchmark}, **values}  # fmt: skip


@pytest.mark.parametrize(
    ("judge", "metric", "says"),
    [
        (CLIP, CLIP, ["shares weights with what measures it held out (other.model)", "400M"]),
        (CLIP, OTHER, []),
        (OTHER, "yuvalkirstain/PickScore_v1@main", ["trained on the same data (LAION-2B)"]),
        ("google/siglip-so400m-patch14-384", "google/siglip-large-patch16-384", ["(WebLI)"]),
        ("jacklishufan/reflect-dit//vlm", QWEN, ["trained on the same data (Qwen2.5-VL's data)"]),
        (CLIP, "xswu/HPSv2", []),
        ("xswu/HPSv2", "yuvalkirstain/PickScore_v1", ["(LAION-2B)"]),
        # What a folder of one's own was trained on is unknown, and so is what it shares.
        ("/mine/clip-vit-large-patch14", CLIP, []),
        ("bundled:judge", "bundled:detector", []),
    ],
)
def test_what_a_judge_shares_with_what_measures_it(
    judge: str, metric: str, says: list[str]
) -> None:
    sentences = notices(measured(judge, metric))
    assert len(sentences) == len(says)
    assert all(words in sentence for words, sentence in zip(says, sentences, strict=True))
    assert not notices(measured(judge, metric, oracle=True))


@pytest.mark.parametrize("name", METRICS.names())
def test_a_metric_that_judges_and_measures_shares_all_but_its_processor(name: str) -> None:
    parts = dict(METRICS.get(name).checkpoints)
    fields = measured("a/b", "a/b") | {
        "judge": {"kind": "metric", "checkpoints": {**parts, "processor": "some/words"}},
        "metric": {
            "kind": name,
            "checkpoints": {
                f"{name}.{part}": ref for part, ref in {**parts, "processor": "some/words"}.items()
            },
        },
    }
    main, *data = notices(fields)
    assert f"it held out ({name}." in main and "processor" not in main
    assert "trained on the same data" in data[0]
    assert not any("processor" in part for part in cards(fields))


def test_a_judge_that_borrows_a_metric_s_processor_shares_no_weights() -> None:
    parts = {"model": "mine/tuned", "processor": QWEN}
    fields = measured("", QWEN) | {"judge": {"kind": "vlm", "checkpoints": parts}}
    assert notices(fields) == []
    named = {"kind": "openai", "settings": {"model": QWEN, "base_url": "http://x"}}
    assert "same data" in notices(fields | {"judge": named})[0]


@pytest.mark.parametrize(
    "verifier", ["jacklishufan/reflect-dit//vlm", "Efficient-Large-Model/NVILA-Lite-2B-Verifier"]
)
def test_a_judge_taught_by_the_benchmark_s_own_kind_of_labels_is_named(verifier: str) -> None:
    spec = {"kind": "", "checkpoints": {"detector": "mask2former-swin-s-coco"}}
    fields = measured(verifier, CLIP, "geneval", scorer=spec)
    [sentence] = notices(fields)
    assert "judge and scorer" in sentence and "GenEval's kind" in sentence
    assert not notices(measured(verifier, CLIP, scorer=spec))


def test_every_default_verifier_has_a_card() -> None:
    references = [ref for name in METRICS.names() for ref in METRICS.get(name).checkpoints.values()]
    for name in SUITES.names():
        suite = load_suite(name)
        references += [*suite.judge.checkpoints.values(), *suite.scorer.checkpoints.values()]
    assert [ref for ref in references if card(ref) is UNKNOWN] == []
    assert card("/mine/model") is UNKNOWN and "unknown" in UNKNOWN.line
    assert card("openai/clip-vit-large-patch14@abc") is not UNKNOWN
    known = cards(measured("a/b", CLIP) | {"judge": {"kind": "openai", "settings": {}}})
    assert "may change it" in known["judge.model"].line
