"""The harness's own models with random weights, built on a device without a file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.models.devices import prepare
from tests import random_models
from tests.random_models import drawn_on
from tests.sizes import Scale

if TYPE_CHECKING:
    from benchmarks.geneval.colors import ClipColorClassifier
    from benchmarks.geneval.detectors.mask2former import Mask2FormerDetector
    from harness.models.judges.vlm import VLMJudge
    from harness.models.reflect_dit.generator import ReflectDiTGenerator


def half(device: str) -> Any:
    """Return the number format that models have on a device unless said otherwise."""
    import torch

    return torch.float32 if device == "cpu" else torch.bfloat16


def settings_of(scale: Scale) -> dict[str, Any]:
    """Return the sampler settings of a scale, complete."""
    return {
        "num_inference_steps": scale.steps,
        "guidance_scale": 4.5,
        "height": scale.side,
        "width": scale.side,
        "max_sequence_length": scale.tokens,
        "complex_human_instruction": True,
        "negative_prompt": "",
        "image_tokens": scale.image_tokens,
        "max_feedback_length": scale.tokens,
    }


def generator(scale: Scale, device: str) -> ReflectDiTGenerator:
    """Return a Reflect-DiT generator; without feedback it takes plain SANA's road."""
    from diffusers import SanaPipeline

    from harness.models.reflect_dit.generator import ReflectDiTGenerator
    from harness.models.reflect_dit.vision import VisionEncoder

    prepare(device)
    with drawn_on(device, half(device)):
        parts = random_models.sana_parts(scale)
        vision, processor = random_models.siglip_parts(scale)
    for part in (parts["text_encoder"], parts["vae"], parts["transformer"], vision):
        part.eval().requires_grad_(False)
    pipeline = SanaPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    return ReflectDiTGenerator(
        pipeline.to(device),
        VisionEncoder(vision, processor),
        batch_size=1,
        settings=settings_of(scale),
    )


def judge(scale: Scale, device: str) -> VLMJudge:
    """Return a Qwen2.5-VL judge that writes as many tokens as it may."""
    from harness.models.judges.vlm import VLMJudge
    from harness.models.judges.vlm_settings import VLMSettings
    from harness.models.judges.vlm_transformers import TransformersWriter
    from harness.models.vlm_loading import load_processor

    prepare(device)
    with drawn_on(device, half(device)):
        model, tokenizer, images = random_models.vlm_parts(scale)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        images.save_pretrained(folder)
        processor = load_processor(Path(folder), model.config.model_type)
    built = VLMSettings(max_new_tokens=scale.answer)
    model = model.eval().requires_grad_(False).to(device)
    writer = TransformersWriter(model, processor, batch_size=1, settings=built)
    return VLMJudge(writer, batch_size=1, settings=built)


def detector(scale: Scale, device: str, dtype: Any = None) -> Mask2FormerDetector:
    """Return a Mask2Former detector in float32, or computing in another format."""
    import torch

    from benchmarks.geneval.detectors.mask2former import Mask2FormerDetector
    from benchmarks.geneval.detectors.mmdet.pipeline import Frame

    prepare(device)
    with drawn_on(device, torch.float32):
        network = random_models.detector_model(scale)
    return Mask2FormerDetector(
        network.to(device), dtype=dtype or torch.float32, frame=Frame(**scale.frame)
    )


def colors(scale: Scale, device: str) -> ClipColorClassifier:
    """Return a CLIP that names colours."""
    import torch

    from benchmarks.geneval.colors import ClipColorClassifier, ClipImageSettings

    prepare(device)
    with drawn_on(device, torch.float32):
        model, tokenizer, _ = random_models.clip_parts(scale)
    side = model.config.vision_config.image_size
    settings = ClipImageSettings(shortest_edge=side, crop=(side, side))
    return ClipColorClassifier(model.to(device), tokenizer, settings)
