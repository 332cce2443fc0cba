"""Makes a run folder of what others produced, so that it gets the same curves and tables.

The log says what is known and leaves open what is not: no seeds, no costs, not what a draw was
conditioned on. What should be there and is not, or cannot be read, is a row with its error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.geneval import metadata
from harness.analysis.curves import run_curves
from harness.analysis.loading import load_run
from harness.analysis.logged_run import known_mean
from harness.analysis.measurement import sizes_total
from harness.config import FOREIGN, RECORDED_JUDGE, RECORDED_SCORER, Plugin, RunConfig
from harness.engine.launch import folder_for, totals
from harness.engine.pending import OpenSearch, Pending
from harness.engine.rows import candidate_row, search_row
from harness.engine.searches import Search
from harness.engine.sources import Known
from harness.errors import UsageError
from harness.log import images as encoded
from harness.log import shards
from harness.log.environment import environment
from harness.log.images import ImageStore
from harness.log.manifest import Manifest, PromptSet, now
from harness.log.prompts import write_prompts
from harness.log.run_folder import RunFolder
from harness.log.schema import TABLES
from harness.log.store import LogWriter
from harness.models.suites import ModelSpec
from harness.records import Draw, Request, Role
from harness.scoring.images import BadImage, read
from harness.scoring.layout import hub_store
from harness.scoring.reflect_dit import Attempt, Chain, Output, read_output
from harness.seeds import digest, recorded_id
from strategies.recorded import Recorded

SUITE = "reflect-dit-script"
_PNG = b"\x89PNG"


@dataclass(frozen=True)
class Imported:
    """What an import found.

    Attributes:
        searches: Searches, one a folder.
        budget: The most images of a search.
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
) -> Imported:
    """Import the output folder of the official Reflect-DiT script.

    A search is read as published: it ends at the first image the judge accepted, and its last
    image is what it selected. A chain that breaks off before acceptance has failed draws for
    the rest, and its last image is carried forward all the same. A prompt whose metadata is no
    good is named, and its searches have verdicts and no scores.

    Args:
        source: The script's output folder, the one with `00000/`, `00001/` and so on.
        folder: The run folder to make; must not hold anything.
        command: The command line, for the manifest.
        keep_images: Whether images are copied into the run.
        observe: Called with how many prompts are done, of how many.

    Raises:
        UsageError: `source` has not the layout or no feedback files, or `folder` is taken.
        HarnessError: The metadata of every prompt is no good, or a file cannot be written.
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
    config = _config(output, budget, keep_images)
    prompts = list({chain.prompt.id: chain.prompt for chain in chains}.values())
    manifest = Manifest(
        run=config.run,
        config=config.model_dump(mode="json"),
        config_digest=config.digest,
        prompt_set=PromptSet.of(prompts),
        command=command,
        environment=environment(),
        created=now(),
    )
    with folder_for(folder.path):
        writer = _Writer(source, folder, config, keep_images)
        for done, chain in enumerate(chains, start=1):
            writer.write(chain)
            observe(done, len(chains))
        writer.log.compact()
        write_prompts(folder, prompts)
        files = [s.path.name for table in TABLES for s in shards.discover(folder.log, table)]
        # Last, so that a folder without a manifest is an import that was interrupted.
        sums = totals(folder, judged=config.judged) | sizes_total(writer.sizes)
        manifest.finished(sums, files).write(folder.manifest)
    return Imported(
        searches=len(chains),
        budget=budget,
        refused=sum(bool(chain.refusal) for chain in chains),
        shares=writer.shares,
        problems=tuple(writer.problems),
        warnings=tuple(
            metadata.warnings(p.metadata for p in prompts if p.metadata) if output.geneval else ()
        ),
        surplus=writer.surplus,
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
    content = [
        [c.folder, [[i, _said(attempt)] for i, attempt in sorted(c.attempts.items())]]
        for c in chains
    ]
    return RunConfig(
        benchmark=Plugin(name="geneval" if geneval else SUITE),
        replicates=1 + max(chain.replicate for chain in chains),
        strategy=Plugin(name=Recorded.name),
        budget=budget,
        suite=SUITE,
        generator=ModelSpec(kind=FOREIGN, settings={"files": digest(content)[:32]}),
        judge=ModelSpec(kind=RECORDED_JUDGE),
        scorer=ModelSpec(kind=RECORDED_SCORER) if geneval else None,
        # One image that the benchmark itself judged is enough to make the score an upper bound.
        oracle=geneval and not all(a.own_judge for c in chains for a in c.attempts.values()),
        keep_images="all" if keep_images else "none",
    )


def _said(attempt: Attempt) -> list[object]:
    verdict, score = attempt.verdict, attempt.score
    judged = [verdict.accepted, verdict.sentence] if verdict else []
    return [attempt.error, *judged, score.correct if score else attempt.share]


class _Writer:
    """Writes chains into a run's log. Has state: the log, and what went wrong."""

    def __init__(
        self, source: Path, folder: RunFolder, config: RunConfig, keep_images: bool
    ) -> None:
        self.log = LogWriter(folder.log)
        self.problems: list[str] = []
        self.surplus = 0
        self.shares = 0
        self.sizes: set[tuple[int, int]] = set()
        self._source = source
        self._config = config
        self._images = ImageStore(folder.images) if keep_images else None

    def write(self, chain: Chain) -> None:
        """Follow the script's search through a chain."""
        config = self._config
        search = Search(Recorded(), chain.prompt, chain.replicate, budget=config.budget, run_seed=0)
        waiting = list(search.start())
        asked = set()
        while waiting:
            draw = waiting.pop(0)
            asked.add(draw.index)
            pending = self._pending(search, draw, chain.attempts.get(draw.index), chain.refusal)
            # Neither the seed of such an image nor what it was conditioned on is on record.
            unknown = {"seed": None, "feedback": None}
            self.log.append("candidates", candidate_row(config.run, pending) | unknown)
            waiting += search.answer(pending.candidate())
        self.log.append("searches", search_row(config.run, search))
        self.surplus += len(chain.attempts.keys() - asked)
        self.problems += [*filter(None, [chain.refusal]), *chain.problems]
        if lacking := sorted(asked - chain.attempts.keys()):
            where = f"from {lacking[0]:05d} on" if len(lacking) > 1 else f"{lacking[0]:05d}"
            self.problems.append(
                f"{chain.folder}: no feedback on {len(lacking)} of {len(asked)} images ({where})"
            )

    def _pending(
        self, search: Search, draw: Draw, attempt: Attempt | None, refusal: str
    ) -> Pending:
        prompt, known = search.prompt, Known()
        if attempt is None:
            known.errors[Role.JUDGE] = "no feedback file"
        elif attempt.error:
            self.problems.append(attempt.error)
            known.errors[Role.JUDGE] = attempt.error
        else:
            known.verdict = attempt.verdict
            self.shares += attempt.share is not None
            if self._config.scorer is not None:
                self._score(known, attempt, refusal)
        if attempt is not None and self._images is not None:
            known.image = self._copy(attempt.image)
        name = recorded_id(prompt.id, search.replicate, draw.index, known.image)
        return Pending(OpenSearch(search), draw, Request(name, prompt.text, 0, {}), known)

    def _score(self, known: Known, attempt: Attempt, refusal: str) -> None:
        """Take the benchmark's score, or say why there is none: unknown is no failure to draw."""
        if refusal or attempt.score is None:
            known.errors[Role.SCORER] = refusal or attempt.unscored
            self.problems += [attempt.unscored] if attempt.unscored else []
        else:
            known.score = attempt.score

    def _copy(self, path: Path) -> str | None:
        """Keep an image; one that is missing or no good is named, and its verdict stands."""
        assert self._images is not None
        try:
            picture = read(path, hub_store(self._source))
        except BadImage as error:
            self.problems.append(error.message)
            return None
        data = picture.encoded
        if not data.startswith(_PNG):
            data = encoded.encode(encoded.decode(data))
        self._images.write(picture.digest, data)
        self.sizes.add((picture.height, picture.width))
        return picture.digest
