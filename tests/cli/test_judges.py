"""Judges and metrics as a person names them: options, refusals, what ends up in the log."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

import harness as package
from harness.analysis.curves import SCORE, run_curves
from harness.config import read_config
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.models.leakage import LABEL
from harness.plan import replan
from harness.runs.loading import load_run
from harness.what_if.bank import Bank
from tests.runs import contents, run_in_parts
from tests.stubs import Faults
from tests.terminal import STUB, Terminal
from tests.tiny import make_colors

RUN = ["run", *STUB, "--model", "stub.toml", "--budget", "2", "--threads", "1"]
JUDGE = ["--judge", "metric=clip-score"]
METRIC = "tests.stubs:StubMetric"
BOTH = ["--judge", "ensemble", "-J", f"members=clip-score,{METRIC}=faults"]
RANKS = [*BOTH, "-J", "rule=mean-rank"]
VQA = ["--judge", "ensemble=clip-score,vqa-score", "-J", "rule=mean-rank"]
ACCEPT = ["-J", f"accept=clip-score:0.1,{METRIC}:5"]


def failed_claims(page: str) -> set[str]:
    """The claims of an audit's table that it found false."""
    return {line.split()[0] for line in page.splitlines() if re.search(r"\s{2}fail\s{2}", line)}


@pytest.fixture
def clip(suite: Path) -> Path:
    """A random CLIP, which the stubs' suite names for CLIPScore."""
    folder = suite.parent / "clip"
    folder.mkdir()
    make_colors(folder)
    reference = f'\n[metric]\nbatch_size = 4\ncheckpoints = {{ "clip-score.model" = "{folder}" }}\n'
    suite.write_text(suite.read_text() + reference)
    return folder


def judge_of(run: str) -> dict[str, Any]:
    judge: dict[str, Any] = json.loads(Path(run, "manifest.json").read_text())["config"]["judge"]
    return judge


@pytest.mark.slow
def test_a_metric_judges_by_its_value_and_a_threshold(harness: Terminal, clip: Path) -> None:
    assert harness(*RUN, *JUDGE, "--metrics", "clip-score", "--out", "ranked") == 0, harness.err
    ranked = package.load("ranked")
    values = [row["clip-score"] for row in ranked["metrics"]]
    assert ranked["judge_score"].tolist() == values and not ranked["accepted"].any()
    best = ranked.loc[ranked["selected"], ["prompt_id", "judge_score"]]
    assert best["judge_score"].tolist() == ranked.groupby("prompt_id")["judge_score"].max().tolist()
    accept = sorted(values)[len(values) // 2]
    assert harness(*RUN, *JUDGE, "-J", f"accept={accept}", "--out", "accepts") == 0
    assert package.load("accepts")["accepted"].tolist() == [value >= accept for value in values]
    assert judge_of("accepts")["settings"]["accept"] == accept
    assert harness("audit", "accepts", "--rescore", "4") == 0, harness.out
    assert "the judge was asked again about 4 images" in harness.out


@pytest.mark.slow
def test_what_a_judge_shares_with_a_metric_is_said(harness: Terminal, clip: Path) -> None:
    assert harness(*RUN, *JUDGE, "--metrics", "clip-score", "--out", "r") == 0, harness.err
    assert "warning: the judge shares weights with what measures it" in harness.err
    assert harness("report", "r", "--out", "page") == 0 and "shares weights" in harness.err
    assert "judge.model trained on" in Path("page/index.html").read_text()
    assert harness("show", "r") == 0 and "the judge shares weights" in harness.out
    assert "verifier  judge.model, " in harness.out and "no card: trained on" in harness.out
    assert harness("show", "r", "--json") == 0
    assert "unknown here" in json.loads(harness.out)["provenance"]["judge.model"]
    assert harness(*RUN, *JUDGE, "--out", "alone") == 0 and "shares weights" not in harness.err
    assert harness("compare", "r", "alone", "--force") == 0 and "shares weights" in harness.err
    assert "selection gains" in harness.out
    assert "verifier  judge.model, " in harness.out
    assert harness("score", "alone", "--metrics", f"clip-score={clip}", "--threads", "1") == 0
    for command in (["show", "alone"], ["show", "alone", "--json"], ["compare", "alone", "r"]):
        assert harness(*command) == 0 and "shares weights" in harness.out + harness.err
    other = ["what-if", "r", "--plugins", "--strategy", "best-of-n", "--judge", "metric=clip-score"]
    assert harness(*other, "-J", "weight=2") == 2 and "was measured with" in harness.err
    assert harness(*other, "-J", "wieght=2") == 2 and "no values of the metric" in harness.err
    assert harness(*other, "-J", "accept=0.1") == 0, harness.err


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("metrics", "Pick-a-Pic v1, starting from OpenCLIP"),
        ("judges", "its provider has it, and may change it"),
    ],
)
def test_verifiers_are_listed_with_their_training(harness: Terminal, what: str, says: str) -> None:
    assert harness("ls", what) == 0 and says not in harness.out
    assert harness("ls", what, "-v") == 0 and says in harness.out


def test_a_metric_keeps_its_own_options_as_a_judge(harness: Terminal, clip: Path) -> None:
    assert harness(*RUN, *JUDGE, "-J", "weight=2.5", "--out", "r") == 0
    assert judge_of("r")["settings"] == {"name": "clip-score", "weight": 2.5}
    assert harness(*RUN, "--judge", "metric", "-J", "name=clip-score", "-J", "weight=2.5",
                   "--out", "named") == 0  # fmt: skip
    assert contents(Path("r"))[0].drop_columns("run") == (
        contents(Path("named"))[0].drop_columns("run")
    )


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_metrics_vote_and_none_of_them_may_be_the_scorer_s(
    harness: Terminal, clip: Path, shared: bool
) -> None:
    if not shared:
        Path("faults/config.json").write_text('{"other": 1}')
        Faults.make(Path("theirs"))
        suite = Path("stub.toml").read_text().replace('[scorer]\ncheckpoints = { faults = "', "|")
        head, _, tail = suite.partition("|")
        rest = tail.partition('"')[2]
        Path("stub.toml").write_text(f'{head}[scorer]\ncheckpoints = {{ faults = "theirs"{rest}')
    metrics = ["--metrics", f"clip-score,{METRIC}=faults"]
    assert harness(*RUN, *BOTH, *ACCEPT, *metrics, "--out", "r") == 0, harness.err
    assert (LABEL in harness.err) is shared
    frame = package.load("r")
    votes = [(row["clip-score"] >= 0.1) + (row[METRIC] >= 5) for row in frame["metrics"]]
    assert frame["accepted"].tolist() == [vote == 2 for vote in votes]
    assert frame["judge_score"].tolist() == [vote / 2 for vote in votes]
    assert judge_of("r")["checkpoints"].keys() == {"clip-score.model", f"{METRIC}.faults"}
    assert harness("audit", "r", "--rescore", "4") == int(shared), harness.out


@pytest.mark.slow
@pytest.mark.usefixtures("import_stubs")
def test_members_that_rank_decide_within_each_search(harness: Terminal, clip: Path) -> None:
    """A run, its resumption, reuse, audit, other budgets and tables: one choice in all of them."""
    metrics = ["--metrics", f"clip-score,{METRIC}=faults"]
    whole = ["--budget", "5", "--limit", "4"]
    ranks_by = [*RANKS, "-J", "clip-score.weight=2.5"]
    assert harness(*RUN, *ranks_by, *metrics, *whole, "--out", "r") == 0, harness.err
    frame = package.load("r")
    assert judge_of("r")["settings"]["clip-score.weight"] == 2.5
    members = frame["judge_members"].map(list).tolist()
    values = [(2.5 * row["clip-score"], row[METRIC]) for row in frame["metrics"]]
    assert [tuple(each) for each in members] == [pytest.approx(each) for each in values]
    assert not frame["accepted"].any() and (frame["judge_score"] == 0).all()
    measured = pd.DataFrame(members, index=frame.index)
    ranks = measured.groupby(frame["prompt_id"]).rank().mean(axis=1)
    best = ranks.groupby(frame["prompt_id"]).idxmax()  # the earliest among equals
    assert frame.index[frame["selected"]].tolist() == sorted(best)
    assert (best != measured[0].groupby(frame["prompt_id"]).idxmax()).any()

    harness("audit", "r", "--rescore", "3")
    assert "the judge was asked again about 3 images" in harness.out
    assert failed_claims(harness.out) <= {"leakage"}  # the stub's metric is the scorer's own
    config = read_config(Manifest.read(RunFolder(Path("r")).manifest).config)
    assert run_in_parts(replan(config), Path("parts"), 3) > 1
    assert [t.drop_columns("run") for t in contents(Path("parts"))] == [
        t.drop_columns("run") for t in contents(Path("r"))
    ]
    small = [*RUN, *ranks_by, *metrics, "--limit", "4", "--budget", "3"]
    assert harness(*small, "--out", "small") == harness(*small, "--reuse", "r", "--out", "reused")
    other = Bank.open("r").replayed("best-of-n", budget=3)
    for searches in (contents(Path("reused"))[1], other.searches):
        assert searches["selected_id"].equals(contents(Path("small"))[1]["selected_id"])
    run = load_run("r")
    curves = run_curves(run)
    assert curves.own.basis == "replay" and curves.get(SCORE) is None
    assert curves.own.at(3).tolist() == load_run("small").scores().tolist()
    assert run.judge_score[run.index >= 0].tolist() == pytest.approx((ranks / 5).tolist())
    assert harness("report", "r", "--out", "page") == harness("compare", "r", "small") == 0
    assert harness("forecast", "r") == 2 and "ranks within a search" in harness.err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([*JUDGE, "-J", "accepts=0.3"], "did you mean 'accept'?"),
        ([*JUDGE, "-J", "wieght=2"], "did you mean 'weight'?"),
        ([*JUDGE, "-J", "accept=high"], "cannot take -J accept=high"),
        ([*JUDGE, "-J", "accept=nan"], "cannot take -J accept=nan"),
        (["--judge", "metric=clip-scor"], "did you mean 'clip-score'?"),
        (["--judge", "metric"], "--judge metric=clip-score"),
        (["--judge", "metric="], "names no checkpoint"),
        (["--judge", "metrik"], "did you mean 'metric'?"),
        (["--judge", "none", "-J", "accept=1"], "has no options"),
        (["--judge", "vlm=/nowhere", "-J", "question=Good?"], "does not mention {prompt}"),
        (["--judge", "vlm=/nowhere", "-J", "top_q=1"], "did you mean 'top_p'?"),
        ([*JUDGE, "--strategy", "reflect"], "--judge metric says nothing"),
        (["--metrics", "clip-score,clip-score"], "is named twice"),
        (["--metrics", "aesthetic"], "needs a checkpoint for its head"),
        ([*JUDGE, "-J", "accept"], "-J takes name=value"),
        (["--judge", "ensemble"], "needs two metrics or more"),
        (["--judge", "ensemble=clip-score,clip-score"], "each once"),
        ([*BOTH, "-J", "accept=clip-score:0.1"], "-J accept of 'tests.stubs:StubMetric'"),
        ([*BOTH, "-J", "accept=clip-score:high"], "takes NAME:NUMBER"),
        ([*BOTH, "-J", "accept=clip-scor:1"], "did you mean 'clip-score'"),
        ([*BOTH, *ACCEPT, "-J", "rule=minimum"], "lacks -J spread of 'clip-score'"),
        ([*BOTH, *ACCEPT, "-J", "spread=clip-score:1"], "is of the rule 'minimum'"),
        ([*RANKS, "--strategy", "particle-steering"], "only ranks the images of a search"),
        ([*RANKS, "-J", "clip-score.weight=x"], "cannot take -J weight=x"),
        ([*RANKS, "-J", "clip-score.wieght=2"], "did you mean 'weight'?"),
        ([*JUDGE, "-J", "weight=x"], "cannot take -J weight=x"),
        (["--judge", "metric=vqa-score", "-J", "backend=vllm"], "not asked through vLLM"),
        (["--judge", "metric=vqa-score", "-J", "question=Good?"], "does not mention {prompt}"),
        ([*VQA, "-J", "vqa-score.backend=vllm"], "not asked through vLLM"),
        ([*VQA, "-J", "vqa-score.question=Good?"], "does not mention {prompt}"),
        ([*RANKS, "-J", "clip-scor.weight=2"], "no member that -J clip-scor.weight"),
        ([*JUDGE, "-J", "name=pick-score"], "is to be clip-score and pick-score"),
        (["--metrics", ","], "--metrics names none"),
        ([*RANKS, "-J", "accept=clip-score:0.1"], "-J accept of 'tests.stubs:StubMetric'"),
        ([*BOTH, *ACCEPT, "-J", "rule=votes"], "did you mean 'vote'"),
        ([*BOTH, *ACCEPT, "-J", "rules=vote"], "did you mean 'rule'"),
    ],
)
def test_what_makes_no_judge_is_refused_before_anything_is_made(
    harness: Terminal, clip: Path, given: list[str], says: str
) -> None:
    assert harness(*RUN, *given, "--out", "r") == 2
    assert says in harness.err and "hint: " in harness.err
    assert not Path("r").exists()


@pytest.mark.slow
def test_images_from_elsewhere_are_measured_too(
    harness: Terminal, images: Path, tiny_suite: Path, clip: Path
) -> None:
    command = ["score", images, "--model", tiny_suite, "--threads", 1]
    assert harness(*command, "--out", "scored") == 0
    assert harness(*command, "--metrics", f"clip-score={clip}", "--out", "both") == 0, harness.err
    scored, both = package.load("scored"), package.load("both")
    assert all(row["clip-score"] >= 0 for row in both["metrics"])
    assert both["value"].tolist() == scored["value"].tolist()
    assert harness("show", "both") == 0 and "clip-score" in harness.out
    assert harness(*command, "--metrics", "clip-scor", "--out", "x") == 2
    assert "did you mean 'clip-score'?" in harness.err and not Path("x").exists()


def test_a_metric_that_gives_no_numbers_is_said_and_fails_the_run(
    harness: Terminal, clip: Path
) -> None:
    weights = load_file(clip / "model.safetensors")
    weights["visual_projection.weight"].fill_(float("nan"))
    save_file(weights, clip / "model.safetensors", metadata={"format": "pt"})
    few = [*RUN, "--limit", "2", "--budget", "1"]
    assert harness(*few, "--metrics", "clip-score", "--out", "r") == 1
    assert "metric    clip-score has no value of 2 selected images" in harness.out
    assert "the metric 'clip-score' gave nan" in harness.out
    assert package.load("r")["value"].notna().all()
    assert harness(*few, *JUDGE, "--out", "judged") == 1
    assert "the judge gave the score nan" in harness.out
