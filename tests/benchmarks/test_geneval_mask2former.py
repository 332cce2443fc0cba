from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.geneval.classes import CLASSES
from benchmarks.geneval.detectors import mask2former
from benchmarks.geneval.detectors.base import Detections, Detector
from benchmarks.geneval.detectors.mask2former import Mask2FormerDetector
from benchmarks.geneval.detectors.mmdet import convert as conversion
from benchmarks.geneval.detectors.mmdet.architecture import infer_config, relative_positions
from benchmarks.geneval.detectors.mmdet.convert import convert, translate
from benchmarks.geneval.detectors.mmdet.pipeline import Frame, postprocess, preprocess
from benchmarks.geneval.detectors.registry import load_detector
from harness.errors import BadAnswer, Failure, HarnessError, UsageError
from harness.records import Image, Loading
from harness.testing import DetectorContract
from tests.shared import SHARED, needs_shared

MMDET = SHARED / "mask2former"
SMALL = Frame(long=256, short=160)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: Any) -> Path:
    """The reference network from the 2.x layout; the 3.x layout gives the same bytes (below)."""
    return convert(MMDET / "tiny_mmdet2.pth", tmp_path_factory.mktemp("2") / "out", SMALL).folder


@pytest.fixture(scope="module")
def cases() -> Iterator[Any]:
    from safetensors import safe_open

    with safe_open(MMDET / "tiny_cases.safetensors", "np") as file:
        yield file


def images(*sizes: tuple[int, int]) -> list[Any]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def identical(a: Detections, b: Detections) -> bool:
    return a.labels == b.labels and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("scores", "boxes", "masks")
    )


@needs_shared("mask2former")
def test_detects_what_mmdet_detects(converted: Path, cases: Any) -> None:
    detector = Mask2FormerDetector.load(
        Loading(
            {"detector": converted}, batch_size=2, dtype="float32", settings={"resize": "float32"}
        )
    )
    for number in range(3):
        image = cases.get_tensor(f"image{number}")
        [(class_logits, mask_logits)] = detector._run([image])
        expected = cases.get_tensor(f"class_logits{number}")
        assert np.abs(class_logits.numpy() - expected).max() < 1e-3
        full = torch.nn.functional.interpolate(
            mask_logits[None],
            size=SMALL.padded(*image.shape[:2]),
            mode="bilinear",
            align_corners=False,
        )[0]
        reference = cases.get_tensor(f"mask_logits{number}").astype(np.float32)
        # The reference is stored in float16.
        assert np.allclose(full.numpy(), reference, rtol=1e-3, atol=5e-3)

        [result] = detector.detect([image])
        reported = cases.get_tensor(f"scores{number}") > 0.05
        assert len(result) == reported.sum() > 30
        expected_labels = cases.get_tensor(f"labels{number}")[reported]
        assert result.labels == tuple(CLASSES[label] for label in expected_labels)
        expected_scores = cases.get_tensor(f"scores{number}")[reported]
        assert np.abs(result.scores - expected_scores).max() < 1e-3
        expected_boxes = cases.get_tensor(f"boxes{number}")[reported]
        assert np.abs(result.boxes - expected_boxes).max() <= 1
        areas = cases.get_tensor(f"mask_areas{number}")[reported]
        assert np.abs(result.masks.sum(axis=(1, 2)) - areas).max() <= 5


@needs_shared("mask2former")
def test_backbone_features_are_mmdets(converted: Path, cases: Any) -> None:
    detector = Mask2FormerDetector.load(
        Loading({"detector": converted}, dtype="float32", settings={"resize": "float32"})
    )
    pixels = torch.from_numpy(preprocess(cases.get_tensor("image0"), SMALL, "float32"))[None]
    with torch.inference_mode():
        maps = detector.network.model.pixel_level_module.encoder(pixels).feature_maps
    for stage, features in enumerate(maps):
        expected = cases.get_tensor(f"backbone0.{stage}")
        assert np.abs(features[0].numpy() - expected).max() < 1e-3


@needs_shared("mask2former")
def test_both_layouts_give_the_same_bytes(tmp_path: Path) -> None:
    old = convert(MMDET / "tiny_mmdet2.pth", tmp_path / "2", SMALL)
    new = convert(MMDET / "tiny_mmdet3.pth", tmp_path / "3", SMALL)
    assert (old.layout, new.layout) == ("mmdet 2.x", "mmdet 3.x")
    assert old.tensors == new.tensors == 211
    names = sorted(file.name for file in old.folder.iterdir())
    assert names == sorted(file.name for file in new.folder.iterdir())
    for name in names:
        assert (old.folder / name).read_bytes() == (new.folder / name).read_bytes()


@needs_shared("mask2former")
@pytest.mark.parametrize(
    "content",
    [
        None,
        [1],
        {},
        {"state_dict": [1]},
        {"state_dict": {1: torch.zeros(2)}},
        {"state_dict": {"backbone.patch_embed.projection.weight": torch.zeros(())}},
        {"state_dict": {"a": torch.zeros(1)}, "meta": {"CLASSES": 5}},
        {"state_dict": {"a": torch.zeros(1)}, "meta": {"dataset_meta": 5}},
    ],
)
def test_junk_is_one_sentence(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "junk.pth")
    with pytest.raises(HarnessError, match=r"junk\.pth"):
        convert(tmp_path / "junk.pth", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("data", [b"", b"junk", b"PK\x03\x04", bytes(1000), b"\x80\x02."])
def test_bytes_that_are_no_checkpoint_are_one_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "junk.pth").write_bytes(data)
    with pytest.raises(HarnessError, match=r"junk\.pth"):
        convert(tmp_path / "junk.pth", tmp_path / "out")


def test_a_network_that_answers_otherwise_is_refused(converted: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(converted, tmp_path, dirs_exist_ok=True)
    for dtype in ("float32", "bfloat16"):
        load_detector(Loading({"detector": tmp_path}, dtype=dtype))
    weights = load_file(tmp_path / "model.safetensors")
    eye = "model.pixel_level_module.encoder.embeddings.patch_embeddings.projection.weight"
    blind = weights | {eye: torch.zeros_like(weights[eye])}
    save_file(blind, tmp_path / "model.safetensors", {"format": "pt"})
    for dtype in ("float32", "bfloat16"):
        with pytest.raises(HarnessError, match="answers its known question wrongly"):
            load_detector(Loading({"detector": tmp_path}, dtype=dtype))
    (tmp_path / "known_answer.safetensors").write_bytes(b"damaged")
    with pytest.raises(HarnessError, match="known_answer"):
        load_detector(Loading({"detector": tmp_path}))


@needs_shared("mask2former")
def test_official_test_size_is_the_default(tmp_path: Path) -> None:
    folder = convert(MMDET / "tiny_mmdet3.pth", tmp_path).folder
    assert Mask2FormerDetector.load(Loading({"detector": folder}, dtype="float32")).frame == Frame(
        1333, 800
    )


def altered(tmp_path: Path, change: Any) -> Path:
    content = torch.load(MMDET / "tiny_mmdet2.pth", weights_only=True)
    change(content)
    torch.save(content, tmp_path / "altered.pth")
    return tmp_path / "altered.pth"


def rename(content: dict[str, Any], old: str, new: str) -> None:
    content["state_dict"][new] = content["state_dict"].pop(old)


QUERY = "panoptic_head.query_embed.weight"
POSITIONS = "backbone.stages.0.blocks.0.attn.w_msa.relative_position_index"


@needs_shared("mask2former")
@pytest.mark.parametrize(
    ("change", "output"),
    [
        (lambda c: c["state_dict"].pop(QUERY), "missing .*queries_embedder"),
        (lambda c: rename(c, QUERY, "panoptic_head.query.weight"), "panoptic_head.query.weight"),
        (
            lambda c: c["state_dict"].update({QUERY: torch.zeros(3, 64)}),
            "misshapen .*queries_embedder",
        ),
        (lambda c: c["state_dict"].update({"roi_head.weight": torch.zeros(1)}), "roi_head.weight"),
        (lambda c: c["state_dict"].pop("panoptic_head.query_feat.weight"), "no Mask2Former"),
        (lambda c: c["state_dict"][POSITIONS].add_(1), "orders the pixels"),
        (lambda c: c["meta"].update(CLASSES=["cat", "dog"]), "2 classes"),
        (lambda c: c["meta"]["CLASSES"].reverse(), "not on COCO's"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    tmp_path: Path, change: Any, output: str
) -> None:
    with pytest.raises(HarnessError, match=output):
        convert(altered(tmp_path, change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": Path("x")}}, tmp_path / "evil.pth")
    with pytest.raises(UsageError, match="more than tensors"):
        convert(tmp_path / "evil.pth", tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_damaged_file_is_a_usage_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.pth").write_bytes(content)
    with pytest.raises(UsageError, match=r"broken\.pth"):
        convert(tmp_path / "broken.pth", tmp_path / "out")
    with pytest.raises(UsageError, match="there is no checkpoint"):
        convert(tmp_path / "absent.pth", tmp_path / "out")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(UsageError, match="no weights by name"):
        convert(tmp_path / "list.pth", tmp_path / "out")


def test_no_tensor_is_overwritten_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "renamed", lambda key: "class_predictor.weight")
    with pytest.raises(HarnessError, match="two tensors for class_predictor"):
        translate({"one.weight": torch.zeros(1), "another.weight": torch.zeros(1)})


def official_shapes() -> dict[str, tuple[int, ...]]:
    """Shapes that tell the official network's architecture, as mmdet's config gives them."""
    shapes: dict[str, tuple[int, ...]] = {"backbone.patch_embed.projection.weight": (96, 3, 4, 4)}
    for stage, (depth, heads) in enumerate(zip([2, 2, 18, 2], [3, 6, 12, 24], strict=True)):
        width = 96 * 2**stage
        for block in range(depth):
            name = f"backbone.stages.{stage}.blocks.{block}"
            shapes[f"{name}.attn.w_msa.relative_position_bias_table"] = (169, heads)
            shapes[f"{name}.attn.w_msa.qkv.bias"] = (3 * width,)
            shapes[f"{name}.ffn.layers.0.0.weight"] = (4 * width, width)
    pixel = "panoptic_head.pixel_decoder"
    for layer in range(6):
        name = f"{pixel}.encoder.layers.{layer}"
        shapes[f"{name}.self_attn.attention_weights.weight"] = (96, 256)
        shapes[f"{name}.ffn.layers.0.0.weight"] = (1024, 256)
    for layer in range(9):
        name = f"panoptic_head.transformer_decoder.layers.{layer}"
        shapes[f"{name}.ffn.layers.0.0.weight"] = (2048, 256)
    shapes[f"{pixel}.input_convs.0.conv.weight"] = (256, 768, 1, 1)
    shapes[f"{pixel}.mask_feature.weight"] = (256, 256, 1, 1)
    shapes["panoptic_head.query_feat.weight"] = (100, 256)
    return shapes


def test_the_official_architecture_is_read_off_its_shapes() -> None:
    shapes = official_shapes()
    config = infer_config({key: torch.empty(s, device="meta") for key, s in shapes.items()})
    swin = config.backbone_config
    assert (swin.embed_dim, swin.patch_size, swin.window_size, swin.mlp_ratio) == (96, 4, 7, 4)
    assert list(swin.depths) == [2, 2, 18, 2] and list(swin.num_heads) == [3, 6, 12, 24]
    assert config.encoder_layers == 6 and config.decoder_layers == 10
    assert config.num_attention_heads == 8 and config.num_queries == 100
    assert config.encoder_feedforward_dim == 1024 and config.dim_feedforward == 2048
    assert config.feature_size == config.mask_feature_size == config.hidden_dim == 256
    assert config.num_labels == 80 and config.id2label[64] == "computer mouse"


def test_relative_positions_are_swins() -> None:
    expected = [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    assert relative_positions(2).tolist() == expected


class TestTinyMask2Former(DetectorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def detector(cls, tiny_mask2former: Any) -> Mask2FormerDetector:
        return Mask2FormerDetector(tiny_mask2former, batch_size=3, frame=Frame(96, 64))

    @pytest.fixture(scope="class")
    @classmethod
    def images(cls) -> list[Image]:
        return images((64, 64), (48, 80), (64, 64), (64, 64), (64, 64), (48, 80))

    def test_it_finds_something_in_each(self, detections: list[Detections]) -> None:
        assert all(len(result) > 0 for result in detections)


def test_no_images_and_no_detections(
    tiny_mask2former: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mask2former, "SCORE_FLOOR", 1.0)
    detector = Mask2FormerDetector(tiny_mask2former, frame=Frame(96, 64))
    assert detector.detect([]) == []
    [nothing] = detector.detect(images((40, 60)))
    assert len(nothing) == 0 and nothing.masks.shape == (0, 40, 60)


def test_a_floor_below_the_rules_threshold_changes_nothing_above_it(
    tiny_mask2former: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    [image] = images((64, 64))
    detector = Mask2FormerDetector(tiny_mask2former, frame=Frame(96, 64))
    [high] = detector.detect([image])
    monkeypatch.setattr(mask2former, "SCORE_FLOOR", 0.0)
    [low] = detector.detect([image])
    assert 0 < len(high) < len(low)
    assert low.labels[: len(high)] == high.labels
    assert np.array_equal(low.scores[: len(high)], high.scores)
    assert np.array_equal(low.masks[: len(high)], high.masks)


def test_resizing_as_uint8_and_as_float32_differ_by_rounding() -> None:
    [image] = images((50, 70))
    versions = [preprocess(image, Frame(96, 64), resize) for resize in ("uint8", "float32")]
    difference = np.abs(versions[0] - versions[1]) * 57
    assert 0.1 < difference.max() < 2
    assert all(version.shape == (3, 64, 96) for version in versions)


def test_images_are_fitted_as_mmdet_fits_them() -> None:
    official = Frame()
    assert official.fit(1024, 1024) == (800, 800)
    assert official.fit(480, 640) == (800, 1067)
    assert official.fit(100, 1000) == (133, 1333)
    assert official.padded(480, 640) == (800, 1088)
    assert SMALL.fit(120, 200) == (154, 256) and SMALL.fit(300, 220) == (218, 160)


def plainly(class_logits: Any, mask_logits: Any, frame: Frame, shape: tuple[int, int]) -> Any:
    """The documented post-processing, one detection at a time."""
    fitted, padded = frame.fit(*shape), frame.padded(*shape)
    masks = torch.nn.functional.interpolate(mask_logits[None], padded, mode="bilinear")
    masks = masks[..., : fitted[0], : fitted[1]]
    masks = torch.nn.functional.interpolate(masks, shape, mode="bilinear")[0]
    result = []
    pairs = [(q, c) for q in range(len(class_logits)) for c in range(80)]
    probabilities = class_logits.softmax(-1)
    pairs.sort(key=lambda pair: -float(probabilities[pair]))
    for query, label in pairs[:100]:
        inside = masks[query] > 0
        mean = masks[query].sigmoid()[inside].sum() / (inside.sum() + 1e-6)
        rows, columns = torch.where(inside)
        box = (
            [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
            if len(rows)
            else [0, 0, 0, 0]
        )
        result.append((float(probabilities[query, label] * mean), CLASSES[label], box))
    return sorted(result, reverse=True)


def test_postprocessing_against_a_plain_computation() -> None:
    generator = torch.Generator().manual_seed(3)
    class_logits = torch.randn(7, 81, generator=generator) * 3
    mask_logits = torch.randn(7, 16, 24, generator=generator)
    mask_logits[2] = -1  # a query without a mask
    frame = Frame(90, 60)
    result = postprocess(class_logits, mask_logits, image_size=(40, 70), frame=frame, floor=-1.0)
    expected = plainly(class_logits, mask_logits, frame, (40, 70))
    assert len(result) == len(expected) == 100
    positive = [row for row in expected if row[0] > 0]
    assert len(positive) < 100  # the query without a mask is among them
    for index, (score, label, box) in enumerate(positive):
        assert result.scores[index] == pytest.approx(score, abs=1e-6)
        assert result.labels[index] == label and result.boxes[index].tolist() == box
    assert not result.boxes[len(positive) :].any() and not result.masks[len(positive) :].any()


def test_flops_are_counted_once_for_each_shape(tiny_mask2former: Any, monkeypatch: Any) -> None:
    detector = Mask2FormerDetector(tiny_mask2former, batch_size=2, frame=Frame(96, 64))
    counted = detector.flops(64, 64)
    assert counted > 1e6
    monkeypatch.setattr("harness.flops.count", lambda forward: pytest.fail("counted again"))
    assert detector.flops(128, 128) == counted


def test_output_that_is_not_finite_stops_the_run(tiny_mask2former: Any) -> None:
    class Broken(torch.nn.Module):
        config, device, model = (
            tiny_mask2former.config,
            tiny_mask2former.device,
            tiny_mask2former.model,
        )

        def forward(self, pixels: Any) -> Any:
            output = tiny_mask2former(pixels)
            output.masks_queries_logits[0, 0, 0, 0] = float("nan")
            return output

    with pytest.raises(BadAnswer, match="not finite") as caught:
        Mask2FormerDetector(Broken(), frame=Frame(96, 64)).detect(images((64, 64)))
    assert caught.value.failure is Failure.BAD_NUMBER


def test_a_saved_folder_is_loaded_by_its_model_type(tiny_mask2former: Any, tmp_path: Path) -> None:
    tiny_mask2former.save_pretrained(tmp_path)
    (tmp_path / "frame.json").write_text(json.dumps({"long": 96, "short": 64}))
    loaded = load_detector(
        Loading({"detector": tmp_path}, batch_size=3, settings={"resize": "float32"})
    )
    assert isinstance(loaded, Mask2FormerDetector) and isinstance(loaded, Detector)
    direct = Mask2FormerDetector(
        tiny_mask2former, batch_size=3, frame=Frame(96, 64), resize="float32"
    )
    batch = images((64, 64), (48, 80))
    for one, other in zip(loaded.detect(batch), direct.detect(batch), strict=True):
        assert identical(one, other)


@needs_shared("mask2former")
def test_bfloat16_is_close(converted: Path, cases: Any) -> None:
    # Coordinates must not be computed in 8 bits: then hardly any probability would be right.
    detector = load_detector(
        Loading({"detector": converted}, dtype="bfloat16", settings={"resize": "float32"})
    )
    for number in range(3):
        [(class_logits, _)] = detector._run([cases.get_tensor(f"image{number}")])
        result = class_logits.softmax(-1).numpy()
        logits = torch.from_numpy(cases.get_tensor(f"class_logits{number}"))
        expected = logits.softmax(-1).numpy()
        assert np.linalg.norm(result - expected) < 0.1 * np.linalg.norm(expected)


def test_a_folder_that_is_no_detector_is_named(tiny_mask2former: Any, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no such folder"):
        load_detector(Loading({"detector": tmp_path / "absent"}))
    with pytest.raises(HarnessError, match=r"no config\.json"):
        load_detector(Loading({"detector": tmp_path}))
    for content, output in (("{", "cannot be read"), ("[]", "not a JSON object")):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(HarnessError, match=output):
            load_detector(Loading({"detector": tmp_path}))
    (tmp_path / "config.json").write_text('{"model_type": "detr"}')
    with pytest.raises(HarnessError, match="'detr', expected one of centernet, mask2former"):
        load_detector(Loading({"detector": tmp_path}))
    (tmp_path / "config.json").write_text('{"model_type": "centernet"}')
    with pytest.raises(UsageError, match="'resize' means nothing"):
        load_detector(Loading({"detector": tmp_path}, settings={"resize": "uint8"}))


def test_incomplete_weights_are_refused(tiny_mask2former: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tiny_mask2former.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    removed = weights.pop("class_predictor.weight")
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(HarnessError, match=r"missing class_predictor\.weight"):
        load_detector(Loading({"detector": tmp_path}))
    weights |= {"class_predictor.weight": removed, "spare": torch.zeros(1)}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(HarnessError, match="surplus spare"):
        load_detector(Loading({"detector": tmp_path}))
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(HarnessError, match="cannot load the"):
        load_detector(Loading({"detector": tmp_path}))


def test_a_detector_of_other_classes_is_refused(tiny_mask2former: Any) -> None:
    class Other(torch.nn.Module):
        config = type("Config", (), {"num_labels": 3})

    with pytest.raises(HarnessError, match="knows 3 classes"):
        Mask2FormerDetector(Other())


@pytest.mark.parametrize("content", ["{", '{"long": 3, "wide": 4}'])
def test_a_bad_frame_file_is_named(tiny_mask2former: Any, tmp_path: Path, content: str) -> None:
    tiny_mask2former.save_pretrained(tmp_path)
    (tmp_path / "frame.json").write_text(content)
    with pytest.raises(HarnessError, match=r"frame\.json"):
        load_detector(Loading({"detector": tmp_path}))


def test_detections_hold_as_many_of_each() -> None:
    with pytest.raises(ValueError, match="1 labels"):
        Detections(
            ("cat",),
            np.zeros(2, np.float32),
            np.zeros((1, 4), np.float32),
            np.zeros((1, 2, 2), np.bool_),
        )
