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
from typing import Any

from harness.engine.deadline import DeadlineExceeded, deadline
from harness.records import (
    Ability,
    Candidate,
    Draw,
    Feedback,
    Noise,
    Prompt,
    Setting,
    Start,
    Task,
    whole_steps,
)
from harness.seeds import canonical_json, seed
from harness.text import is_encodable
from strategies.base import Rounds, Strategy

STEP_SECONDS = 30.0
"""The longest a strategy may think between two rounds."""

_TIMED_OUT = "took more than"

LARGEST_INDEX = 2**31 - 1
"""The log keeps indices in 32 bits."""

MOST_TURNS = 4096
"""Of one noise: each makes a tensor."""

NO_SETTINGS: Mapping[str, Setting] = MappingProxyType({})


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
        steps: Denoising steps asked for.
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
        step_seconds: float = STEP_SECONDS,
    ) -> None:
        """Prepare it; nothing runs before `start`.

        Args:
            strategy: Who searches.
            prompt: What for.
            replicate: Which independent search of the prompt.
            budget: Whole draws that it may spend.
            run_seed: The run's seed.
            settings: The run's sampler settings, which say how many steps a whole draw has.
            step_seconds: The longest that the strategy may think between two rounds.
        """
        self.prompt = prompt
        self.replicate = replicate
        self.ended = False
        self.selected: Candidate | None = None
        self.error: str | None = None
        self.rounds = 0
        self.steps = 0
        self._strategy = strategy
        self._needs = strategy.needs()
        self._settings = settings
        self._task = Task(
            prompt=prompt.text,
            budget=budget,
            seed=_strategy_seed(run_seed, prompt.id, replicate),
            steps=whole_steps(settings),
        )
        self._step_seconds = step_seconds
        self._generator: Rounds | None = None
        self._asked: dict[int, Draw] = {}
        self._round: tuple[int, ...] = ()
        self._answers: dict[int, Candidate] = {}
        self._sent: dict[int, Candidate] = {}
        self._by_id: dict[str, Candidate] = {}
        self._contents: dict[str, int] = {}

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
        self._by_id.update((answer.id, answer) for answer in answers)
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
        self.steps += sum(map(self._steps_of, draws))
        self._round = tuple(draw.index for draw in draws)
        self._asked.update((draw.index, draw) for draw in draws)
        return draws

    def _checked(self, asked: Sequence[Any]) -> list[Draw]:
        if not isinstance(asked, (list, tuple)) or not all(isinstance(d, Draw) for d in asked):
            raise StrategyError(f"yielded {type(asked).__name__} instead of a list of draws")
        draws = list(asked)
        if not draws:
            raise StrategyError("asked for no draws; return a candidate to end the search")
        indices = set()
        for draw in draws:
            _check_values(draw)
            if draw.index in self._asked or draw.index in indices:
                raise StrategyError(f"asked for draw {draw.index} twice")
            if draw.index < 0:
                raise StrategyError(f"asked for draw {draw.index}; indices start at 0")
            indices.add(draw.index)
            self._check_abilities(draw)
            self._check_references(draw)
        self._check_repetition(draws)
        self._check_budget(draws)
        return draws

    def _check_repetition(self, draws: Sequence[Draw]) -> None:
        """Refuse a draw that is an earlier one under another index: it would be made twice."""
        if not self._contents and all(draw.noise is None for draw in draws):
            return  # each has the noise of its own index
        for draw in (*(() if self._contents else self._asked.values()), *draws):
            same = self._contents.setdefault(_content(draw), draw.index)
            if same != draw.index:
                raise StrategyError(f"asked for draw {same} again, as draw {draw.index}")

    def _check_budget(self, draws: Sequence[Draw]) -> None:
        budget, a_draw = self._task.budget, self._task.steps
        steps = list(map(self._steps_of, draws))
        over = self.steps + sum(steps) - budget * a_draw
        if over <= 0:
            return
        if set(steps) == {a_draw} and not over % a_draw:
            raise StrategyError(f"asked for {over // a_draw} draw(s) beyond its budget of {budget}")
        raise StrategyError(
            f"asked for {over} step(s) beyond its budget of {budget} draws of {a_draw} steps"
        )

    def _steps_of(self, draw: Draw) -> int:
        """Return the steps that a draw makes, whose references have been checked."""
        return self._last(draw) - self._first(draw)

    def _last(self, draw: Draw) -> int:
        return self._whole(draw) if draw.stop is None else draw.stop

    def _whole(self, draw: Draw) -> int:
        """Return the steps that a draw would make from noise to its end."""
        if not draw.settings:
            return self._task.steps
        return whole_steps({**self._settings, **draw.settings})

    def _first(self, draw: Draw) -> int:
        if draw.start is None:
            return 0
        earlier = self._by_id[draw.start.draw_id].draw
        return self._last(earlier) if draw.start.renoise is None else draw.start.renoise

    def _check_abilities(self, draw: Draw) -> None:
        if draw.feedback and Ability.FEEDBACK not in self._needs:
            ability, part = Ability.FEEDBACK, "feedback"
        elif (draw.start or draw.stop) and Ability.PARTIAL not in self._needs:
            ability, part = Ability.PARTIAL, "a start or a stop"
        else:
            return
        raise StrategyError(
            f"asked for draw {draw.index} with {part} and does not say that it needs '{ability}'"
        )

    def _check_references(self, draw: Draw) -> None:
        """Refuse feedback on draws that this search has not, and states that there are not."""
        name = f"draw {draw.index}"
        for feedback in draw.feedback:
            if feedback.draw_id not in self._by_id:
                raise StrategyError(
                    f"{name} has feedback on '{feedback.draw_id}', which is no draw of this search"
                )
        if draw.start is None and draw.stop is None:
            return
        whole = self._whole(draw)
        if draw.start is not None:
            earlier = self._by_id.get(draw.start.draw_id)
            if earlier is None:
                raise StrategyError(
                    f"{name} starts from '{draw.start.draw_id}', which is no draw of this search"
                )
            if earlier.draw.stop is None or earlier.image is None:
                why = "did not stop on its way" if earlier.draw.stop is None else "failed"
                raise StrategyError(f"{name} starts from draw {earlier.draw.index}, which {why}")
            if canonical_json(dict(draw.settings)) != canonical_json(dict(earlier.draw.settings)):
                raise StrategyError(f"{name} starts from a draw of other settings")
            renoise = draw.start.renoise
            if renoise is not None and not 0 <= renoise < earlier.draw.stop:
                raise StrategyError(
                    f"{name} is renoised to step {renoise} of a state after step "
                    f"{earlier.draw.stop}"
                )
        if draw.stop is not None and not self._first(draw) < draw.stop <= whole:
            raise StrategyError(
                f"{name} is to stop after step {draw.stop}, of {whole} steps from step "
                f"{self._first(draw)} on"
            )
        if self._first(draw) >= self._last(draw):
            raise StrategyError(f"{name} makes no step: its start has made them all")

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
    if not all(isinstance(item, Feedback) for item in draw.feedback):
        raise StrategyError(f"asked for draw {index} with feedback that is none")
    texts = [] if draw.text is None else [draw.text]
    for feedback in draw.feedback:
        texts += [feedback.draw_id, feedback.sentence]
    for text in texts:
        if not isinstance(text, str) or not is_encodable(text):
            raise StrategyError(f"asked for draw {index} with {text!r} for a text")
    _check_trajectory(draw)
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


def _check_trajectory(draw: Draw) -> None:
    """Refuse noise, a start or a stop of which no identity could be made.

    Raises:
        StrategyError: One is of another type, or out of range.
    """
    name = f"asked for draw {draw.index}"
    numbers: list[object] = [] if draw.stop is None else [draw.stop]
    if draw.noise is not None:
        if not isinstance(draw.noise, Noise) or len(draw.noise.turns) > MOST_TURNS:
            raise StrategyError(f"{name} with noise that is none, or of over {MOST_TURNS} turns")
        numbers.append(draw.noise.index)
        for index, cosine in draw.noise.turns:
            numbers.append(index)
            if not isinstance(cosine, float) or not -1 <= cosine <= 1:
                raise StrategyError(f"{name} with noise turned by the cosine {cosine!r}")
    if draw.start is not None:
        if not isinstance(draw.start, Start) or not isinstance(draw.start.draw_id, str):
            raise StrategyError(f"{name} with a start that is none")
        numbers += [] if draw.start.renoise is None else [draw.start.renoise]
    for number in numbers:
        if type(number) is not int or not 0 <= number <= LARGEST_INDEX:
            raise StrategyError(f"{name} with {number!r} for an index or a step")


def _content(draw: Draw) -> str:
    """Return what determines a draw's image within its search: no two draws may have it equal."""
    noise, start = draw.noise or Noise(draw.index), draw.start
    return canonical_json(
        [
            [noise.index, noise.turns],
            draw.text,
            dict(draw.settings),
            [[f.draw_id, f.sentence] for f in draw.feedback],
            [start.draw_id, start.renoise] if start else None,
            draw.stop,
        ]
    )
