from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import differences, read_config
from harness.errors import HarnessError, UsageError
from harness.identity import Resolver
from harness.models.suites import load_suite
from harness.plan import Ask, override, plan, replan
from harness.prompts import select_prompts
from harness.records import Ability, Prompt
from harness.registry import SUITES
from tests.runs import stub_plan
from tests.stubs import StubBenchmark, make_stub_suite

PROMPTS = [Prompt(f"{i:05d}", f"p{i}", "abc"[(i * i) % 3]) for i in range(90)]


@given(st.integers(1, 90), st.integers(1, 90))
def test_a_smaller_sample_is_part_of_a_larger_one(one: int, two: int) -> None:
    small, large = (
        {p.id for p in select_prompts(PROMPTS, (), limit)} for limit in sorted((one, two))
    )
    assert len(small) == min(one, two) and small <= large


@given(st.integers(3, 90))
def test_every_tag_gets_its_share(limit: int) -> None:
    sizes = Counter(p.tag for p in PROMPTS)
    taken = Counter(p.tag for p in select_prompts(PROMPTS, (), limit))
    for tag, size in sizes.items():
        assert abs(taken[tag] - limit * size / len(PROMPTS)) <= 1


def test_a_sample_is_no_prefix_and_keeps_the_official_order() -> None:
    ids = [p.id for p in select_prompts(PROMPTS, (), 30)]
    assert ids == sorted(ids) and ids != [p.id for p in PROMPTS[:30]]
    assert ids == [p.id for p in select_prompts(PROMPTS[::-1], (), 30)][::-1]


def test_tags_choose() -> None:
    assert {p.tag for p in select_prompts(PROMPTS, ("a",), None)} == {"a"}
    with pytest.raises(UsageError, match="no prompt has the tag 'z'"):
        select_prompts(PROMPTS, ("z",), None)
    with pytest.raises(UsageError, match="no prompts"):
        select_prompts([], (), None)


def test_the_config_survives_its_manifest(suite: Path) -> None:
    config = stub_plan(suite, strategy_options={"select": "first-accepted"}).config
    again = read_config(config.model_dump(mode="json"))
    assert again == config and again.digest == config.digest
    assert config.strategy.options == {"select": "first-accepted"}


def test_every_choice_changes_the_digest(suite: Path) -> None:
    base = stub_plan(suite)
    others = [
        stub_plan(suite, **change).config.digest
        for change in (
            {"budget": 5}, {"seed": 1}, {"replicates": 2}, {"limit": 3}, {"tags": ("odd",)},
            {"strategy": "single"}, {"strategy_options": {"select": "first-accepted"}},
            {"generator_settings": {"num_inference_steps": "3"}}, {"batch_size": 2},
            {"judge": "none", "strategy": "single"}, {"judge": "oracle"},
            {"benchmark_options": {"size": "11"}},
            {"dtype": "bfloat16"}, {"keep_images": "none"}, {"threads": 1},
        )
    ]  # fmt: skip
    assert len({base.config.digest, *others}) == len(others) + 1


def test_where_a_checkpoint_lies_does_not_count_but_its_content_does(
    suite: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    moved, _ = make_stub_suite(tmp_path / "elsewhere")
    one, two = stub_plan(suite), stub_plan(moved)
    names = [Resolver.of(each.config).generators for each in (one, two)]
    assert one.config.generator.checkpoints != two.config.generator.checkpoints
    assert one.config.digest == two.config.digest and names[0] == names[1]
    (tmp_path / "elsewhere" / "faults" / "config.json").write_text('{"other": 1}')
    three = stub_plan(moved)
    assert (
        three.config.digest != one.config.digest
        and Resolver.of(three.config).generators != names[0]
    )


@pytest.mark.usefixtures("import_stubs")
def test_a_run_does_not_go_on_with_another_checkpoint(suite: Path, tmp_path: Path) -> None:
    config = stub_plan(suite).config
    assert replan(config).config == config
    (tmp_path / "faults" / "config.json").write_text('{"changed": true}')
    with pytest.raises(HarnessError, match="not the one this run was started with"):
        replan(config)


def test_a_strategy_that_needs_feedback_needs_a_generator_that_takes_it(
    suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Ability.FEEDBACK in stub_plan(suite, strategy="reflect").strategy.needs()
    monkeypatch.setattr("tests.stubs.StubGenerator.abilities", frozenset())
    with pytest.raises(UsageError, match="conditions draws on feedback"):
        stub_plan(suite, strategy="reflect")
    assert stub_plan(suite, strategy="best-of-n")


def test_a_strategy_that_needs_feedback_needs_a_judge_that_says_something(suite: Path) -> None:
    with pytest.raises(UsageError, match="--judge none says nothing"):
        stub_plan(suite, strategy="reflect", judge="none")
    assert stub_plan(suite, strategy="single", judge="none")


@pytest.mark.parametrize("select", ["score", "first-accepted"])
def test_a_strategy_that_chooses_needs_a_judge_that_prefers(suite: Path, select: str) -> None:
    ask = {"strategy": "best-of-n", "strategy_options": {"select": select}, "judge": "none"}
    with pytest.raises(UsageError, match="would keep one for no reason") as caught:
        stub_plan(suite, **ask)
    assert "--judge" in caught.value.hint and "--strategy single" in caught.value.hint
    assert stub_plan(suite, **ask, budget=1)


@pytest.mark.parametrize(
    ("strategy", "options", "steps", "says"),
    [
        ("prune", {}, "1", "a draw of this run has no more than one"),
        ("bank", {"previews": "3,8"}, "8", "no preview after step 8 of 8"),
        ("particle-steering", {"begin": "0.8", "end": "0.2"}, "8", "is before the first"),
        ("particle-steering", {"particles": "1"}, "8", "one particle has no others"),
        ("draft-then-refine", {"draft_steps": "0.9"}, "4", "is a whole draw"),
    ],
)
def test_options_that_do_not_fit_a_draw_s_steps_are_refused(
    strategy: str, options: dict[str, str], steps: str, says: str, suite: Path
) -> None:
    settings = {"num_inference_steps": steps}
    with pytest.raises(UsageError, match=says):
        stub_plan(suite, strategy=strategy, strategy_options=options, generator_settings=settings)


def test_every_built_in_suite_has_a_judge() -> None:
    for name in SUITES.names():
        assert load_suite(name).judge.kind != "none"


def test_a_config_of_an_oracle_run_says_so(suite: Path) -> None:
    config = stub_plan(suite, judge="oracle").config
    assert config.oracle and config.scorer is not None
    assert config.judge.checkpoints == config.scorer.checkpoints
    assert not stub_plan(suite).config.oracle


@pytest.mark.parametrize(
    ("model", "judge", "expected"),
    [
        ("reflect-dit", "vlm=org/another-vlm", {"model": "org/another-vlm"}),
        ("sana-1.0-1.6b", "vlm=org/another-vlm", {"model": "org/another-vlm"}),
        (
            "miniature",
            "detector=here",
            {"detector": "here", "colors": "bundled:habits_judge_colors"},
        ),
        ("miniature", "vlm=org/another-vlm", {"model": "org/another-vlm"}),
    ],
)
def test_a_judge_s_reference_is_for_its_main_part(
    model: str, judge: str, expected: dict[str, str]
) -> None:
    assert override(load_suite(model), Ask(judge=judge)).judge.checkpoints == expected


def test_a_judge_without_checkpoints_takes_no_reference() -> None:
    with pytest.raises(UsageError, match="'none' takes no checkpoint"):
        override(load_suite("miniature"), Ask(judge="none=org/model"))


@pytest.mark.parametrize(
    ("judge", "says"),
    [
        ('kind = "vlm"', "needs a checkpoint named 'model'"),
        ('kind = "vlm"\nsettings = { question = "Is it good?" }', "does not mention {prompt}"),
        ('kind = "vlm"\nsettings = { temprature = 1 }', "no option 'temprature'"),
        ('kind = "none"\nsettings = { any = 1 }', "no use for 'any'"),
        ('kind = "detector"', "cannot tell what the prompts of stub ask for"),
    ],
)
def test_a_judge_is_refused_before_anything_is_loaded(judge: str, says: str, suite: Path) -> None:
    before, _, rest = suite.read_text().partition("[judge]")
    suite.write_text(f"{before}[judge]\n{judge}\n[scorer]{rest.partition('[scorer]')[2]}")
    with pytest.raises(UsageError, match=says):
        stub_plan(suite)


def test_a_judge_s_settings_are_no_concern_of_the_oracle(suite: Path) -> None:
    text = suite.read_text().replace("tests.stubs:StubJudge", "detector")
    suite.write_text(text)
    assert stub_plan(suite, judge="oracle").config.oracle


def test_a_prompt_file_and_a_judge_that_cannot_read_it(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "a cow in the rain"}\n')
    ask = Ask(benchmark="prompt-file", benchmark_options={"path": str(file)})
    with pytest.raises(UsageError, match="prompt-file") as caught:
        plan(ask)
    assert "another judge" in caught.value.hint
    assert plan(replace(ask, judge="none", strategy="single"))


def test_an_edited_config_is_refused(suite: Path) -> None:
    fields = stub_plan(suite).config.model_dump(mode="json")
    for change in ({"budget": 0}, {"surplus": 1}, {"version": 2}, {"keep_images": "some"}):
        with pytest.raises(HarnessError, match="not valid"):
            read_config({**fields, **change})


def test_differences_are_named_with_dots() -> None:
    one = {"a": 1, "b": {"c": 1, "d": 2}}
    assert differences(one, one) == []
    assert differences(one, {"a": 2, "b": {"c": 1, "d": 3}, "e": None}) == ["a", "b.d"]


class OwnScorer(StubBenchmark):
    """Somebody else's benchmark, with a scorer of one part that no suite knows."""

    parts: ClassVar[Mapping[str, str]] = {"reward": "bundled:colors"}


def test_a_benchmark_has_its_own_scorer_and_no_other_s(suite: Path) -> None:
    plain = Ask("single", benchmark="tests.test_plan:OwnScorer", judge="none", budget=1)
    own = plan(plain)
    assert own.config.scorer is not None
    assert own.config.scorer.checkpoints == {"reward": "bundled:colors"}
    assert {n for n in own.config.digests if n.startswith("scorer")} == {"scorer.reward"}
    other = plan(replace(plain, scorer={"reward": "bundled:judge"}))
    assert other.config.scorer is not None and other.config.digest != own.config.digest
    assert other.config.scorer.checkpoints == {"reward": "bundled:judge"}
    with pytest.raises(UsageError, match="the scorer has no part 'detector'"):
        plan(replace(plain, scorer={"detector": "bundled:judge"}))
    with pytest.raises(UsageError, match="needs a checkpoint 'faults'"):
        plan(replace(plain, benchmark="tests.stubs:StubBenchmark"))
