"""The miniature's own DPG-Bench: a file in the official format, and the whole road over it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.dpg_bench.questions import COLUMNS
from harness.miniature.dpg_bench import MiniatureDPGBench
from harness.miniature.scene_reader import parse
from harness.testing.benchmarks import BenchmarkContract
from tests.terminal import Terminal


class TestPrompts(BenchmarkContract):
    @pytest.fixture
    def benchmark_plugin(self) -> MiniatureDPGBench:
        return MiniatureDPGBench()

    def test_its_questions_are_a_file_in_the_official_format(
        self, benchmark_plugin: MiniatureDPGBench
    ) -> None:
        reader = csv.DictReader(io.StringIO(benchmark_plugin.csv()))
        assert tuple(reader.fieldnames or ()) == COLUMNS
        numbers: dict[str, set[str]] = {}
        for row in reader:
            known = numbers.setdefault(row["item_id"], {"0"})
            assert known.issuperset(row["dependency"].split(","))
            known.add(row["proposition_id"])
            kind = parse(row["question_natural_language"] + " Answer with yes or no.").kind
            kinds = {"whole": "object", "color": "attribute", "count": "number"}
            assert kind == kinds.get(row["category_detailed"], "position")
        assert len(numbers) == len(benchmark_plugin.prompts()) == 60

    def test_the_official_variant_loses_the_first_question(
        self, benchmark_plugin: MiniatureDPGBench
    ) -> None:
        official = replace(benchmark_plugin, variant="official")
        assert official.read().lost_row == ("scene0000", 1)
        one, other = official.prompts()[0], benchmark_plugin.prompts()[0]
        assert len(one.metadata["questions"]) + 1 == len(other.metadata["questions"])


@pytest.mark.slow
def test_a_run_s_grids_score_as_the_run_did(harness: Terminal) -> None:
    own = ("--benchmark", "dpg-bench-miniature", "-B", "size=2", "--threads", "1")
    options = ("--strategy", "single", "--judge", "none", "--replicates", "4")
    assert harness("run", *own, *options, "--out", "run") == 0
    assert "by no vision-language model" in harness.out
    micro = next(line for line in harness.out.splitlines() if line.startswith("micro"))
    grids = (*own, "-B", "images_per_file=4")
    assert harness("run", *grids, *options, "--out", "other") == 2
    assert "-B images_per_file is about files of images from elsewhere" in harness.err
    assert harness("export", "run", "--format", "dpg-bench", "--out", "grids") == 0
    names = [f"s0n2-scene000{number}.png" for number in (0, 1)]
    assert sorted(path.name for path in Path("grids").iterdir()) == names
    assert harness("score", "grids", *grids, "--out", "scores") == 0
    assert micro.split()[5] in harness.out
    lines = Path("scores/dpg-bench_results.txt").read_text().splitlines()
    assert lines[-1] == "Scored: 2 of 2" and lines[-2].startswith("DPG-Bench score: ")
    # The official program loses an item on which the lost question's others depend.
    assert harness("score", "grids", *grids, "-B", "variant=official", "--out", "official") == 1
    assert f"item '{names[0].removesuffix('.png')}' has no score" in harness.err
    tables = []
    for run in ("run", "scores"):
        assert harness("report", run, "--out", f"page-{run}") == 0
        with Path(f"page-{run}", "tables", "dpg.csv").open() as file:
            tables.append([{**row, "run": ""} for row in csv.DictReader(file)])
    assert tables[0] == tables[1]
    assert (tables[0][0]["items"], tables[0][0]["official_items"]) == ("2", "1")
