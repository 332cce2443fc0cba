"""Joins searches, scheduler, executor and log: the loop that makes a run.

One loop, one thread. A turn has four steps: **collect** what workers answered, **record** it,
**advance** the searches it belongs to, and **dispatch** what they ask for. Resuming is the same
loop: a search starts from its beginning and the log answers until it ends. The engine's only
promise to the executor is that results may come in any order; the content of the log does not
depend on it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from harness.config import RECORDED_IMAGES, RunConfig
from harness.engine.dispatch import FOLLOWERS, Dispatcher
from harness.engine.executors.base import Executor
from harness.engine.items import Items
from harness.engine.jobs import BatchResult, Drawn, Job, Remote
from harness.engine.pending import OpenSearch, Pending, PendingDraw, PendingQuestion
from harness.engine.progress import Progress
from harness.engine.restore import Restored, restore
from harness.engine.rows import candidate_row, reply_row, search_row
from harness.engine.scheduler import Work
from harness.engine.searches import Search, SearchKey, drive
from harness.engine.sources import Known, Source
from harness.errors import Failure, HarnessError, Interrupted
from harness.identity import Resolver
from harness.log.images import ImageStore
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.log.store import LogWriter
from harness.models.judges.none import UNJUDGED
from harness.plan import Plan
from harness.records import FREE, Candidate, Draw, Question, Reply, Request, Role

MAX_ATTEMPTS = 3
"""Tries a role gets for one draw before the draw becomes a row with its error.

Tries that ended because a machine left the cluster do not count.
"""

BATCHES_A_JOB = 4
"""Batches in one job where nobody draws: all images are there, and nobody waits for a score.

So the objects whose colours are asked for fill whole batches too.
"""


class Engine:
    """One session of work on one run. Has state: open searches, work under way, the log.

    Args:
        sources: Who else may know answers, besides the run's own log; asked in this order.
        observe: Called after every turn with the progress so far.
        stop: Asked before every turn whether to stop there.
    """

    def __init__(
        self,
        plan: Plan,
        executor: Executor,
        folder: RunFolder,
        *,
        sources: Sequence[Source] = (),
        observe: Callable[[Progress], None] = lambda progress: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._config = plan.config
        self._executor = executor
        self._observe = observe
        self._stop = stop
        self._resolver: Resolver = plan.resolver
        self._truncation = plan.truncation
        since = Manifest.read(folder.manifest).latest if folder.is_run else ""
        self._log = LogWriter(folder.log, since=since)
        self._images = ImageStore(folder.images, self._log)
        sizes = _job_sizes(plan.config)
        self._followers = [role for role in FOLLOWERS if role in sizes]
        self._dispatcher: Dispatcher[Pending] = Dispatcher(sizes)
        restored = restore(folder, imported=plan.config.generator.kind == RECORDED_IMAGES)
        self._sources: Sequence[Source] = (restored, *sources)
        self._stores_images = plan.stores_images
        self._unopened = _unopened(plan, restored)
        self._running: dict[int, list[Work[Pending]]] = {}
        self._jobs = 0
        self._items = Items(self._images, executor, plan.config.seed)
        self.progress = Progress(
            searches_total=len(plan.searches),
            searches_ended=len(restored.ended),
            searches_failed=restored.failed,
        )
        for tag, outcomes in restored.outcomes.items():
            self.progress.outcomes[tag] += outcomes
        if plan.config.keep_images == "selected":
            for image in restored.selected_images:
                self._images.hold(image)

    def run(self) -> Progress:
        """Work until every search has ended; then tidy the log.

        Raises:
            HarnessError: Going on is pointless: the disk is full, models cannot be loaded, the
                log disagrees with the strategy. What was acknowledged is safe.
            Interrupted: Asked to stop; the log is flushed first.
        """
        self.progress.started = time.monotonic()
        try:
            while self._turn():
                self._beat()
        except BaseException:
            with contextlib.suppress(HarnessError):
                self._log.flush()
            raise
        self._log.compact()
        if self._config.keep_images != "all":
            self._images.prune()
        return self.progress

    def _turn(self) -> bool:
        """One turn of the loop; False when there is nothing left to do."""
        results = self._collect()
        touched = self._record(results)
        self._advance(touched)
        self._dispatch()
        return self._dispatcher.in_flight or self._dispatcher.waiting

    def _collect(self) -> Sequence[BatchResult]:
        """Return the batches that ended; wait for the first of them."""
        if self._dispatcher.in_flight:
            return self._executor.wait(0.5)
        # Work waits but nobody is free: a worker is being replaced.
        return self._executor.wait(0.2) if self._dispatcher.waiting else ()

    def _record(self, results: Sequence[BatchResult]) -> list[Pending]:
        """Write down what came back and queue what follows from it; return whom it concerns."""
        touched: list[Pending] = []
        for result in results:
            role, works = result.job.role, self._running.pop(result.job.id)
            self._dispatcher.ended(role, len(works))
            if result.error is not None:
                self.progress.failures[role, result.failure or Failure.EXCEPTION] += 1
            for place, work in enumerate(works):
                pending = work.payload
                if result.error is None:
                    pending.take(result, place)
                    if isinstance(answer := result.answers[place], Drawn):
                        self._follow(pending, answer)
                elif pending.fail(result, MAX_ATTEMPTS):
                    self.progress.retried += 1
                    self._queue(pending, role, alone=result.failure is not Failure.NODE_LOST)
                if not pending.waiting:
                    self._log_row(pending)
                touched.append(pending)
        return touched

    def _advance(self, touched: Sequence[Pending]) -> None:
        """Tell searches what was answered; open others while batches lack draws."""
        for pending in touched:
            if pending.known.is_answered and not pending.is_sent:
                self._ask(pending.open, pending.open.search.answer(self._deliver(pending)))
            elif pending.open.is_done:
                self._close(pending.open)
        while self._dispatcher.wants_search(self._executor.free):
            search = next(self._unopened, None)
            if search is None:
                return
            self._ask(OpenSearch(search), search.start())
            if search.ended:  # sources answered it all, and may answer all the others
                self._beat()

    def _dispatch(self) -> None:
        """Hand out the batches that are worth running now."""
        for works in self._dispatcher.batches(self._executor.free):
            self._jobs += 1
            self._running[self._jobs] = works
            items = tuple(self._items.item(work.role, work.payload) for work in works)
            self._executor.submit(Job(self._jobs, works[0].role, items))

    def _beat(self) -> None:
        """Do what has to happen again and again, however long anything takes."""
        if self._stop():
            raise Interrupted("stopped before the end")
        self._log.tick()
        self._observe(self.progress)

    def _ask(self, open: OpenSearch, items: Sequence[Draw | Question]) -> None:
        """Answer what a search asks for as far as sources know it, and queue the rest."""
        drive(open.search, items, lambda item: self._answer(open, item))
        if open.is_done:
            self._close(open)

    def _answer(self, open: OpenSearch, item: Draw | Question) -> Candidate | Reply | None:
        """Return the answer if a source knows it; queue what is left to do for it."""
        search = open.search
        prompt, replicate, round = search.prompt, search.replicate, search.rounds
        pending: Pending
        if isinstance(item, Draw):
            # A search asks for its next round when it has all answers of the one before.
            request = self._resolver.resolve(prompt, replicate, item, round, open.requests)
            known = self._known(lambda s: s.answer(prompt, replicate, item, request.id))
            if known is not None and known.id is not None:
                request = replace(request, id=known.id)
            pending, role = PendingDraw(open, item, request, round=round), Role.GENERATOR
        else:
            known = self._known(lambda s: s.reply(prompt, replicate, item))
            pending, role = PendingQuestion(open, item, round=round), Role.JUDGE
        if known is None:
            open.unlogged += 1
            self._queue(pending, role)
            return None
        pending.known = known
        if not known.logged:
            self._receive(pending)
        else:
            self.progress.replayed += 1
            if known.image is not None:
                self._items.distrust(known.image)
            if isinstance(pending, PendingDraw):
                open.note(pending)
        return self._deliver(pending) if known.is_answered else None

    def _receive(self, pending: Pending) -> None:
        """Store what a source knows and queue it for those who have yet to look at it."""
        known = pending.known
        pending.open.unlogged += 1
        if known.run:  # the run is named, the count is of draws
            self.progress.reused[known.run] += isinstance(pending, PendingDraw)
        self._store(known)
        for role in self._followers:
            if known.lacks(role):
                self._queue(pending, role)
        if not pending.waiting:
            self._log_row(pending)

    def _store(self, known: Known) -> None:
        if known.image is None or known.png is None:
            return
        if isinstance(known.png, Remote):  # written already, but a like one may have gone since
            if self._config.keep_images != "all" and not self._images.note(known.image):
                self._executor.write(known.image, known.png)
        elif self._stores_images:
            self._images.write(known.image, known.png)

    def _known(self, ask: Callable[[Source], Known | None]) -> Known | None:
        """Return what the first source says that knows something; the others are not asked."""
        return next((known for known in map(ask, self._sources) if known is not None), None)

    def _deliver(self, pending: Pending) -> Candidate | Reply:
        """Return the answer to what a search asked for, to be sent to it now."""
        pending.is_sent = True
        answer = pending.answer()
        if isinstance(answer, Candidate):
            pending.open.images[answer.id] = answer.image
            if answer.image is not None and self._config.keep_images != "all":
                self._images.hold(answer.image)
        return answer

    def _follow(self, pending: Pending, drawn: Drawn) -> None:
        """Store a new image and queue it for those who look at it."""
        known = pending.known
        self._store(known)
        if drawn.state is not None:
            self._items.keep_state(pending, drawn.state)
        for role in self._followers:
            self._queue(pending, role)
        if Role.JUDGE not in self._followers:  # nobody is asked, so no image travels
            known.verdict, known.costs[Role.JUDGE] = UNJUDGED, FREE

    def _queue(self, pending: Pending, role: Role, *, alone: bool = False) -> None:
        pending.waiting.add(role)
        match pending:
            case PendingDraw() if role is Role.GENERATOR:
                shape = self._resolver.shape(pending.request)
                self._dispatcher.add(Work(role, pending, shape, alone, pending.request.rows))
            case PendingQuestion():
                self._dispatcher.add(Work(role, pending, "question", alone))
            case _:
                self._dispatcher.add(Work(role, pending, pending.known.shape, alone))

    def _log_row(self, pending: Pending) -> None:
        pending.open.unlogged -= 1
        if isinstance(pending, PendingQuestion):
            self._log.append("replies", reply_row(self._config.run, pending))
            return
        assert isinstance(pending, PendingDraw)
        truncated = self._truncated(pending.request)
        self._log.append("candidates", candidate_row(self._config.run, pending, truncated))
        pending.open.note(pending)
        if not pending.known.run:
            self.progress.draws += 1
            self.progress.draws_failed += bool(pending.known.errors)

    def _truncated(self, request: Request[Any]) -> Collection[str] | None:
        """Return which texts of a request are cut; None where nobody can tell."""
        if self._truncation is None:
            return None
        try:
            return self._truncation(request)
        except Exception:
            return None  # what no generator can read is the error of its row, not of the run

    def _close(self, open: OpenSearch) -> None:
        """Log a search that is done and let its images go."""
        open.is_closed = True
        search, selected = open.search, open.search.selected
        self._log.append("searches", search_row(self._config.run, search))
        self._items.drop_states(open)
        self.progress.searches_ended += 1
        if selected is None:
            self.progress.searches_failed += 1
        elif (value := open.values.get(selected.draw.index)) is not None:
            self.progress.outcomes[search.prompt.tag].append(value)
        if self._config.keep_images == "all":
            return
        for name, image in open.images.items():
            is_selected = selected is not None and name == selected.id
            if image is not None and not (is_selected and self._config.keep_images == "selected"):
                self._images.release(image)


def _unopened(plan: Plan, restored: Restored) -> Iterator[Search]:
    """The searches that are to be opened, in this order."""
    for prompt, replicate in plan.searches:
        if SearchKey(prompt.id, replicate) not in restored.ended:
            yield Search.of(plan.config, plan.strategy, prompt, replicate)


def _job_sizes(config: RunConfig) -> dict[Role, int]:
    """Return the rows of a full job of each role that is asked."""
    batches = 1 if Role.GENERATOR in config.specs else BATCHES_A_JOB
    return {role: batches * spec.batch_size for role, spec in config.specs.items()}
