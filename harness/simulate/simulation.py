"""Runs a simulated run: real searches, real dispatcher, virtual GPUs; and the static split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from harness.engine.dispatch import FOLLOWERS, UNHURRIED, Dispatcher
from harness.engine.scheduler import Work
from harness.engine.searches import Search, drive
from harness.errors import HarnessError
from harness.identity import Earlier
from harness.records import Candidate, Draw, Question, Reply, Role, whole_steps
from harness.simulate.devices import Devices, Ran
from harness.simulate.workload import Workload
from strategies.base import Strategy


@dataclass
class Simulated:
    """The result of one simulation. Times are virtual seconds.

    Attributes:
        rows: Rows asked for, by role.
        computed: The same with padding.
        makespan: From the start to the last batch's end.
        tail: When the last search was opened: from then on nothing new can fill a place.
        busy: GPU-seconds at work.
        useful: Of these, the share that fell to rows and not to padding.
        useful_before_tail: Useful GPU-seconds before the tail began.
    """

    gpus: int
    makespan: float = 0.0
    tail: float = 0.0
    searches: int = 0
    draws: int = 0
    busy: float = 0.0
    useful: float = 0.0
    useful_before_tail: float = 0.0
    batches: dict[Role, int] = field(default_factory=lambda: dict.fromkeys(Role, 0))
    rows: dict[Role, int] = field(default_factory=lambda: dict.fromkeys(Role, 0))
    computed: dict[Role, int] = field(default_factory=lambda: dict.fromkeys(Role, 0))
    most_open: int = 0

    @property
    def gpu_seconds(self) -> float:
        """The GPU-seconds to be paid for: every GPU from start to end."""
        return self.gpus * self.makespan

    @property
    def utilisation(self) -> float:
        """Useful share of what has to be paid for."""
        return self.useful / self.gpu_seconds if self.makespan else 0.0

    @property
    def utilisation_before_tail(self) -> float | None:
        """The same until the tail begins; None if it begins at once."""
        return self.useful_before_tail / (self.gpus * self.tail) if self.tail else None

    @property
    def tail_waste(self) -> float:
        """GPU-seconds in the tail that were idle or went into padding."""
        useful = self.useful - self.useful_before_tail
        return self.gpus * (self.makespan - self.tail) - useful

    @property
    def fill(self) -> float:
        """Mean share of the generator's batches that was no padding; needs `busy` > 0."""
        return self.useful / self.busy if self.busy else 0.0


def simulate(
    workload: Workload,
    strategy: Strategy,
    budget: int,
    gpus: int,
    observe: Callable[[Ran], None] = lambda ran: None,
) -> Simulated:
    """Run a strategy's searches with a budget on GPUs that each hold a worker of every role.

    Raises:
        HarnessError: The strategy broke its protocol, so there is nothing to learn.
    """
    return _Simulation(workload, strategy, budget, gpus, observe).run()


@dataclass(frozen=True)
class _Row:
    """A draw or a question on its way.

    Attributes:
        earlier: Draws of the search that later ones may start from.
        share: The share of a whole draw's steps that a draw makes.
    """

    search: Search
    item: Draw | Question
    earlier: Earlier
    id: str = ""
    share: float = 1.0


class _Simulation:
    """The engine's loop without models, files and real time. Has state: all that is under way."""

    def __init__(
        self,
        workload: Workload,
        strategy: Strategy,
        budget: int,
        gpus: int,
        observe: Callable[[Ran], None],
    ) -> None:
        self._workload = workload
        self._observe = observe
        self._devices = Devices(gpus, workload.seconds, self._seconds)
        self._dispatcher: Dispatcher[_Row] = Dispatcher(
            workload.batch_sizes, clock=lambda: self._devices.now
        )
        self._resolver = workload.resolver
        self._unopened: Iterator[Search] | None = _searches(workload, strategy, budget)
        self._open = 0
        self._done = Simulated(gpus)
        self._ran: list[tuple[float, float, float]] = []

    def run(self) -> Simulated:
        done = self._done
        while True:
            self._open_searches()
            for batch in self._dispatcher.batches(self._devices.free):
                self._devices.submit(batch)
            ended = self._devices.wait()
            if not ended:
                break
            for ran in ended:
                self._take(ran)
        done.makespan = self._devices.now
        for start, end, useful in self._ran:
            if start < done.tail:
                done.useful_before_tail += useful * (min(end, done.tail) - start) / (end - start)
        return done

    def _open_searches(self) -> None:
        while self._unopened and self._dispatcher.wants_search(self._devices.free):
            search = next(self._unopened, None)
            if search is None:
                self._unopened = None
                return
            self._open += 1
            self._done.most_open = max(self._done.most_open, self._open)
            self._done.tail = self._devices.now
            self._queue(search, search.start(), {})

    def _queue(self, search: Search, items: Sequence[Draw | Question], earlier: Earlier) -> None:
        for item in items:
            if isinstance(item, Question):
                self._dispatcher.add(Work(Role.JUDGE, _Row(search, item, earlier), "question"))
                continue
            request = self._resolver.resolve(
                search.prompt, search.replicate, item, search.rounds, earlier
            )
            share = (request.last - request.first) / whole_steps(self._workload.settings)
            row = _Row(search, item, earlier, request.id, share)
            shape = self._resolver.shape(request)
            self._dispatcher.add(Work(Role.GENERATOR, row, shape, rows=request.rows))
        if search.ended:
            if search.selected is None:
                raise HarnessError(f"a search failed: {search.error}")
            self._open -= 1
            self._done.searches += 1

    def _size(self, batch: list[Work[_Row]]) -> int:
        return batch[0].rows or self._workload.batch_sizes[batch[0].role]

    def _seconds(self, batch: list[Work[_Row]]) -> float:
        share = batch[0].payload.share if batch[0].role is Role.GENERATOR else 1.0
        return self._workload.seconds_of(batch[0].role, self._size(batch)) * share

    def _take(self, ran: Ran) -> None:
        role, rows = ran.role, len(ran.batch)
        self._observe(ran)
        self._dispatcher.ended(role, rows)
        took = ran.end - ran.start
        size = self._size(ran.batch)
        useful = took * rows / size
        self._done.busy += took
        self._done.useful += useful
        self._done.batches[role] += 1
        self._done.rows[role] += rows
        self._done.computed[role] += size
        self._ran.append((ran.start, ran.end, useful))
        for work in ran.batch:
            row: _Row = work.payload
            if role is Role.GENERATOR:
                self._done.draws += 1
                followers = [r for r in FOLLOWERS if r in self._workload.seconds]
                for follower in followers:
                    self._dispatcher.add(Work(follower, row))
                if Role.JUDGE in followers:
                    continue
            if role not in UNHURRIED:
                search = row.search
                answer = self._workload.answer(search, row.item, row.id)
                self._queue(search, search.answer(answer), row.earlier)


def static_split(workload: Workload, strategy: Strategy, budget: int, gpus: int) -> Simulated:
    """The published script's way: prompts dealt out beforehand, one image at a time.

    Raises:
        HarnessError: The strategy broke its protocol.
    """
    a_draw = sum(workload.resized(1).seconds.values())
    loads = [0.0] * gpus
    done = Simulated(gpus, most_open=gpus)
    for number, search in enumerate(_searches(workload, strategy, budget)):
        drive(search, search.start(), partial(_answered, workload, search, {}))
        if search.selected is None:
            raise HarnessError(f"a search failed: {search.error}")
        loads[number % gpus] += search.steps / whole_steps(workload.settings) * a_draw
        done.draws += search.draws
        done.searches += 1
    done.makespan = max(loads)
    done.busy = done.useful = sum(loads)
    return done


def _answered(
    workload: Workload, search: Search, earlier: Earlier, item: Draw | Question
) -> Candidate | Reply:
    name = ""
    if isinstance(item, Draw):
        resolve = workload.resolver.resolve
        name = resolve(search.prompt, search.replicate, item, earlier=earlier).id
    return workload.answer(search, item, name)


def _searches(workload: Workload, strategy: Strategy, budget: int) -> Iterator[Search]:
    """Yield all searches of a workload, in order."""
    for replicate in range(workload.replicates):
        for prompt in workload.prompts:
            yield Search(
                strategy,
                prompt,
                replicate,
                budget=budget,
                run_seed=workload.seed,
                settings=workload.settings,
            )
