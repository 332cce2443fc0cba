"""Scores by skill and failures by kind, against plain loops over the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from benchmarks.geneval.rules import Failure, FailureKind, kinds_in
from harness.analysis.curves import AXES, run_curves
from harness.analysis.evidence import by_skill, failures_table, skill_table
from harness.log.frame import load
from harness.records import Answer, Evidence, Prompt, Score
from harness.runs.logged_run import LoggedRun
from tests.analysis.conftest import MakeRun
from tests.stubs import GradedBenchmark

pytestmark = pytest.mark.usefixtures("import_stubs")


@dataclass(frozen=True)
class Asking(GradedBenchmark):
    """Grades by questions of two skills, and says which went wrong."""

    def by_skill(
        self, prompt: Prompt, evidence: Evidence, settings: Mapping[str, Any]
    ) -> Sequence[tuple[str, float]]:
        return [(a.skill, float(a.probability == 1)) for a in evidence if isinstance(a, Answer)]

    def failure_kinds(self, score: Score) -> Sequence[str]:
        return [a.skill for a in score.answers if a.probability != 1]


ASKING = f"{__name__}:Asking"


def grades(run: LoggedRun, skill: str, *, selected: bool) -> dict[str, list[list[float]]]:
    """Grades of a skill by prompt, a list for each image."""
    frame = load(run.folder.path)
    frame = frame[frame["selected"]] if selected else frame
    result: dict[str, list[list[float]]] = {}
    for prompt, answers in zip(frame["prompt_id"], frame["answers"], strict=True):
        of = [float(a["probability"] == 1) for a in answers if a["skill"] == skill]
        result.setdefault(prompt, []).append(of)
    return result


@pytest.mark.parametrize("strategy", ["best-of-n", "reflect"])
def test_a_skills_curve_ends_at_its_mean_and_begins_at_one_draw(
    make_run: MakeRun, strategy: str
) -> None:
    run = make_run("r", benchmark=ASKING, strategy=strategy, budget=4)
    table = skill_table([run_curves(run)], ["r"])
    whole = by_skill(run.folder, run.manifest, selected=True)
    assert set(table["tag"]) == set(whole) and len(whole) > 1
    for skill, of in table.groupby("tag"):
        assert of["budget"].tolist() == [1, 2, 3, 4]
        end = of.iloc[-1]
        assert end["score"] == pytest.approx(np.mean(whole[str(skill)]))
        assert end["questions"] == len(whole[str(skill)])
        assert (of["low"] <= of["score"] + 1e-6).all() and (of["score"] <= of["high"] + 1e-6).all()
        if strategy == "best-of-n":  # one draw of four: the mean over all of them
            every = [np.mean(of) for of in grades(run, str(skill), selected=False).values()]
            assert of["score"].iloc[0] == pytest.approx(np.mean(every))
    own = run_curves(run).own
    for axis in AXES:
        assert (
            table[table["tag"] == next(iter(whole))][axis].tolist() == own.costs[axis][0].tolist()
        )


def test_a_benchmark_without_questions_has_no_skills(make_run: MakeRun) -> None:
    table = skill_table([run_curves(make_run("r"))], ["r"])
    assert table.empty and {"run", "tag", "score", *AXES} <= set(table)


@pytest.mark.parametrize("strategy", ["best-of-n", "reflect"])
def test_failures_are_of_first_and_selected_images(make_run: MakeRun, strategy: str) -> None:
    run = make_run("r", benchmark=ASKING, strategy=strategy, budget=4)
    frame = load(run.folder.path)
    shares: dict[str, list[tuple[float, float]]] = {}
    for _, rows in frame.groupby("prompt_id"):
        given = rows["feedback"].map(len).sum() > 0
        if len(rows) < 2 or (strategy == "reflect" and not given):
            continue
        first, last = rows[rows["draw_index"] == 0].iloc[0], rows[rows["selected"]].iloc[0]
        for kind in {a["skill"] for a in first["answers"]}:
            fails = [
                float(any(a["skill"] == kind and a["probability"] != 1 for a in image))
                for image in (first["answers"], last["answers"])
            ]
            shares.setdefault(kind, []).append((fails[0], fails[1]))
    table = failures_table([run], ["r"]).set_index("kind")
    assert len(table) and (table["feedback"] == (strategy == "reflect")).all()
    for kind, row in table.iterrows():
        before, after = np.mean(shares[str(kind)], axis=0)
        assert [row["before"], row["after"]] == pytest.approx([before, after])
        assert row["difference"] == pytest.approx(after - before)
        assert row["prompts"] == len(shares[str(kind)])


def test_kinds_are_read_from_the_official_wording() -> None:
    failures = {
        "missing object": [Failure(FailureKind.MISSING, "dog", 1, 0)],
        "count": [
            Failure(FailureKind.TOO_FEW, "dog", 3, 2),
            Failure(FailureKind.TOO_FEW, "dog", 30, 10),
            Failure(FailureKind.TOO_MANY, "dog", 3, 4),
        ],
        "color": [
            Failure(FailureKind.WRONG_COLOR, "dog", 1, 0, "red", ("blue", "green")),
            Failure(FailureKind.WRONG_COLOR, "dog", 1, 0, "red", ("blue",)),
        ],
        "position": [
            Failure(FailureKind.WRONG_RELATION, "dog", relation="above", relations=("below",)),
            Failure(FailureKind.WRONG_RELATION, "dog", relation="above"),
            Failure(FailureKind.NO_TARGET, "dog", relation="above"),
        ],
    }
    for kind, of in failures.items():
        for failure in of:
            assert kinds_in(failure.reason) == (kind,), failure.reason
    both = "\n".join(of[0].reason for of in failures.values())
    assert kinds_in(f"{both}\n{both}") == tuple(failures) and kinds_in("") == ()
