"""Load a SANA pipeline from a local folder, and complain about whatever does not fit exactly.

Any difference between a checkpoint and the classes that read it stops the load, with one
exception: the weights that a Reflect-DiT transformer has beyond a plain one are dropped by name
when it is to run without feedback.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.models.checkpoints import require
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
_REPLACED = ("text_encoder", "transformer")
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
        components: A folder whose text encoder and transformer take the place of the folder's own,
            as far as it has them.

    Raises:
        HarnessError: A file is missing, unreadable, or does not fit the class that reads it.
    """
    import diffusers
    import transformers

    index = read_index(folder)
    for name in _FILES:
        part = name.partition("/")[0]
        if part != "transformer" or transformer is None:
            require(component(folder, components, part).parent, [name])
    side = "bfloat16" if dtype == "float16" else dtype
    scheduler_class = _class(folder, index, "scheduler", diffusers, diffusers.SchedulerMixin)
    encoder_class = _class(
        folder, index, "text_encoder", transformers, transformers.PreTrainedModel
    )
    with quiet(), explained(folder, "scheduler"):
        scheduler = scheduler_class.from_pretrained(folder / "scheduler", local_files_only=True)
    tokenizer = load_tokenizer(folder)
    text_encoder = load_strictly(
        encoder_class, component(folder, components, "text_encoder"), dtype=side
    )
    vae = load_diffusers(diffusers.AutoencoderDC, folder / "vae", side)
    if transformer is None:
        own = component(folder, components, "transformer")
        transformer = load_plain(own.parent, dtype)
    pipeline = diffusers.SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=vae,
        transformer=transformer,
        scheduler=scheduler,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def load_plain(folder: Path, dtype: str) -> Any:
    """Load the transformer of a folder, without the weights that feedback needs.

    Args:
        folder: A pipeline's, or another folder with a `transformer/`.
        dtype: Number format to load it in, by torch's name.

    Raises:
        HarnessError: It is missing, damaged or another model's.
    """
    from diffusers import SanaTransformer2DModel

    require(folder, ["transformer/config.json", f"transformer/{_WEIGHTS}"])
    return load_diffusers(
        SanaTransformer2DModel,
        folder / "transformer",
        dtype,
        drop_weights=CONTEXT_WEIGHTS,
        drop_config=CONTEXT_CONFIG,
    )


def component(folder: Path, components: Path | None, name: str) -> Path:
    """Return where a pipeline's part lies that another folder may have in its place."""
    own = components / name if components and name in _REPLACED else None
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


def load_diffusers(
    cls: Any,
    folder: Path,
    dtype: str,
    *,
    drop_weights: tuple[str, ...] = (),
    drop_config: tuple[str, ...] = (),
) -> Any:
    """Load a diffusers model, strictly.

    Args:
        cls: Its class.
        folder: `config.json` and safetensors weights.
        dtype: Number format to load it in, by torch's name.
        drop_weights: Parts of the names of surplus weights that are expected, and left out.
        drop_config: Config fields that are expected though the class does not know them.

    Raises:
        HarnessError: A weight or a config field is missing or surplus, or the file is damaged.
    """
    config = read_json(folder / "config.json")
    known = inspect.signature(cls.__init__).parameters
    surplus = [
        name
        for name in config
        if not name.startswith("_") and name not in known and name not in drop_config
    ]
    if surplus:
        raise HarnessError(
            f"{folder}/config.json has fields {cls.__name__} does not know: {', '.join(surplus)}",
            "it is another model, or needs a newer diffusers",
        )
    return load_strictly(cls, folder, dtype=dtype, ignore=drop_weights)


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


def _class(folder: Path, index: Mapping[str, Any], part: str, library: Any, base: type) -> Any:
    """The class a part is read with: it must come from the library itself, not the checkpoint."""
    entry = index.get(part)
    name = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
    value = getattr(library, name, None) if isinstance(name, str) else None
    if not (isinstance(value, type) and issubclass(value, base)):
        raise HarnessError(
            f"{folder}/model_index.json names {entry!r} as its {part}",
            f"expected a {base.__name__} of {library.__name__}",
        )
    return value
