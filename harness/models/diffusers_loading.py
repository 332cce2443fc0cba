"""Load any text-to-image pipeline of diffusers from a local folder, strictly.

A folder's `model_index.json` says of which classes it consists. They must be diffusers' and
transformers' own, or be written beside the checkpoint where such code is trusted
(`harness.models.remote_code`). Pickled weights are refused, and weights must fit their classes
exactly (`harness.models.loading`).
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, FiniteFloat

from harness.errors import HarnessError, UsageError
from harness.models.checkpoints import require
from harness.models.loading import explained, load_strictly, own_class, quiet, read_json
from harness.models.remote_code import is_trusted

if TYPE_CHECKING:
    import torch

Whole = Annotated[int, Field(ge=-1, le=65536)]
Side = Annotated[int, Field(gt=0, le=8192)]
Steps = Annotated[int, Field(gt=0, le=10_000)]
"""Bounded, since a manifest that somebody else wrote may ask for them."""

_OWN_TYPES = {"num_inference_steps": Steps, "height": Side, "width": Side}
_GIVEN = ("prompt", "generator", "latents", "output_type", "return_dict", "num_images_per_prompt")
"""Arguments of a pipeline's call that are no settings: the harness gives them."""

_UNIONS = (typing.Union, types.UnionType)

_SIDE = 1024
"""Pixels of a side where neither the call nor the configuration says how many."""

_NETWORKS = ("text_encoder", "transformer", "unet", "vae")
"""How the names of parts begin that are networks."""

_LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that no text-to-image draw needs. A safety checker makes images black, which would be
counted as failures of the model."""


def pipeline_class(folder: Path) -> Any:
    """Return the class of a pipeline's folder.

    Raises:
        HarnessError: There is no `model_index.json`, or it names no text-to-image pipeline of
            diffusers.
    """
    import diffusers

    require(folder, ["model_index.json"])
    name: Any = read_json(folder / "model_index.json").get("_class_name")
    if _is_pair(name):  # a file beside it, and the class in it
        cls = own_class(folder, *name)
    else:
        with quiet():
            cls = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not (isinstance(cls, type) and issubclass(cls, diffusers.DiffusionPipeline)):
        raise HarnessError(
            f"{folder}/model_index.json names the pipeline {name!r}, which diffusers "
            f"{diffusers.__version__} does not have",
            "it is no diffusers pipeline, or needs a newer diffusers",
        )
    name = cls.__name__
    given = inspect.signature(cls.__call__).parameters
    needed = {
        argument
        for argument, parameter in given.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    }
    # One that changes an image says how strongly.
    if "prompt" not in given or "strength" in given or needed - {"self", "prompt"}:
        raise HarnessError(
            f"{folder} holds a {name}, which does not make images of texts alone",
            "give a text-to-image pipeline",
        )
    return cls


@cache
def settings_class(folder: Path) -> type:
    """Return the sampler settings of a pipeline: names, types and defaults of its own call.

    Only plain values are settings (numbers, texts, true or false). Where the call leaves the
    image's size open, it is the one the pipeline's configuration is made for.

    Raises:
        HarnessError: As of `pipeline_class`.
    """
    cls = pipeline_class(folder)
    with quiet():
        hints = typing.get_type_hints(cls.__call__)
    fields: list[tuple[str, Any, Any]] = []
    for name, parameter in inspect.signature(cls.__call__).parameters.items():
        kind = _setting_type(hints.get(name))
        texts = name.startswith("prompt") or name.endswith(("embeds", "embeds_2"))
        if kind is None or name in _GIVEN or texts:
            continue
        default = parameter.default
        if name in ("height", "width") and default is None:
            default = _side(folder)
        if isinstance(default, list | tuple | dict):
            continue
        own = _OWN_TYPES.get(name, kind)
        if default is None:
            own = own | None
        fields.append((name, own, dataclasses.field(default=default)))
    made = dataclasses.make_dataclass(f"{cls.__name__}Settings", fields, frozen=True)
    return made


def _setting_type(hint: Any) -> Any:
    """Return the plain type that an argument takes, or None."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) in _UNIONS else (hint,)
    plain = [kind for kind in kinds if kind in (bool, int, float, str)]
    for kind, own in ((bool, bool), (float, FiniteFloat), (int, Whole), (str, str)):
        if kind in plain:
            return own
    return None


def _side(folder: Path) -> int:
    """Return the side of the images that a pipeline's configuration is made for, in pixels."""
    config: dict[str, Any] = {}
    for part in ("unet", "transformer"):
        if (folder / part / "config.json").is_file():
            config = read_json(folder / part / "config.json")
    size = config.get("sample_size")
    if not isinstance(size, int) or not (folder / "vae" / "config.json").is_file():
        return _SIDE
    vae = read_json(folder / "vae" / "config.json")
    channels = vae.get("block_out_channels") or vae.get("encoder_block_out_channels")
    return size * 2 ** (len(channels) - 1) if channels else _SIDE


def load_any_pipeline(folder: Path, *, device: torch.device, dtype: str) -> Any:
    """Load a pipeline, as `DiffusionPipeline.save_pretrained` writes it, without its progress bar.

    And without a safety checker; all parts in one number format, by torch's name.

    Raises:
        HarnessError: A file is missing, unreadable, or does not fit the class that reads it; or
            a part is of a class that is not diffusers' or transformers' own.
    """
    cls, index = pipeline_class(folder), read_json(folder / "model_index.json")
    return assembled(cls, folder, index, partial(load_strictly, dtype=dtype)).to(device)


def weightless_pipeline(
    folder: Path,
    *,
    places: Mapping[str, Path] | None = None,
    classes: Mapping[str, list[str]] | None = None,
) -> Any:
    """Build a pipeline from its configuration; its networks lie on torch's meta device.

    Args:
        folder: As for `load_any_pipeline`.
        places: Folders of parts that lie elsewhere.
        classes: Library and class of parts where the folder's own are not to be taken.

    Raises:
        HarnessError: As of `load_any_pipeline`.
    """
    import torch

    def build(cls: Any, path: Path) -> Any:
        with torch.device("meta"), quiet(), explained(path.parent, path.name):
            if _is_model(cls, "diffusers"):
                config = dict(cls.load_config(path, local_files_only=True))
                return cls.from_config({**config, "_class_name": cls.__name__}).eval()
            return cls(cls.config_class.from_pretrained(path, local_files_only=True)).eval()

    cls = pipeline_class(folder)
    here = {"device": torch.device("cpu"), "_execution_device": torch.device("cpu")}
    index = {**read_json(folder / "model_index.json"), **(classes or {})}
    return assembled(type(cls.__name__, (cls,), here), folder, index, build, places=places)


def assembled(
    cls: Any,
    folder: Path,
    index: Mapping[str, Any],
    load: Callable[[Any, Path], Any],
    *,
    places: Mapping[str, Path] | None = None,
    ready: Mapping[str, Any] | None = None,
) -> Any:
    """Return a pipeline of its parts.

    Args:
        cls: Its class.
        folder: Its folder.
        index: What `model_index.json` says of its parts.
        load: Returns a network, given its class and its folder.
        places: Folders of parts that lie elsewhere.
        ready: Parts that are there already.

    Raises:
        HarnessError: As of `load_any_pipeline`.
    """
    accepted = inspect.signature(cls.__init__).parameters
    parts: dict[str, Any] = dict(ready or {})
    for name, entry in index.items():
        if name.startswith("_") or name not in accepted or name in parts:
            continue
        is_option = accepted[name].default is not inspect.Parameter.empty
        if is_option and not isinstance(entry, list):
            parts[name] = entry
        elif name in _LEFT_OUT or entry == [None, None]:
            parts[name] = None
        else:
            own, path = _part_class(folder, name, entry), (places or {}).get(name, folder / name)
            if not path.is_dir():
                raise HarnessError(f"{folder} has no folder {name}", "it is incomplete")
            if _is_model(own, "diffusers") or _is_model(own, "transformers"):
                parts[name] = load(own, path)
            else:
                options = {"trust_remote_code": is_trusted()} if entry[0] == "transformers" else {}
                with quiet(), explained(folder, name):
                    parts[name] = own.from_pretrained(path, local_files_only=True, **options)
    for option in ("requires_safety_checker", "add_watermarker"):
        if option in accepted:
            parts[option] = False
    with quiet(), explained(folder, "pipeline"):
        pipeline = cls(**parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _part_class(folder: Path, name: str, entry: Any) -> Any:
    """Return the class of a part: one of the two libraries' own, or beside it, and of its kind."""
    import diffusers
    import transformers

    libraries = {"diffusers": diffusers, "transformers": transformers}
    bases: tuple[type, ...] = (diffusers.ModelMixin, transformers.PreTrainedModel)
    if name == "scheduler":
        bases = (diffusers.SchedulerMixin,)
    elif not name.startswith(_NETWORKS):
        bases = (
            *bases,
            transformers.PreTrainedTokenizerBase,
            transformers.ProcessorMixin,
            transformers.ImageProcessingMixin,
        )
    library, kind = entry if _is_pair(entry) else ("", "")
    with quiet():
        cls = getattr(libraries.get(library), kind, None)
    if library not in libraries and os.path.isfile(folder / name / f"{library}.py"):
        cls = own_class(folder / name, library, kind)
    if not (isinstance(cls, type) and issubclass(cls, bases)):
        raise HarnessError(
            f"{folder}/model_index.json names {entry!r} as its {name}",
            "expected a class of diffusers or transformers, or code in the part's own folder",
        )
    return cls


def _is_pair(entry: Any) -> bool:
    pair = isinstance(entry, list) and len(entry) == 2
    return pair and all(isinstance(word, str) for word in entry)


def _is_model(cls: Any, library: str) -> bool:
    import diffusers
    import transformers

    base: Any = diffusers.ModelMixin if library == "diffusers" else transformers.PreTrainedModel
    return issubclass(cls, base)


def no_pipeline() -> UsageError:
    """Return the error for a generator without a pipeline."""
    return UsageError(
        "the generator 'diffusers' needs a checkpoint named 'pipeline'",
        "give a folder or hub id with --model, or in a suite's [generator] checkpoints",
    )
