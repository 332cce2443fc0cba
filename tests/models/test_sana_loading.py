"""Whatever does not fit exactly stops the load, and the message says which file it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import HarnessError
from harness.models.sana_loading import load_pipeline

GOLDEN = Path(__file__).parent.parent / "golden" / "reflect_dit" / "pipeline"
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tiny_pipeline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_pipeline, tmp_path / "pipeline"))


def refuse(folder: Path, message: str) -> HarnessError:
    with pytest.raises(HarnessError, match=message) as caught:
        load_pipeline(folder, device=torch.device("cpu"), dtype="float32")
    assert str(folder) in caught.value.message
    assert caught.value.hint
    return caught.value


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    refuse(tmp_path / "nothing", "does not exist")


def test_a_folder_without_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()
    refuse(folder, r"has no model_index\.json")


def test_an_index_that_is_no_json(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")
    refuse(folder, r"model_index\.json cannot be read")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "StableDiffusionPipeline"}, "StableDiffusionPipeline"),
        ({"transformer": ["diffusers", "FluxTransformer2DModel"]}, "FluxTransformer2DModel"),
        ({"text_encoder": ["transformers", "pipeline"]}, "as its text_encoder"),
        ({"scheduler": ["os", "system"]}, "as its scheduler"),
        ({"scheduler": 3}, "as its scheduler"),
        ({"text_encoder": ["transformers", "PreTrainedTokenizerFast"]}, "as its text_encoder"),
        ({"scheduler": ["diffusers", "AutoencoderDC"]}, "as its scheduler"),
    ],
)
def test_an_index_of_another_pipeline(
    folder: Path, change: dict[str, object], message: str
) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | change))
    refuse(folder, message)


@pytest.mark.parametrize(
    "name",
    [f"transformer/{WEIGHTS}", "text_encoder/config.json", "scheduler/scheduler_config.json"],
)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refuse(folder, name)


@pytest.mark.parametrize(
    "name", [f"transformer/{WEIGHTS}", f"vae/{WEIGHTS}", "text_encoder/model.safetensors"]
)
def test_a_truncated_file(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-100])
    refuse(folder, f"cannot load the {name.split('/')[0]}")


def test_pickled_weights_only(folder: Path) -> None:
    path = folder / "vae" / WEIGHTS
    path.rename(path.with_suffix(".bin"))
    refuse(folder, "pickled weights")


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_a_missing_and_a_surplus_weight(folder: Path, part: str) -> None:
    path = folder / part / WEIGHTS
    weights = load_file(path)
    name = sorted(weights)[0]
    save_file({key: value for key, value in weights.items() if key != name}, path)
    assert name in refuse(folder, rf"{part} do not fit .*: missing").message
    save_file({**weights, "other.weight": torch.zeros(2)}, path)
    assert "other.weight" in refuse(folder, "do not fit .*: surplus").message


def test_a_missing_weight_of_the_text_encoder(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    weights = load_file(path)
    name = sorted(weights)[0]
    save_file({key: value for key, value in weights.items() if key != name}, path)
    assert name in refuse(folder, "text_encoder do not fit .*: missing").message


def test_a_weight_of_another_shape(folder: Path) -> None:
    path = folder / "transformer" / WEIGHTS
    weights = load_file(path)
    weights["proj_out.bias"] = torch.zeros(7)
    save_file(weights, path)
    refuse(folder, r"proj_out\.bias")


def test_a_config_field_nobody_knows(folder: Path) -> None:
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rope_scaling": 2}))
    refuse(folder, "rope_scaling")


def test_of_a_context_transformer_exactly_the_context_weights_are_dropped(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "pipeline"))
    pipeline = load_pipeline(folder, device=torch.device("cpu"), dtype="float32")
    path = folder / "transformer" / WEIGHTS
    stored, used = load_file(path), pipeline.transformer.state_dict()
    assert {name.split(".")[0] for name in stored.keys() - used.keys()} == {
        "clip_norm",
        "clip_projection",
        "reflection_norm",
        "reflection_text_norm",
        "reflection_text_projection",
        "reflection_transformer",
    }
    assert all(torch.equal(stored[name], used[name]) for name in used)
    save_file({**stored, "reflection_gate.weight": torch.zeros(2)}, path)
    refuse(folder, "reflection_gate.weight")


def test_the_terminal_stays_quiet(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_pipeline(folder, device=torch.device("cpu"), dtype="float32")
    load_pipeline(GOLDEN, device=torch.device("cpu"), dtype="float32")
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_half_precision_spares_the_text_encoder_and_the_autoencoder(folder: Path) -> None:
    pipeline = load_pipeline(folder, device=torch.device("cpu"), dtype="float16")
    assert pipeline.transformer.dtype == torch.float16
    assert pipeline.vae.dtype == pipeline.text_encoder.dtype == torch.bfloat16
