"""mmdet, the original, against transformers: the same weights, the same images."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.geneval.classes import CLASSES
from benchmarks.geneval.detectors.base import Detections, Detector
from benchmarks.geneval.detectors.mmdet.convert import convert, translate
from benchmarks.geneval.detectors.mmdet.original import original_weights
from benchmarks.geneval.detectors.mmdet.pipeline import Frame
from benchmarks.geneval.detectors.registry import load_detector
from harness.errors import BadAnswer, Failure, HarnessError, UsageError
from harness.records import Loading
from tests.shared import SHARED, needs_shared

MMDET = SHARED / "mask2former"
INSTALLED = importlib.util.find_spec("mmdet") is not None
FRAME = Frame(long=128, short=96)


def mmdet(test: Any) -> Any:
    skip = pytest.mark.skipif(
        not INSTALLED, reason="mmdet is not installed here (pip install -e '.[mmdet]')"
    )
    return pytest.mark.mmdet(skip(test))


def images(*sizes: tuple[int, int]) -> list[Any]:
    rng = np.random.default_rng(7)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def assert_alike(result: Detections, expected: Detections) -> None:
    assert result.labels == expected.labels and len(result) > 3
    assert np.abs(result.scores - expected.scores).max() < 1e-3
    assert np.abs(result.boxes - expected.boxes).max() <= 1
    assert (result.masks != expected.masks).mean() < 1e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_mask2former: Any) -> Path:
    """A random network of mmdet's own making, saved as mmdet does, and converted."""
    from benchmarks.geneval.detectors.mmdet.original import build_network, import_mmdet

    import_mmdet()
    torch.manual_seed(2)
    network = build_network(tiny_mask2former.config)
    network.init_weights()
    with torch.no_grad():
        network.panoptic_head.cls_embed.weight.mul_(60)
    place = tmp_path_factory.mktemp("mmdet")
    names = [{"computer mouse": "mouse", "tv remote": "remote"}.get(name, name) for name in CLASSES]
    names[CLASSES.index("computer keyboard")] = "keyboard"
    content = {"meta": {"dataset_meta": {"classes": names}}, "state_dict": network.state_dict()}
    torch.save(content, place / "random.pth")
    return convert(place / "random.pth", place / "converted", FRAME).folder


@mmdet
@pytest.mark.parametrize("resize", ["uint8", "float32"])
def test_transformers_detects_what_mmdet_detects(folder: Path, resize: Any) -> None:
    batch = images((64, 64), (60, 100), (100, 60), (64, 64), (200, 130))
    ours, original = (
        load_detector(
            Loading({"detector": folder}, batch_size=2, settings={"resize": resize}),
            backend=backend,
        )
        for backend in ("transformers", "mmdet")
    )
    assert isinstance(original, Detector) and type(ours) is not type(original)
    for one, other in zip(ours.detect(batch), original.detect(batch), strict=True):
        assert_alike(one, other)


@mmdet
def test_raw_outputs_agree(folder: Path) -> None:
    pixels = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(3))
    ours, original = (
        load_detector(Loading({"detector": folder}), backend=backend).forward(pixels)  # type: ignore[attr-defined]
        for backend in ("transformers", "mmdet")
    )
    assert float((ours[0] - original[0]).abs().max()) < 1e-3
    assert float((ours[1] - original[1]).abs().max()) < 1e-3


@mmdet
def test_an_output_that_is_no_number_is_refused(folder: Path) -> None:
    original = load_detector(Loading({"detector": folder}), backend="mmdet")
    with torch.no_grad():
        original.network.panoptic_head.cls_embed.bias[0] = torch.nan  # type: ignore[attr-defined]
    with pytest.raises(BadAnswer, match="not finite") as caught:
        original.detect(images((64, 64)))
    assert caught.value.failure is Failure.BAD_NUMBER


@mmdet
def test_every_number_finds_its_way_back(folder: Path) -> None:
    original = load_detector(Loading({"detector": folder}), backend="mmdet")
    saved = torch.load(folder.parent / "random.pth", weights_only=True)["state_dict"]
    restored = original.network.state_dict()  # type: ignore[attr-defined]
    assert restored.keys() == saved.keys()
    assert all(torch.equal(restored[key], saved[key]) for key in saved)


@mmdet
@needs_shared("mask2former")
@pytest.mark.parametrize("layout", [2, 3])
def test_the_reference_network_run_by_mmdet(tmp_path: Path, layout: int) -> None:
    from safetensors import safe_open

    place = convert(MMDET / f"tiny_mmdet{layout}.pth", tmp_path, Frame(256, 160)).folder
    original = load_detector(
        Loading({"detector": place}, settings={"resize": "float32"}), backend="mmdet"
    )
    ours = load_detector(Loading({"detector": place}, settings={"resize": "float32"}))
    with safe_open(MMDET / "tiny_cases.safetensors", "np") as cases:
        for number in range(3):
            image = cases.get_tensor(f"image{number}")
            [result] = original.detect([image])
            expected = cases.get_tensor(f"scores{number}")
            expected = expected[expected > 0.05]
            labels = cases.get_tensor(f"labels{number}")[: len(expected)]
            assert result.labels == tuple(CLASSES[label] for label in labels)
            assert np.abs(result.scores - expected).max() < 1e-3
            boxes = cases.get_tensor(f"boxes{number}")[: len(expected)]
            assert np.abs(result.boxes - boxes).max() <= 1
            assert_alike(ours.detect([image])[0], result)


@mmdet
def test_a_rows_bits_depend_on_the_row_alone(folder: Path) -> None:
    detector = load_detector(Loading({"detector": folder}, batch_size=3), backend="mmdet")
    batch = images((64, 64), (48, 80), (64, 64), (64, 64), (64, 64))
    for image, result in zip(batch, detector.detect(batch), strict=True):
        [alone] = detector.detect([image])
        assert alone.labels == result.labels and np.array_equal(alone.scores, result.scores)
        assert np.array_equal(alone.masks, result.masks)
    assert detector.detect([]) == []


@mmdet
def test_no_compiled_operator_runs(folder: Path) -> None:
    from mmcv.ops import multi_scale_deform_attn as attention
    from mmcv.ops.nms import ext_module

    rng = torch.Generator().manual_seed(0)
    value = torch.randn(1, 20, 2, 4, generator=rng)
    shapes = torch.tensor([[4, 4], [2, 2]])
    places = torch.rand(1, 5, 2, 2, 3, 2, generator=rng)
    weights = torch.rand(1, 5, 2, 2, 3, generator=rng)
    # What mmcv calls where tensors lie on a GPU.
    result = attention.MultiScaleDeformableAttnFunction.apply(
        value, shapes, torch.tensor([0, 16]), places, weights, 64
    )
    plain = attention.multi_scale_deformable_attn_pytorch(value, shapes, places, weights)
    assert torch.equal(result, plain)
    with pytest.raises(HarnessError, match="compiled operator 'nms'"):
        ext_module.nms(value)


@mmdet
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu(folder: Path) -> None:
    batch = images((64, 64), (60, 100))
    result = load_detector(
        Loading({"detector": folder}, device="cuda", dtype="float32"), backend="mmdet"
    ).detect(batch)
    for one, other in zip(
        load_detector(Loading({"detector": folder})).detect(batch), result, strict=True
    ):
        assert_alike(one, other)


@mmdet
def test_as_part_of_a_scorer(folder: Path, tiny_clip: Path) -> None:
    from benchmarks.geneval.loading import load_scorer, self_test
    from harness.records import Prompt

    parts = {"detector": folder, "colors": tiny_clip}
    result = self_test(Loading(parts, batch_size=2, settings={"backend": "mmdet"}))
    assert max(result.distances.values()) < 1e-4
    batch = images((64, 64), (60, 100))
    include = [{"class": "cat", "count": 1}]
    prompts = [Prompt("0", "a cat", "single_object", {"include": include})] * 2
    ours, original = (
        load_scorer(Loading(parts, settings={"backend": backend})).score(prompts, batch)
        for backend in ("transformers", "mmdet")
    )
    assert [score.correct for score, _ in ours] == [score.correct for score, _ in original]
    assert all(cost.flops > 0 for _, cost in original)


@mmdet
def test_what_it_cannot_do_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="float32, not in bfloat16"):
        load_detector(Loading({"detector": folder}, dtype="bfloat16"), backend="mmdet")
    for name in ("config.json", "frame.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(HarnessError, match=r"cannot load the model\.safetensors"):
        load_detector(Loading({"detector": tmp_path}), backend="mmdet")


def test_without_mmdet_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (tmp_path / "config.json").write_text('{"model_type": "mask2former"}')
    with pytest.raises(HarnessError, match="not installed") as caught:
        load_detector(Loading({"detector": tmp_path}), backend="mmdet")
    assert "pip install" in caught.value.hint and "[mmdet]" in caught.value.hint


def test_it_runs_mask2former_only(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "centernet"}))
    with pytest.raises(UsageError, match="holds a centernet one"):
        load_detector(Loading({"detector": tmp_path}), backend="mmdet")


BLOCK = "backbone.stages.1.blocks.0.attn.w_msa"
LAYER = "panoptic_head.transformer_decoder.layers.2"
STATE = {
    f"{BLOCK}.qkv.weight": (12, 4),
    f"{BLOCK}.qkv.bias": (12,),
    f"{BLOCK}.relative_position_index": (4, 4),
    "backbone.stages.0.downsample.reduction.weight": (8, 16),
    "backbone.stages.0.downsample.norm.weight": (16,),
    f"{LAYER}.self_attn.attn.in_proj_weight": (12, 4),
    f"{LAYER}.cross_attn.attn.in_proj_weight": (12, 4),
    "panoptic_head.pixel_decoder.level_encoding.weight": (3, 4),
    "panoptic_head.cls_embed.bias": (81,),
}


def state() -> dict[str, torch.Tensor]:
    from benchmarks.geneval.detectors.mmdet.architecture import relative_positions

    rng = torch.Generator().manual_seed(4)
    made = {key: torch.randn(*shape, generator=rng) for key, shape in STATE.items()}
    return made | {f"{BLOCK}.relative_position_index": relative_positions(2)}


def test_the_way_back_undoes_the_conversion() -> None:
    before = state()
    shapes = {key: torch.zeros_like(tensor) for key, tensor in before.items()}
    index = f"{BLOCK}.relative_position_index"
    shapes[index] = before[index]
    restored = original_weights(translate(before), shapes)
    assert restored.keys() == before.keys()
    assert all(torch.equal(restored[key], before[key]) for key in before)


def test_the_way_back_uses_every_weight_once() -> None:
    weights = translate(state())
    with pytest.raises(HarnessError, match="no place for spare"):
        original_weights({**weights, "spare": torch.zeros(1)}, state())
    missing = {name: tensor for name, tensor in weights.items() if name != "class_predictor.bias"}
    with pytest.raises(HarnessError, match=r"no weight class_predictor\.bias"):
        original_weights(missing, state())
    with pytest.raises(HarnessError, match=r"no weight class_predictor\.bias"):
        original_weights({**weights, "class_predictor.bias": torch.zeros(3)}, state())
