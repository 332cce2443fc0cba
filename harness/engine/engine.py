"""Joins searches, scheduler, executor and log: the loop that makes a run.

One loop, one thread. It opens searches, turns their draws into work, hands full batches to
whoever is free, and gives every answer to its search and its row to the log. Resuming is the
same loop: a search starts from its beginning and the log answers until it ends. The engine's
only promise to the executor is that results may come in any order; the content of the log does
not depend on it.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence

from harness.engine.dispatch import Dispatcher
from harness.engine.executors.base import Executor
from harness.engine.jobs import (
    BatchResult,
    DrawItem,
    Item,
    Job,
    Judged,
    LookItem,
    Made,
    Png,
    Scored,
)
from harness.engine.progress import Progress
from harness.engine.restore import Restored, restore
from harness.engine.reuse import Pool
from harness.engine.rows import Pending, candidate_row, logged_candidate, search_row
from harness.engine.scheduler import Work
from harness.engine.searches import Search, SearchKey
from harness.errors import Failure, HarnessError, Interrupted
from harness.log.images import ImageStore
from harness.log.manifest import last_time
from harness.log.run_folder import RunFolder
from harness.log.store import LogWriter
from harness.models.judges.none import UNJUDGED
from harness.plan import Plan
from harness.records import FREE, Candidate, Draw, Role
from harness.seeds import canonical_json, digest, draw_id, seed

MAX_ATTEMPTS = 3
"""Tries a role gets for one draw before the draw becomes a row with its error.

Tries that ended because a machine left the cluster do not count.
"""

NO_POOL = Pool()


class Engine:
    """One session of work on one run. Has state: open searches, pending draws, the log.

    Args:
        plan: What to do.
        executor: Who does it; started by the caller.
        folder: Where the run lives.
        pool: Draws of other runs, which are not made again.
        observe: Called after every step with the progress so far.
        stop: Asked before every step whether to stop there.
    """

    def __init__(
        self,
        plan: Plan,
        executor: Executor,
        folder: RunFolder,
        *,
        pool: Pool = NO_POOL,
        observe: Callable[[Progress], None] = lambda progress: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._stop = stop
        self._plan = plan
        self._config = plan.config
        self._run = plan.config.run
        self._generator = plan.generator
        self._judged = plan.config.judged
        self._executor = executor
        self._pool = pool
        self._observe = observe
        self._log = LogWriter(folder.log, since=last_time(folder.manifest))
        self._images = ImageStore(folder.images, self._log)
        specs = {
            Role.GENERATOR: plan.config.generator,
            Role.JUDGE: plan.config.judge,
            Role.SCORER: plan.config.scorer,
        }
        self._batch_sizes = {role: spec.batch_size for role, spec in specs.items() if spec}
        self._dispatcher = Dispatcher(self._batch_sizes)
        self._restored: Restored = restore(folder)
        self._to_open = self._unopened()
        self._pending: dict[int, Pending] = {}
        self._jobs = 0
        self._job_works: dict[int, list[Work]] = {}
        self._works = 0
        # Of open searches: draws without a row yet, what was made of each draw so far.
        self._unlogged: defaultdict[SearchKey, int] = defaultdict(int)
        self._made: defaultdict[SearchKey, dict[str, str | None]] = defaultdict(dict)
        self._correct: defaultdict[SearchKey, dict[int, bool]] = defaultdict(dict)
        # Images that an earlier session stored, as far as nobody has held them to their digests.
        # Those of this session are not decoded here: that would take more than all else it does.
        self._unproven: set[str] = set()
        self.progress = Progress(
            searches_total=len(plan.prompts) * plan.config.replicates,
            searches_ended=len(self._restored.ended),
            searches_failed=self._restored.failed,
        )
        for tag, outcomes in self._restored.outcomes.items():
            self.progress.outcomes[tag] += outcomes
        if plan.config.keep_images == "selected":
            for digest in self._restored.selected_images:
                self._images.hold(digest)

    def run(self) -> Progress:
        """Work until every search has ended; then tidy the log.

        Raises:
            HarnessError: Going on is pointless: the disk is full, models cannot be loaded, the
                log disagrees with the strategy. What was acknowledged is safe.
            Interrupted: Asked to stop; the log is flushed first.
        """
        self.progress.started = time.monotonic()
        try:
            while self._step():
                self._beat()
        except BaseException:
            with contextlib.suppress(HarnessError):
                self._log.flush()
            raise
        self._log.compact()
        if self._config.keep_images != "all":
            self._images.prune()
        return self.progress

    def _beat(self) -> None:
        """What has to happen again and again, however long anything takes.

        Raises:
            Interrupted: Asked to stop.
        """
        if self._stop():
            raise Interrupted("stopped before the end")
        self._log.tick()
        self._observe(self.progress)

    def _step(self) -> bool:
        """One turn of the loop; False when there is nothing left to do."""
        self._open_searches()
        self._dispatch()
        if not self._dispatcher.in_flight:
            if self._dispatcher.waiting:
                # Work waits but nobody is free: a worker is being replaced.
                for outcome in self._executor.wait(0.2):
                    self._take(outcome)
                return True
            return False
        for outcome in self._executor.wait(0.5):
            self._take(outcome)
        return True

    # Searches

    def _unopened(self) -> Iterator[Search]:
        # Not in official order, which goes tag by tag: so the running score means something.
        prompts = sorted(self._plan.prompts, key=lambda prompt: digest(["order", prompt.id]))
        for replicate in range(self._config.replicates):
            for prompt in prompts:
                if SearchKey(prompt.id, replicate) not in self._restored.ended:
                    yield Search(
                        self._plan.strategy,
                        prompt,
                        replicate,
                        budget=self._config.budget,
                        run_seed=self._config.seed,
                    )

    def _open_searches(self) -> None:
        """Keep enough draws waiting to fill the next batches, and no more searches open."""
        while self._dispatcher.wants_search(self._executor.free):
            search = next(self._to_open, None)
            if search is None:
                return
            self._advance(search, search.start())
            if search.ended:  # logs answered it all, and may answer all the others
                self._beat()

    def _advance(self, search: Search, draws: Sequence[Draw]) -> None:
        """Answer a round from logs as far as they go, the run's own first; queue the rest."""
        queue = deque(draws)
        while queue:
            pending = self._resolve(search, queue.popleft())
            row = self._restored.rows.pop((search.key, pending.draw.index), None)
            if row is None:
                if (run := self._pool.answer(pending)) is not None:
                    self.progress.reused[run] += 1
                    queue.extend(search.answer(self._reused(pending)))
                    continue
                self._unlogged[search.key] += 1
                self._pending_work(pending, Role.GENERATOR)
                continue
            if row["draw_id"] != pending.id:
                raise HarnessError(
                    f"draw {pending.draw.index} of prompt {search.prompt.id} is not the one in "
                    "the log: the strategy's or the harness's code has changed since",
                    "resume with the version that started the run, or start a new run",
                )
            candidate = logged_candidate(row, pending.draw)
            if row["correct"] is not None:
                self._correct[search.key][pending.draw.index] = row["correct"]
            self._remember_image(search.key, candidate)
            if candidate.image is not None:
                self._unproven.add(candidate.image)
            self.progress.replayed += 1
            queue.extend(search.answer(candidate))
        self._close_if_done(search)

    def _reused(self, pending: Pending) -> Candidate:
        """Log a draw that another run has made; returns what the search is told of it."""
        candidate = pending.candidate()
        if pending.image is not None and pending.png is not None:
            self._images.write(pending.image, pending.png)
        self._remember_image(pending.search.key, candidate)
        self._log_draw(pending)
        return candidate

    def _log_draw(self, pending: Pending) -> None:
        self._log.append("candidates", candidate_row(self._run, pending))
        if pending.score is not None:
            self._correct[pending.search.key][pending.draw.index] = pending.score.correct

    def _resolve(self, search: Search, draw: Draw) -> Pending:
        noise_seed = seed(
            self._config.seed, search.prompt.id, search.replicate, draw.index, "noise"
        )
        identity = draw_id(
            generator=self._generator,
            text=draw.text if draw.text is not None else search.prompt.text,
            noise_seed=noise_seed,
            settings={**self._config.generator.settings, **draw.settings},
            feedback=tuple((f.draw_id, f.sentence) for f in draw.feedback),
        )
        return Pending(search, draw, identity, noise_seed)

    def _remember_image(self, key: SearchKey, candidate: Candidate) -> None:
        self._made[key][candidate.id] = candidate.image
        if candidate.image is not None and self._config.keep_images != "all":
            self._images.hold(candidate.image)

    def _close_if_done(self, search: Search) -> None:
        """Log a search that has ended once all its draws are logged; let its images go."""
        key = search.key
        if not search.ended or self._unlogged[key]:
            return
        self._log.append("searches", search_row(self._run, search))
        self.progress.searches_ended += 1
        selected = search.selected
        if selected is None:
            self.progress.searches_failed += 1
        elif (correct := self._correct[key].get(selected.draw.index)) is not None:
            self.progress.outcomes[search.prompt.tag].append(correct)
        if self._config.keep_images != "all":
            keep = self._config.keep_images == "selected" and selected is not None
            kept = selected.id if keep and selected is not None else None
            for identity, digest in self._made[key].items():
                if digest is not None and identity != kept:
                    self._images.release(digest)
        for table in (self._unlogged, self._made, self._correct):
            table.pop(key, None)

    # Work

    def _pending_work(self, pending: Pending, role: Role, *, alone: bool = False) -> None:
        self._works += 1
        self._pending[self._works] = pending
        pending.waiting.add(role)
        bucket = (
            (len(pending.draw.feedback), canonical_json(dict(pending.draw.settings)))
            if role is Role.GENERATOR
            else ()
        )
        self._dispatcher.add(Work(self._works, role, bucket, alone))

    def _dispatch(self) -> None:
        for batch in self._dispatcher.batches(self._executor.free):
            role = batch[0].role
            self._jobs += 1
            self._job_works[self._jobs] = batch
            items = tuple(self._item(self._pending[work.id], role) for work in batch)
            self._executor.submit(Job(self._jobs, role, items))

    def _item(self, pending: Pending, role: Role) -> Item:
        prompt, draw = pending.search.prompt, pending.draw
        if role is not Role.GENERATOR:
            assert pending.png is not None
            return LookItem(prompt, pending.png, int(pending.id[:15], 16))
        made = self._made[pending.search.key]
        feedback = []
        for item in draw.feedback:
            digest = made.get(item.draw_id)
            if digest is None:
                raise HarnessError(f"draw {item.draw_id} has no image to give feedback on")
            png = self._images.read(digest, check=digest in self._unproven)
            self._unproven.discard(digest)
            feedback.append((item.draw_id, Png(png), item.sentence))
        return DrawItem(
            pending.id,
            draw.text if draw.text is not None else prompt.text,
            pending.seed,
            {**self._config.generator.settings, **draw.settings},
            tuple(feedback),
        )

    # Answers

    def _take(self, outcome: BatchResult) -> None:
        job = outcome.job
        batch = self._job_works.pop(job.id)
        self._dispatcher.ended(job.role, len(batch))
        pendings = [self._pending.pop(work.id) for work in batch]
        if outcome.error is not None:
            failure = outcome.failure or Failure.EXCEPTION
            self.progress.failures[job.role, failure] += 1
            for pending in pendings:
                self._failed(pending, job.role, outcome.error, failure)
            return
        for pending, answer in zip(pendings, outcome.answers, strict=True):
            pending.costs[job.role] = answer.cost
            pending.workers[job.role] = outcome.worker
            pending.batches[job.role] = str(job.id)
            pending.waiting.discard(job.role)
            match answer:
                case Made():
                    self._take_image(pending, answer)
                case Judged():
                    pending.verdict = answer.verdict
                    self._answer(pending)
                case Scored():
                    pending.score = answer.score
                    self._finish_if_done(pending)

    def _take_image(self, pending: Pending, made: Made) -> None:
        pending.png, pending.image = made.png, made.digest
        self._images.write(made.digest, made.png)
        if Role.SCORER in self._batch_sizes:
            self._pending_work(pending, Role.SCORER)
        if self._judged:
            self._pending_work(pending, Role.JUDGE)
            return
        # Nobody is asked, so no worker is kept for it and no image travels.
        pending.verdict, pending.costs[Role.JUDGE] = UNJUDGED, FREE
        self._answer(pending)

    def _failed(self, pending: Pending, role: Role, error: str, failure: Failure) -> None:
        """Try again alone, so that one bad draw cannot take others down; at last give up."""
        pending.attempts[role] += 1
        if failure is Failure.NODE_LOST:  # no draw takes a machine out of its cluster
            self._again(pending, role)
            return
        pending.strikes[role] += 1
        if pending.strikes[role] < MAX_ATTEMPTS:
            self._again(pending, role, alone=True)
            return
        pending.errors[role] = error
        pending.waiting.discard(role)
        if role is Role.SCORER:
            self._finish_if_done(pending)
        else:
            self._answer(pending)

    def _again(self, pending: Pending, role: Role, *, alone: bool = False) -> None:
        self.progress.retried += 1
        self._pending_work(pending, role, alone=alone)

    def _answer(self, pending: Pending) -> None:
        """Tell the search what became of its draw, then see to the row.

        The row comes first, so that a search that ends with this answer finds it logged.
        """
        candidate = pending.candidate()
        self._remember_image(pending.search.key, candidate)
        self._finish_if_done(pending)
        draws = pending.search.answer(candidate)
        self._advance(pending.search, draws)

    def _finish_if_done(self, pending: Pending) -> None:
        if pending.waiting:
            return
        key = pending.search.key
        self._log_draw(pending)
        self._unlogged[key] -= 1
        self.progress.draws += 1
        self.progress.draws_failed += bool(pending.errors)
        self._close_if_done(pending.search)
