"""A run's selected images in GenEval's folder layout, for anybody's evaluator to score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.geneval import metadata
from harness.config import FOREIGN
from harness.errors import HarnessError, UsageError
from harness.interop.layout import SAMPLES, write_prompt
from harness.interop.plan import is_scoring
from harness.log import images
from harness.log.files import explain
from harness.log.frame import load, load_searches
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.prompts import read_prompts
from harness.records import Prompt
from harness.seeds import pixel_digest


@dataclass(frozen=True)
class Export:
    """The files that were written.

    Attributes:
        prompts: Prompts' folders.
        images: Images in them.
        missing: Searches without an exported image, as "prompt 00012, replicate 0: why".
    """

    prompts: int
    images: int
    missing: tuple[str, ...]


def export(
    run: Path, out: Path, *, observe: Callable[[int, int], None] = lambda done, total: None
) -> Export:
    """Write the image that each search selected, one sample a replicate.

    A prompt's folder is named by its id where that is a number, as GenEval's official ids are,
    else by its place in the benchmark. Every image is checked against its digest on the way.

    Args:
        run: The run's folder.
        out: The folder to write; must be new or empty.
        observe: Called with how many searches are done, of how many.

    Raises:
        UsageError: There is no such run, it kept no images, or `out` holds something.
        HarnessError: The log is damaged, or a file cannot be written.
    """
    folder = RunFolder.existing(run)
    manifest = Manifest.read(folder.manifest)
    if manifest.config["keep_images"] == "none":
        raise _no_images(run, manifest)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists and is not an empty folder", "choose another --out")
    names = _folder_names(read_prompts(folder, manifest))
    frame = load(run)
    chosen = frame.loc[frame["selected"]].set_index(["prompt_id", "replicate"])["image"]
    digests: Mapping[Any, Any] = chosen.to_dict()
    searches = load_searches(run)
    written, missing, seen = 0, [], set()
    try:
        for done, search in enumerate(searches.itertuples(), start=1):
            prompt_id, replicate = str(search.prompt_id), int(str(search.replicate))
            if prompt_id not in names:
                raise HarnessError(f"prompt '{prompt_id}' of the log is none of the run's prompts")
            name, prompt = names[prompt_id]
            if prompt_id not in seen:
                seen.add(prompt_id)
                write_prompt(out / name, _metadata(prompt))
            try:
                png = _image(folder, digests.get((prompt_id, replicate)), search.error)
            except HarnessError as error:
                missing.append(f"prompt {prompt_id}, replicate {replicate}: {error.message}")
            else:
                (out / name / SAMPLES / f"{replicate:04d}.png").write_bytes(png)
                written += 1
            observe(done, len(searches))
    except OSError as error:
        raise explain(error, out) from error
    return Export(len(seen), written, tuple(missing))


def _no_images(run: Path, manifest: Manifest) -> UsageError:
    if is_scoring(manifest.config):
        return UsageError(
            f"{run} holds scores of images that lie elsewhere, and none of its own",
            f"use the folder that was scored: {manifest.command}",
        )
    if manifest.config["generator"]["kind"] == FOREIGN:
        return UsageError(
            f"{run} was imported without its images", "import it again without --no-images"
        )
    return UsageError(
        f"{run} was told to keep no images", "run again with --keep-images all and another --out"
    )


def _image(folder: RunFolder, digest: Any, why: Any) -> bytes:
    if not isinstance(digest, str):
        raise HarnessError(f"selected nothing ({why})" if isinstance(why, str) else "has no image")
    path = images.image_path(folder.images, digest)
    try:
        png = path.read_bytes()
        actual = pixel_digest(images.decode(png))
    except (OSError, SyntaxError, ValueError) as error:
        raise HarnessError(f"image {digest} cannot be read: {error}") from error
    if actual != digest:
        raise HarnessError(f"image {digest} is damaged: its pixels have digest {actual}")
    return png


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
