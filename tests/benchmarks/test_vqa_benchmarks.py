"""Benchmarks by questions: what they ask, how answers become grades, and how those come again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from benchmarks.dpg_bench.benchmark import DPGBench
from benchmarks.fetching import Published, read_published
from benchmarks.geneval2.benchmark import VQASCORE, GenEval2, read_prompts
from benchmarks.prompt_file import PromptFile
from benchmarks.vqa.asking import Asked, FirstToken
from benchmarks.vqa.base import QuestionBenchmark, QuestionScorer
from benchmarks.vqa.own_questions import grade, parse_questions, spellings
from harness.errors import HarnessError, UsageError
from harness.models.digests import folder_digest
from harness.models.leakage import shared
from harness.records import Answer, Cost, Image, Loading, Prompt
from harness.testing.benchmarks import BenchmarkContract
from tests.models.tiny_vlm import make_qwen
from tests.shared import SHARED, needs_shared

ROW = {
    "prompt": "a red {cat} and two dogs",
    "atom_count": 4,
    "vqa_list": [["Is the cat red?", "Yes"], ["How many dogs are in the image?", "two"]],
    "skills": ["attribute", "count"],
}
IMAGE = np.zeros((8, 8, 3), np.uint8)


class Parrot:
    """Gives prepared first tokens, image by image, and remembers what it was asked."""

    def __init__(self, *replies: tuple[str, float]) -> None:
        self.replies = [FirstToken(text, chance) for text, chance in replies]
        self.asked: list[Asked] = []

    def ask(
        self, images: Sequence[Image], asked: Sequence[Sequence[Asked]]
    ) -> list[tuple[list[FirstToken], Cost]]:
        replies = iter(self.replies)
        results = []
        for _, own in zip(images, asked, strict=True):
            self.asked += own
            results.append(([next(replies) for _ in own], Cost(tokens=len(own))))
        return results


def score(benchmark: QuestionBenchmark, prompt: Prompt, parrot: Parrot, **settings: Any) -> Any:
    complete = benchmark.scorer_settings(settings)
    [(result, cost)] = QuestionScorer(benchmark, parrot, complete).score([prompt], [IMAGE])
    assert benchmark.rescore(prompt, result.evidence, complete) == result
    return result, cost


def geneval2_prompt() -> Prompt:
    return read_prompts(json.dumps(ROW), "data")[0]


def test_geneval2_grades_by_the_geometric_mean_and_asks_as_officially() -> None:
    parrot = Parrot(("Yes", 0.9), (" three", 0.4), ("No", 0.2))
    result, cost = score(GenEval2(), geneval2_prompt(), parrot)
    assert result.value == pytest.approx(0.6)
    assert not result.correct
    assert result.reason == "How many dogs are in the image? expected two, answered three"
    assert cost.tokens == 3
    messages = [asked.message for asked in parrot.asked]
    assert messages == [
        "Is the cat red? Answer in one word.",
        "How many dogs are in the image? Answer in one word.",
        'Does this image show "a red {cat} and two dogs"? Answer the question with Yes or No.',
    ]
    assert not any(asked.mended for asked in parrot.asked)
    skills = GenEval2().by_skill(geneval2_prompt(), result.evidence, {})
    assert skills == [("attribute", 0.9), ("count", 0.4), (VQASCORE, 0.2)]


def test_geneval2_is_right_above_one_half_and_may_exceed_one() -> None:
    right, _ = score(GenEval2(), geneval2_prompt(), Parrot(("a", 1.2), ("b", 0.9), ("c", 0.0)))
    assert right.correct and right.value > 1 and right.reason == ""
    half, _ = score(GenEval2(), geneval2_prompt(), Parrot(("a", 0.5), ("b", 0.9), ("c", 1.0)))
    assert not half.correct
    zero, _ = score(GenEval2(), geneval2_prompt(), Parrot(("a", 0.0), ("b", 0.9), ("c", 1.0)))
    assert zero.value == 0.0


def test_the_mended_variant_and_vqascore_are_settings() -> None:
    parrot = Parrot(("Yes", 0.9), ("two", 0.9))
    score(GenEval2(), geneval2_prompt(), parrot, mended="true", vqascore="false")
    assert len(parrot.asked) == 2 and all(asked.mended for asked in parrot.asked)


def test_answers_to_other_questions_are_no_evidence() -> None:
    prompt, settings = geneval2_prompt(), GenEval2().scorer_settings({})
    result, _ = score(GenEval2(), prompt, Parrot(("a", 0.9), ("b", 0.9), ("c", 0.9)))
    other = replace(result.answers[0], expected="No")
    for evidence in ((), result.evidence[:2], (other, *result.evidence[1:])):
        with pytest.raises(HarnessError, match="not to the questions"):
            GenEval2().rescore(prompt, evidence, settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": " "}, "no text"),
        ({"atom_count": True}, "atom_count"),
        ({"skills": ["count"]}, "2 questions"),
        ({"vqa_list": [["Is it?"], ["x", "y"]]}, "vqa_list"),
        ({"skills": ["count", VQASCORE]}, "skills"),
    ],
)
def test_a_row_that_is_none_of_geneval2s_is_refused(change: Any, message: str) -> None:
    with pytest.raises(UsageError, match=f"data, line 1: .*{message}"):
        read_prompts(json.dumps(ROW | change), "data")


@needs_shared("geneval2")
class TestGenEval2(BenchmarkContract):
    @pytest.fixture
    def benchmark_plugin(self) -> GenEval2:
        return GenEval2(path=str(SHARED / "geneval2" / "geneval2_data.jsonl"))

    def test_prompts_are_the_published_800(self, benchmark_plugin: GenEval2) -> None:
        prompts = benchmark_plugin.prompts()
        assert len({prompt.text for prompt in prompts}) == 800
        assert sorted({prompt.tag for prompt in prompts}) == [
            f"atomicity-{count:02d}" for count in range(3, 11)
        ]


def test_published_data_must_be_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match="not on this machine"):
        GenEval2().prompts()
    with pytest.raises(UsageError, match="there is no file"):
        GenEval2(path=str(tmp_path / "none.jsonl")).prompts()
    (tmp_path / "other.jsonl").write_text(json.dumps(ROW))
    with pytest.raises(UsageError, match="its digest is another"):
        GenEval2(path=str(tmp_path / "other.jsonl")).prompts()


def test_what_is_fetched_is_checked_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "source").write_bytes(b"hello\n")
    url = (tmp_path / "source").as_uri()
    blob = "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object of these bytes
    published = Published("x.csv", url, blob=blob)
    assert read_published(published, "", fetch=True) == "hello\n"
    (tmp_path / "source").unlink()
    assert read_published(published, "", fetch=False) == "hello\n"
    with pytest.raises(HarnessError, match="cannot be fetched"):
        read_published(Published("y.csv", url, blob=blob), "", fetch=True)
    (tmp_path / "source").write_bytes(b"other\n")
    with pytest.raises(HarnessError, match="its digest is another"):
        read_published(Published("y.csv", url, blob=blob), "", fetch=True)
    assert not (tmp_path / "cache" / "inference-scaling-harness" / "y.csv").exists()


def dpg_file(path: Path) -> Path:
    path.write_text(
        "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,"
        "question_natural_language\n"
        "7,a red cat,,1,0,entity,whole,entity - whole (cat),Is there a cat?\n"
        '7,a red cat,,2,1,attribute,color,"attribute - color (cat, red)",Is the cat red?\n'
        '8,a dog,,1,"0, 9",entity,whole,entity - whole (dog),Is there a dog?\n'
    )
    return path


class TestDPGBench(BenchmarkContract):
    @pytest.fixture
    def benchmark_plugin(self, tmp_path: Path) -> DPGBench:
        return DPGBench(path=str(dpg_file(tmp_path / "q.csv")), own=True)


def test_dpg_grades_each_image_of_a_grid(tmp_path: Path) -> None:
    path = str(dpg_file(tmp_path / "q.csv"))
    benchmark = DPGBench(path=path, own=True, images_per_file=4)
    prompt, broken = benchmark.prompts()
    yes, no = ("Yes", 0.9), (" no", 0.1)
    result, cost = score(benchmark, prompt, Parrot(yes, yes, yes, no, no, yes, no, no))
    assert result.value == pytest.approx((1 + 0.5 + 0 + 0) / 4)
    assert cost.tokens == 8 and not result.correct
    assert [answer.answer for answer in result.answers[:4]] == ["yes", "yes", "yes", "no"]
    every = benchmark.by_skill(prompt, result.evidence, {})
    assert sum(right for skill, right in every if skill == "entity - whole") == 2
    last = replace(benchmark, variant="official").by_skill(prompt, result.evidence, {})
    assert last == [("entity - whole", 0.0), ("attribute - color", 0.0)]
    with pytest.raises(HarnessError, match="proposition 9"):
        score(benchmark, broken, Parrot(*[yes] * 4))


def test_the_official_variant_loses_the_first_question(tmp_path: Path) -> None:
    path = str(dpg_file(tmp_path / "q.csv"))
    prompt = DPGBench(path=path, own=True, variant="official").prompts()[0]
    with pytest.raises(HarnessError, match="depends on proposition 1"):
        score(DPGBench(path=path, own=True), prompt, Parrot(("yes", 1.0)))


QUESTIONS = [
    "Is there a bench?",
    {"text": "What colour is it?", "expected": "red", "weight": 2, "parent": 1, "skill": "colour"},
]


def own_file(path: Path) -> PromptFile:
    rows = [{"prompt": "a red bench", "questions": QUESTIONS}, {"prompt": "x", "questions": ["x?"]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PromptFile(path=str(path))


class TestOwnQuestions(BenchmarkContract):
    @pytest.fixture
    def benchmark_plugin(self, tmp_path: Path) -> PromptFile:
        return own_file(tmp_path / "p.jsonl")


def test_a_prompt_file_with_questions_is_scored_by_them(tmp_path: Path) -> None:
    benchmark = own_file(tmp_path / "p.jsonl")
    assert benchmark.scored and benchmark.parts
    prompt = benchmark.prompts()[0]
    result, _ = score(benchmark, prompt, Parrot(("yes", 0.8), ("red", 0.6)))
    assert result.value == pytest.approx((0.8 + 2 * 0.6) / 3) and result.correct
    result, _ = score(benchmark, prompt, Parrot(("no", 0.4), ("red", 0.6)))
    assert result.value == pytest.approx(0.4 / 3) and not result.correct
    assert benchmark.by_skill(prompt, result.evidence, {}) == [("colour", 0.6)]


def test_a_table_has_questions_in_a_cell(tmp_path: Path) -> None:
    cell = json.dumps(QUESTIONS).replace('"', '""')
    (tmp_path / "p.csv").write_text(f'prompt,questions\na red bench,"{cell}"\n')
    [prompt] = PromptFile(path=str(tmp_path / "p.csv")).prompts()
    assert prompt.metadata["questions"] == parse_questions(QUESTIONS)


def test_a_prompt_file_without_questions_has_no_scorer(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a bench\n")
    benchmark = PromptFile(path=str(tmp_path / "p.txt"))
    assert not benchmark.scored and not benchmark.parts
    with pytest.raises(NotImplementedError, match="prompt-file"):
        benchmark.load_scorer(Loading())


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([], "list of 1 to"),
        ("[", "questions"),
        ([{"text": "x", "wieght": 1}], "did you mean 'weight'"),
        ([{"text": " "}], "nothing under 'text'"),
        ([{"text": "x", "weight": -1}], "weight"),
        ([{"text": "x", "weight": 0}], "any weight"),
        ([{"text": "x", "weight": True}], "weight"),
        ([{"text": "x", "parent": 1}], "earlier question"),
        (["x", {"text": "y", "parent": [1, 2]}], "earlier question"),
        ([{"text": "\ud800"}], "no text"),
        ([3], "neither a text nor an object"),
    ],
)
def test_questions_that_cannot_be_are_refused_by_line(
    tmp_path: Path, questions: Any, message: str
) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "x", "questions": questions}))
    with pytest.raises(UsageError, match=f"(?s)line 1.*{message}"):
        PromptFile(path=str(tmp_path / "p.jsonl")).prompts()


def test_prompts_with_and_without_questions_do_not_mix(tmp_path: Path) -> None:
    rows: list[Mapping[str, Any]] = [{"prompt": "x", "questions": ["x?"]}, {"prompt": "y"}]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UsageError, match="line 2: no questions"):
        PromptFile(path=str(tmp_path / "p.jsonl")).prompts()


def test_an_answer_may_be_spelt_in_several_ways() -> None:
    assert {"two", " two", "Two", "2", " 2"} <= set(spellings("Two"))
    assert {"3", "three", " Three"} <= set(spellings("3"))
    assert {"dark red", " Dark red"} <= set(spellings("dark red"))
    assert len(set(spellings("yes"))) == len(spellings("yes")) == 4


def test_a_grade_needs_probabilities_and_weight() -> None:
    with pytest.raises(HarnessError, match="without its probability"):
        grade([Answer("x", "yes", "yes")])
    with pytest.raises(HarnessError, match="no answer has any weight"):
        grade([Answer("x", "yes", "yes", 0.5, weight=0.0)])


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vlm")
    make_qwen(folder)
    return folder


def test_a_real_model_answers_and_is_tested_when_loaded(vlm: Path, tmp_path: Path) -> None:
    benchmark = own_file(tmp_path / "p.jsonl")
    scorer = benchmark.load_scorer(Loading({"vlm": vlm}, batch_size=2))
    prompts = benchmark.prompts()
    images = [np.full((32, 32, 3), shade, np.uint8) for shade in (10, 200)]
    scores = scorer.score(prompts, images)
    assert [len(result.answers) for result, _ in scores] == [2, 1]
    assert scores == [scorer.score([p], [i])[0] for p, i in zip(prompts, images, strict=True)]


def test_known_answers_that_are_wrong_refuse_the_model(vlm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vlm"
    shutil.copytree(vlm, folder)
    (folder / "known_images").mkdir()
    Pillow.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / "known_images" / "a.png")
    line = {"image": "a.png", "question": "is the bench", "spellings": ["cow"], "right": False}
    answers = folder / "known_images" / "answers.jsonl"
    answers.write_text(json.dumps(line))
    own_file(tmp_path / "p.jsonl").load_scorer(Loading({"vlm": folder}))
    answers.write_text(json.dumps(line | {"right": True}))
    with pytest.raises(HarnessError, match="answered wrongly"):
        own_file(tmp_path / "p.jsonl").load_scorer(Loading({"vlm": folder}))
    answers.write_text("{}")
    with pytest.raises(HarnessError, match="cannot be asked"):
        own_file(tmp_path / "p.jsonl").load_scorer(Loading({"vlm": folder}))


def test_a_setting_that_the_scorer_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no option 'qestions'"):
        own_file(tmp_path / "p.jsonl").scorer_settings({"qestions": 3})


def test_a_judge_with_the_scorers_weights_is_known(vlm: Path, tmp_path: Path) -> None:
    def decides(judge: Path) -> bool:
        config = {
            "oracle": False,
            "judge": {"kind": "vlm", "checkpoints": {"model": str(judge)}},
            "scorer": {"kind": "", "checkpoints": {"vlm": str(vlm)}},
            "digests": {
                "judge.model": folder_digest(judge), "scorer.vlm": folder_digest(vlm),
            },
        }  # fmt: skip
        return shared(config).deciding

    assert decides(vlm)
    copy = tmp_path / "copy"
    shutil.copytree(vlm, copy)
    assert decides(copy)
