"""What every benchmark promises. Subclass `BenchmarkContract` to hold yours against it.

class TestMine(BenchmarkContract):
    @pytest.fixture
    def benchmark_plugin(self):
        return Mine(path="prompts.txt")
"""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.base import Benchmark
from harness.records import Loading, Prompt
from harness.seeds import canonical_json


class BenchmarkContract:
    """Prompts are the same every time, ids are unique, and all of it can be logged."""

    @pytest.fixture
    def benchmark_plugin(self) -> Benchmark:
        raise NotImplementedError("return the benchmark to be tested")

    def test_is_a_frozen_dataclass_with_a_name(self, benchmark_plugin: Benchmark) -> None:
        assert isinstance(benchmark_plugin, Benchmark)
        assert isinstance(benchmark_plugin.name, str) and benchmark_plugin.name
        with pytest.raises(dataclasses.FrozenInstanceError):
            benchmark_plugin.anything = 1  # type: ignore[attr-defined]

    def test_prompts_are_deterministic(self, benchmark_plugin: Benchmark) -> None:
        again = dataclasses.replace(benchmark_plugin)
        assert again == benchmark_plugin
        assert benchmark_plugin.prompts() == benchmark_plugin.prompts() == again.prompts()

    def test_there_are_prompts_with_texts(self, benchmark_plugin: Benchmark) -> None:
        prompts = benchmark_plugin.prompts()
        assert prompts
        for prompt in prompts:
            assert isinstance(prompt, Prompt)
            assert prompt.text == prompt.text.strip() != ""
            assert isinstance(prompt.tag, str)

    def test_ids_are_unique_and_printable(self, benchmark_plugin: Benchmark) -> None:
        ids = [prompt.id for prompt in benchmark_plugin.prompts()]
        assert len(set(ids)) == len(ids)
        assert all(isinstance(id, str) and id.strip() for id in ids)

    def test_metadata_can_be_logged(self, benchmark_plugin: Benchmark) -> None:
        for prompt in benchmark_plugin.prompts():
            canonical_json(dict(prompt.metadata))

    def test_a_benchmark_without_scorer_says_so(self, benchmark_plugin: Benchmark) -> None:
        if not benchmark_plugin.scored:
            with pytest.raises(NotImplementedError, match=benchmark_plugin.name):
                benchmark_plugin.load_scorer(Loading())
