"""Any text-to-image pipeline of diffusers as a generator, by what its folder says.

Source: the classes and signatures of diffusers themselves; what is known of a family beyond them
is the one table here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from harness import options
from harness.models.adapters import merge_adapters
from harness.models.checkpoints import look, resolve
from harness.models.devices import prepare
from harness.models.diffusers_loading import (
    load_any_pipeline,
    no_pipeline,
    pipeline_class,
    settings_class,
    weightless_pipeline,
)
from harness.models.loading import read_json
from harness.models.pipeline_generator import PipelineGenerator, Rows
from harness.models.trajectory import why_whole
from harness.records import Ability, Loading
from harness.truncation import Truncation

ROWS: dict[str, Rows] = {
    "StableDiffusionPipeline": "any", "StableDiffusionXLPipeline": "any",
    "StableDiffusion3Pipeline": "any", "FluxPipeline": "any", "PixArtSigmaPipeline": "alone",
    "SanaPipeline": "any", "SanaSprintPipeline": "any", "CogView4Pipeline": "any",
    "HunyuanDiTPipeline": "equal lengths", "Lumina2Pipeline": "equal lengths",
    "QwenImagePipeline": "equal lengths",
}  # fmt: skip
"""Which rows may share a batch without a bit of one depending on another, by pipeline. Tried by the
tests on small random checkpoints; of a pipeline that is not listed nothing is known, and its rows
run alone and whole."""


class DiffusersGenerator(PipelineGenerator):
    """A pipeline of any family, by what its folder says."""

    Settings: ClassVar[type] = options.NoSettings
    """None of its own: those of a pipeline are the arguments of its call (`settings_for`)."""

    @classmethod
    def settings_for(cls, references: Mapping[str, str]) -> type:
        """Return a suite's pipeline's settings (see `harness.models.base.GeneratorFactory`)."""
        if "pipeline" not in references:
            raise no_pipeline()
        return settings_class(resolve(references["pipeline"]))

    @classmethod
    def abilities_for(cls, references: Mapping[str, str]) -> frozenset[Ability]:
        """Return what a pipeline can do (see `harness.models.base.GeneratorFactory`)."""
        folder = look(references["pipeline"]).path if "pipeline" in references else None
        return cls.abilities if folder is None else _abilities(folder)

    @classmethod
    def load(cls, loading: Loading) -> DiffusersGenerator:
        """Load it (see `harness.models.base.GeneratorFactory`).

        Args:
            loading: The checkpoint `pipeline` is a folder as `DiffusionPipeline.save_pretrained`
                writes it; there may be adapters (`harness.models.adapter_names`). The settings are
                arguments of its call.
        """
        if "pipeline" not in loading.checkpoints:
            raise no_pipeline()
        folder = loading.checkpoints["pipeline"]
        kind = settings_class(folder)
        options.build(kind, loading.settings, flag="-G", title="generator diffusers")
        pipeline = load_any_pipeline(folder, device=prepare(loading.device), dtype=loading.dtype)
        merge_adapters(pipeline, loading.checkpoints)
        generator = cls(
            pipeline,
            batch_size=loading.batch_size,
            settings=loading.settings,
            settings_type=kind,
            sharing=_sharing(type(pipeline)) or "alone",
        )
        generator.abilities = _abilities(folder)
        return generator

    @classmethod
    def truncation(cls, checkpoints: Mapping[str, Path]) -> Truncation | None:
        """Build it without weights (see `harness.models.base.GeneratorFactory`)."""
        if "pipeline" not in checkpoints:
            return None
        from harness.models.pipeline_truncation import pipeline_truncation

        return pipeline_truncation(cls, checkpoints)

    @classmethod
    def _weightless(cls, loading: Loading) -> Self:
        folder = loading.checkpoints["pipeline"]
        return cls(
            weightless_pipeline(folder),
            batch_size=1,
            settings=loading.settings,
            settings_type=settings_class(folder),
        )


def _sharing(pipeline: type) -> Rows | None:
    """Return which rows of a pipeline may share a batch; None if that is not known.

    Of one with a known name that is somebody's own nothing is.
    """
    is_own = not pipeline.__module__.startswith("diffusers.")
    return None if is_own else ROWS.get(pipeline.__name__)


def _abilities(folder: Path) -> frozenset[Ability]:
    """Return what a pipeline can do by its solver; of one that is not listed nothing is known."""
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    if _sharing(pipeline_class(folder)) and not why_whole(
        str(scheduler.get("_class_name")), scheduler
    ):
        return frozenset({Ability.PARTIAL})
    return frozenset()
