"""The original: GenEval's detector run by mmdet itself, for those who want to compare.

Optional (extra `mmdet`: mmdet 3.3.0 and mmcv-lite, neither needs a compiler). The network, its
preprocessing and its post-processing are mmdet's; the weights are those of the converted folder,
put back number by number into mmdet's form, so that one folder serves both implementations.

mmcv's compiled operators are what breaks on new GPUs, at times in silence. None is used here:
deformable attention, the only one that Mask2Former needs, takes mmcv's own PyTorch path on every
device, and any other call of a compiled operator is refused.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import types
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from benchmarks.geneval.classes import CLASSES
from benchmarks.geneval.detectors.base import SCORE_FLOOR, Detections
from benchmarks.geneval.detectors.mask2former import UNUSED, FramedDetector, read_frame
from benchmarks.geneval.detectors.mmdet.convert import translate
from benchmarks.geneval.detectors.mmdet.pipeline import Frame, Resize
from harness.errors import BadAnswer, Failure, HarnessError, UsageError, first_line, shortened
from harness.models.loading import quiet, read_config, read_weights
from harness.records import Image, Loading

CONFIG = "mask2former/mask2former_swin-s-p4-w7-224_8xb2-lsj-50e_coco.py"
"""mmdet's own configuration of the official detector."""

_LEFT_OUT = (*UNUSED, "criterion.empty_weight", "relative_position_index")
"""Parts of the names of tensors that transformers stores and mmdet has no use for."""


class MmdetDetector(FramedDetector):
    """mmdet's Mask2Former, from preprocessing to detections."""

    def __init__(self, network: Any, **options: Any) -> None:
        super().__init__(network, **options)
        self._prepare = _pipeline(self.frame, self.resize)

    @classmethod
    def load(cls, loading: Loading) -> MmdetDetector:
        """Load a folder that `convert` wrote (see `DetectorFactory`)."""
        folder, own = loading.checkpoints["detector"], cast(dict[str, Any], loading.settings)
        if loading.dtype != "float32":
            raise UsageError(
                f"mmdet's detector runs in float32, not in {loading.dtype}", "--dtype float32"
            )
        import_mmdet()
        from transformers import Mask2FormerConfig

        read_config(folder, "a converted Mask2Former")
        with quiet():
            config = Mask2FormerConfig.from_pretrained(folder, local_files_only=True)
        network = build_network(config)
        network.load_state_dict(
            original_weights(read_weights(folder / "model.safetensors"), network.state_dict())
        )
        return cls(
            network.to(loading.device),
            batch_size=loading.batch_size,
            frame=read_frame(folder),
            **own,
        )

    @classmethod
    def forward_pass(cls, folder: Path, height: int, width: int) -> None:
        """Return nothing: mmdet's own network takes its weights' shapes to be built."""

    @torch.no_grad()
    def _detect(self, images: Sequence[Image]) -> list[Detections]:
        # mmdet reads images with OpenCV, so it expects blue before red.
        rows = [self._prepare({"img": image[..., ::-1]}) for image in images]
        rows += [rows[-1]] * (self.batch_size - len(rows))
        samples = self.network.test_step(
            {
                "inputs": [row["inputs"] for row in rows],
                "data_samples": [row["data_samples"].clone() for row in rows],
            }
        )
        return [self._read(sample.pred_instances) for sample in samples[: len(images)]]

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network (see `FramedDetector.forward`)."""
        device = next(self.network.parameters()).device
        features = self.network.extract_feat(pixels.to(device))
        classes, masks = self.network.panoptic_head(features, [])
        return classes[-1], masks[-1]

    def _read(self, instances: Any) -> Detections:
        scores = instances.scores
        if not bool(torch.isfinite(scores).all()):
            raise BadAnswer(
                Failure.BAD_NUMBER,
                f"the detector's output is not finite (mmdet on {scores.device})",
                "check that this build of torch supports the device, or try --device cpu",
            )
        order = torch.sort(scores, descending=True, stable=True).indices
        order = order[scores[order] > SCORE_FLOOR]
        return Detections(
            labels=tuple(CLASSES[label] for label in instances.labels[order].tolist()),
            scores=scores[order].cpu().numpy(),
            boxes=instances.bboxes[order].cpu().numpy().astype(np.float32),
            masks=instances.masks[order].cpu().numpy(),
        )


def import_mmdet() -> None:
    """Import mmdet, without mmcv's compiled operators.

    Raises:
        HarnessError: It is not installed, or does not work here.
    """
    if importlib.util.find_spec("mmdet") is None:
        raise HarnessError(
            "the detector backend 'mmdet' needs mmdet, which is not installed here",
            "pip install -e '.[mmdet]' (an environment of its own is wise, since mmdet brings old "
            "packages), or leave the backend out: transformers runs the same weights",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _without_compiled_operators()
            import mmdet.datasets.transforms
            import mmdet.models
            import mmdet.utils

            mmdet.utils.register_all_modules()
    except (ImportError, AssertionError, AttributeError, KeyError) as error:
        # A library that is too new for mmdet shows in any of these.
        raise HarnessError(
            f"mmdet is installed but cannot be imported: {first_line(error)}",
            "pip install -c constraints.txt -e '.[mmdet]' in a fresh environment",
        ) from error


class _NoOperators(types.ModuleType):
    """Stands for mmcv's compiled module: every operator is there, and refuses to run."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: Any, **__: Any) -> Any:
            raise HarnessError(f"mmdet called mmcv's compiled operator '{name}'")

        return refuse


class PlainAttention:
    """In place of the compiled deformable attention, with the same arguments."""

    @staticmethod
    def apply(
        value: Tensor, shapes: Tensor, starts: Tensor, places: Tensor, weights: Tensor, step: int
    ) -> Tensor:
        """Take mmcv's PyTorch path; `starts` and `step` do not matter to it."""
        from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

        results: Tensor = multi_scale_deformable_attn_pytorch(value, shapes, places, weights)
        return results


def _without_compiled_operators() -> None:
    logging.getLogger("mmengine").setLevel(logging.ERROR)
    import mmcv  # noqa: F401

    sys.modules.setdefault("mmcv._ext", _NoOperators("mmcv._ext"))
    from mmcv.ops import multi_scale_deform_attn

    multi_scale_deform_attn.MultiScaleDeformableAttnFunction = PlainAttention


def build_network(config: Any) -> Any:
    """Build mmdet's network, its weights still to come, by a `transformers.Mask2FormerConfig`.

    What that does not say is as in `CONFIG`.
    """
    import mmdet
    from mmdet.registry import MODELS
    from mmengine.config import Config

    whole = Config.fromfile(str(Path(mmdet.__file__).parent / ".mim" / "configs" / CONFIG))
    whole.merge_from_dict({f"model.{name}": value for name, value in _sizes(config).items()})
    return MODELS.build(whole.model)


def _sizes(config: Any) -> dict[str, Any]:
    """Return the sizes of a network by the names in mmdet's configuration."""
    swin, width, heads = config.backbone_config, config.hidden_dim, config.num_attention_heads
    pixel, decoder = "panoptic_head.pixel_decoder", "panoptic_head.transformer_decoder"
    pixel_layer, layer = f"{pixel}.encoder.layer_cfg", f"{decoder}.layer_cfg"
    sizes = {
        "backbone.init_cfg": None,
        "backbone.embed_dims": swin.embed_dim,
        "backbone.patch_size": swin.patch_size,
        "backbone.depths": list(swin.depths),
        "backbone.num_heads": list(swin.num_heads),
        "backbone.window_size": swin.window_size,
        "backbone.mlp_ratio": int(swin.mlp_ratio),
        "backbone.qkv_bias": swin.qkv_bias,
        "panoptic_head.in_channels": [swin.embed_dim * 2**i for i in range(len(swin.depths))],
        "panoptic_head.feat_channels": config.feature_size,
        "panoptic_head.out_channels": config.mask_feature_size,
        "panoptic_head.num_queries": config.num_queries,
        "panoptic_head.positional_encoding.num_feats": width // 2,
        f"{pixel}.positional_encoding.num_feats": config.feature_size // 2,
        f"{pixel}.encoder.num_layers": config.encoder_layers,
        f"{pixel_layer}.ffn_cfg.embed_dims": config.feature_size,
        f"{pixel_layer}.ffn_cfg.feedforward_channels": config.encoder_feedforward_dim,
        f"{pixel_layer}.self_attn_cfg.embed_dims": config.feature_size,
        f"{pixel_layer}.self_attn_cfg.num_heads": heads,
        # transformers counts the prediction before the first layer as one.
        f"{decoder}.num_layers": config.decoder_layers - 1,
        f"{layer}.ffn_cfg.embed_dims": width,
        f"{layer}.ffn_cfg.feedforward_channels": config.dim_feedforward,
    }
    for attention in ("self_attn_cfg", "cross_attn_cfg"):
        sizes[f"{layer}.{attention}.embed_dims"] = width
        sizes[f"{layer}.{attention}.num_heads"] = heads
    return sizes


def _pipeline(frame: Frame, resize: Resize) -> Any:
    """The preprocessing of mmdet up to the network's input, of an image in memory."""
    from mmcv.transforms import Compose
    from mmdet.registry import TRANSFORMS

    steps = (
        # mmdet 3.x reads images as float32, 2.x as uint8.
        {"type": "LoadImageFromNDArray", "to_float32": resize == "float32"},
        {"type": "Resize", "scale": (frame.long, frame.short), "keep_ratio": True},
        {"type": "PackDetInputs", "meta_keys": ("ori_shape", "img_shape", "scale_factor")},
    )
    return Compose([TRANSFORMS.build(step) for step in steps])


def original_weights(
    weights: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Put converted weights back into mmdet's form: `translate` backwards, every number moved once.

    Of mmdet's own state only names and shapes count, and buffers that are derived are kept.

    Raises:
        HarnessError: The two do not belong together.
    """
    left, restored = set(weights), {}
    for key, tensor in state.items():
        if key.endswith(".relative_position_index"):
            restored[key] = tensor
            continue
        numbers = torch.arange(tensor.numel()).reshape(tensor.shape)
        flat = torch.empty(tensor.numel())
        for name, places in translate({key: numbers}, "mmdet's network").items():
            if name not in weights or weights[name].shape != places.shape:
                raise HarnessError(f"the detector has no weight {name} of shape {places.shape}")
            flat[places.flatten()] = weights[name].float().flatten()
            left.discard(name)
        restored[key] = flat.reshape(tensor.shape)
    if surplus := sorted(n for n in left if not any(part in n for part in _LEFT_OUT)):
        raise HarnessError(f"mmdet's network has no place for {shortened(surplus)}")
    return restored
