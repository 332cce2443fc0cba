"""Load a SANA pipeline from a local folder, and complain about whatever does not fit exactly.

Any difference between a checkpoint and the classes that read it stops the load, with one
exception: the weights that a Reflect-DiT transformer has beyond a plain one are dropped by name
when it is to run without feedback.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.models.checkpoints import require
from harness.models.diffusers_loading import assembled
from harness.models.loading import explained, load_strictly, quiet, read_json

if TYPE_CHECKING:
    import torch
    from diffusers import SanaPipeline

CONTEXT_WEIGHTS = ("clip_norm.", "clip_projection.", "reflection_norm.", "reflection_text_norm.",
                   "reflection_text_projection.", "reflection_transformer.")  # fmt: skip
"""Parts of the names of weights that only `SanaTransformer2DModelWithContext` has."""

CONTEXT_CONFIG = ("context_qk_norm", "num_reflection_transformer_layers", "reflection",
                  "reflection_mode", "vision_feature_dim")  # fmt: skip
"""Fields of that class's config that a plain transformer does not know."""

_WEIGHTS = "diffusion_pytorch_model.safetensors"
_FILES = ("model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
          "text_encoder/model.safetensors", "tokenizer/tokenizer_config.json",
          "transformer/config.json", f"transformer/{_WEIGHTS}", "vae/config.json",
          f"vae/{_WEIGHTS}")  # fmt: skip
REPLACED = ("text_encoder", "transformer")
"""Parts that another folder may have in the place of a pipeline's own."""

_PLAIN_TRANSFORMERS = ("SanaTransformer2DModel", "SanaTransformer2DModelWithContext", None)


def load_pipeline(
    folder: Path,
    *,
    device: torch.device,
    dtype: str,
    transformer: Any = None,
    components: Path | None = None,
) -> SanaPipeline:
    """Load diffusers' SANA pipeline without its progress bar, feedback-free unless told otherwise.

    Args:
        folder: As `SanaPipeline.save_pretrained` writes it; the transformer may also be a
            Reflect-DiT one, or be left out of `model_index.json`.
        device: Where to put it.
        dtype: Of all parts; with float16 only the transformer gets it, the text encoder and the
            autoencoder bfloat16 (they overflow in float16, says SANA's model card).
        transformer: A loaded transformer to use in place of the folder's own.
        components: A folder whose `REPLACED` take the place of the folder's own, as far as it has
            them.

    Raises:
        HarnessError: A file is missing, unreadable, or does not fit the class that reads it.
    """
    from diffusers import SanaPipeline

    index = read_index(folder)
    places = {name: component(folder, components, name) for name in REPLACED}
    for name in _FILES:
        part = name.partition("/")[0]
        if part != "transformer" or transformer is None:
            require(component(folder, components, part).parent, [name])
    if transformer is None:
        transformer = load_plain(places["transformer"].parent, dtype)
    ready = {"transformer": transformer, "tokenizer": load_tokenizer(folder)}
    load = partial(load_strictly, dtype="bfloat16" if dtype == "float16" else dtype)
    return assembled(SanaPipeline, folder, index, load, places=places, ready=ready).to(device)


def load_plain(folder: Path, dtype: str) -> Any:
    """Load the transformer in a folder's `transformer/`, without the weights that feedback needs.

    Raises:
        HarnessError: It is missing, damaged or another model's.
    """
    from diffusers import SanaTransformer2DModel

    require(folder, ["transformer/config.json", f"transformer/{_WEIGHTS}"])
    return load_strictly(
        SanaTransformer2DModel,
        folder / "transformer",
        dtype=dtype,
        ignore=CONTEXT_WEIGHTS,
        ignore_fields=CONTEXT_CONFIG,
    )


def component(folder: Path, components: Path | None, name: str) -> Path:
    """Return where a pipeline's part lies that another folder may have in its place."""
    own = components / name if components and name in REPLACED else None
    return own if own is not None and own.is_dir() else folder / name


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a pipeline's folder.

    Raises:
        HarnessError: It is missing or damaged.
    """
    require(folder, ["tokenizer/tokenizer_config.json"])
    with quiet(), explained(folder, "tokenizer"):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(
            folder / "tokenizer", local_files_only=True, trust_remote_code=False
        )


def read_index(folder: Path) -> dict[str, Any]:
    """Read and check a folder's `model_index.json`.

    Raises:
        HarnessError: There is none, or it is not a SANA pipeline's.
    """
    require(folder, ["model_index.json"])
    index = read_json(folder / "model_index.json")
    name = index.get("_class_name")
    if name != "SanaPipeline":
        raise HarnessError(
            f"{folder} is no SANA pipeline: its model_index.json says {name!r}",
            "point the suite's checkpoint `pipeline` at a SanaPipeline folder",
        )
    transformer = (index.get("transformer") or [None, None])[-1]
    if transformer not in _PLAIN_TRANSFORMERS:
        raise HarnessError(
            f"{folder}/model_index.json names the transformer class {transformer!r}",
            f"expected {_PLAIN_TRANSFORMERS[0]}",
        )
    return index
