"""Scores a folder of images: a run whose draws the folder answers, and only the scorer works.

Files are read and checked in threads while models run. Images of one size share batches; which do
changes nobody's verdict. An image that is refused, or cannot be scored, is a row with its error;
the others go on.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from harness.engine.engine import BATCHES_A_JOB
from harness.engine.executors.base import Executor
from harness.engine.launch import Execution, check_folder, work
from harness.engine.progress import Progress
from harness.engine.sources import Known, Source
from harness.errors import UsageError
from harness.interop.images import BadImage, Picture, read, size_of
from harness.interop.plan import ImageFile, ScoringPlan
from harness.interop.results import write_files
from harness.log import store
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.models.judges.none import UNJUDGED
from harness.records import Draw, Prompt, Role
from harness.runs.measurement import sizes_total
from harness.seeds import digest

READERS = max(2, min(16, os.cpu_count() or 1))
"""Threads that read and check files; Pillow unpacks them side by side."""


def score(
    ready: ScoringPlan,
    execution: Execution,
    folder: RunFolder,
    *,
    command: str,
    observe: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
    executor: Executor | None = None,
) -> Progress | None:
    """Score the images that the folder's log does not hold yet.

    `observe` is called with how many images are done, of how many; the rest is as for
    `harness.engine.launch.work`.

    Returns:
        The progress made, or None if all were scored already.

    Raises:
        UsageError: The folder belongs to something else, or the images have changed since.
        HarnessError: A model cannot be loaded or fails its self-test, the disk is full, or the
            log is damaged. What was acknowledged is safe.
        Interrupted: Asked to stop; everything acknowledged is safe.
    """
    check_out(folder, ready)
    images = ImageFolder(ready, folder, workers=execution.workers)
    return work(
        ready.plan,
        execution,
        folder,
        command=command,
        observe=lambda progress: observe(progress.searches_ended, progress.searches_total),
        stop=stop,
        executor=executor,
        source=images,
        count=lambda: sizes_total(images.sizes()),
    )


def check_out(folder: RunFolder, ready: ScoringPlan) -> Manifest | None:
    """Return the manifest that is in the folder already, or None if it is free.

    Raises:
        UsageError: It belongs to something else, or the images have changed since.
        HarnessError: Its manifest is damaged.
    """
    try:
        return check_folder(folder, ready.plan)
    except UsageError as error:
        images = " (…settings.files are the images: their names, sizes, times and prompts)"
        hint = f"choose another --out{images if 'settings.files' in error.message else ''}"
        raise UsageError(error.message, hint) from error


class ImageFolder(Source):
    """A source that answers each draw with an image. Has state: files that are being read.

    Args:
        ready: The images, in the order in which they will be asked for.
        workers: Scorers; for each so many files as one job holds are read ahead.
    """

    def __init__(self, ready: ScoringPlan, folder: RunFolder, *, workers: int = 1) -> None:
        spec = ready.plan.config.specs[Role.SCORER]
        self._ready = ready
        self._folder = folder
        self._ahead = max(READERS, workers * BATCHES_A_JOB * spec.batch_size)
        self._unread = iter(ready.files)
        self._reading: deque[tuple[ImageFile, Future[Picture]]] = deque()
        self._sizes: dict[tuple[str, int], tuple[int, int]] = {}
        self._readers = ThreadPoolExecutor(READERS)

    def __enter__(self) -> Self:
        """Write the list of files, in every session: an earlier one may have been killed before."""
        write_files(self._ready, self._folder)
        return self

    def __exit__(self, *error: object) -> None:
        """Stop reading."""
        self._readers.shutdown(wait=False, cancel_futures=True)

    def answer(self, prompt: Prompt, replicate: int, draw: Draw, id: str) -> Known:
        """Return a prompt's image of this number, or why it is refused.

        Files before it are in the log already and are passed over.
        """
        while True:
            while len(self._reading) < self._ahead and (file := next(self._unread, None)):
                reading = self._readers.submit(_read, file, self._ready.drops_alpha)
                self._reading.append((file, reading))
            file, future = self._reading.popleft()
            if (file.prompt.id, file.replicate) == (prompt.id, replicate):
                return self._known(file, future)
            future.cancel()

    def _known(self, file: ImageFile, future: Future[Picture]) -> Known:
        unknown = ("seed", "round")  # nobody knows these of an image that came from elsewhere
        try:
            picture = future.result()
        except BadImage as error:
            return Known(id="", errors={Role.GENERATOR: error.message}, unknown=unknown)
        size = picture.height, picture.width
        self._sizes[file.prompt.id, file.replicate] = size
        return Known(
            id=digest(["file", picture.source])[:32],
            png=picture.encoded,
            image=picture.digest,
            shape=size,
            verdict=UNJUDGED,
            unknown=unknown,
        )

    def sizes(self) -> set[tuple[int, int]]:
        """Return heights and widths of all images that are in the log, which does not say them.

        Raises:
            HarnessError: A shard is missing or damaged.
        """
        files = {(file.prompt.id, file.replicate): file.path for file in self._ready.files}
        sizes = set(self._sizes.values())
        columns = ["prompt_id", "replicate", "image"]
        for row in store.read(self._folder.log, "candidates", columns).to_pylist():
            key = (row["prompt_id"], row["replicate"])
            if row["image"] is not None and key not in self._sizes:
                size = size_of(files[key])
                sizes |= {size} if size else set()
        return sizes


def _read(file: ImageFile, drop_alpha: bool) -> Picture:
    if file.refusal:
        raise BadImage(file.refusal)
    # The folder is the user's own, so that links may lead anywhere: a hub's cache is made of them.
    return read(file.path, drop_alpha=drop_alpha)
