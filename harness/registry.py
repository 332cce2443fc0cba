"""Names to things: strategies, benchmarks, generators, judges, metrics, detectors and suites.

Built-ins are named here and imported only when asked for, so that listing names costs nothing.
Everything else comes from entry points: a package that declares, say,

    [project.entry-points."harness.strategies"]
    my-search = "my_package:MySearch"

adds `--strategy my-search` without touching this repository. For a quick try a name may also be
an import path, `--strategy my_module:MySearch`. Such a name decides which code is run, so it is
followed only within `import_paths(allowed=True)`: where it is the user's own word, or where the
user said so with --plugins. What a manifest names is somebody else's word until then.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from harness.errors import UsageError, did_you_mean, first_line

_allowed: ContextVar[bool] = ContextVar("_allowed", default=False)


class ImportRefused(UsageError):
    """A name is an import path, and nobody who may has said that such code is to be run."""


@contextmanager
def import_paths(*, allowed: bool) -> Iterator[None]:
    """Within it, what is named by import path is imported if allowed, or refused.

    Refused is also the rule outside of any such block.
    """
    before = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(before)


def check_allowed(message: str, hint: str) -> None:
    """Refuse what only the user's own word allows, as `import_paths` has it.

    Raises:
        ImportRefused: It is not allowed.
    """
    if not _allowed.get():
        raise ImportRefused(message, hint)


@dataclass(frozen=True)
class Registry:
    """One kind of plug-in.

    Attributes:
        kind: What one entry is called in messages ("strategy").
        builtins: Name to "module:attribute" of what ships with the project.
    """

    kind: str
    group: str
    builtins: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All known names, sorted."""
        return sorted({*self.builtins, *(entry.name for entry in self._entries())})

    def get(self, name: str) -> Any:
        """Import and return what a name stands for.

        Raises:
            ImportRefused: It is an import path outside of `import_paths(allowed=True)`.
            UsageError: The name is unknown, claimed twice, or its package fails to import.
        """
        if ":" in name:
            check_allowed(
                f"the manifest names the {self.kind} '{name}' by import path, and such code "
                "is imported with --plugins only",
                "add --plugins if that code is yours or you trust it; what is installed as an "
                "entry point needs no flag",
            )
            return self._load(name, name)
        claims = [entry for entry in self._entries() if entry.name == name]
        targets = {entry.value for entry in claims} | (
            {self.builtins[name]} if name in self.builtins else set()
        )
        if not targets:
            raise UsageError(f"unknown {self.kind} '{name}'", did_you_mean(name, self.names()))
        if len(targets) > 1:
            raise UsageError(
                f"{self.kind} '{name}' is claimed twice: {', '.join(sorted(targets))}",
                "uninstall one of them, or rename its entry point",
            )
        return self._load(name, targets.pop())

    def _load(self, name: str, target: str) -> Any:
        module, _, attribute = target.partition(":")
        try:
            value: Any = import_module(module)
            for part in attribute.split(".") if attribute else ():
                value = getattr(value, part)
        except Exception as error:  # whatever a package's own code raises when it is imported
            raise UsageError(
                f"{self.kind} '{name}' ({target}) cannot be imported: {first_line(error)}",
                "check that its package and what it depends on are installed",
            ) from error
        return value

    def _entries(self) -> Sequence[EntryPoint]:
        return _installed(self.group, tuple(sys.path))


@lru_cache
def _installed(group: str, _path: tuple[str, ...]) -> Sequence[EntryPoint]:
    """Return a group's entry points on a search path: reading them looks into every package."""
    return tuple(entry_points(group=group))


STRATEGIES = Registry(
    "strategy",
    "harness.strategies",
    {
        "single": "strategies.single:Single",
        "bank": "strategies.bank:Bank",
        "best-of-n": "strategies.best_of_n:BestOfN",
        "reflect": "strategies.reflect:Reflect",
        "explore-then-reflect": "strategies.explore_then_reflect:ExploreThenReflect",
        "reflect-beam": "strategies.reflect_beam:ReflectBeam",
        "reflect-or-restart": "strategies.reflect_or_restart:ReflectOrRestart",
        "noise-search": "strategies.noise_search:NoiseSearch",
        "particle-steering": "strategies.particle_steering:ParticleSteering",
        "prune": "strategies.prune:Prune",
        "draft-then-refine": "strategies.draft_then_refine:DraftThenRefine",
        "threshold": "strategies.threshold:Threshold",
        "rewrite": "strategies.rewrite:Rewrite",
        "funnel": "strategies.funnel:Funnel",
        "recorded": "strategies.recorded:Recorded",
    },
)

BENCHMARKS = Registry(
    "benchmark",
    "harness.benchmarks",
    {
        "geneval": "benchmarks.geneval.benchmark:GenEval",
        "geneval2": "benchmarks.geneval2.benchmark:GenEval2",
        "geneval2-miniature": "harness.miniature.geneval2:MiniatureGenEval2",
        "dpg-bench-miniature": "harness.miniature.dpg_bench:MiniatureDPGBench",
        "dpg-bench": "benchmarks.dpg_bench.benchmark:DPGBench",
        "prompt-file": "benchmarks.prompt_file:PromptFile",
    },
)

GENERATORS = Registry(
    "generator",
    "harness.generators",
    {
        "diffusers": "harness.models.diffusers_pipeline:DiffusersGenerator",
        "sana": "harness.models.sana:SanaGenerator",
        "reflect-dit": "harness.models.reflect_dit.generator:ReflectDiTGenerator",
    },
)

JUDGES = Registry(
    "judge",
    "harness.judges",
    {
        "none": "harness.models.judges.none:NoJudge",
        "detector": "benchmarks.geneval.judge:DetectorJudge",
        "ensemble": "harness.models.judges.ensemble:EnsembleJudge",
        "metric": "harness.models.judges.metric:MetricJudge",
        "openai": "harness.models.judges.openai:OpenAIJudge",
        "oracle": "harness.models.judges.oracle:OracleJudge",
        "vlm": "harness.models.judges.vlm:VLMJudge",
    },
)

METRICS = Registry(
    "metric",
    "harness.metrics",
    {
        "clip-score": "harness.models.metrics.agreement:ClipScore",
        "siglip-score": "harness.models.metrics.agreement:SiglipScore",
        "pick-score": "harness.models.metrics.agreement:PickScore",
        "aesthetic": "harness.models.metrics.aesthetic:Aesthetic",
        "hps-v2.1": "harness.models.metrics.agreement:HPS",
        "vqa-score": "benchmarks.vqa.vqa_score:VQAScore",
        "object-confidence": "benchmarks.geneval.confidence:ObjectConfidence",
    },
)

DETECTORS = Registry(
    "detector",
    "harness.detectors",
    {
        "mask2former": "benchmarks.geneval.detectors.mask2former:Mask2FormerDetector",
        "mask2former/mmdet": "benchmarks.geneval.detectors.mmdet.original:MmdetDetector",
        "centernet": "harness.miniature.detector:CenterNetDetector",
    },
)

SUITES = Registry(
    "model",
    "harness.models",
    {
        "miniature": "harness.models.suites:MINIATURE",
        "miniature-even": "harness.models.suites:MINIATURE_EVEN",
        "sana-1.0-1.6b": "harness.models.suites:SANA_1_6B",
        "sana-1.5-1.6b": "harness.models.suites:SANA_1_5_1_6B",
        "sana-1.5-4.8b": "harness.models.suites:SANA_1_5_4_8B",
        "sana-sprint-1.6b": "harness.models.suites:SANA_SPRINT_1_6B",
        "sd-3.5-medium": "harness.models.suites:SD_3_5_MEDIUM",
        "flux.1-dev": "harness.models.suites:FLUX_1_DEV",
        "reflect-dit": "harness.models.suites:REFLECT_DIT",
    },
)
