"""Scores a folder of images: one session of work on it, from wherever an earlier one stopped.

Files are read and checked in threads while models run. Images of one size share batches, which
hold several of the scorer's own batch shape, so that the objects whose colours are asked for
fill whole batches too. Which images share a batch changes nobody's verdict. An image that is
refused, or cannot be scored, is a row with its error; the others go on.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from harness.analysis.measurement import sizes_total
from harness.engine.engine import MAX_ATTEMPTS
from harness.engine.executors.base import Executor
from harness.engine.executors.inline import InlineExecutor
from harness.engine.jobs import BatchResult, Job, Png
from harness.engine.launch import Execution, check_folder, folder_for, is_finished, totals
from harness.engine.pending import OpenSearch, Pending
from harness.engine.rows import candidate_row, logged_candidate, search_row
from harness.engine.scheduler import Scheduler, Work
from harness.engine.searches import Search
from harness.engine.sources import Known
from harness.engine.worker import Setup
from harness.errors import HarnessError, Interrupted, UsageError
from harness.log import shards, store
from harness.log.environment import environment
from harness.log.files import remove_leftovers
from harness.log.manifest import Manifest, PromptSet, last_time, now
from harness.log.prompts import write_prompts
from harness.log.run_folder import RunFolder
from harness.log.schema import TABLES
from harness.log.store import LogWriter
from harness.records import Draw, Look, Request, Role, Verdict
from harness.scoring.files import write_files
from harness.scoring.images import BadImage, Picture, read, size_of
from harness.scoring.plan import ImageFile, ScoringPlan
from harness.seeds import digest

BATCHES_A_JOB = 4
"""Batches of the scorer's shape in one job."""

READERS = max(2, min(16, os.cpu_count() or 1))
"""Threads that read and check files; Pillow unpacks them side by side."""

JOBS_AHEAD = 3
"""Jobs' worth of images kept in memory for each place a job can go to."""


def score(
    ready: ScoringPlan,
    execution: Execution,
    folder: RunFolder,
    *,
    command: str,
    observe: Callable[[int, int], None] = lambda done, total: None,
    executor: Executor | None = None,
) -> None:
    """Score the images that the folder's log does not hold yet.

    Args:
        ready: What to score, by what.
        execution: Where to do it.
        folder: Where log and manifest go; made if need be.
        command: The command line, for the manifest.
        observe: Called with how many images are done, of how many.
        executor: Used instead of the one that `execution` describes.

    Raises:
        UsageError: The folder belongs to something else, or the images have changed since.
        HarnessError: A model cannot be loaded or fails its self-test, the disk is full, or the
            log is damaged. What was acknowledged is safe.
    """
    plan = ready.plan
    if is_finished(check_out(folder, ready)):
        return
    with folder_for(folder.path):
        # Again, for what another driver did until it let go of the folder.
        manifest = check_out(folder, ready)
        if is_finished(manifest):
            return
        remove_leftovers(folder.path)
        executor = executor or make_executor(ready, execution)
        try:
            executor.start()
            manifest = manifest or Manifest(
                run=plan.config.run,
                config=plan.config.model_dump(mode="json"),
                config_digest=plan.config.digest,
                prompt_set=PromptSet.of(plan.prompts),
                command=command,
                environment=environment(),
                created=now(),
            )
            where = executor.describe()
            session = {
                "started": now(manifest.latest),
                "host": socket.gethostname(),
                "pid": os.getpid(),
            }
            manifest = manifest.with_session({**session, "command": command, **where})
            # First of all, so that a folder that holds anything of a run is one. The files beside
            # it are written in every session: an earlier one may have been killed before it could.
            manifest.write(folder.manifest)
            write_prompts(folder, plan.prompts)
            write_files(ready, folder)
            session_of_work = _Session(ready, executor, folder, observe)
            session_of_work.run()
        finally:
            executor.close()
        files = [s.path.name for table in TABLES for s in shards.discover(folder.log, table)]
        sums = totals(folder, judged=plan.config.judged) | sizes_total(session_of_work.sizes)
        manifest.finished(sums, files).write(folder.manifest)


def check_out(folder: RunFolder, ready: ScoringPlan) -> Manifest | None:
    """What is in the folder already: its manifest, or None if it is free.

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


def make_executor(ready: ScoringPlan, execution: Execution) -> Executor:
    """The executor an execution describes: the scorer alone, a GPU for each on "cuda"."""
    setup = Setup(ready.plan.config, ready.plan.paths, execution.device)
    if not execution.uses_ray:
        return InlineExecutor(setup, [Role.SCORER], patience=execution.patience)
    from harness.engine.executors.ray import Placement, RayExecutor

    own = 1.0 if execution.device.startswith("cuda") else 0.0
    gpus = execution.gpu_share.get(Role.SCORER, own)
    placement = {Role.SCORER: Placement(workers=execution.workers, gpus=gpus, cpus=1.0)}
    return RayExecutor(setup, placement, address=execution.address, patience=execution.patience)


class _Session:
    """The loop. Has state: files being read, images waiting, jobs under way, the log."""

    def __init__(
        self,
        ready: ScoringPlan,
        executor: Executor,
        folder: RunFolder,
        observe: Callable[[int, int], None],
    ) -> None:
        config = ready.plan.config
        assert config.scorer is not None
        self._ready = ready
        self._executor = executor
        self._observe = observe
        self._log = LogWriter(folder.log, since=last_time(folder.manifest))
        self.sizes: set[tuple[int, int]] = set()
        ended = self._restore(folder)
        self._done = len(ended)
        self._unread: Iterator[ImageFile] = (
            file for file in ready.files if (file.prompt.id, file.replicate) not in ended
        )
        self._all_read = False
        self._reading: deque[tuple[ImageFile, Future[Picture]]] = deque()
        self._job_size = config.scorer.batch_size * BATCHES_A_JOB
        self._scheduler: Scheduler[Pending] = Scheduler({Role.SCORER: self._job_size})
        self._under_way = 0
        self._jobs: dict[int, list[Work[Pending]]] = {}
        self._numbers = 0

    def run(self) -> None:
        with ThreadPoolExecutor(READERS) as readers:
            try:
                while self._step(readers):
                    self._log.tick()
                    self._observe(self._done, len(self._ready.files))
            except BaseException as error:
                readers.shutdown(wait=False, cancel_futures=True)
                with contextlib.suppress(HarnessError):
                    self._log.flush()
                if isinstance(error, KeyboardInterrupt):
                    raise Interrupted("stopped before the end") from None
                raise
        self._log.compact()
        self._observe(self._done, len(self._ready.files))

    def _restore(self, folder: RunFolder) -> set[tuple[str, int]]:
        """The images that are in the log, each with the row of its search.

        A crash can come between the two: candidates are written first.
        """
        store.check_agreement(folder.log)
        ended = {
            (row["prompt_id"], row["replicate"])
            for row in store.read(folder.log, "searches", ["prompt_id", "replicate"]).to_pylist()
        }
        files = {(file.prompt.id, file.replicate): file for file in self._ready.files}
        for row in store.read(folder.log, "candidates").to_pylist():
            key = (row["prompt_id"], row["replicate"])
            # The log does not say how large an image was.
            if row["image"] is not None and (size := size_of(files[key].path)):
                self.sizes.add(size)
            if key not in ended:
                ended.add(key)
                search, draw = self._search(files[key])
                search.answer(logged_candidate(row, draw))
                self._log.append("searches", search_row(self._ready.plan.config.run, search))
        return ended

    def _search(self, file: ImageFile) -> tuple[Search, Draw]:
        strategy = self._ready.plan.strategy
        search = Search(strategy, file.prompt, file.replicate, budget=1, run_seed=0)
        (draw,) = search.start()
        return search, draw

    def _step(self, readers: ThreadPoolExecutor) -> bool:
        """One turn of the loop; False when there is nothing left to do."""
        self._read_ahead(readers)
        while self._reading and self._reading[0][1].done():
            self._take_picture(*self._reading.popleft())
        self._dispatch()
        if self._reading and not self._jobs:
            self._take_picture(*self._reading.popleft())
        elif self._jobs or self._scheduler.waiting(Role.SCORER):
            # Work that waits while nobody is free: a worker is being replaced.
            for outcome in self._executor.wait(0.1 if self._reading else 0.5):
                self._take(outcome)
        return bool(self._reading or self._under_way or not self._all_read)

    def _read_ahead(self, readers: ThreadPoolExecutor) -> None:
        while not self._all_read and len(self._reading) + self._under_way < self._limit():
            file = next(self._unread, None)
            if file is None:
                self._all_read = True
            else:
                self._reading.append((file, readers.submit(_read, file)))

    def _limit(self) -> int:
        places = max(1, self._executor.free(Role.SCORER, idle=False) + len(self._jobs))
        return JOBS_AHEAD * self._job_size * places

    def _take_picture(self, file: ImageFile, future: Future[Picture]) -> None:
        """An image that was read goes to wait for a batch; one that was refused to the log."""
        search, draw = self._search(file)
        try:
            picture = future.result()
        except BadImage as error:
            self._finish(_pending(search, draw, "", error=error.message))
            return
        self.sizes.add((picture.height, picture.width))
        identity = digest(["file", picture.source])[:32]
        pending = _pending(search, draw, identity, picture=picture)
        self._wait(pending, shape=(picture.height, picture.width))

    def _wait(self, pending: Pending, shape: tuple[int, int] = (0, 0), alone: bool = False) -> None:
        self._under_way += 1
        self._scheduler.add(Work(Role.SCORER, pending, shape, alone))

    def _dispatch(self) -> None:
        """Full batches first; short ones when no further image can fill them."""
        self._submit(full_only=True)
        if not self._reading and (self._all_read or not self._jobs):
            self._submit(full_only=False)

    def _submit(self, *, full_only: bool) -> None:
        while self._executor.free(Role.SCORER, idle=not full_only) > 0:
            batch = self._scheduler.next(Role.SCORER, full_only=full_only)
            if not batch:
                return
            self._numbers += 1
            items = tuple(
                Look(work.payload.open.search.prompt, Png(work.payload.known.png or b""))
                for work in batch
            )
            self._jobs[self._numbers] = batch
            self._executor.submit(Job(self._numbers, Role.SCORER, items))

    def _take(self, result: BatchResult) -> None:
        for place, work in enumerate(self._jobs.pop(result.job.id)):
            pending = work.payload
            self._under_way -= 1
            if result.error is None:
                pending.take(result, place)
            elif pending.fail(result, MAX_ATTEMPTS):  # alone, so that it takes no others down
                self._wait(pending, alone=True)
                continue
            self._finish(pending)

    def _finish(self, pending: Pending) -> None:
        """Log an image that is done, well or badly, and the search that consists of it."""
        run = self._ready.plan.config.run
        pending.open.search.answer(pending.candidate())
        # Nobody knows the seed of an image that came from elsewhere.
        self._log.append("candidates", candidate_row(run, pending) | {"seed": None})
        self._log.append("searches", search_row(run, pending.open.search))
        self._done += 1


def _read(file: ImageFile) -> Picture:
    if file.refusal:
        raise BadImage(file.refusal)
    # The folder is the user's own, so that links may lead anywhere: a hub's cache is made of them.
    return read(file.path)


def _pending(
    search: Search, draw: Draw, identity: str, *, picture: Picture | None = None, error: str = ""
) -> Pending:
    known = Known(errors={Role.GENERATOR: error})
    if picture is not None:
        known = Known(
            png=picture.encoded,
            image=picture.digest,
            verdict=Verdict(accepted=False, score=0.0),
        )
    request = Request(identity, search.prompt.text, 0, {})
    return Pending(OpenSearch(search), draw, request, known)
