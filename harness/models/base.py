"""Protocols of generators, judges and metrics; scorers are their benchmark's (`benchmarks.base`).

Models take lists and return lists, in order, one result a row. They run at one fixed batch
shape: given fewer rows than their batch size, or than the number of rows that a draw's batch is to
have, they pad, so that a row's bits depend on the row alone, never on its neighbours, its position
or how many there are. They report what they count
(NFE, FLOPs, tokens); the worker that runs them adds the device-seconds. FLOPs that a model does
not count stay None and are shown as not counted, as are the sums that they belong to.

A plug-in is a class with a `load` (`GeneratorFactory`, `JudgeFactory`, `MetricFactory`). Its module
is imported to list and check its settings, so torch and its like belong inside functions. Methods
of a factory are classmethods of the plug-in; all but `load` may be left out. Over a checkpoint that
is missing, damaged or another model's each raises a HarnessError. What every plug-in must keep is
published as tests to subclass: `harness.testing`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from benchmarks.base import Benchmark, GradingPasses
from harness.models.suites import ModelSpec
from harness.records import (
    Ability,
    Cost,
    Image,
    Inquiry,
    Loading,
    Look,
    Made,
    Prompt,
    Request,
    Setting,
    Verdict,
)
from harness.truncation import Truncation


@runtime_checkable
class Generator(Protocol):
    """Makes images."""

    def generate(self, requests: Sequence[Request]) -> list[Made]:
        """Answer up to `batch_size` requests of one batch shape (`harness.identity.usual_shape`).

        The noise of a request is `harness.models.noise.noise_tensor`.

        Raises:
            harness.errors.HarnessError: A request asks for something this model cannot do.
        """
        ...


@runtime_checkable
class Judge(Protocol):
    """Accepts or rejects an image for a prompt, ranks it, and says what is wrong."""

    def judge(
        self, prompts: Sequence[Prompt], images: Sequence[Image], seeds: Sequence[int]
    ) -> list[tuple[Verdict, Cost]]:
        """Look at up to `batch_size` images, each with what it was made for.

        The seeds, one a row and derived from the draw's identity, are for a judge that samples.
        """
        ...


@runtime_checkable
class Replying(Protocol):
    """Answers questions in words: what a judge with `Ability.REPLY` does besides judging."""

    def reply(self, inquiries: Sequence[Inquiry]) -> list[tuple[str, Cost]]:
        """Answer up to `batch_size` questions; their numbers of images may differ."""
        ...


@dataclass(frozen=True)
class ExpectedCost:
    """The cost of a request, computed from the models' configuration alone.

    Attributes:
        nfe: Evaluations of the network; None where the sampler decides how many.
        evaluation: FLOPs of one of them.
        decoding: FLOPs of everything else that each draw takes.
        once: FLOPs of what is encoded once and remembered (a prompt, an image): each is charged
            to the draw that first brings it, so a draw may bear any of them.
        complete: False where a draw takes more, of which nothing is known.
    """

    nfe: int | None
    evaluation: float
    decoding: float
    once: tuple[float, ...] = ()
    complete: bool = True


CostOf = Callable[[Request[Any]], ExpectedCost]
"""Computes what a request takes."""


class GeneratorFactory(Protocol):
    """A kind of generator: a class to be loaded, named by entry points of `harness.generators`."""

    Settings: ClassVar[type]
    """A frozen dataclass: names, types and defaults of the sampler settings, known unloaded."""

    def settings_for(self, references: Mapping[str, str]) -> type:
        """Return the settings of these checkpoints, as `Settings`.

        For a plug-in whose settings depend on what it loads; no weights are loaded for this.
        """
        ...

    abilities: ClassVar[frozenset[Ability]]
    """What it can do of what a strategy may need (FEEDBACK, PARTIAL), so that a plan can be refused
    before loading."""

    def abilities_for(self, references: Mapping[str, str]) -> frozenset[Ability]:
        """Return which of its `abilities` it has with these checkpoints, as far as they are here.

        For a plug-in whose abilities depend on what it loads; its instances then have `abilities`
        of their own.
        """
        ...

    takes_rows: ClassVar[bool]
    """True if a batch is padded to its requests' `rows` where they name a number (at most
    `batch_size`, equal in a batch), so that late rounds need not run at the full size. False where
    a plug-in leaves it out."""

    can_compile: ClassVar[bool]
    """True if what `load` returns has a `compile()`, which is called before its first batch where a
    suite or `--compile` asks for it. False where a plug-in leaves it out."""

    takes_adapters: ClassVar[bool]
    """True if `load` heeds checkpoints that are LoRA adapters (`harness.models.adapter_names`);
    False where a plug-in leaves it out."""

    def load(self, loading: Loading) -> Generator:
        """Load the models onto a device.

        Raises:
            harness.errors.UsageError: A setting it does not have, a device that is not there.
        """
        ...

    def expected_cost(self, loading: Loading) -> CostOf | None:
        """Return what computes a request's cost from configuration alone.

        An audit holds logged costs against it, so it loads no weights. Requests come without
        images. None: the cost is not known without running it.
        """
        ...

    def truncation(self, checkpoints: Mapping[str, Path]) -> Truncation | None:
        """Return what tells which texts of a request are cut.

        A text is cut if what stands behind some place in it makes no difference. Asked for every
        prompt before anything is loaded and for every draw, so that only what splits texts into
        tokens is loaded for it. Requests come without images. None: nobody can tell.
        """
        ...


class JudgeFactory(Protocol):
    """A kind of judge: a class to be loaded, named by entry points of `harness.judges`."""

    oracle: ClassVar[bool]
    """True if it knows the benchmark's answers. Runs and reports label such a judge."""

    samples: ClassVar[bool]
    """True if what it says of an image may hang on the seed it is given, so that it says another
    thing of the same image as the answer to another draw. True where a plug-in leaves it out."""

    abilities: ClassVar[frozenset[Ability]]
    """FEEDBACK for a judge whose sentences say what is wrong, REPLY for one that answers questions
    (`Replying`). Only FEEDBACK where a plug-in leaves it out."""

    is_remote: ClassVar[bool]
    """True if it sends images to a server that its settings name. Nobody but the run itself asks
    it: an audit does not, and a resumed run only with --plugins. False where a plug-in leaves it
    out."""

    def has_scale(self, settings: Mapping[str, Setting]) -> bool:
        """Return whether scores compare any two images.

        False where its verdicts have `members`, by which images of one search are ranked against
        each other.
        """
        ...

    main_part: ClassVar[str]
    """The part that `--judge KIND=REF` names a checkpoint for; "" for a judge without any."""

    Settings: ClassVar[type]
    """A dataclass of its options, for `-J name=value`; a judge without any leaves it out."""

    def check(
        self, parts: Collection[str], settings: Mapping[str, Setting], benchmark: Benchmark
    ) -> None:
        """Refuse at planning time what `load` would refuse, which need not rely on it.

        Nothing is loaded for this.

        Args:
            parts: The names of the checkpoints.
            settings: As `load` will get them.
            benchmark: What the images will be made for.

        Raises:
            harness.errors.UsageError: A setting it does not have, a checkpoint too few or too
                many, or a benchmark it cannot judge.
        """
        ...

    def complete(self, spec: ModelSpec, reference: str, metrics: ModelSpec) -> ModelSpec:
        """Return a spec with what it leaves open filled in.

        For a judge without a checkpoint of its own.

        Args:
            spec: Of the judge.
            reference: What stands after `--judge KIND=`; "" for nothing.
            metrics: The suite's references and settings of metrics.

        Raises:
            harness.errors.UsageError: Something is lacking.
        """
        ...

    def parse(self, given: Mapping[str, Setting]) -> dict[str, Setting]:
        """Return options given as `-J name=value` with their types.

        It is not needed where a dataclass `Settings` says all.

        Raises:
            harness.errors.UsageError: An unknown option, or a value that it does not take.
        """
        ...

    def grading_passes(
        self, loading: Loading, benchmark: Benchmark, height: int, width: int
    ) -> GradingPasses | None:
        """Build what one verdict takes, for an audit of its FLOPs.

        Arguments and result are those of `benchmarks.base.Benchmark.grading_passes`.
        """
        ...

    def load(self, loading: Loading, benchmark: Benchmark) -> Judge:
        """Load the models onto a device.

        Args:
            loading: Of the judge; an oracle gets the scorer's checkpoints and settings.
            benchmark: What the images are made for.

        Raises:
            harness.errors.UsageError: A setting it does not have, or a benchmark it cannot judge.
        """
        ...


@runtime_checkable
class Metric(Protocol):
    """Measures images, on a scale of its own. Higher is better."""

    def measure(self, looks: Sequence[Look]) -> list[tuple[float, Cost]]:
        """Measure each image, in order; it splits them into batches of its batch size itself.

        A row's value depends on its own prompt and image only: not on its neighbours, its
        position or how many there are.
        """
        ...


class MetricFactory(Protocol):
    """A kind of metric: a class to be loaded, named by entry points of `harness.metrics`."""

    Settings: ClassVar[type]
    """A frozen dataclass: its options, known unloaded."""

    main_part: ClassVar[str]
    """The part that `--metrics NAME=REF` names a checkpoint for; "" for a metric without any."""

    checkpoints: ClassVar[Mapping[str, str]]
    """References of its parts where nothing else is said. A part that is not here has to be given
    by the user or the suite."""

    def load(self, loading: Loading) -> Metric:
        """Load the models onto a device.

        Raises:
            harness.errors.UsageError: A setting it does not have, a device that is not there.
        """
        ...
