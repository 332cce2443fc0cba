"""One strategy at work on one prompt, held to the rules.

A strategy is somebody's plug-in. Whatever it does wrong ends its own search with an error that
says what, and never the run: asking beyond the budget, asking for nothing, reusing an index,
returning a candidate it was not sent, raising, or not coming back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from harness.engine.deadline import DeadlineExceeded, deadline
from harness.engine.rules import Item, Rules, StrategyError
from harness.records import Candidate, Draw, Prompt, Reply, Setting, Task, whole_steps
from harness.seeds import seed
from strategies.base import Rounds, Strategy

if TYPE_CHECKING:
    from harness.config import RunConfig

STEP_SECONDS = 30.0
"""The longest a strategy may think between two rounds."""

_TIMED_OUT = "took more than"

NO_SETTINGS: Mapping[str, Setting] = MappingProxyType({})


@dataclass(frozen=True)
class SearchKey:
    """The name of a search within a run."""

    prompt_id: str
    replicate: int


def timed_out(error: object) -> bool:
    """Return whether a search failed by thinking too long, which a replay need not repeat.

    Where it did not fail, its error is None or what a frame has for it.
    """
    return isinstance(error, str) and _TIMED_OUT in error


class Search:
    """Drives one strategy's generator. Has state: what was asked, what came back.

    Attributes:
        selected: What it selected, once ended; None if nothing.
        error: Why it failed, once ended; None if it did not.
        rounds: Rounds of draws and questions asked for.
    """

    def __init__(
        self,
        strategy: Strategy,
        prompt: Prompt,
        replicate: int,
        *,
        budget: int,
        run_seed: int,
        settings: Mapping[str, Setting] = NO_SETTINGS,
    ) -> None:
        """Prepare it; nothing runs before `start`.

        The settings are the run's, which say how many steps a whole draw of the budget has.
        """
        self.prompt = prompt
        self.replicate = replicate
        self.ended = False
        self.selected: Candidate | None = None
        self.error: str | None = None
        self.rounds = 0
        self._strategy = strategy
        self._task = Task(
            prompt=prompt.text,
            budget=budget,
            seed=_strategy_seed(run_seed, prompt.id, replicate),
            steps=whole_steps(settings),
        )
        self._generator: Rounds | None = None
        self._rules = Rules(self._task, strategy.needs(), settings)
        self._round: tuple[int, ...] = ()
        self._answers: dict[int, Candidate | Reply] = {}
        self._sent: dict[int, Candidate] = {}

    @classmethod
    def of(cls, config: RunConfig, strategy: Strategy, prompt: Prompt, replicate: int) -> Search:
        """Return a search of a run."""
        budget, settings = config.budget, config.generator.settings
        return cls(
            strategy, prompt, replicate, budget=budget, run_seed=config.seed, settings=settings
        )

    @property
    def key(self) -> SearchKey:
        """Its name within the run."""
        return SearchKey(self.prompt.id, self.replicate)

    @property
    def draws(self) -> int:
        """The number of draws that it has asked for."""
        return len(self._rules.draws)

    @property
    def questions(self) -> int:
        """The number of questions that it has asked."""
        return len(self._rules.questions)

    @property
    def steps(self) -> int:
        """The number of denoising steps that it has asked for."""
        return self._rules.steps

    def start(self) -> Sequence[Item]:
        """Start it; returns the first round, empty if it ended at once."""
        return self._step(None)

    def answer(self, answer: Candidate | Reply) -> Sequence[Item]:
        """Hand it the answer to one draw or question of the current round.

        Returns:
            The next round once the current one is fully answered, else nothing. Nothing, too,
            when the search has ended: look at `ended`.
        """
        item = answer.draw if isinstance(answer, Candidate) else answer.question
        place = _place(item)
        if self.ended or place not in self._round or place in self._answers:
            kind = "draw" if isinstance(item, Draw) else "question"
            raise ValueError(f"{kind} {item.index} of {self.key} is not waiting for an answer")
        self._answers[place] = answer
        if len(self._answers) < len(self._round):
            return ()
        answers = [self._answers[place] for place in self._round]
        for answered in answers:
            if isinstance(answered, Candidate):
                self._sent[answered.draw.index] = answered
                self._rules.answered(answered)
        self._answers = {}
        return self._step(answers)

    def _step(self, answers: list[Candidate | Reply] | None) -> Sequence[Item]:
        try:
            with deadline(STEP_SECONDS):
                if self._generator is None:
                    self._generator = self._strategy.search(self._task)
                    asked = next(self._generator)
                else:
                    asked = self._generator.send(answers or [])
            items = self._rules.accept(asked)
        except StopIteration as stop:
            self._generator = None
            self._end(stop.value)
        except StrategyError as error:
            self._fail(str(error))
        except DeadlineExceeded:
            self._fail(f"{_TIMED_OUT} {STEP_SECONDS:g} s to ask for its next draws")
        except (Exception, SystemExit) as error:  # a plug-in's sys.exit is no reason to end
            self._fail(f"raised {type(error).__name__}: {error}")
        else:
            self.rounds += 1
            self._round = tuple(map(_place, items))
            return items
        return ()

    def _end(self, selected: Candidate | None) -> None:
        if selected is not None:
            index = selected.draw.index if isinstance(selected, Candidate) else None
            sent = None if index is None else self._sent.get(index)
            if sent is None or (sent is not selected and sent != selected):
                self._fail("returned a candidate that it was not sent")
                return
            if not selected.ok:
                self._fail(f"selected draw {index}, which failed: {selected.error}")
                return
        elif any(candidate.ok for candidate in self._sent.values()):
            self._fail("returned nothing although it has candidates")
            return
        else:
            self.error = f"every draw failed ({len(self._sent)} of {len(self._sent)})"
        self.ended = True
        self.selected = selected
        self._close()

    def _fail(self, message: str) -> None:
        self.ended = True
        self.error = f"strategy '{self._strategy.name}' {message}"
        self._close()

    def _close(self) -> None:
        # A generator that swallows GeneratorExit raises here; its search is over all the same.
        if self._generator is not None:
            try:
                with deadline(STEP_SECONDS):
                    self._generator.close()
            except (Exception, SystemExit):
                pass
            self._generator = None


def drive(
    search: Search, items: Iterable[Item], answer: Callable[[Item], Candidate | Reply | None]
) -> None:
    """Answer what a search asks for, and what it asks for next, as far as answers are known.

    `answer` returns None where nobody knows an item's answer yet.
    """
    waiting = deque(items)
    while waiting:
        answered = answer(waiting.popleft())
        if answered is not None:
            waiting.extend(search.answer(answered))


@lru_cache(maxsize=16384)  # a sweep comes back to every search of its banks
def _strategy_seed(run_seed: int, prompt_id: str, replicate: int) -> int:
    return seed(run_seed, prompt_id, replicate, -1, "strategy")


def _place(item: Item) -> int:
    """Return what tells an item from the others of its round, since both kinds count from 0."""
    return item.index if isinstance(item, Draw) else -1 - item.index
