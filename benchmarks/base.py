"""The interface of benchmarks: prompts, and (perhaps) a scorer for images made for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, runtime_checkable

from harness.errors import UsageError
from harness.records import Cost, Evidence, Image, Loading, Prompt, Score


@runtime_checkable
class Scorer(Protocol):
    """Grades images for prompts. Its word is the benchmark's metric, never a strategy's guide."""

    def score(self, prompts: Sequence[Prompt], images: Sequence[Image]) -> list[tuple[Score, Cost]]:
        """Grade image i for prompt i, in order.

        A row's result depends on its own prompt and image only: not on its neighbours, its
        position or how many there are. The cost holds what the models can count (FLOPs); the
        worker that runs them adds the device-seconds.
        """
        ...


@dataclass(frozen=True, slots=True)
class Scored:
    """An image file from elsewhere, its place among its prompt's images, and its score, if any."""

    prompt: Prompt
    replicate: int
    file: str
    score: Score | None


@dataclass(frozen=True, slots=True)
class VariantScore:
    """What the official program makes of images, and what the patched one does.

    Attributes:
        measure: "score", or a category.
        official: By the official program; None where it has nothing to average.
        patched: By the patched one; likewise.
        counts: What the official program loses, by what it is.
    """

    measure: str
    official: float | None
    patched: float | None
    counts: Mapping[str, int]


@dataclass(frozen=True)
class GradingPasses:
    """Forward passes that grading one image takes, of networks with arbitrary weights.

    Attributes:
        image: Once for every image.
        color: Once more for each object whose colour is named; its detection is logged with one.
        asks_color: Whether colours may be named in an image of a prompt.
    """

    image: Callable[[], Any]
    color: Callable[[], Any]
    asks_color: Callable[[Prompt], bool]


@dataclass(frozen=True)
class Benchmark(ABC):
    """A set of prompts and the scorer that belongs to it.

    A benchmark is a frozen dataclass whose fields are its options (`-B name=value` on the
    command line); the names and types of the fields are all the declaration that is needed.
    """

    name: ClassVar[str]
    """What it is called on the command line and in the log."""

    scored: ClassVar[bool] = True
    """Whether it has a scorer. Without one a run ends with images and judge's verdicts."""

    external: ClassVar[bool] = False
    """Whether its prompts come from outside the package that it is part of, such as a file of the
    user's, so that its name and options do not say which they are."""

    prompt_options: ClassVar[frozenset[str]] = frozenset()
    """Options that decide over the prompts and nothing else. Whether two runs have the same prompts
    is seen from these themselves."""

    file_options: ClassVar[frozenset[str]] = frozenset()
    """Options about files of images from elsewhere, which a run that makes its own has none of."""

    parts: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Its scorer's checkpoints: for each part the reference that is loaded where neither a suite
    nor --scorer names one; "" where one of them has to. They are in a run's identity, and no other
    benchmark's are."""

    matches_images: ClassVar[bool] = False
    """Whether images from elsewhere are matched to its own prompts, by text, id or number. Else
    metadata beside them say what they were made for."""

    drops_alpha: ClassVar[bool] = False
    """Whether a transparent image from elsewhere has its alpha channel dropped, as the official
    program does. Else it is refused."""

    notice: ClassVar[str] = ""
    """What must be said whenever it is used, such as its data's licence."""

    @abstractmethod
    def prompts(self) -> list[Prompt]:
        """All prompts in their official order.

        Raises:
            harness.errors.UsageError: The options or a file they name are no good.
        """

    def scorer_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the scorer's settings with defaults filled in, by which runs are compared.

        `dtype` and `batch_size` are not among them: they have places of their own.

        Raises:
            harness.errors.UsageError: A setting is unknown or its value is no good.
        """
        return dict(settings)

    def rescore(
        self, prompt: Prompt, evidence: Evidence, settings: Mapping[str, Any]
    ) -> Score | None:
        """Grade an image anew from what its score put on record, without any model.

        The settings are complete, as `scorer_settings` returns them. None: scores of this benchmark
        do not follow from what is logged.

        Raises:
            harness.errors.HarnessError: No image of this prompt can have a score, or not enough
                is logged.
        """
        return None

    def by_skill(
        self, prompt: Prompt, evidence: Evidence, settings: Mapping[str, Any]
    ) -> Sequence[tuple[str, float]]:
        """Return what an image adds to the means by skill: a skill and a grade for each question.

        Arguments are those of `rescore`.
        """
        return ()

    def failure_kinds(self, score: Score) -> Sequence[str]:
        """Return the kinds of what is wrong with an image, each once; none where nobody says."""
        return ()

    def variants(self, scored: Sequence[Scored]) -> Sequence[VariantScore]:
        """Return how an official program with known faults differs from its patched variant.

        Nothing where there is no such program, or these answers do not say.

        Raises:
            harness.errors.HarnessError: The benchmark's data are not here.
        """
        return ()

    def result_files(
        self, scored: Sequence[Scored], settings: Mapping[str, Any]
    ) -> Mapping[str, str]:
        """Return what the official program would write of scored images: texts by file name.

        They come by prompt in the benchmark's order; a prompt without any is absent.
        """
        return {}

    def grading_passes(self, loading: Loading, height: int, width: int) -> GradingPasses | None:
        """Build what the scorer runs for one image from configuration files, to count its FLOPs.

        Height and width are in pixels. None: what the scorer takes is not known without running it.
        """
        return None

    def metadata(self, row: Any) -> Mapping[str, Any]:
        """Return what somebody wrote beside an image of theirs as a prompt's metadata.

        That is as the scorer reads it, with the prompt's text as `prompt`.

        Raises:
            harness.errors.UsageError: No prompt of this benchmark has such metadata.
        """
        raise UsageError(f"images made for {self.name} are not known by metadata beside them")

    def metadata_warnings(self, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return what has to be said of prompts before images are scored for them."""
        return []

    def load_scorer(self, loading: Loading) -> Scorer:
        """Load the scorer's models on a device.

        Raises:
            harness.errors.UsageError: A setting is unknown or its value is no good.
            harness.errors.HarnessError: A checkpoint is missing or not what it should be.
        """
        raise NotImplementedError(f"{self.name} has no scorer")
