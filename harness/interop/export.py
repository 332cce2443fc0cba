"""A run's images and draws in the forms that other people's tools read.

`geneval` and `dpg-bench` hold the image that each search selected, as those benchmarks' evaluators
read them. `hf-dataset` and `fiftyone` hold every draw whose image was kept, and `csv` every draw
(`harness.interop.draws`). Every image is checked against its digest on the way.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.dpg_bench.grids import GRID, join
from benchmarks.geneval import metadata
from harness.config import RECORDED_IMAGES
from harness.errors import HarnessError, UsageError
from harness.interop.layout import SAMPLES, write_prompt
from harness.interop.plan import is_scoring
from harness.log import images
from harness.log.files import new_folder
from harness.log.frame import load, load_searches
from harness.log.location import Location
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.prompts import read_prompts
from harness.records import Prompt

Observe = Callable[[int, int], None]

_FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")


@dataclass(frozen=True)
class Export:
    """The files that were written.

    Attributes:
        missing: Searches or draws without an exported image, as "prompt 00012, replicate 0: why".
    """

    prompts: int
    images: int
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """One search and the image that it selected.

    Attributes:
        name: Of the prompt among files: its id where that is a number, as GenEval's official ids
            are, else its place in the benchmark.
        why: Why there is none.
    """

    prompt: Prompt
    name: str
    replicate: int
    png: bytes | None
    why: str = ""

    @property
    def missing(self) -> str:
        """The sentence about a search without an image."""
        return f"prompt {self.prompt.id}, replicate {self.replicate}: {self.why}"


def export(
    run: Path, out: Path, layout: str = "geneval", *, observe: Observe = lambda done, total: None
) -> Export:
    """Write the image that each search selected to a folder that is new or empty.

    The layout is "geneval", one sample a replicate; or "dpg-bench", a file for each prompt, named
    by its id, that is the image of its one search or a grid of those of four. `observe` is called
    with how many searches are done, of how many.

    Raises:
        UsageError: There is no such run, it kept no images, or `out` holds something.
        HarnessError: The log is damaged, no image is there, or a file cannot be written.
    """
    folder, manifest = with_images(run)
    check_free(out)
    choices = _choices(folder, manifest, observe)
    with new_folder(out) as place:
        if layout == "dpg-bench":
            written = _write_grids(choices, place, int(manifest.config["replicates"]))
        else:
            written = _write_samples(choices, place)
        if written.missing and not written.images:
            raise nothing_to_export(run, written.missing)
    return written


def nothing_to_export(run: Path, missing: Sequence[str]) -> HarnessError:
    """Return the error about a run without any image to export, given each one's reason."""
    return HarnessError(
        f"none of the images of {run} is there: {missing[0] if missing else 'no draw has one'}",
        f"python -m harness repair {shlex.quote(str(run))} says what of it is intact",
    )


def with_images(run: Path) -> tuple[RunFolder, Manifest]:
    """Return a run that keeps images.

    Raises:
        UsageError: There is none, or it keeps none.
    """
    folder = RunFolder.existing(run)
    manifest = Manifest.read(folder.manifest)
    if manifest.config["keep_images"] == "none":
        raise _no_images(run, manifest)
    return folder, manifest


def check_free(out: Path) -> None:
    """Refuse to write over anything.

    Raises:
        UsageError: `out` is a file, or a folder that holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists and is not an empty folder", "choose another --out")


def _write_samples(choices: Iterator[Choice], out: Path) -> Export:
    written, missing, seen = 0, [], set()
    for choice in choices:
        if choice.name not in seen:
            seen.add(choice.name)
            write_prompt(out / choice.name, _metadata(choice.prompt))
        if choice.png is None:
            missing.append(choice.missing)
        else:
            (out / choice.name / SAMPLES / f"{choice.replicate:04d}.png").write_bytes(choice.png)
            written += 1
    return Export(len(seen), written, tuple(missing))


def _write_grids(choices: Iterator[Choice], out: Path, replicates: int) -> Export:
    """Write a file a prompt, in DPG-Bench's form; one whose images are not all there has none."""
    if replicates not in (1, GRID):
        raise UsageError(
            f"a run of {replicates} images a prompt makes no files of DPG-Bench's form",
            f"it takes 1, or {GRID} for grids of two by two: --replicates {GRID}",
        )
    prompts, written, missing = 0, 0, []
    for prompt_id, group in itertools.groupby(choices, key=lambda choice: choice.prompt.id):
        of_prompt = list(group)
        prompts += 1
        missing += [choice.missing for choice in of_prompt if choice.png is None]
        pixels = [images.decode(choice.png) for choice in of_prompt if choice.png is not None]
        if len(pixels) < replicates:
            continue
        # Ids with dots or strokes would not be found again, or lie elsewhere.
        name = prompt_id if _FILE_NAME.fullmatch(prompt_id) else of_prompt[0].name
        (out / f"{name}.png").write_bytes(images.encode(join(pixels)))
        written += 1
    return Export(prompts, written, tuple(missing))


def _choices(folder: RunFolder, manifest: Manifest, observe: Observe) -> Iterator[Choice]:
    """Yield the ended searches of a run, each with its image."""
    names = _folder_names(read_prompts(folder, manifest))
    frame = load(folder.path)
    chosen = frame.loc[frame["selected"]].set_index(["prompt_id", "replicate"])["image"]
    digests: Mapping[Any, Any] = chosen.to_dict()
    searches = load_searches(folder.path)
    for done, search in enumerate(searches.itertuples(), start=1):
        prompt_id, replicate = str(search.prompt_id), int(str(search.replicate))
        if prompt_id not in names:
            raise HarnessError(f"prompt '{prompt_id}' of the log is none of the run's prompts")
        name, prompt = names[prompt_id]
        try:
            png = read_image(folder.images, digests.get((prompt_id, replicate)), search.error)
        except HarnessError as error:
            yield Choice(prompt, name, replicate, None, error.message)
        else:
            yield Choice(prompt, name, replicate, png)
        observe(done, len(searches))


def read_image(folder: Location, digest: Any, why: Any = None) -> bytes:
    """Return an image of a run, encoded.

    Its digest is as the log has it, null without an image; then a reason may say why.

    Raises:
        HarnessError: There is none, or it is missing or damaged.
    """
    if not isinstance(digest, str):
        raise HarnessError(f"selected nothing ({why})" if isinstance(why, str) else "has no image")
    return images.read(folder, digest, check=True)


def _no_images(run: Path, manifest: Manifest) -> UsageError:
    if is_scoring(manifest.config):
        return UsageError(
            f"{run} holds scores of images that lie elsewhere, and none of its own",
            f"use the folder that was scored: {manifest.command}",
        )
    if manifest.config["generator"]["kind"] == RECORDED_IMAGES:
        return UsageError(
            f"{run} was imported without its images", "import it again without --no-images"
        )
    return UsageError(
        f"{run} was told to keep no images", "run again with --keep-images all and another --out"
    )


def _folder_names(prompts: Sequence[Prompt]) -> dict[str, tuple[str, Prompt]]:
    official = all(prompt.id.isdecimal() for prompt in prompts)
    return {
        prompt.id: (prompt.id if official else f"{position:05d}", prompt)
        for position, prompt in enumerate(prompts)
    }


def _metadata(prompt: Prompt) -> dict[str, Any]:
    """GenEval's own row where it is one; other prompts get the two keys every reader needs."""
    row = dict(prompt.metadata)
    if row.get("prompt") != prompt.text:
        row = {"tag": prompt.tag, **row} | {"prompt": prompt.text}
    try:
        return metadata.validated(row)  # null is no requirement, and others would take it for one
    except metadata.BadMetadata:
        return row
