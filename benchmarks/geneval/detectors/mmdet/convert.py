"""Read the official Mask2Former checkpoint, an mmdet .pth file, into a transformers folder.

mmdet is hard to install on current machines; transformers has the same network. A conversion
uses every tensor of the file exactly once and fills every parameter of the network exactly
once, or it stops and names what is left over: a detector with a few forgotten weights still
detects, only worse, and nobody would notice.

The names written are those of the public transformers checkpoints, which every version of the
library can read; the library itself maps them to its own modules and writes the folder.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.geneval.classes import CLASSES
from benchmarks.geneval.detectors.mask2former import FRAME_FILE, UNUSED, Mask2FormerDetector
from benchmarks.geneval.detectors.mmdet.architecture import (
    infer_config,
    relative_positions,
    window_of,
)
from benchmarks.geneval.detectors.mmdet.names import modernise, renamed
from benchmarks.geneval.detectors.mmdet.pipeline import Frame
from benchmarks.geneval.detectors.probe import write_answer
from harness.errors import HarnessError, UsageError, first_line, shortened
from harness.models.loading import misfits, quiet

_COCO_NAMES = {"computer mouse": "mouse", "tv remote": "remote", "computer keyboard": "keyboard"}


@dataclass(frozen=True, slots=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        folder: Where the detector lies now.
        layout: Whose key layout the file has, "mmdet 2.x" or "mmdet 3.x".
        tensors: Tensors read from the file, each used once.
        parameters: Numbers in the network.
    """

    folder: Path
    layout: str
    tensors: int
    parameters: int


def convert(checkpoint: Path, out: Path, frame: Frame | None = None) -> Conversion:
    """Convert an mmdet Mask2Former with a Swin backbone, trained on COCO instances.

    Args:
        checkpoint: An mmdet .pth file, 2.x or 3.x. It is read without running any code in it.
        out: Folder to write: config.json, model.safetensors, frame.json and
            known_answer.safetensors.
        frame: The frame images are fitted into; default the official 1333 by 800.

    Raises:
        UsageError: The file is missing or cannot be read as a checkpoint.
        HarnessError: It is not such a network, or not every weight finds its place.
    """
    from transformers import Mask2FormerForUniversalSegmentation

    content = _read(checkpoint)
    original: Mapping[str, Tensor] = content.get("state_dict", content)
    _check_classes(checkpoint, content.get("meta"))
    state = {modernise(key): tensor for key, tensor in original.items()}
    try:
        config = infer_config(state)
    except (KeyError, ValueError, IndexError, TypeError, RuntimeError) as error:
        raise HarnessError(
            f"{checkpoint} is no Mask2Former with a Swin backbone: {error}",
            "GenEval's detector is mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco",
        ) from error
    if len(state) < len(original):
        raise HarnessError(f"{checkpoint} has weights under both old and new names", _DAMAGED)
    try:
        weights = translate(state, str(checkpoint))
    except (ValueError, IndexError, RuntimeError) as error:  # of shapes that no such weight has
        raise HarnessError(
            f"{checkpoint} has a weight of another shape: {error}", _DAMAGED
        ) from error
    with quiet():
        network, report = Mask2FormerForUniversalSegmentation.from_pretrained(
            None,
            config=config,
            state_dict=dict(weights),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, by name
        )
    if names := misfits(report, UNUSED):
        raise HarnessError(f"{checkpoint} does not fit the network: {shortened(names)}", _DAMAGED)
    out.mkdir(parents=True, exist_ok=True)
    with quiet():
        network.save_pretrained(out)
    written = json.dumps(asdict(frame or Frame())) + "\n"
    (out / FRAME_FILE).write_text(written, encoding="utf-8")
    write_answer(Mask2FormerDetector(network), out)
    return Conversion(
        folder=out,
        layout="mmdet 3.x" if state.keys() == original.keys() else "mmdet 2.x",
        tensors=len(original),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
    )


def translate(state: Mapping[str, Tensor], source: str = "the checkpoint") -> dict[str, Tensor]:
    """Give every tensor of mmdet 3.x its transformers name and form; messages name the source.

    Raises:
        HarnessError: A tensor has no place, or two claim the same.
    """
    translated: dict[str, Tensor] = {}
    unknown = []
    for key, tensor in state.items():
        if key.endswith(".relative_position_index"):
            if not torch.equal(tensor, relative_positions(window_of(tensor))):
                raise HarnessError(
                    f"{source} orders the pixels of a window in an unknown way ({key})",
                    "only Swin's own order can be converted",
                )
            continue
        # As the table knows modules of one level, a fused projection is named by its holder.
        target = renamed(key.replace(".w_msa.qkv.", ".w_msa.qkv_"))
        if target is None:
            unknown.append(key)
            continue
        for name, part in _parts(target, tensor):
            if name in translated:
                raise HarnessError(f"{source} has two tensors for {name}", _DAMAGED)
            translated[name] = part.contiguous()
    if unknown:
        raise HarnessError(
            f"{source} has weights that a Mask2Former has no place for: {shortened(unknown)}",
            "it is another network, or from a version of mmdet that names them differently",
        )
    return translated


_DAMAGED = "the file may be damaged: download it again"


def _parts(target: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Split or reorder what transformers stores in another form."""
    module, _, leaf = target.rpartition(".")
    if leaf.startswith("qkv_"):
        for name, part in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
            yield f"{module}.{name}.{leaf.removeprefix('qkv_')}", part
    elif leaf.startswith("in_proj_") and module.endswith(".self_attn"):
        for name, part in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=True):
            yield f"{module}.{name}.{leaf.removeprefix('in_proj_')}", part
    elif ".downsample." in target:
        yield target, _reorder_merged(tensor)
    else:
        yield target, tensor


def _reorder_merged(tensor: Tensor) -> Tensor:
    """Reorder the inputs of patch merging, the last axis.

    mmdet lists the window of four channel by channel (channel, row, column), transformers
    group by group, columns before rows (column, row, channel).
    """
    window = tensor.reshape(*tensor.shape[:-1], -1, 2, 2)
    return window.movedim((-1, -2, -3), (-3, -2, -1)).reshape(tensor.shape)


def _read(checkpoint: Path) -> dict[str, Any]:
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(
            f"there is no checkpoint {checkpoint}",
            "GenEval's evaluation/download_models.sh says where the official one is",
        ) from None
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{checkpoint} holds more than tensors and is not read, since unpickling such a file "
            f"can run code: {first_line(error)}",
            "where you trust it: torch.save({'state_dict': torch.load(FILE, "
            "weights_only=False)['state_dict']}, NEW_FILE)",
        ) from error
    except Exception as error:  # torch's readers raise many kinds on bytes that are no checkpoint
        raise UsageError(
            f"{checkpoint} cannot be read as a torch checkpoint: {first_line(error)}", _DAMAGED
        ) from error
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in weights.items()
    ):
        raise UsageError(
            f"{checkpoint} holds no weights by name",
            "expected an mmdet checkpoint: a dictionary with a 'state_dict'",
        )
    return dict(content)


def _check_classes(checkpoint: Path, meta: Any) -> None:
    """The classes must be COCO's in COCO's order, where the file says which they are."""
    if not isinstance(meta, dict):
        return
    dataset = meta.get("dataset_meta")
    dataset = dataset if isinstance(dataset, dict) else {}
    named = meta.get("CLASSES") or dataset.get("classes") or dataset.get("CLASSES")
    if not named:
        return
    if not isinstance(named, list | tuple):
        raise HarnessError(f"{checkpoint} says {named!r:.80} where its classes should be", _DAMAGED)
    trained_on = [str(name).replace("_", " ") for name in named]
    expected = [_COCO_NAMES.get(name, name) for name in CLASSES]
    if trained_on != expected:
        raise HarnessError(
            f"{checkpoint} is trained on {len(trained_on)} classes ({shortened(trained_on)}), not "
            f"on COCO's {len(expected)}",
            "GenEval needs a detector of COCO instances",
        )
