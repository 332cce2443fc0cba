"""The capabilities of this machine (processor, memory, GPUs, versions, checkpoints), checked.

The checks are those that a scorer makes when it starts: a fixed question asked of its networks
on this device, against the CPU's answer.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import psutil

from harness.engine.devices import device_name, native_bfloat16
from harness.errors import HarnessError
from harness.log.environment import environment
from harness.models.compiling import check_compiler
from harness.models.suites import ModelSpec, Suite, load_suite, overview
from harness.records import Role
from harness.registry import SUITES


@dataclass(frozen=True)
class Check:
    """One check and what came of it.

    Attributes:
        ok: Whether it is well; None if it could not be made.
        detail: What was found, or what is missing.
    """

    name: str
    ok: bool | None
    detail: str
    hint: str = ""


def facts() -> list[tuple[str, str]]:
    """Versions, processor, memory and GPUs, as (name, value) lines."""
    known = environment()
    memory = psutil.virtual_memory()  # of the machine; a container's limit may be lower
    free = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    lines = [
        ("python", f"{known['python']} on {known['platform']}"),
        ("processor", f"{device_name('cpu')}, {known['cpus']} cores, {free}"),
        ("bfloat16", _bfloat16()),
        ("compile", _compiler()),
        *((f"gpu {number}", text) for number, text in enumerate(_gpus())),
    ]
    if not any(name.startswith("gpu") for name, _ in lines):
        lines.append(("gpu", "none that torch can see"))
    versions: dict[str, Any] = known["packages"]
    lines.append(("versions", ", ".join(f"{n} {v or 'missing'}" for n, v in versions.items())))
    git = known["git"]
    if git is not None:
        lines.append(("commit", f"{git['commit'][:12]}{' with changes' if git['dirty'] else ''}"))
    return lines


def check_ray(address: str | None) -> Check:
    """Check that Ray is there and, at an address, what the cluster has.

    Without an address no cluster is started for this: that takes seconds and says little.
    """
    import ray

    if address is None:
        return Check("ray", True, f"version {ray.__version__}; no cluster asked for (--address)")
    from harness.engine.executors.cluster import connect

    try:
        connect(address)
        have = ray.cluster_resources()
    except HarnessError as error:
        return Check("ray", False, error.message, error.hint)
    nodes = sum(node["Alive"] for node in ray.nodes())
    text = ", ".join(f"{have.get(name, 0):g} {name}s" for name in ("CPU", "GPU"))
    return Check("ray", True, f"{nodes} nodes at {address}: {text}")


def check_mmdet() -> Check:
    """Check that the detector's original implementation is here; it is an extra."""
    from benchmarks.geneval.detectors.mmdet.original import import_mmdet

    if importlib.util.find_spec("mmdet") is None:
        return Check("mmdet", None, "not installed (an extra, for --detector mmdet)")
    try:
        import_mmdet()
    except HarnessError as error:
        return Check("mmdet", False, error.message, error.hint)
    return Check("mmdet", True, f"version {version('mmdet')}, without compiled operators")


def check_suites(devices: Sequence[str]) -> list[Check]:
    """For each suite: are its checkpoints here, and do its detectors and colours answer rightly?

    The questions are asked on each of the torch devices.
    """
    checks: list[Check] = []
    asked: list[tuple[ModelSpec, str]] = []  # suites may share a model
    for name in SUITES.names():
        suite = load_suite(name)
        parts = overview(suite)
        missing = [f"{role} {part} ({at.ref})" for role, part, at in parts if at.path is None]
        paths_here = sorted({str(at.path) for _, _, at in parts if at.path is not None})
        detail = f"missing: {', '.join(missing)}" if missing else "all here"
        if paths_here:
            detail += f"; found: {', '.join(paths_here)}"
        checks.append(Check(f"{name}: checkpoints", None if missing else True, detail))
        for device in devices:
            for role in (Role.SCORER, Role.JUDGE):
                spec = suite.spec(role)
                if (role is Role.JUDGE and spec.kind != "detector") or (spec, device) in asked:
                    continue
                asked.append((spec, device))
                checks.append(_check_scorer(suite, role, device))
    return checks


def _check_scorer(suite: Suite, role: Role, device: str) -> Check:
    """The self-test of GenEval's scorer, or of a judge that looks as it does."""
    from benchmarks.geneval.loading import self_test

    spec, name = suite.spec(role), f"{suite.name}: {role} on {device}"
    parts = {part: at.path for owner, part, at in overview(suite) if owner is role}
    paths = {part: path for part, path in parts.items() if path is not None}
    if not parts or len(paths) < len(parts):
        return Check(name, None, "not checked: its checkpoints are not here")
    loading = spec.loading(paths, device)
    started = time.perf_counter()
    try:
        result = self_test(loading)
    except HarnessError as error:
        return Check(name, False, error.message, error.hint)
    seconds = time.perf_counter() - started
    off = ", ".join(f"{part} off by {value:.1g}" for part, value in result.distances.items())
    known = f", {result.images} known answers right" if result.images else ""
    detail = f"{loading.dtype}, batches of {spec.batch_size}: {off}{known} ({seconds:.1f} s)"
    return Check(name, True, detail)


def devices_of(device: str) -> list[str]:
    """Every GPU torch can see for "cuda", else the device itself."""
    import torch

    if device != "cuda":
        return [device]
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cuda"]


def _bfloat16() -> str:
    native = native_bfloat16()
    if native is None:
        return "nobody knows whether this processor has instructions for it"
    return f"native on this processor ({native})" if native else "not native on this processor"


def _compiler() -> str:
    import torch

    kinds = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    answers = []
    for kind in kinds:
        try:
            check_compiler(kind)
        except HarnessError as error:
            answers.append(error.message)
        else:
            answers.append(f"possible on {kind}")
    return "; ".join(answers)


def _gpus() -> list[str]:
    import torch

    lines = []
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        free, whole = torch.cuda.mem_get_info(number)
        own = f"sm_{properties.major}{properties.minor}"
        built = own in torch.cuda.get_arch_list()
        lines.append(
            f"{properties.name}, {free / 2**30:.1f} of {whole / 2**30:.1f} GiB free, {own}"
            f"{'' if built else ' (this build of torch has no kernels made for it)'}"
        )
    return lines
