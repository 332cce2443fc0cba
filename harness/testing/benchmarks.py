"""The promises of a benchmark. Subclass `BenchmarkContract` to hold yours against it.

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
    """Prompts are the same every time, ids are unique, and all of it can be logged.

    Define the fixture `benchmark_plugin`: the benchmark, with the options it is tested with.
    """

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

    def test_it_has_a_scorer_if_it_declares_one(self, benchmark_plugin: Benchmark) -> None:
        has_scorer = type(benchmark_plugin).load_scorer is not Benchmark.load_scorer
        if benchmark_plugin.scored:
            assert has_scorer
        else:
            with pytest.raises(NotImplementedError, match=benchmark_plugin.name):
                benchmark_plugin.load_scorer(Loading())

    def test_its_prompt_options_are_options(self, benchmark_plugin: Benchmark) -> None:
        options = {field.name for field in dataclasses.fields(benchmark_plugin)}
        assert benchmark_plugin.prompt_options <= options
