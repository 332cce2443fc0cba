"""A suite of tiny random models in the real formats, so that tests run the whole road quickly.

The pictures mean nothing; classes, files and code paths are the ones of full-size models. The
detectors are made sure of themselves, so that images differ in what is "found" in them and some
prompts come out right by chance.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.geneval.classes import CLASSES, COLORS
from benchmarks.geneval.detectors.mask2former import FRAME_FILE

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
    from transformers import SiglipVisionConfig, SiglipVisionModel
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    config = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=4,
    )
    with _quiet():
        SiglipVisionModel(config).save_pretrained(folder)
        SiglipImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)


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
    text_encoder = Gemma2Model(
        Gemma2Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            query_pre_attn_scalar=8,
            sliding_window=64,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=2,
            initializer_range=0.5,
        )
    )
    vae = AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=8,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        downsample_block_type="pixel_unshuffle",
        upsample_block_type="pixel_shuffle",
        decoder_act_fns="silu",
        scaling_factor=0.5,
    )
    transformer_class = SanaTransformer2DModelWithContext if feedback else SanaTransformer2DModel
    transformer = transformer_class(
        in_channels=4,
        out_channels=4,
        num_attention_heads=4,
        attention_head_dim=8,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=16,
        cross_attention_dim=32,
        caption_channels=16,
        sample_size=8,
        patch_size=1,
        **({"vision_feature_dim": 16} if feedback else {}),
    )
    if feedback:
        torch.nn.init.normal_(transformer.reflection_norm.weight)
    scheduler = DPMSolverMultistepScheduler(
        algorithm_type="dpmsolver++",
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=3.0,
    )
    pipeline = SanaPipeline(tokenizer, text_encoder, vae, transformer, scheduler)
    with _quiet():
        pipeline.save_pretrained(folder)
    if feedback:
        # The class is ours, not diffusers': an index that names it needs no module of ours.
        path = folder / "model_index.json"
        index = json.loads(path.read_text(encoding="utf-8"))
        index["transformer"] = [None, None]
        path.write_text(json.dumps(index, indent=2), encoding="utf-8")


def make_tokenizer() -> Any:
    """A word-level tokenizer of GenEval's prompts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    names = [word for name in CLASSES for word in (*name.split(), f"{name.split()[-1]}s")]
    other = ["a", "an", "photo", "of", "and", "left", "right", "above", "below"]
    other += ["two", "three", "four"]
    words = list(dict.fromkeys([*special, *other, *COLORS, *names]))
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        padding_side="right",
    )


def make_detector(folder: Path) -> None:
    """Write a Mask2Former of GenEval's classes that looks at 64x64 pixels."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    swin = SwinConfig(
        image_size=64,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        drop_path_rate=0.0,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=swin,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=16,
        id2label=dict(enumerate(CLASSES)),
        label2id={name: i for i, name in enumerate(CLASSES)},
    )
    model = Mask2FormerForUniversalSegmentation(config)
    with torch.no_grad():
        # Freshly initialised it finds all classes equally unlikely, with masks of grey.
        model.class_predictor.weight.mul_(200)
        for name, weight in model.named_parameters():
            if "mask_embedder" in name and name.endswith("weight"):
                weight.mul_(3)
    with _quiet():
        model.save_pretrained(folder)
    (folder / "frame.json").write_text('{"long": 64, "short": 64}\n', encoding="utf-8")


def make_colors(folder: Path) -> None:
    """Write a CLIP that looks at 16x16 pixels and spells its text in characters."""
    from transformers import (
        CLIPConfig,
        CLIPImageProcessorPil,
        CLIPModel,
        CLIPTextConfig,
        CLIPTokenizer,
        CLIPVisionConfig,
    )

    letters = "abcdefghijklmnopqrstuvwxyz-."
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={token: i for i, token in enumerate(vocabulary)}, merges=[], model_max_length=77
    )
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "projection_dim": 16,
    }
    text = CLIPTextConfig(
        vocab_size=len(vocabulary),
        bos_token_id=len(vocabulary) - 2,
        eos_token_id=len(vocabulary) - 1,
        pad_token_id=len(vocabulary) - 1,
        **sizes,
    )
    vision = CLIPVisionConfig(image_size=16, patch_size=8, **sizes)
    model = CLIPModel(
        CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    )
    side = {"height": 16, "width": 16}
    with _quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=side).save_pretrained(folder)


def _quiet() -> Any:
    from harness.models.loading import quiet

    return quiet()
