"""A suite of tiny random models in the real formats, so that tests run the whole road quickly.

The pictures mean nothing; classes, files and code paths are the ones of full-size models. The
detectors are made sure of themselves, so that images differ in what is "found" in them and some
prompts come out right by chance.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from benchmarks.geneval.detectors.mask2former import FRAME_FILE
from tests.random_models import (
    ENDS,
    clip_parts,
    detector_model,
    make_tokenizer,
    save,
    siglip_parts,
)
from tests.sizes import TINY

TOML = """\
name = "tiny"
title = "Tiny random models, for tests"
miniature = true

[generator]
kind = "{kind}"
checkpoints = {{ {checkpoints} }}
dtype = "float32"
batch_size = 4

[generator.settings]
num_inference_steps = 2
guidance_scale = 3.5
height = 32
width = 32
max_sequence_length = 12
complex_human_instruction = false
{settings}
[judge]
kind = "detector"
checkpoints = {{ detector = "./{name}/judge", colors = "./{name}/colors" }}
dtype = "float32"
batch_size = 4

[scorer]
checkpoints = {{ detector = "./{name}/detector", colors = "./{name}/colors" }}
dtype = "float32"
batch_size = 4
"""


def make_tiny_suite(folder: Path, *, seed: int = 0) -> Path:
    """Write tiny checkpoints (`folder/tiny/…`) and a suite that names them.

    Args:
        folder: An existing folder.
        seed: Seed of all weights; equal seeds give equal files.

    Returns:
        The suite's TOML file, for `--model` or `load_suite`.
    """
    root = folder / "tiny"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make_pipeline(root / "pipeline")
        make_detector(root / "detector")
        make_detector(root / "judge")
        make_colors(root / "colors")
    suite = folder / "tiny.toml"
    parts = f'pipeline = "./{root.name}/pipeline"'
    text = TOML.format(name=root.name, kind="sana", checkpoints=parts, settings="")
    suite.write_text(text, encoding="utf-8")
    return suite


def make_tiny_scoring_suite(folder: Path) -> Path:
    """Write the tiny suite with a detector that takes images of 64 pixels as they are."""
    suite = make_tiny_suite(folder)
    # Without it images would be blown up to the official 1333 by 800.
    frame = folder / "tiny" / "detector" / FRAME_FILE
    frame.write_text('{"long": 64, "short": 64}')
    return suite


def make_tiny_reflect_suite(folder: Path, *, seed: int = 0) -> Path:
    """Write the tiny suite with a Reflect-DiT for its generator (`folder/tiny-reflect.toml`).

    Args: as `make_tiny_suite`, whose suite is written beside it.

    Returns:
        The suite's TOML file.
    """
    make_tiny_suite(folder, seed=seed)
    root = folder / "tiny"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make_pipeline(root / "reflect", feedback=True)
        make_vision_encoder(root / "vision")
    suite = folder / "tiny-reflect.toml"
    parts = f'pipeline = "./{root.name}/reflect", vision_encoder = "./{root.name}/vision"'
    settings = "image_tokens = 4\nmax_feedback_length = 40\n"
    text = TOML.format(name=root.name, kind="reflect-dit", checkpoints=parts, settings=settings)
    suite.write_text(text.replace('name = "tiny"', 'name = "tiny-reflect"'), encoding="utf-8")
    return suite


def make_vision_encoder(folder: Path) -> None:
    """Write the vision half of a SigLIP that looks at 16x16 pixels in 4x4 patches."""
    save(siglip_parts(TINY), folder)


def make_pipeline(folder: Path, *, feedback: bool = False) -> None:
    """Write a SANA pipeline: 4 latent channels, 4 times down, two blocks of width 32.

    Args:
        folder: Where to.
        feedback: Whether its transformer is a Reflect-DiT one, and heeds what it is told.
    """
    from diffusers import (
        AutoencoderDC,
        DPMSolverMultistepScheduler,
        SanaPipeline,
        SanaTransformer2DModel,
    )
    from transformers import Gemma2Config, Gemma2Model

    from harness.models.reflect_dit.transformer import SanaTransformer2DModelWithContext

    tokenizer = make_tokenizer()
    text = {**TINY.text, "vocab_size": len(tokenizer), "sliding_window": 64}
    text_encoder = Gemma2Model(Gemma2Config(**text, **ENDS, initializer_range=0.5))
    vae = AutoencoderDC(in_channels=3, **TINY.autoencoder)
    sizes = {k: v for k, v in TINY.transformer.items() if feedback or k != "vision_feature_dim"}
    transformer_class = SanaTransformer2DModelWithContext if feedback else SanaTransformer2DModel
    transformer = transformer_class(**sizes)
    if feedback:
        torch.nn.init.normal_(transformer.reflection_norm.weight)
    scheduler = DPMSolverMultistepScheduler(
        algorithm_type="dpmsolver++",
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=3.0,
    )
    pipeline = SanaPipeline(tokenizer, text_encoder, vae, transformer, scheduler)
    save([pipeline], folder)
    if feedback:
        # The class is ours, not diffusers': an index that names it needs no module of ours.
        path = folder / "model_index.json"
        index = json.loads(path.read_text(encoding="utf-8"))
        index["transformer"] = [None, None]
        path.write_text(json.dumps(index, indent=2), encoding="utf-8")


def make_detector(folder: Path) -> None:
    """Write a Mask2Former of GenEval's classes that looks at 64x64 pixels."""
    model = detector_model(TINY)
    with torch.no_grad():
        # Freshly initialised it finds all classes equally unlikely, with masks of grey.
        model.class_predictor.weight.mul_(200)
        for name, weight in model.named_parameters():
            if "mask_embedder" in name and name.endswith("weight"):
                weight.mul_(3)
    save([model], folder)
    (folder / "frame.json").write_text('{"long": 64, "short": 64}\n', encoding="utf-8")


def make_colors(folder: Path) -> None:
    """Write a CLIP that looks at 16x16 pixels and spells its text in characters."""
    save(clip_parts(TINY), folder)
