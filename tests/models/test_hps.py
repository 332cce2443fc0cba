"""HPS against transformers' CLIP with the same weights, and images prepared by Pillow.

open_clip wants torchvision at import, whose wheels want CUDA. Nothing of it is used here, so that a
stand-in takes its place where it is not there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file, save_file
from torch.nn import functional

from benchmarks.geneval.benchmark import GenEval
from harness.errors import HarnessError, UsageError
from harness.models.metrics.agreement import HPS
from harness.models.metrics.together import check
from harness.records import Image, Loading, Look, Prompt
from harness.testing.looks import MetricContract

SIDE, WIDTH, TEXT_WIDTH = 16, 12, 8
CONFIG = {
    "embed_dim": 10,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": WIDTH, "head_width": 6,
                   "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": TEXT_WIDTH, "heads": 2,
                 "layers": 2},
}  # fmt: skip
FLOPS = 2 * (
    5 * 2 * 12 * WIDTH**2
    + 4 * WIDTH * 3 * 64
    + 2 * 2 * 5 * 5 * WIDTH
    + WIDTH * 10
    + 77 * 2 * 12 * TEXT_WIDTH**2
    + 2 * 2 * 77 * 77 * TEXT_WIDTH
    + TEXT_WIDTH * 10
)  # layers, patches, attention, projection: of five places and of 77
TEXTS = ("a red cat", "Two DOGS &amp; a  bench", "", "long " * 90, "a red cat")
SIZES = ((20, 30), (16, 16), (33, 17), (1, 1), (20, 30))


def looks() -> list[Look]:
    random = np.random.default_rng(0)
    return [
        Look(Prompt(str(n), text), random.integers(0, 256, (*size, 3), np.uint8))
        for n, (text, size) in enumerate(zip(TEXTS, SIZES, strict=True))
    ]


def test_a_machine_without_open_clip_is_told_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.models.metrics.agreement.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs open_clip") as caught:
        check("hps-v2.1", {"model": ""}, {}, GenEval())
    assert "[open-clip]" in caught.value.hint


def import_open_clip() -> Any:
    import_module("transformers.models.clip.modeling_clip")  # before it could see the stand-in

    names = ["torchvision", *(f"torchvision.{name}" for name in (
        "transforms", "transforms.functional", "ops", "ops.misc"
    ))]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        if find_spec("torchvision") is None:
            for name in names:
                patch.setitem(sys.modules, name, MagicMock())
        return pytest.importorskip("open_clip", reason="the extra open-clip is not installed")


@pytest.mark.open_clip
class TestHPS(MetricContract):
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
        """Random weights of a small architecture, as open_clip stores them."""
        open_clip = import_open_clip()
        folder = tmp_path_factory.mktemp("hps")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = open_clip.CLIP(*CONFIG.values())
        save_file(model.state_dict(), folder / "model.safetensors")
        patch = pytest.MonkeyPatch()
        patch.setattr(open_clip, "get_model_config", {HPS.architecture: CONFIG}.get)
        yield folder
        patch.undo()

    @pytest.fixture(scope="class")
    def metric(self, folder: Path) -> HPS:
        return HPS.load(Loading({"model": folder}, batch_size=3))

    @pytest.fixture(scope="class")
    def looks(self) -> list[Look]:
        return looks()

    def test_it_is_the_cosine_of_the_same_weights_in_transformers(
        self, folder: Path, metric: HPS
    ) -> None:
        model = as_transformers(load_file(folder / "model.safetensors"))
        for look, (value, cost) in zip(looks(), metric.measure(looks()), strict=True):
            tokens = metric.towers._tokens([look.prompt.text])
            with torch.no_grad():
                out = model(input_ids=tokens, pixel_values=padded(look.image)[None])
            expected = functional.cosine_similarity(out.text_embeds, out.image_embeds)
            assert value == pytest.approx(float(expected), abs=1e-6)
            assert cost.flops == FLOPS

    def test_texts_are_split_as_openai_s_clip_has_it(self, metric: HPS) -> None:
        rows = metric.towers._tokens(TEXTS)
        assert rows.shape == (5, 77) and rows[2, :3].tolist() == [49406, 49407, 0]
        assert rows[0, :5].tolist() == [49406, 320, 736, 2368, 49407]
        decoded = metric.towers._tokenizer.decode(rows[1, 1:6].tolist())
        assert decoded.split() == ["two", "dogs", "&", "a", "bench"] and rows[1, 6] == 49407
        assert rows[3, -1] == 49407 and rows[3, 1] == rows[3, -2] != 0  # cut, and ended

    def test_another_model_s_weights_are_refused(self, folder: Path, tmp_path: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        for name, value in (("logit_bias", torch.zeros(())), ("ln_final.bias", torch.zeros(9))):
            save_file({**weights, name: value}, tmp_path / "model.safetensors")
            with pytest.raises(HarnessError, match=f"ViT-H-14: {name}"):
                HPS.load(Loading({"model": tmp_path}))

    def test_a_pickle_is_not_read(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "HPS_v2.1_compressed.pt").write_bytes(b"\x80\x02cos\nsystem\n")
        with pytest.raises(HarnessError, match="only pickled weights") as caught:
            HPS.load(Loading({"model": tmp_path}))
        assert "weights_only=True" in caught.value.hint
        with pytest.raises(UsageError, match="no part 'processor'"):
            check("hps-v2.1", {"model": "", "processor": ""}, {}, GenEval())


def padded(image: Image) -> torch.Tensor:
    """HPS's preparation of an image, written out: longer side to the tower's, black around it."""
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    height, width = (round(side * SIDE / max(image.shape[:2])) for side in image.shape[:2])
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    square = np.zeros((3, SIDE, SIDE), np.float32)
    for channel in range(3):
        grey = Pillow.fromarray(image[..., channel].astype(np.float32) / 255)
        resized = np.asarray(grey.resize((width, height), Pillow.Resampling.BICUBIC))
        square[channel, top : top + height, left : left + width] = resized
        square[channel] = (square[channel] - mean[channel]) / deviation[channel]
    return torch.from_numpy(square)


def as_transformers(stored: dict[str, torch.Tensor]) -> Any:
    """transformers' CLIP with the weights of open_clip's."""
    from transformers import CLIPConfig, CLIPModel

    common = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "gelu"}
    text = {"vocab_size": 49408, "hidden_size": TEXT_WIDTH, "intermediate_size": 4 * TEXT_WIDTH,
            "eos_token_id": 49407, **common}  # fmt: skip
    vision = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "image_size": SIDE,
              "patch_size": 8, **common}  # fmt: skip
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=10)).eval()
    names = {
        "token_embedding.": "text_model.embeddings.token_embedding.",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "ln_final.": "text_model.final_layer_norm.",
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "visual.conv1.": "vision_model.embeddings.patch_embedding.",
        "visual.ln_pre.": "vision_model.pre_layrnorm.",
        "visual.ln_post.": "vision_model.post_layernorm.",
        "visual.transformer.resblocks.": "vision_model.encoder.layers.",
        "transformer.resblocks.": "text_model.encoder.layers.",
    }
    parts = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1",
             "mlp.c_proj": "mlp.fc2", "attn.out_proj": "self_attn.out_proj"}  # fmt: skip
    weights = {
        "logit_scale": stored["logit_scale"],
        "text_projection.weight": stored["text_projection"].T,
        "visual_projection.weight": stored["visual.proj"].T,
    }
    for name, value in stored.items():
        begin = next((own for own in names if name.startswith(own)), None)
        if begin is None:
            continue
        name = names[begin] + name.removeprefix(begin)
        for own, theirs in parts.items():
            name = name.replace(own, theirs)
        if "attn.in_proj_" in name:
            for letter, third in zip("qkv", value.chunk(3), strict=True):
                weights[name.replace("attn.in_proj_", f"self_attn.{letter}_proj.")] = third
        else:
            weights[name] = value
    missing, surplus = model.load_state_dict(weights, strict=False)
    assert not surplus and all("position_ids" in name for name in missing)
    return model
