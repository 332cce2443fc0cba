"""`report` and `compare` as a person meets them."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.stubs import make_stub_suite
from tests.terminal import STUB, Terminal


@pytest.fixture
def harness(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    terminal = Terminal(capsys, monkeypatch)
    suite = str(make_stub_suite(tmp_path)[0])
    for name, strategy in (("a", "best-of-n"), ("b", "reflect")):
        arguments = ["--model", suite, *STUB, "--strategy", strategy, "--out", name]
        assert terminal("run", *arguments) == 0, terminal.err
    return terminal


@pytest.mark.slow
def test_a_report_of_two_runs(harness: Terminal) -> None:
    assert harness("report", "a", "b", "--out", "page") == 0
    written = {path.suffix for path in Path("page").rglob("*") if path.is_file()}
    assert {".html", ".png", ".svg", ".csv", ".md", ".tex"} <= written
    (page,) = Path("page").glob("*.html")
    text = page.read_text(encoding="utf-8")
    assert "best-of-n" in text and "reflect" in text and "miniature" in text.lower()


def test_a_comparison_is_paired_and_labelled(harness: Terminal) -> None:
    assert harness("compare", "a", "b", "--verbose") == 0
    assert "micro" in harness.out and "miniature" in (harness.out + harness.err).lower()


def test_a_comparison_is_one_table_and_a_line_a_pair(harness: Terminal) -> None:
    from harness.analysis import analyse

    assert harness("compare", "a", "b", "a") == 0
    lines = harness.out.splitlines()
    assert sum(line.startswith("run ") for line in lines) == 1
    pairs = [line for line in lines if " minus " in line]
    findings = analyse(["a", "b", "a"])
    table = findings.comparison.query("kind == 'micro'")
    assert len(pairs) == len(table) == 3
    for line, row in zip(pairs, table.to_dict("records"), strict=True):
        assert line.startswith(f"{row['second']} minus {row['first']}: ")
        assert f"{row['difference']:+.3f}".replace("-", "−") in line
    for score in findings.results.query("kind == 'micro'")["score"]:
        assert f"{score:.3f} [" in harness.out
    assert harness.err.splitlines()[:3] == ["reading logs …", "computing curves …", "comparing …"]


def test_a_comparison_at_a_smaller_budget(harness: Terminal) -> None:
    from harness.analysis import analyse

    result = analyse(["a", "b"])
    full = result.runs[1].manifest.config["budget"]
    assert result.comparison_at(full)["score_second"].equals(result.comparison["score_second"])
    assert harness("compare", "a", "b", "--budget", 1) == 0
    assert (
        "at budget 1, read from these logs" in harness.out and "at the cost of" not in harness.out
    )
    once = result.comparison_at(1).iloc[0]
    curve = result.scaling.query("own and budget == 1 and kind == 'micro'")["score"]
    assert [once["score_first"], once["score_second"]] == pytest.approx(list(curve))
    assert f"{once['score_first']:.3f}" in harness.out
    assert harness("compare", "a", "b", "--budget", full + 1) == 2
    assert f"no point at budget {full + 1}" in harness.err and "it has 1, 2" in harness.err


@pytest.mark.parametrize(
    "command", [["report", "a", "nowhere", "--out", "p"], ["compare", "a", "nowhere"]]
)
def test_a_folder_that_is_no_run(harness: Terminal, command: list[str]) -> None:
    assert harness(*command) == 2
    assert "not a run" in harness.err and not Path("p").exists()


@pytest.mark.slow
def test_seeds_are_pooled_and_notebooks_have_the_same_numbers(harness: Terminal) -> None:
    from harness.analysis import analyse

    suite = str(next(Path().glob("*.toml")))
    for name, strategy in (("a1", "best-of-n"), ("b1", "reflect")):
        arguments = ["--model", suite, *STUB, "--strategy", strategy, "--seed", "1"]
        assert harness("run", *arguments, "--out", name) == 0, harness.err
    assert harness("compare", "a", "b", "a1", "b1", "--verbose") == 0
    result = analyse(["a", "b", "a1", "b1"])
    assert "2 images per prompt (1 for each of the seeds 0, 1)" in harness.out
    micro = result.comparison[result.comparison["kind"] == "micro"].iloc[0]
    assert f"{micro['score_first']:.3f}" in harness.out and f"{micro['p']:.3f}" in harness.out
    assert harness("report", "a", "b", "a1", "b1", "--out", "page") == 0
    for name in ("results", "curves", "gap", "comparison", "seeds"):
        frame = {"curves": result.scaling, "gap": result.gaps}.get(name)
        frame = getattr(result, name) if frame is None else frame
        written = pd.read_csv(Path("page/tables") / f"{name}.csv", keep_default_na=True)
        number = frame.select_dtypes("number")
        pd.testing.assert_frame_equal(
            written[number.columns].astype(float), number.astype(float), check_exact=True
        )
    assert harness("compare", "a", "a1") == 0 and "seed 1 minus" in harness.out
    assert harness("compare", "a") == 2 and "cannot be compared" in harness.err


def test_show_says_how_judge_and_scorer_agree(harness: Terminal) -> None:
    assert harness("show", "a") == 0
    assert "agreement " in harness.out and "wrong rejected" in harness.out
    assert "(4.00 a search), budget 4" in harness.out


@pytest.mark.slow
def test_a_gallery_over_unlike_prompt_sets(harness: Terminal) -> None:
    """Each run shows its own prompts, one that a run lacks too, and no two share a card by id."""
    suite = str(next(Path().glob("*.toml")))
    other = ["--benchmark", "tests.analysis.test_prompt_sets:Renamed", "-B", "first=8"]
    assert harness("run", "--model", suite, *other, "-B", "count=2", "--out", "few") == 0
    assert harness("report", "a", "few", "--force", "--gallery-size", 1, "--out", "page") == 2
    assert "no prompt in common" in harness.err and "hint: " in harness.err
    assert harness("run", "--model", suite, *STUB, "--limit", 2, "--out", "two") == 0
    command = ["report", "a", "two", "--force", "--gallery-size", 1, "--out", "page"]
    assert harness(*command) == 0, harness.err
    assert "has 8 that" in harness.err
    page = Path("page/index.html").read_text(encoding="utf-8")
    chosen = [words.split(", ") for words in re.findall("chosen as ([^<]+)</p>", page)]
    assert sorted(word for words in chosen for word in words) == [
        "best",
        "largest gain",
        "random",
        "worst",
    ]


@pytest.mark.slow
def test_cards_are_of_prompts_not_of_ids(harness: Terminal) -> None:
    from harness.analysis import analyse
    from harness.report.chains import cards
    from harness.report.gallery import choose

    suite = str(next(Path().glob("*.toml")))
    other = ["--benchmark", "tests.analysis.test_prompt_sets:Renamed", "-B", "count=2"]
    assert harness("run", "--model", suite, *other, "--out", "other") == 0
    result = analyse(["a", "other"], force=True)
    chosen = choose(result.curves, ["all"])
    shown = cards(result.runs, result.names, chosen)
    assert [len(card.chains) for card in shown] == [1] * 20
    assert sorted(card.prompt_id for card in shown) == sorted([f"{i:05d}" for i in range(10)] * 2)
