"""The suite names what the paper used, and a tiny one of its kind runs from end to end."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.models.suites import load_suite, overview, sampler_settings
from harness.plan import Ask, Plan, plan
from harness.records import Ability, Role
from harness.registry import GENERATORS, JUDGES
from tests.models.tiny_vlm import make_qwen
from tests.runs import ShuffledExecutor, contents, run
from tests.tiny import make_tiny_reflect_suite


def test_the_suite_names_the_published_checkpoints() -> None:
    suite = load_suite("reflect-dit")
    assert {(role, part): located.ref for role, part, located in overview(suite)} == {
        (Role.GENERATOR, "pipeline"): "Efficient-Large-Model/Sana_1600M_1024px_MultiLing_diffusers",
        (Role.GENERATOR, "transformer"): "jacklishufan/reflect-dit//dit/transformer",
        (Role.GENERATOR, "vision_encoder"): "google/siglip-large-patch16-384",
        (Role.JUDGE, "model"): "jacklishufan/reflect-dit//vlm",
        (Role.JUDGE, "processor"): "Qwen/Qwen2.5-VL-3B-Instruct",
        (Role.SCORER, "detector"): "mask2former-swin-s-coco",
        (Role.SCORER, "colors"): "openai/clip-vit-large-patch14",
    }
    assert suite.scorer == load_suite("sana-1.0-1.6b").scorer
    assert Ability.FEEDBACK in GENERATORS.get(suite.generator.kind).abilities
    assert not JUDGES.get(suite.judge.kind).oracle


def test_its_settings_are_the_published_ones() -> None:
    suite = load_suite("reflect-dit")
    plain = sampler_settings(load_suite("sana-1.0-1.6b").generator)
    settings = sampler_settings(suite.generator)
    assert settings == {**plain, "image_tokens": 64, "max_feedback_length": 300}
    assert (settings["num_inference_steps"], settings["guidance_scale"]) == (20, 4.5)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("suite")
    suite = make_tiny_reflect_suite(folder)
    make_qwen(folder / "vlm")
    before, _, after = suite.read_text().partition("[judge]")
    _, _, scorer = after.partition("[scorer]")
    judge = 'kind = "vlm"\ncheckpoints = { model = "./vlm" }\nbatch_size = 4\n'
    judge += "settings = { max_new_tokens = 8 }\n"
    suite.write_text(f"{before}[judge]\n{judge}\n[scorer]{scorer}")
    return plan(Ask(strategy="reflect", model=str(suite), budget=4, limit=3, threads=1))


@pytest.mark.slow
def test_a_search_with_feedback_is_the_same_in_any_order(ready: Plan, tmp_path: Path) -> None:
    run(ready, tmp_path / "run")
    frame = harness.load(tmp_path / "run")
    assert frame["error"].isna().all()
    number = frame["feedback"].map(len)
    assert number.tolist() == [min(index, 3) for index in frame["draw_index"]]
    assert set(number) == {0, 1, 2, 3}
    costs = frame.groupby(number)["generator_flops"].min()
    assert costs.is_monotonic_increasing and costs.is_unique
    run(ready, tmp_path / "again", executor=ShuffledExecutor(ready, seed=3))
    assert contents(tmp_path / "again") == contents(tmp_path / "run")
