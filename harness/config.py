"""The config of a run: everything that determines its content, and nothing else.

Validated, frozen, and with one canonical spelling, whose digest names the run. Where work is
done (executor, workers, devices' number) is not in it: the same config gives the same log
wherever it runs.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import HarnessError
from harness.models.suites import ModelSpec
from harness.records import LARGEST_SEED, MOST_DRAWS, MOST_REPLICATES, MOST_THREADS, Role
from harness.seeds import config_identity, digest

RECORDED_IMAGES = "recorded-images"
"""Kind of the generator in the config of a run whose images were made elsewhere."""

RECORDED_JUDGE = "recorded-judge"
"""Kind of its judge, if verdicts came with the images."""

RECORDED_SCORER = "recorded-scorer"
"""Kind of its scorer, if scores came with the images."""


class Plugin(BaseModel):
    """A named plug-in with its options, defaults filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class RunConfig(BaseModel):
    """One run.

    Attributes:
        tags: Only prompts of these tags; empty for all.
        limit: Only so many prompts, a stratified sample; None for all.
        replicates: Independent searches a prompt.
        budget: The most draws a search may make.
        miniature: Whether the models are the bundled miniature, so that results say so.
        generator: The generator's spec, settings complete, dtype resolved.
        scorer: The scorer's, or None for a benchmark without one.
        metric: That of the further metrics (`harness.models.metrics.together`), or None without.
        oracle: Whether the judge is the scorer itself.
        digests: Content digest of each checkpoint, by "role.part".
        threads: CPU threads of a worker. Sums split over another number of threads can differ
            in their last bits, so the number belongs to the run and not to the machine.
        keep_images: Which images stay after a search has ended.
        batch_rows: Rows of the generator's batches by round of the search, where they are not its
            batch size throughout; the last holds for all later rounds (`harness.engine.ladder`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    benchmark: Plugin
    tags: tuple[str, ...] = ()
    limit: int | None = Field(default=None, ge=1)
    replicates: int = Field(default=1, ge=1, le=MOST_REPLICATES)
    strategy: Plugin
    budget: int = Field(ge=1, le=MOST_DRAWS)
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    suite: str
    miniature: bool = False
    generator: ModelSpec
    judge: ModelSpec
    scorer: ModelSpec | None
    metric: ModelSpec | None = Field(default=None, exclude_if=lambda metric: metric is None)
    oracle: bool = False
    digests: dict[str, str] = Field(default_factory=dict)
    threads: int = Field(default=2, ge=1, le=MOST_THREADS)
    keep_images: Literal["all", "selected", "none"] = "all"
    batch_rows: tuple[Annotated[int, Field(ge=1)], ...] = ()

    def identity(self) -> dict[str, Any]:
        """The fields that the run's name is a digest of."""
        return config_identity(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """SHA-256 of the identity's canonical JSON."""
        return digest(self.identity())

    @property
    def judged(self) -> bool:
        """True if there is a judge that looks at images."""
        return self.judge.kind != "none"

    @property
    def specs(self) -> dict[Role, ModelSpec]:
        """The models that are asked, by role, in the order in which they work.

        A role whose answers came with the images has none.
        """
        specs = {
            Role.GENERATOR: self.generator,
            Role.JUDGE: self.judge,
            Role.SCORER: self.scorer,
            Role.METRIC: self.metric,
        }
        nobody = ("none", RECORDED_IMAGES, RECORDED_JUDGE, RECORDED_SCORER)
        return {role: spec for role, spec in specs.items() if spec and spec.kind not in nobody}

    @property
    def run(self) -> str:
        """The run's id."""
        return self.digest[:16]


def read_config(fields: dict[str, Any]) -> RunConfig:
    """A config as a manifest holds it.

    Raises:
        HarnessError: It is not one, or of another version.
    """
    try:
        return RunConfig.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise HarnessError(
            f"the manifest's config is not valid: {place}: {first['msg']}",
            "it was edited by hand, or written by another version",
        ) from error


def differences(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the fields in which two configs differ."""
    names: list[str] = []
    for name in sorted(one.keys() | other.keys()):
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            names += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            names.append(f"{prefix}{name}")
    return names
