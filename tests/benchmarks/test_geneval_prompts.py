from __future__ import annotations

import hashlib

import pytest

from benchmarks.geneval import prompts as recipe
from benchmarks.geneval.benchmark import GenEval
from benchmarks.geneval.classes import CLASSES, COLORS, TAGS
from harness.errors import HarnessError, UsageError
from harness.testing.benchmarks import BenchmarkContract
from tests.shared import SHARED


class TestOfficialGenEval(BenchmarkContract):
    @pytest.fixture
    def benchmark_plugin(self) -> GenEval:
        return GenEval()


class TestFreshGenEval(BenchmarkContract):
    @pytest.fixture
    def benchmark_plugin(self) -> GenEval:
        return GenEval(seed=7, size=5)


def test_official_file_is_regenerated_byte_for_byte() -> None:
    written = recipe.as_jsonl(recipe.metadata_rows()).encode()
    assert hashlib.sha256(written).hexdigest() == recipe.OFFICIAL_SHA256
    published = SHARED / "geneval" / "evaluation_metadata.jsonl"
    if not published.exists():
        pytest.skip(f"the published file is not at {published}; its hash was compared")
    assert written == published.read_bytes()


def test_class_names_are_the_detectors() -> None:
    assert len(set(CLASSES)) == 80 and len(set(COLORS)) == 10
    listed = SHARED / "geneval" / "object_names.txt"
    if not listed.exists():
        pytest.skip(f"the published list of names is not at {listed}")
    assert list(CLASSES) == listed.read_text().split("\n")[:80]


def test_official_prompts_have_their_position_as_id() -> None:
    prompts = GenEval().prompts()
    assert len(prompts) == 553
    assert [prompt.id for prompt in prompts[:2]] == ["00000", "00001"]
    assert prompts[-1].id == "00552"
    assert prompts[12].metadata["prompt"] == prompts[12].text
    counts = {tag: sum(prompt.tag == tag for prompt in prompts) for tag in TAGS}
    assert list(counts.values()) == [80, 99, 80, 94, 100, 100]


def test_ids_of_another_set_never_meet_the_official_ones() -> None:
    sets = [GenEval(), GenEval(seed=7, size=50), GenEval(seed=43, size=50), GenEval(seed=7)]
    ids = [prompt.id for benchmark in sets for prompt in benchmark.prompts()]
    assert len(set(ids)) == len(ids)
    assert GenEval(seed=7, size=50).prompts()[12].id == "s7n50-00012"


def test_size_zero_leaves_one_prompt_for_each_class() -> None:
    prompts = GenEval(size=0).prompts()
    assert {prompt.metadata["include"][0]["class"] for prompt in prompts} == set(CLASSES)
    assert len(prompts) == 80


def test_articles_and_plurals() -> None:
    texts = {prompt.text for seed in range(3) for prompt in GenEval(seed=seed).prompts()}
    assert "a photo of an apple" in texts
    assert "a photo of a bus" in texts
    words = {word for text in texts for word in text.split()}
    assert {"buses", "glasses", "benchs"} <= words
    assert not any(" a orange" in text or " an red" in text for text in texts)


def test_a_changed_random_stream_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "COLORS", COLORS[::-1])
    with pytest.raises(HarnessError, match="5c48e0813e81"):
        recipe.metadata_rows()


@pytest.mark.parametrize("options", [{"seed": -1}, {"size": -1}, {"size": True}, {"seed": 1.5}])
def test_bad_options_are_usage_errors(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        GenEval(**options)
