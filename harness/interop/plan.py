"""From a folder of images and a scorer's references to what will be scored: all checked first."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.base import Benchmark
from benchmarks.prompt_file import PromptFile
from harness.config import RECORDED_IMAGES, Plugin, RunConfig
from harness.errors import HarnessError, UsageError
from harness.interop.layout import PromptFolder, group, passed_over, read_layout
from harness.interop.matching import match
from harness.locating import digests, locate
from harness.models.bundled import loads_miniature
from harness.models.metrics.together import chosen
from harness.models.suites import ModelSpec, Suite, load_suite
from harness.options import build, resolved
from harness.plan import Plan, scorer_spec
from harness.records import Prompt, Role, resolve_dtype
from harness.registry import BENCHMARKS, import_paths
from harness.seeds import digest
from strategies.recorded import Recorded

SUITE = "foreign-images"
"""Name of the suite in the config of such a run: nobody knows what made the images."""

MINIATURE, OFFICIAL = "miniature", "sana-1.0-1.6b"
"""Suites with the bundled scorer and with none but the benchmark's own."""

MMDET = "mmdet"
"""As a detector: run by mmdet, the original. As a prefix, the reference comes after a colon."""


@dataclass(frozen=True)
class ImageFile:
    """One image to be scored.

    Attributes:
        replicate: Its place among the prompt's images, from 0.
        refusal: Why it cannot be scored whatever it shows; "" if it can.
    """

    prompt: Prompt
    replicate: int
    path: Path
    refusal: str = ""


@dataclass(frozen=True)
class ScoringAsk:
    """The request of the user, as given.

    Attributes:
        prompts: A file of the prompts that the images of one flat folder were made for, with what
            the benchmark's metadata holds. None: metadata lie beside the images.
        model: Suite whose scorer is used. None: the miniature, or the official scorer where a
            part is given that is not bundled, since the miniature's parts go with no others.
        scorer: Other checkpoint references, by part. A detector "mmdet" or "mmdet:REF" is run by
            mmdet: the suite's own, or REF.
        dtype: Number type, or None for the suite's.
        batch_size: Images of the one batch shape, or None for the suite's.
        benchmark: Whose prompts the images were made for, and whose scorer grades them.
    """

    images: Path
    prompts: Path | None = None
    model: str | None = None
    scorer: Mapping[str, str] | None = None
    settings: Mapping[str, str] | None = None
    metrics: tuple[str, ...] = ()
    dtype: str | None = None
    batch_size: int | None = None
    threads: int = 2
    device: str = "cpu"
    benchmark: str = "geneval"
    benchmark_options: Mapping[str, str] | None = None


@dataclass(frozen=True)
class ScoringPlan:
    """The images to be scored, and the scorer.

    Attributes:
        plan: As of a run with one draw a search, whose images are there already.
        refusals: Prompts whose metadata is no good: why, naming file, line and key.
        warnings: What has to be said before anything is scored.
        drops_alpha: Whether transparency is dropped, not refused.
    """

    plan: Plan
    root: Path
    files: tuple[ImageFile, ...]
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    drops_alpha: bool = False


class NothingToScore(HarnessError):
    """The metadata of every prompt with images is refused.

    Attributes:
        refusals: Why, naming file, line and key of each.
    """

    def __init__(self, images: Path, refusals: Sequence[str], benchmark: str) -> None:
        super().__init__(
            f"nothing in {images} can be scored: no prompt's metadata is good, such as "
            f"{refusals[0]}",
            f"the scorer of {benchmark} grades images made for its prompts",
        )
        self.refusals = tuple(refusals)


def is_scoring(config: Mapping[str, object]) -> bool:
    """Return whether a config is one of scored images, not of a run that makes its own."""
    return config["suite"] == SUITE


@import_paths(allowed=True)
def plan_scoring(ask: ScoringAsk) -> ScoringPlan:
    """Check a request and resolve everything in it.

    Folders of equal metadata are one prompt, as the official summary counts them: its id is the
    name of the first of them, and the images of all are its replicates.

    Raises:
        UsageError: The folder has not the layout, or a name or value is no good.
        NothingToScore: No prompt's metadata is the benchmark's.
        HarnessError: A checkpoint is missing here.
    """
    ask = _with_backend(ask)
    benchmark = build(BENCHMARKS.get(ask.benchmark), ask.benchmark_options or {}, flag="-B")
    if not benchmark.scored:
        raise UsageError(f"benchmark '{ask.benchmark}' has no scorer", "choose another --benchmark")
    root = ask.images if ask.images.is_dir() else ask.images.parent
    refusals: list[str] = []
    if benchmark.matches_images:
        if ask.prompts is not None:
            raise UsageError(
                f"--prompts: {benchmark.name} has prompts of its own",
                "its images are matched to them; -B names their file",
            )
        matched = match(ask.images, benchmark.prompts())
        files = _numbered((prompt, path, "") for prompt, path in matched.files)
        prompts, notes = tuple({f.prompt.id: f.prompt for f in files}.values()), list(matched.notes)
    else:
        if ask.prompts is None:
            folders = read_layout(ask.images, benchmark.metadata)
            notes = passed_over(folders)
        else:
            folders, notes = _flat(ask.images, ask.prompts, benchmark)
        prompts, files = _files(folders)
        if without := sum(not folder.images for folder in folders):
            verb = "counts" if without == 1 else "count"
            plural = "s" if without > 1 else ""
            notes.append(f"{without} folder{plural} without any image, which {verb} for nothing")
        if not files:
            hint = "; ".join(notes) or "expected 00000/samples/0000.png"
            raise UsageError(f"{ask.images} holds no images", hint)
        refusals = [folder.refusal for folder in folders if folder.refusal]
        if all(file.refusal for file in files):
            raise NothingToScore(ask.images, refusals, benchmark.name)
        notes += benchmark.metadata_warnings(
            prompt.metadata for prompt in prompts if prompt.metadata
        )
    is_bundled = all(ref.startswith("bundled:") for ref in (ask.scorer or {}).values())
    suite = load_suite(ask.model or (MINIATURE if is_bundled else OFFICIAL))
    spec = _scorer(benchmark, suite, ask)
    specs = {Role.SCORER: spec}
    if (metrics := chosen(ask.metrics, suite.metric, benchmark)) is not None:
        dtype = resolve_dtype(ask.dtype or metrics.dtype, ask.device)
        specs[Role.METRIC] = metrics.model_copy(update={"dtype": dtype})
    paths = locate(specs)
    config = RunConfig(
        benchmark=Plugin(
            name=ask.benchmark, options=resolved(benchmark) if benchmark.matches_images else {}
        ),
        replicates=1 + max(file.replicate for file in files),
        strategy=Plugin(name=Recorded.name),
        budget=1,
        suite=SUITE,
        miniature=(
            suite.miniature and not suite.scorer.checkpoints.keys() <= (ask.scorer or {}).keys()
        )
        or loads_miniature(specs, paths),
        generator=ModelSpec(
            kind=RECORDED_IMAGES, dtype="float32", settings={"files": _listing(root, files)}
        ),
        judge=ModelSpec(dtype="float32", kind="none"),
        scorer=spec,
        metric=specs.get(Role.METRIC),
        digests=digests(specs, paths),
        threads=ask.threads,
        keep_images="none",
    )
    if benchmark.notice:
        notes.append(benchmark.notice)
    return ScoringPlan(
        Plan(config, prompts, Recorded(), paths, tuple((f.prompt, f.replicate) for f in files)),
        root,
        files,
        tuple(refusals),
        tuple(notes),
        benchmark.drops_alpha,
    )


def _flat(
    images: Path, prompts: Path, benchmark: Benchmark
) -> tuple[list[PromptFolder], list[str]]:
    """Return what a flat folder holds of each prompt of a file, as if the prompt had a folder."""
    known, refusals = [], {}
    for prompt in PromptFile(path=str(prompts)).prompts():
        row = {**prompt.metadata, "prompt": prompt.text}
        try:
            metadata = benchmark.metadata({**row, "tag": prompt.tag} if prompt.tag else row)
        except UsageError as error:
            refusals[prompt.id] = f"{prompts}, prompt '{prompt.id}': {error.message}"
            known.append(prompt)
        else:
            known.append(replace(prompt, metadata=metadata))
    matched = match(images, known)
    folders = [
        PromptFolder(images, prompt, tuple(path for _, path in files), refusals.get(prompt.id, ""))
        for prompt, files in itertools.groupby(matched.files, key=lambda file: file[0])
    ]
    return folders, list(matched.notes)


def _numbered(files: Iterable[tuple[Prompt, Path, str]]) -> tuple[ImageFile, ...]:
    """Return files, each with why it is refused, with their places among those of a prompt."""
    images: Counter[str] = Counter()
    numbered = []
    for prompt, path, refusal in files:
        numbered.append(ImageFile(prompt, images[prompt.id], path, refusal))
        images[prompt.id] += 1
    return tuple(numbered)


def _files(folders: Sequence[PromptFolder]) -> tuple[tuple[Prompt, ...], tuple[ImageFile, ...]]:
    """Return the prompts of some folders, each once, and all images in the folders' order."""
    prompts = group([(folder.prompt, folder.refusal) for folder in folders])
    files = _numbered(
        (prompt, path, folder.refusal)
        for folder, prompt in zip(folders, prompts, strict=True)
        for path in folder.images
    )
    return tuple({prompt.id: prompt for prompt in prompts}.values()), files


def _with_backend(ask: ScoringAsk) -> ScoringAsk:
    """The same request with the detector's backend as the scorer setting that it is."""
    name, _, ref = (ask.scorer or {}).get("detector", "").partition(":")
    if name != MMDET:
        return ask
    others = {part: other for part, other in (ask.scorer or {}).items() if part != "detector"}
    return replace(
        ask,
        scorer={**others, "detector": ref} if ref else others,
        settings={**(ask.settings or {}), "backend": MMDET},
    )


def _scorer(benchmark: Benchmark, suite: Suite, ask: ScoringAsk) -> ModelSpec:
    spec = scorer_spec(benchmark, suite.scorer, ask.scorer or {})
    settings = {**spec.settings, **(ask.settings or {})}
    for name, flag in (("dtype", "--dtype"), ("batch_size", "--batch-size")):
        if name in settings:
            raise UsageError(f"the scorer's {name} is given with {flag}, not as a setting")
    return spec.model_copy(
        update={
            "dtype": resolve_dtype(ask.dtype or spec.dtype, ask.device),
            "batch_size": ask.batch_size or spec.batch_size,
            "settings": benchmark.scorer_settings(settings),
        }
    )


def named(path: Path, root: Path) -> str:
    """Return a file's name in its folder; a dictionary's files may lie anywhere."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _listing(root: Path, files: Sequence[ImageFile]) -> str:
    """Digest of which files there are, how large and how old: changed files, another run."""
    rows = []
    for file in files:
        # A link that leads nowhere is refused later, by name, like other bad files.
        status = file.path.stat() if file.path.exists() else file.path.lstat()
        rows.append(
            [named(file.path, root), status.st_size, status.st_mtime_ns, dict(file.prompt.metadata)]
        )
    return digest(rows)[:32]
