"""LoRA adapters, merged into a tiny pipeline: the sums, the identity, and files that do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import HarnessError, UsageError
from harness.models.adapter_names import adapters, is_adapter
from harness.models.diffusers_pipeline import DiffusersGenerator
from harness.plan import Ask, plan
from harness.records import Image, Loading, Request
from tests.tiny_pipelines import FAMILIES, make_family

WEIGHTS = "diffusion_pytorch_model.safetensors"
PLACE = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
CONV = "down_blocks.0.resnets.0.conv1"
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_family("SD 1.5", tmp_path_factory.mktemp("pipeline") / "p")


@pytest.fixture(scope="module")
def pair(folder: Path) -> Tensors:
    """Changes of a linear module and of a convolution."""
    weights, random = load_file(folder / "unet" / WEIGHTS), torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random)

    linear, conv = weights[f"{PLACE}.weight"], weights[f"{CONV}.weight"]
    return {
        f"unet.{PLACE}.lora_A.weight": normal(2, linear.shape[1]),
        f"unet.{PLACE}.lora_B.weight": normal(len(linear), 2),
        f"unet.{CONV}.lora_A.weight": normal(3, *conv.shape[1:]),
        f"unet.{CONV}.lora_B.weight": normal(len(conv), 3, 1, 1),
    }


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(tensors: Tensors, **metadata: Any) -> Path:
        (tmp_path / "lora").mkdir(exist_ok=True)
        about = {"lora_adapter_metadata": json.dumps(metadata)} if metadata else None
        save_file(tensors, tmp_path / "lora" / "pytorch_lora_weights.safetensors", about)
        return tmp_path / "lora"

    return write


def drawn(folder: Path, **parts: Path) -> Image:
    settings = {**FAMILIES["SD 1.5"][1], "num_inference_steps": 2}
    checkpoints = {"pipeline": folder, **{f"lora{name}": path for name, path in parts.items()}}
    generator = DiffusersGenerator.load(Loading(checkpoints, settings=settings))
    return generator.generate([Request("x", "a cow", ((1, 1.0),), {})])[0].image


def merged(folder: Path, to: Path, pair: Tensors, linear: float, conv: float) -> Path:
    """A pipeline into which the changes have been put by hand."""
    import shutil

    shutil.copytree(folder, to)
    weights = load_file(to / "unet" / WEIGHTS)
    a, b = pair[f"unet.{PLACE}.lora_A.weight"], pair[f"unet.{PLACE}.lora_B.weight"]
    weights[f"{PLACE}.weight"] = weights[f"{PLACE}.weight"] + linear * (b @ a)
    a, b = pair[f"unet.{CONV}.lora_A.weight"], pair[f"unet.{CONV}.lora_B.weight"]
    change = torch.einsum("or,rihw->oihw", b[:, :, 0, 0], a)
    weights[f"{CONV}.weight"] = weights[f"{CONV}.weight"] + conv * change
    save_file(weights, to / "unet" / WEIGHTS)
    return to


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "alphas", "metadata", "linear", "conv"),
    [
        ("", {}, {}, 1.0, 1.0),
        ("-ink@0.5", {}, {}, 0.5, 0.5),
        ("", {f"unet.{PLACE}.alpha": torch.tensor(4.0)}, {}, 2.0, 1.0),
        ("", {}, {"unet.lora_alpha": 6, "unet.r": 3, "unet.alpha_pattern": {PLACE: 1}}, 0.5, 2.0),
    ],
)
def test_an_image_is_that_of_the_changed_weights(
    folder: Path,
    pair: Tensors,
    written: Any,
    tmp_path: Path,
    name: str,
    alphas: Tensors,
    metadata: dict[str, Any],
    linear: float,
    conv: float,
) -> None:
    image = drawn(folder, **{name: written({**pair, **alphas}, **metadata)})
    expected = drawn(merged(folder, tmp_path / "merged", pair, linear, conv))
    assert np.abs(image.astype(int) - expected.astype(int)).max() <= 1
    assert np.abs(image.astype(int) - drawn(folder).astype(int)).max() > 4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: {n: v for n, v in t.items() if "lora_B" not in n}, "half of a pair"),
        (lambda t: {n.replace("attn2", "attn9"): v for n, v in t.items()}, "pipeline lacks"),
        (lambda t: {n.replace("unet.", "transformer."): v for n, v in t.items()}, "lacks"),
        (lambda t: {n.replace(f"{PLACE}", "conv_in.__class__"): v for n, v in t.items()}, "lacks"),
        (lambda t: {n: v[:1] if "lora_A" in n else v for n, v in t.items()}, "has matrices of"),
        (lambda t: {n: v[..., :0] if "lora_A" in n else v for n, v in t.items()}, "has matrices"),
        (lambda t: {n: v.flatten() for n, v in t.items()}, "has matrices of"),
        (lambda t: {n: v * torch.inf for n, v in t.items()}, "NaN or infinite"),
        (lambda t: {n.replace("lora_A", "lokr_w1"): v for n, v in t.items()}, "not a LoRA's"),
        (lambda t: {}, "no weights"),
    ],
)
def test_a_file_that_does_not_fit_is_one_sentence(
    folder: Path, pair: Tensors, written: Any, change: Any, says: str
) -> None:
    changed = {name: tensor.contiguous() for name, tensor in change(pair).items()}
    with pytest.raises(HarnessError, match=says) as caught:
        drawn(folder, **{"": written(changed)})
    assert caught.value.hint and "\n" not in caught.value.message


def test_other_files_are_refused(folder: Path, pair: Tensors, written: Any, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="use_dora"):
        drawn(folder, **{"": written(pair, **{"unet.use_dora": True})})
    place = written(pair, **{"unet.lora_alpha": "much"})
    with pytest.raises(HarnessError, match="NaN or infinite"):
        drawn(folder, **{"": place})
    file = place / "pytorch_lora_weights.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(HarnessError, match="cannot load"):
        drawn(folder, **{"": place})
    file.rename(place / "pytorch_lora_weights.bin")
    with pytest.raises(HarnessError, match=r"holds 0 \.safetensors files"):
        drawn(folder, **{"": place})


@pytest.mark.slow
def test_it_is_part_of_the_identity_with_its_weight(
    folder: Path, pair: Tensors, written: Any, tmp_path: Path
) -> None:
    place = written(pair)
    Path(tmp_path / "p.txt").write_text("a cow\n")

    def identity(*loras: str) -> str:
        ask = Ask(
            model=str(folder), strategy="single", budget=1, judge="none", loras=loras,
            benchmark="prompt-file", benchmark_options={"path": str(tmp_path / "p.txt")},
        )  # fmt: skip
        return next(iter(plan(ask).resolver.generators.values()))

    one = identity(str(place))
    assert len({identity(), one, identity(f"@0.5={place}"), identity(f"ink={place}")}) == 4
    written({name: tensor + 1 for name, tensor in pair.items()})
    assert identity(str(place)) != one


def test_names_and_generators_that_do_not_take_one() -> None:
    assert adapters(["a/b", "ink@0.8=c"]) == {"lora": "a/b", "lora-ink@0.8": "c"}
    assert is_adapter("lora@-1.5") and not is_adapter("pipeline")
    for bad in (["a", "b"], ["ink="], ["ink@much=a"], ["in k=a"], ["@1e9=a"]):
        with pytest.raises(UsageError, match=r"--lora|no name of an adapter"):
            adapters(bad)
    with pytest.raises(UsageError, match="'reflect-dit' takes no LoRA adapters"):
        plan(Ask(loras=("a/b",)))
