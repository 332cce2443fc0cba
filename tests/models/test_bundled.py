"""The miniature is known by what is loaded, whatever a suite or a config says of itself."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.models import bundled
from harness.models.bundled import (
    DIGESTS,
    bundled_parts,
    is_bundled,
    is_copy,
    is_miniature,
    label,
    other_parts,
    suite_name,
)
from harness.models.checkpoints import BUNDLED
from harness.models.digests import folder_digest
from harness.models.suites import Suite
from harness.plan import Ask, plan
from harness.registry import SUITES
from tests.models.disguises import DISGUISES
from tests.shared import SHARED, needs_shared

CASE = "cases/10_miniature_without_label"


def test_the_digests_of_the_bundled_weights_are_on_record() -> None:
    """If this fails, weights are new: `harness.miniature.evaluate --write` records them."""
    listed = json.loads(DIGESTS.read_text())
    folders = {path.name: path for path in BUNDLED.iterdir() if path.is_dir()}
    assert listed.keys() == folders.keys()
    for name, folder in folders.items():
        assert folder_digest(folder) in listed[name]


def test_recording_adds_and_forgets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "DIGESTS", tmp_path / "digests.json")
    before = json.loads(DIGESTS.read_text())
    former = {"base": ["0" * 64], "gone": ["1" * 64]}
    (tmp_path / "digests.json").write_text(json.dumps(former))
    bundled.record_digests()
    listed = json.loads((tmp_path / "digests.json").read_text())
    assert "0" * 64 in listed["base"] and listed["gone"] == ["1" * 64]
    assert all(set(listed[name]) & set(before[name]) for name in before)


def test_nothing_is_hashed_to_know_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "folder_digest", None)
    digest = json.loads(DIGESTS.read_text())["base"][0]
    assert is_bundled("org/name", digest) and is_bundled("bundled:base", None)
    assert not is_bundled("org/name", "0" * 64) and not is_bundled("org/name", None)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
def test_a_disguised_copy_is_one(tmp_path: Path, disguise: Callable[[Path], None]) -> None:
    shutil.copytree(BUNDLED / "judge", tmp_path / "mine")
    disguise(tmp_path / "mine")
    assert is_copy(tmp_path / "mine")


@pytest.mark.slow
def test_checkpoints_of_one_s_own_are_none(tiny_suite: Suite) -> None:
    for spec in (tiny_suite.generator, tiny_suite.judge, tiny_suite.scorer):
        assert not any(is_copy(Path(ref)) for ref in spec.checkpoints.values())


def fields(**asked: Any) -> dict[str, Any]:
    return plan(Ask(limit=1, **asked)).config.model_dump(mode="json")


@needs_shared(CASE)
def test_a_copied_suite_keeps_the_label() -> None:
    config = fields(model=str(SHARED / CASE / "suite.toml"))
    assert config["miniature"] and label(config) == bundled.MODELS


def test_copied_folders_keep_the_label(tmp_path: Path) -> None:
    text = SUITES.get("miniature").read_text().replace("miniature = true\n", "")
    for name in set(re.findall(r'"bundled:(\w+)"', text)):
        shutil.copytree(BUNDLED / name, tmp_path / name)
        text = text.replace(f'"bundled:{name}"', f'"./{name}"')
    assert "bundled:" not in text
    (tmp_path / "mine.toml").write_text(text)
    config = fields(model=str(tmp_path / "mine.toml"))
    assert config["miniature"] and len(bundled_parts(config)) == 9


@pytest.fixture(scope="module")
def full_size(tiny_suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A suite that is no miniature's."""
    path = Path(tiny_suite.scorer.checkpoints["detector"]).parents[1] / "tiny.toml"
    text = path.read_text()
    (path.parent / "full.toml").write_text(text.replace("miniature = true\n", ""))
    return str(path.parent / "full.toml")


@pytest.mark.slow
def test_models_of_one_s_own_have_no_label(full_size: str) -> None:
    config = fields(model=full_size)
    assert not config["miniature"] and not is_miniature(config) and label(config) == ""


@pytest.mark.parametrize(
    ("asked", "output"),
    [
        ({"scorer": {"detector": "bundled:detector"}}, "miniature scorer: "),
        ({"judge": "detector=bundled:judge"}, "miniature judge: "),
        ({"checkpoint": "bundled:base"}, "miniature models: "),
    ],
)
def test_one_bundled_part_is_enough(full_size: str, asked: dict[str, Any], output: str) -> None:
    config = fields(model=full_size, **asked)
    assert config["miniature"] and label(config).startswith(output)
    config["miniature"] = False
    assert is_miniature(config) and label(config).startswith(output)


def test_a_disguised_part_is_enough_while_it_is_here(full_size: str, tmp_path: Path) -> None:
    shutil.copytree(BUNDLED / "detector", tmp_path / "mine")
    DISGUISES["noise of 1e-3"](tmp_path / "mine")
    assert fields(model=full_size, scorer={"detector": str(tmp_path / "mine")})["miniature"]


def test_a_built_in_suite_s_name_is_not_taken_in_vain() -> None:
    config = fields()
    assert suite_name(config) == "miniature" and other_parts(config) == []
    assert other_parts(fields(judge="oracle")) == []
    assert other_parts(fields(judge="none", strategy="single")) == []
    changed = fields(scorer={"colors": "bundled:judge_colors"})
    assert suite_name(changed) == "miniature with another scorer.colors"
    even = fields(model="miniature-even")
    assert suite_name(even) == "miniature-even" and label(even) == bundled.MODELS
    # A log from when the name "miniature" was that of the other world.
    even["suite"] = "miniature"
    assert suite_name(even) == "miniature-even" and other_parts(even) == []
    config["suite"] = "sana-1.0-1.6b"
    assert {"generator.pipeline", "scorer.detector"} <= set(other_parts(config))
    config["suite"] = "mine"
    assert suite_name(config) == "mine"


@pytest.mark.parametrize("config", [{}, {"digests": 3, "suite": 3, "generator": 3, "scorer": None},
                                    {"suite": "miniature", "judge": {"checkpoints": 3}},
                                    {"generator": {"checkpoints": {"pipeline": 3}}}])  # fmt: skip
def test_a_config_that_is_none_says_nothing(config: dict[str, Any]) -> None:
    assert not is_miniature(config) and label(config) == "" and other_parts(config) == []
