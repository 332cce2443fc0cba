"""One strategy at work on one prompt, held to the rules.

A strategy is somebody's plug-in. Whatever it does wrong ends its own search with an error that
says what, and never the run: asking beyond the budget, asking for nothing, reusing an index,
returning a candidate it was not sent, raising, or not coming back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness.engine.deadline import DeadlineExceeded, deadline
from harness.records import Candidate, Draw, Prompt, Task
from harness.seeds import canonical_json, seed
from harness.text import is_encodable
from strategies.base import Rounds, Strategy

STEP_SECONDS = 30.0
"""The longest a strategy may think between two rounds."""

_TIMED_OUT = "took more than"

LARGEST_INDEX = 2**31 - 1
"""The log keeps indices in 32 bits."""


@dataclass(frozen=True)
class SearchKey:
    """What names a search within a run."""

    prompt_id: str
    replicate: int


def timed_out(error: object) -> bool:
    """Whether a search's error is that it thought too long, which a replay need not repeat.

    Args:
        error: As logged; where there is none, None or what a frame has for it.
    """
    return isinstance(error, str) and _TIMED_OUT in error


class StrategyError(Exception):
    """A strategy broke the protocol; the message says how."""


class Search:
    """Drives one strategy's generator. Has state: what was asked, what came back.

    Attributes:
        prompt: What it searches for.
        replicate: Which independent search of the prompt.
        ended: Whether it is over.
        selected: What it selected, once ended; None if nothing.
        error: Why it failed, once ended; None if it did not.
        rounds: Rounds of draws asked for.
    """

    def __init__(
        self,
        strategy: Strategy,
        prompt: Prompt,
        replicate: int,
        *,
        budget: int,
        run_seed: int,
        step_seconds: float = STEP_SECONDS,
    ) -> None:
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
        )
        self._step_seconds = step_seconds
        self._generator: Rounds | None = None
        self._asked: dict[int, Draw] = {}
        self._round: tuple[int, ...] = ()
        self._answers: dict[int, Candidate] = {}
        self._sent: dict[int, Candidate] = {}
        self._ids: set[str] = set()

    @property
    def key(self) -> SearchKey:
        """Its name within the run."""
        return SearchKey(self.prompt.id, self.replicate)

    @property
    def draws(self) -> int:
        """How many draws it has asked for."""
        return len(self._asked)

    def start(self) -> Sequence[Draw]:
        """Start it; returns the first round, empty if it ended at once."""
        return self._step(None)

    def answer(self, candidate: Candidate) -> Sequence[Draw]:
        """Hand it the answer to one draw of the current round.

        Returns:
            The next round once the current one is fully answered, else nothing. Nothing, too,
            when the search has ended: look at `ended`.
        """
        index = candidate.draw.index
        if self.ended or index not in self._round or index in self._answers:
            raise ValueError(f"draw {index} of {self.key} is not waiting for an answer")
        self._answers[index] = candidate
        if len(self._answers) < len(self._round):
            return ()
        answers = [self._answers[i] for i in self._round]
        self._sent.update(self._answers)
        self._ids.update(a.id for a in answers)
        self._answers = {}
        return self._step(answers)

    def _step(self, answers: list[Candidate] | None) -> Sequence[Draw]:
        try:
            with deadline(self._step_seconds):
                if self._generator is None:
                    self._generator = self._strategy.search(self._task)
                    asked = next(self._generator)
                else:
                    asked = self._generator.send(answers or [])
            draws = self._checked(asked)
        except StopIteration as stop:
            self._generator = None
            self._end(stop.value)
            return ()
        except StrategyError as error:
            self._fail(str(error))
            return ()
        except DeadlineExceeded:
            self._fail(f"{_TIMED_OUT} {self._step_seconds:g} s to ask for its next draws")
            return ()
        except (Exception, SystemExit) as error:  # a plug-in's sys.exit is no reason to end
            self._fail(f"raised {type(error).__name__}: {error}")
            return ()
        self.rounds += 1
        self._round = tuple(draw.index for draw in draws)
        self._asked.update((draw.index, draw) for draw in draws)
        return draws

    def _checked(self, asked: Sequence[Draw]) -> list[Draw]:
        if not isinstance(asked, (list, tuple)) or not all(isinstance(d, Draw) for d in asked):
            raise StrategyError(f"yielded {type(asked).__name__} instead of a list of draws")
        draws = list(asked)
        if not draws:
            raise StrategyError("asked for no draws; return a candidate to end the search")
        over = len(self._asked) + len(draws) - self._task.budget
        if over > 0:
            raise StrategyError(
                f"asked for {over} draw(s) beyond its budget of {self._task.budget}"
            )
        indices = set()
        for draw in draws:
            _check_values(draw)
            if draw.index in self._asked or draw.index in indices:
                raise StrategyError(f"asked for draw {draw.index} twice")
            if draw.index < 0:
                raise StrategyError(f"asked for draw {draw.index}; indices start at 0")
            indices.add(draw.index)
        for draw in draws:
            if draw.feedback and not self._strategy.needs_feedback:
                raise StrategyError(
                    f"asked for draw {draw.index} with feedback and does not say that it "
                    "needs_feedback"
                )
            for feedback in draw.feedback:
                if feedback.draw_id not in self._ids:
                    raise StrategyError(
                        f"draw {draw.index} has feedback on '{feedback.draw_id}', "
                        "which is no draw of this search"
                    )
        return draws

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
                with deadline(self._step_seconds):
                    self._generator.close()
            except (Exception, SystemExit):
                pass
            self._generator = None


def _check_values(draw: Draw) -> None:
    """Refuse what the log could not hold, or a digest not be made of.

    Raises:
        StrategyError: Saying what.
    """
    index = draw.index
    if not isinstance(index, int) or isinstance(index, bool) or index > LARGEST_INDEX:
        raise StrategyError(f"asked for draw {index!r}; indices are whole numbers of 32 bits")
    texts = [] if draw.text is None else [draw.text]
    for feedback in draw.feedback:
        texts += [feedback.draw_id, feedback.sentence]
    for text in texts:
        if not isinstance(text, str) or not is_encodable(text):
            raise StrategyError(f"asked for draw {index} with {text!r} for a text")
    try:
        if draw.settings != {}:
            canonical_json(dict(draw.settings))
    except (TypeError, ValueError) as error:
        raise StrategyError(f"asked for draw {index} with unusable settings: {error}") from None


def drive(
    search: Search, draws: Iterable[Draw], answer: Callable[[Draw], Candidate | None]
) -> None:
    """Answer draws of a search, and those that it asks for next, as far as answers are known.

    Args:
        search: The search.
        draws: Draws of its current round.
        answer: Returns the candidate of a draw, or None where nobody knows it yet.
    """
    waiting = deque(draws)
    while waiting:
        candidate = answer(waiting.popleft())
        if candidate is not None:
            waiting.extend(search.answer(candidate))


@lru_cache(maxsize=1024)
def _strategy_seed(run_seed: int, prompt_id: str, replicate: int) -> int:
    return seed(run_seed, prompt_id, replicate, -1, "strategy")
