"""Load the kind of detector that a checkpoint folder's config.json names.

A kind's name is the `model_type` of its config.json; with a slash and a backend behind it, the
same checkpoints run by another library. An installed package adds kinds by entry points of the
group `harness.detectors`, each a `benchmarks.geneval.detectors.base.DetectorFactory`.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.geneval.detectors.base import Detector, DetectorFactory
from benchmarks.geneval.detectors.probe import check_answer, tolerance_of
from benchmarks.geneval.settings import DEFAULT_BACKEND
from harness.errors import HarnessError, UsageError
from harness.models.loading import read_config
from harness.records import Loading
from harness.registry import DETECTORS


def factory_of(folder: Path, backend: str = DEFAULT_BACKEND) -> DetectorFactory:
    """Return the kind of a detector folder.

    Raises:
        UsageError: The backend runs other kinds than this folder's.
        HarnessError: The folder holds no detector of a known kind.
    """
    names = DETECTORS.names()
    kinds = [name for name in names if "/" not in name]
    kind = read_config(folder, f"one of {', '.join(kinds)}").get("model_type")
    # Only names on the list: a checkpoint's word must not be followed as an import path.
    if kind not in kinds:
        raise HarnessError(
            f"{folder / 'config.json'} has model_type {kind!r}, expected one of {', '.join(kinds)}",
            "GenEval's official detector is an mmdet .pth file: make it a folder with "
            "`python -m harness convert-detector FILE.pth --out FOLDER`",
        )
    name = kind if backend == DEFAULT_BACKEND else f"{kind}/{backend}"
    if name not in names:
        runs = [name.partition("/")[0] for name in names if name.endswith(f"/{backend}")]
        raise UsageError(
            f"{backend} runs a {' or '.join(runs)} detector, and {folder} holds a {kind} one",
            f"name a converted one, --detector {backend}:FOLDER, or the suite of one with --model",
        )
    factory: DetectorFactory = DETECTORS.get(name)
    return factory


def load_detector(loading: Loading, backend: str = DEFAULT_BACKEND) -> Detector:
    """Load a detector, and ask it the question whose answer is stored in its folder, if any.

    Args:
        loading: The checkpoint `detector` is its folder; the settings are those of its kind.
        backend: Which library runs it; "mmdet" is Mask2Former's original (extra `mmdet`).

    Raises:
        UsageError: A setting means nothing to this kind of detector.
        HarnessError: The folder holds no detector that can be loaded, or the network answers
            otherwise on this device than when its folder was written.
    """
    folder = loading.checkpoints["detector"]
    factory = factory_of(folder, backend)
    for name in loading.settings:
        if name not in factory.options:
            kind = read_config(folder, "a detector")["model_type"]
            raise UsageError(
                f"the option '{name}' means nothing to a {kind} detector",
                f"leave it out, or use a detector that has it ({folder} holds a {kind} one)",
            )
    detector = factory.load(loading)
    check_answer(detector, folder, tolerance_of(loading.dtype))
    return detector
