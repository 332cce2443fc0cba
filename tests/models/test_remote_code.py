"""Code beside a checkpoint: refused unless a run asks for it by name, and then on record."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file
from transformers import LlavaForConditionalGeneration

import harness as package
from harness.errors import HarnessError
from harness.models.diffusers_loading import pipeline_class
from harness.models.diffusers_pipeline import DiffusersGenerator
from harness.models.digests import folder_digest
from harness.models.judges.vlm import VLMJudge
from harness.models.loading import quiet
from harness.models.remote_code import remote_code
from harness.records import Loading, Prompt
from harness.registry import ImportRefused, import_paths
from tests.models.tiny_vlm import make_llava
from tests.terminal import Terminal
from tests.tiny_pipelines import make_family

FLAG = "--trust-remote-code"
PIPELINE = """
from pathlib import Path
from diffusers import StableDiffusion3Pipeline
from .shading import SHADES
Path("pipeline-ran").touch()
class FluxPipeline(StableDiffusion3Pipeline):  # the name of a family that is known
    def __call__(self, prompt=None, height: int = 32, width: int = 32,
                 num_inference_steps: int = 2, shade: float = 0.5, generator=None,
                 output_type="pil", return_dict=True):
        images = super().__call__(
            prompt=prompt, height=height, width=width, num_inference_steps=num_inference_steps,
            max_sequence_length=16, generator=generator, output_type=output_type,
            return_dict=return_dict)
        return (images[0] * shade * SHADES,)
"""
MODEL = '''
from transformers import LlavaConfig, LlavaForConditionalGeneration
class OwnConfig(LlavaConfig):
    model_type = "own_vlm"
class OwnModel(LlavaForConditionalGeneration):
    config_class = OwnConfig
'''  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that is run writes into the directory that it is run in."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep transformers' copies of such code out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        place = str(tmp_path_factory.mktemp("modules"))
        patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", place)
        yield


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_family("SD 3.5", tmp_path_factory.mktemp("stock") / "mine")


@pytest.fixture
def custom(stock: Path, tmp_path: Path) -> Path:
    """A pipeline with code of its own, its scheduler included."""
    folder = shutil.copytree(stock, tmp_path / "mine")
    (folder / "pipeline.py").write_text(PIPELINE)
    (folder / "shading.py").write_text("SHADES = 1.0\n")
    base = "FlowMatchEulerDiscreteScheduler"
    code = f"from diffusers import {base}\nclass Own({base}):\n    pass\n"
    (folder / "scheduler" / "own_scheduler.py").write_text(code)
    index = json.loads((folder / "model_index.json").read_text())
    own = {"_class_name": ["pipeline", "FluxPipeline"], "scheduler": ["own_scheduler", "Own"]}
    (folder / "model_index.json").write_text(json.dumps({**index, **own}))
    return folder


@pytest.fixture
def vlm(tmp_path: Path) -> Path:
    """A vision-language model that transformers does not know."""
    folder = tmp_path / "vlm"
    make_llava(folder)
    with quiet():  # under the names that a class unknown to transformers gives them
        weights = LlavaForConditionalGeneration.from_pretrained(folder).state_dict()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "own.py").write_text(MODEL)
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForImageTextToText": "own.OwnModel"}
    config |= {"model_type": "own_vlm", "architectures": ["OwnModel"], "auto_map": own}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def run(folder: Path, *further: str | Path) -> list[str | Path]:
    parts = [f"--scorer={part}=bundled:{part}" for part in ("detector", "colors")]
    return ["run", "--model", folder, "--limit", "1", "--budget", "2", "--threads", "1", *parts,
            "-G", "height=64", "-G", "width=64", *further]  # fmt: skip


@pytest.mark.slow
def test_a_run_with_code_of_its_own_is_asked_for_by_a_flag_and_says_so(
    harness: Terminal, custom: Path, vlm: Path
) -> None:
    judged = ["--judge", f"vlm={vlm}", "-J", "max_new_tokens=2", "--out", "r"]
    for given in (["--judge", "none", "--strategy", "single", "--out", "r"], judged):
        assert harness(*run(custom, *given)) == 1
        assert "code of its own (pipeline.py), which is not run" in harness.err
        assert f"hint: read it first; to have it run, add {FLAG}" in harness.err
    assert not Path("r").exists() and not Path("pipeline-ran").exists()

    assert harness(*run(custom, *judged, FLAG)) == 0, harness.err
    sentence = "code beside the checkpoints of generator and judge was trusted"
    assert f"warning: {sentence}" in harness.err and Path("pipeline-ran").exists()
    config = json.loads(Path("r/manifest.json").read_text())["config"]
    assert config["generator"]["trust_remote_code"] and config["judge"]["trust_remote_code"]
    assert config["generator"]["settings"]["shade"] == 0.5
    assert harness("show", "r") == 0 and sentence in harness.out
    assert harness("report", "r", "--out", "page") == 0
    assert sentence in Path("page/index.html").read_text()

    regenerate = ["audit", "r", "--regenerate", "2", "--rescore", "2"]
    harness(*regenerate, plugins=False)
    assert "with --plugins only" in harness.out and "regenerated" not in harness.out
    assert harness(*regenerate) == 0, harness.out
    assert harness("resume", "r", plugins=False) == 2 and "--plugins" in harness.err
    (custom / "shading.py").write_text("SHADES = 0.5\n")
    assert harness("resume", "r") == 1 and "generator.pipeline is not the one" in harness.err


def test_a_pipeline_s_own_settings_and_nothing_known_of_its_rows(custom: Path) -> None:
    loading = Loading({"pipeline": custom}, batch_size=2, settings={"shade": 0.0})
    with import_paths(allowed=True), remote_code(trusted=True):
        generator = DiffusersGenerator.load(loading)
    assert generator.sharing == "alone" and not generator.abilities
    assert type(generator.pipeline.scheduler).__name__ == "Own"


def test_two_checkpoints_keep_their_own_code_apart(custom: Path, tmp_path: Path) -> None:
    other = shutil.copytree(custom, tmp_path / "other" / "mine")
    (other / "pipeline.py").write_text(PIPELINE.replace("shade: float", "tint: float"))
    with import_paths(allowed=True), remote_code(trusted=True):
        names = [pipeline_class(f).__call__.__annotations__ for f in (custom, other, custom)]
    assert ["tint" in each for each in names] == [False, True, False]


def test_what_a_manifest_asks_for_is_the_reader_s_to_allow(custom: Path) -> None:
    with pytest.raises(ImportRefused, match="--plugins"), remote_code(trusted=True):
        pass
    for name in ("../pipeline", "absent"):
        with import_paths(allowed=True), remote_code(trusted=True), pytest.raises(HarnessError):
            index = json.loads((custom / "model_index.json").read_text())
            own = {**index, "_class_name": [name, "FluxPipeline"]}
            (custom / "model_index.json").write_text(json.dumps(own))
            pipeline_class(custom)


def test_a_model_that_transformers_does_not_know(
    vlm: Path, stock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> Any:
        return VLMJudge.load(Loading({"model": vlm}, settings={"max_new_tokens": 2}), None)  # type: ignore[arg-type]

    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("nobody is asked"))
    with pytest.raises(HarnessError, match="code of its own") as caught:
        load()
    assert FLAG in caught.value.hint
    with import_paths(allowed=True), remote_code(trusted=True):
        judge = load()
    image = np.zeros((16, 16, 3), np.uint8)
    assert judge.judge([Prompt("0", "a cow", "")], [image], [1])


def test_code_that_is_run_is_part_of_the_digest(vlm: Path) -> None:
    plain, with_code = folder_digest(vlm), folder_digest(vlm, code=True)
    (vlm / "own.py").write_text(f"{MODEL}# changed\n")
    assert folder_digest(vlm) == plain != folder_digest(vlm, code=True) != with_code
    config = json.loads((vlm / "config.json").read_text())
    config["auto_map"]["AutoConfig"] = "org/name--own.OwnConfig"
    (vlm / "config.json").write_text(json.dumps(config))
    with pytest.raises(HarnessError, match="code of another repository: org/name"):
        folder_digest(vlm, code=True)


def test_the_flag_is_refused_where_there_is_nothing_to_trust(harness: Terminal) -> None:
    assert harness("run", FLAG, "--out", "r") == 2 and "could bring code" in harness.err
    assert not Path("r").exists()


@pytest.mark.slow
def test_a_suite_may_ask_for_it_by_role(harness: Terminal, custom: Path) -> None:
    text = f'name = "s"\n[generator]\nkind = "diffusers"\ncheckpoints = {{ pipeline = "{custom}" }}'
    Path("s.toml").write_text(f"{text}\ntrust_remote_code = true\n")
    few = ["--strategy", "single", "--budget", "1", "--judge", "none", "--out", "r"]
    assert harness(*run(Path("s.toml"), *few)) == 0, harness.err
    assert package.load("r")["image"].notna().all()
    assert (
        "trust_remote_code"
        not in json.loads(Path("r/manifest.json").read_text())["config"]["judge"]
    )
