"""Makes a run of what others produced, so that it gets the same curves and tables.

It is a run in which no model is asked: what the other program left answers every draw.

The log says what is known and leaves open what is not: no seeds, no costs, not what a draw was
conditioned on. What should be there and is not, or cannot be read, is a row with its error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks.geneval import metadata
from harness.analysis.curves import run_curves
from harness.config import RECORDED_IMAGES, RECORDED_JUDGE, RECORDED_SCORER, Plugin, RunConfig
from harness.engine.launch import Execution, work
from harness.engine.sources import Known, Source
from harness.errors import UsageError
from harness.interop.images import BadImage, read
from harness.interop.layout import hub_store
from harness.interop.reflect_dit import Attempt, Output, read_output
from harness.log.run_folder import RunFolder
from harness.models.suites import ModelSpec
from harness.plan import Plan
from harness.records import Draw, Prompt, Role
from harness.runs.loading import load_run
from harness.runs.measurement import sizes_total
from harness.seeds import digest, recorded_id
from harness.statistics.intervals import known_mean
from strategies.recorded import Recorded

SUITE = "reflect-dit-script"


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    Attributes:
        refused: Searches without scores, since the metadata of their prompt is no good.
        shares: Draws whose scores are shares between 0 and 1, which are left unknown.
        problems: Metadata, feedback files or images that are missing or no good.
        warnings: What prompts ask for that GenEval has not.
        surplus: Images after an accepted one, which the script would not have made and which
            are left out; a rerun into an old folder leaves such.
    """

    searches: int
    budget: int
    refused: int
    shares: int
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    surplus: int


def import_reflect_dit(
    source: Path,
    folder: RunFolder,
    *,
    command: str,
    keep_images: bool = True,
    observe: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Imported:
    """Import the output folder of the official Reflect-DiT script.

    A search is read as published: it ends at the first image the judge accepted, and its last
    image is what it selected. A chain that breaks off before acceptance has failed draws for
    the rest, and its last image is carried forward all the same. A prompt whose metadata is no
    good is named, and its searches have verdicts and no scores.

    Raises:
        UsageError: `source` has not the layout or no feedback files, or `folder` is taken.
        HarnessError: The metadata of every prompt is no good, or a file cannot be written.
        Interrupted: Asked to stop; what is there cannot be gone on with.
    """
    output = read_output(source)
    chains = output.chains
    budget = max((index + 1 for chain in chains for index in chain.attempts), default=0)
    if not budget:
        raise UsageError(
            f"{source} holds no feedback files", "expected 00012/samples/00003.png.feedback.json"
        )
    if folder.path.exists() and any(path.name != ".lock" for path in folder.path.iterdir()):
        raise UsageError(f"{folder.path} is not empty", "choose another --out")
    prompts = tuple({chain.prompt.id: chain.prompt for chain in chains}.values())
    config = _config(output, budget, keep_images)
    searches = tuple((chain.prompt, chain.replicate) for chain in chains)
    answers = ScriptOutput(source, output, keep_images=keep_images)
    work(
        Plan(config, prompts, Recorded(), {}, searches),
        Execution(executor="inline"),
        folder,
        command=command,
        observe=lambda progress: observe(progress.searches_ended, progress.searches_total),
        stop=stop,
        source=nullcontext(answers),
        count=lambda: sizes_total(answers.sizes),
    )
    return Imported(
        searches=len(chains),
        budget=budget,
        refused=sum(bool(chain.refusal) for chain in chains),
        shares=answers.shares,
        problems=tuple(answers.problems()),
        warnings=tuple(
            metadata.warnings(p.metadata for p in prompts if p.metadata) if output.geneval else ()
        ),
        surplus=answers.surplus,
    )


def row_of_budgets(folder: RunFolder) -> dict[int, float]:
    """Micro score at N = 4, 8, 12, … as the published analysis prints it.

    Source: `inference_scripts/analysis.py` of github.com/jacklishufan/Reflect-DiT: the image
    of index N − 1, or the last before it where the search had ended; over prompts with a score.
    """
    own = run_curves(load_run(folder.path)).own
    micro = dict(zip(own.budgets.tolist(), known_mean(own.scores).tolist(), strict=True))
    return {n: score for n, score in micro.items() if n % 4 == 0}


def _config(output: Output, budget: int, keep_images: bool) -> RunConfig:
    # The script's "correct" is GenEval's only for GenEval's prompts: a dummy's for custom ones.
    chains, geneval = output.chains, output.geneval

    def fields(attempt: Attempt) -> list[object]:
        verdict, score = attempt.verdict, attempt.score
        judged = [verdict.accepted, verdict.sentence] if verdict else []
        return [attempt.error, *judged, score.correct if score else attempt.share]

    content = [
        [c.folder, [[i, fields(attempt)] for i, attempt in sorted(c.attempts.items())]]
        for c in chains
    ]
    return RunConfig(
        benchmark=Plugin(name="geneval" if geneval else SUITE),
        replicates=1 + max(chain.replicate for chain in chains),
        strategy=Plugin(name=Recorded.name),
        budget=budget,
        suite=SUITE,
        generator=ModelSpec(kind=RECORDED_IMAGES, settings={"files": digest(content)[:32]}),
        judge=ModelSpec(kind=RECORDED_JUDGE),
        scorer=ModelSpec(kind=RECORDED_SCORER) if geneval else None,
        # One image that the benchmark itself judged is enough to make the score an upper bound.
        oracle=geneval and not all(a.own_judge for c in chains for a in c.attempts.values()),
        keep_images="all" if keep_images else "none",
    )


class ScriptOutput(Source):
    """A source that answers draws with what the script left. Has state: what went wrong.

    Attributes:
        shares: Draws whose scores are shares between 0 and 1.
        sizes: Heights and widths of the images.
    """

    def __init__(self, root: Path, output: Output, *, keep_images: bool) -> None:
        self.shares = 0
        self.sizes: set[tuple[int, int]] = set()
        self._store = hub_store(root)
        self._geneval = output.geneval
        self._keep_images = keep_images
        self._chains = {(chain.prompt.id, chain.replicate): chain for chain in output.chains}
        self._asked = {chain.folder: set[int]() for chain in output.chains}
        self._problems: dict[str, list[str]] = {chain.folder: [] for chain in output.chains}

    def answer(self, prompt: Prompt, replicate: int, draw: Draw, id: str) -> Known:
        """Return what is on record of one image of a search."""
        chain = self._chains[prompt.id, replicate]
        self._asked[chain.folder].add(draw.index)
        problems = self._problems[chain.folder]
        attempt = chain.attempts.get(draw.index)
        # Neither the seed of such an image nor what it was conditioned on, and when, is on record.
        known = Known(unknown=("seed", "feedback", "round"))
        if attempt is None:
            known.errors[Role.JUDGE] = "no feedback file"
        elif attempt.error:
            known.errors[Role.JUDGE] = attempt.error
            problems.append(attempt.error)
        else:
            known.verdict = attempt.verdict
            self.shares += attempt.share is not None
            if self._geneval:
                problems += filter(None, [attempt.unscored])
                if unscored := chain.refusal or attempt.unscored:
                    known.errors[Role.SCORER] = unscored  # unknown is no failure to draw
                else:
                    known.score = attempt.score
        if attempt is not None and self._keep_images:
            try:
                picture = read(attempt.image, self._store)
                known.image, known.png = picture.digest, picture.encoded
                self.sizes.add((picture.height, picture.width))
            except BadImage as error:  # its verdict stands
                problems.append(error.message)
        known.id = recorded_id(prompt.id, replicate, draw.index, known.image)
        return known

    @property
    def surplus(self) -> int:
        """Images that no search asked for."""
        return sum(len(c.attempts.keys() - self._asked[c.folder]) for c in self._chains.values())

    def problems(self) -> Iterator[str]:
        """Yield what is missing or no good, search by search."""
        for chain in self._chains.values():
            yield from self._problems[chain.folder]
            yield from filter(None, [chain.refusal])
            yield from chain.problems
            asked = self._asked[chain.folder]
            if missing := sorted(asked - chain.attempts.keys()):
                where = f"from {missing[0]:05d} on" if len(missing) > 1 else f"{missing[0]:05d}"
                yield (
                    f"{chain.folder}: no feedback on {len(missing)} of {len(asked)} images "
                    f"({where})"
                )
