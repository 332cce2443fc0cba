"""Measures the images of a finished run by further metrics: a run whose draws that run answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.base import Benchmark
from harness.config import RECORDED_IMAGES, Plugin, RunConfig, read_config
from harness.engine.launch import Execution, work
from harness.engine.sources import Known, Source
from harness.errors import UsageError
from harness.locating import digests, locate
from harness.log import images, integrity, store
from harness.log.manifest import FINISHED, Manifest
from harness.log.measured import measurements
from harness.log.run_folder import RunFolder
from harness.models.bundled import loads_miniature
from harness.models.judges.none import UNJUDGED
from harness.models.metrics.together import chosen, metric_names
from harness.models.suites import ModelSpec, load_suite
from harness.plan import Plan
from harness.prompts import read_prompts
from harness.records import Draw, Prompt, Role, resolve_dtype
from harness.registry import import_paths
from strategies.recorded import Recorded

SUITE = "measured-images"


@dataclass(frozen=True)
class RunPrompts(Benchmark):
    """The prompts that a run keeps, whatever they were of: for metrics that look at prompts."""

    name: ClassVar[str] = "the run"
    scored: ClassVar[bool] = False
    prompts_of_run: tuple[Prompt, ...] = ()

    def prompts(self) -> list[Prompt]:
        """Return them."""
        return list(self.prompts_of_run)


@dataclass(frozen=True)
class RunImages(Source):
    """A source that answers each draw with an image of a run.

    Attributes:
        images: Digests of the images of each prompt, in order.
    """

    folder: RunFolder
    images: dict[str, list[str]]

    def answer(self, prompt: Prompt, replicate: int, draw: Draw, id: str) -> Known:
        """Return a prompt's image of this number, held to its digest."""
        digest = self.images[prompt.id][replicate]
        png = images.read(self.folder.images, digest, check=True)
        unknown = ("seed", "round")
        return Known(id=digest, png=png, image=digest, verdict=UNJUDGED, unknown=unknown)


def measure(
    folder: RunFolder,
    metrics: Sequence[str],
    execution: Execution,
    *,
    command: str,
    model: str | None = None,
    threads: int = 2,
    batch_size: int | None = None,
    observe: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> RunFolder:
    """Measure a run's images; nothing of the run itself is touched.

    Metrics are NAME or NAME=REF; other references are the suite's, without one the miniature's.

    Returns:
        Where the values are: under the run's `metrics/`, by what measured them.

    Raises:
        UsageError: The run is not finished, kept not all images, or has such a metric already.
        HarnessError: An image or the log is damaged, or a metric cannot be loaded.
        Interrupted: Asked to stop; the same command goes on.
    """
    manifest = Manifest.read(folder.manifest)
    config = read_config(manifest.config)
    if not metrics:
        raise UsageError(f"{folder.path} is a run, and no metric is named", "say --metrics NAME")
    if manifest.state != FINISHED:
        raise UsageError(f"{folder.path} is not finished", "measure its images once it is")
    if config.keep_images != "all":
        which = "no images" if config.keep_images == "none" else "selected images only"
        raise UsageError(
            f"{folder.path} kept {which}, and metrics have to see those of all draws",
            "run it again with --keep-images all; --reuse takes what it can of this one",
        )
    integrity.check(folder)
    digests_of = _images(folder)
    prompts = [prompt for prompt in read_prompts(folder, manifest) if prompt.id in digests_of]
    if not prompts:
        raise UsageError(f"{folder.path} has no image", "there is nothing to measure")
    suite = load_suite(model or "miniature")
    with import_paths(allowed=True):  # metrics are the user's own words; nothing else is imported
        spec = chosen(metrics, suite.metric, RunPrompts(tuple(prompts)))
    assert spec is not None
    spec = spec.model_copy(
        update={
            "dtype": resolve_dtype(spec.dtype, execution.device),
            "batch_size": batch_size or spec.batch_size,
        }
    )
    paths = locate({Role.METRIC: spec})
    measuring = RunConfig(
        benchmark=Plugin(name=config.benchmark.name, options=config.benchmark.options),
        replicates=max(map(len, digests_of.values())),
        strategy=Plugin(name=Recorded.name),
        budget=1,
        suite=SUITE,
        miniature=config.miniature or loads_miniature({Role.METRIC: spec}, paths),
        generator=ModelSpec(kind=RECORDED_IMAGES, dtype="float32", settings={"run": manifest.run}),
        judge=ModelSpec(dtype="float32", kind="none"),
        scorer=None,
        metric=spec,
        digests=digests({Role.METRIC: spec}, paths),
        threads=threads,
        keep_images="none",
    )
    into = RunFolder(folder.metrics / measuring.run)
    taken = set(metric_names(config.metric))
    for other, theirs in measurements(folder):
        if other.path != into.path:
            taken |= set(metric_names(read_config(theirs.config).metric))
    if both := sorted(taken & set(metric_names(spec))):
        raise UsageError(f"{folder.path} has the metric '{both[0]}' already", "leave it out")
    searches = tuple((p, n) for p in prompts for n in range(len(digests_of[p.id])))
    work(
        Plan(measuring, tuple(prompts), Recorded(), paths, searches),
        execution,
        into,
        command=command,
        observe=lambda progress: observe(progress.searches_ended, progress.searches_total),
        stop=stop,
        source=nullcontext(RunImages(folder, digests_of)),
    )
    return into


def _images(folder: RunFolder) -> dict[str, list[str]]:
    """Return the digests of the images that each prompt has, each once, in the log's order."""
    counts_of: dict[str, Counter[str]] = {}
    for row in store.read(folder.log, "candidates", ["prompt_id", "image"]).to_pylist():
        if row["image"] is not None:
            counts_of.setdefault(row["prompt_id"], Counter())[row["image"]] += 1
    return {prompt: sorted(counts) for prompt, counts in counts_of.items()}
