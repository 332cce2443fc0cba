"""The rules of a round: what a strategy may ask for, and what breaks the protocol.

A round is held to the strategy's own word on which abilities it needs, to the budget in denoising
steps, and to what the log can hold and an identity be made of.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from harness.records import (
    Ability,
    Candidate,
    Draw,
    Feedback,
    Noise,
    Question,
    Setting,
    Start,
    Task,
    whole_steps,
)
from harness.seeds import canonical_json
from harness.text import is_encodable

LARGEST_INDEX = 2**31 - 1
"""The log keeps indices in 32 bits."""

MOST_TURNS = 4096
"""Of one noise: each makes a tensor."""

QUESTIONS_A_DRAW = 8
"""Questions that a search may ask for each draw of its budget: they cost no steps, and without a
bound a search that only asks would never end."""

Item = Draw | Question
_ITEMS = (Draw, Question)  # which a replay's million looks find sooner than the union


class StrategyError(Exception):
    """A strategy broke the protocol; the message says how."""


class Rules:
    """Holds one search's rounds to the protocol. Has state: what was asked for and answered.

    Attributes:
        draws: The draws asked for, by index.
        questions: The questions asked, by index.
        steps: Denoising steps asked for.
    """

    def __init__(
        self, task: Task, needs: frozenset[Ability], settings: Mapping[str, Setting]
    ) -> None:
        self.draws: dict[int, Draw] = {}
        self.questions: dict[int, Question] = {}
        self.steps = 0
        self._task = task
        self._needs = needs
        self._settings = settings
        self._by_id: dict[str, Candidate] = {}
        self._contents: dict[Hashable, int] = {}

    def answered(self, candidate: Candidate) -> None:
        """Take notice of a draw that later ones may refer to."""
        self._by_id[candidate.id] = candidate

    def accept(self, asked: object) -> list[Item]:
        """Return a round's draws and questions, and count them in.

        Raises:
            StrategyError: They break the protocol.
        """
        if not isinstance(asked, (list, tuple)) or not all(isinstance(i, _ITEMS) for i in asked):
            raise StrategyError(f"yielded {type(asked).__name__} instead of a list of draws")
        if not asked:
            raise StrategyError("asked for no draws; return a candidate to end the search")
        draws = [item for item in asked if isinstance(item, Draw)]
        steps = self._check_draws(draws)
        if len(draws) < len(asked):
            questions = [item for item in asked if isinstance(item, Question)]
            self._check_questions(questions)
            self.questions.update((question.index, question) for question in questions)
        self.steps += steps
        self.draws.update((draw.index, draw) for draw in draws)
        return list(asked)

    def _check_draws(self, draws: Sequence[Draw]) -> int:
        """Hold draws to the rules, and return the steps that they make."""
        indices = set()
        for draw in draws:
            _check_values(draw)
            if draw.index in self.draws or draw.index in indices:
                raise StrategyError(f"asked for draw {draw.index} twice")
            indices.add(draw.index)
            self._check_feedback(draw)
            if draw.start is not None or draw.stop is not None:
                self._check_part(draw)
        self._check_repetition(draws)
        return self._check_budget(draws)

    def _check_questions(self, questions: Sequence[Question]) -> None:
        most = QUESTIONS_A_DRAW * self._task.budget
        if len(self.questions) + len(questions) > most:
            raise StrategyError(f"asked more than {most} questions, {QUESTIONS_A_DRAW} a draw")
        indices = set()
        for question in questions:
            name = f"asked question {question.index!r}"
            if type(question.index) is not int or not 0 <= question.index <= LARGEST_INDEX:
                raise StrategyError(f"{name}; indices are whole numbers of 32 bits from 0 on")
            if question.index in self.questions or question.index in indices:
                raise StrategyError(f"{name} twice")
            indices.add(question.index)
            if not isinstance(question.text, str) or not is_encodable(question.text):
                raise StrategyError(f"{name} with {question.text!r} for a text")
            self._check_said(Ability.REPLY, name)
            for id in question.images:
                candidate = self._by_id.get(id)
                if candidate is None or candidate.image is None:
                    raise StrategyError(f"{name} about '{id}', which is no image of this search")

    def _check_said(self, ability: Ability, name: str) -> None:
        if ability not in self._needs:
            raise StrategyError(f"{name} and does not say that it needs '{ability}'")

    def _check_feedback(self, draw: Draw) -> None:
        if draw.feedback:
            self._check_said(Ability.FEEDBACK, f"asked for draw {draw.index} with feedback")
        for feedback in draw.feedback:
            if feedback.draw_id not in self._by_id:
                raise StrategyError(
                    f"draw {draw.index} has feedback on '{feedback.draw_id}', "
                    "which is no draw of this search"
                )

    def _check_part(self, draw: Draw) -> None:
        """Refuse a start in a state that there is not, and a stop that leaves no step to make."""
        name = f"draw {draw.index}"
        self._check_said(Ability.PARTIAL, f"asked for {name} with a start or a stop")
        if draw.start is not None:
            earlier = self._by_id.get(draw.start.draw_id)
            if earlier is None:
                raise StrategyError(
                    f"{name} starts from '{draw.start.draw_id}', which is no draw of this search"
                )
            if earlier.draw.stop is None or earlier.image is None:
                why = "did not stop on its way" if earlier.draw.stop is None else "failed"
                raise StrategyError(f"{name} starts from draw {earlier.draw.index}, which {why}")
            own, other = draw.settings, earlier.draw.settings
            if (own or other) and canonical_json(dict(own)) != canonical_json(dict(other)):
                raise StrategyError(f"{name} starts from a draw of other settings")
            renoise = draw.start.renoise
            if renoise is not None and not renoise < earlier.draw.stop:
                raise StrategyError(
                    f"{name} is renoised to step {renoise} of a state after step "
                    f"{earlier.draw.stop}"
                )
        first, last, whole = self._first(draw), self._last(draw), self._whole(draw)
        if not first < last <= whole:
            raise StrategyError(f"{name} goes from step {first} to step {last} of {whole}")

    def _check_repetition(self, draws: Sequence[Draw]) -> None:
        """Refuse a draw that is an earlier one under another index: it would be made twice."""
        if not self._contents and all(draw.noise is None for draw in draws):
            return  # each has the noise of its own index
        for draw in (*(() if self._contents else self.draws.values()), *draws):
            same = self._contents.setdefault(_content(draw), draw.index)
            if same != draw.index:
                raise StrategyError(f"asked for draw {same} again, as draw {draw.index}")

    def _check_budget(self, draws: Sequence[Draw]) -> int:
        """Return the steps that draws make, whose references have been checked."""
        budget, a_draw = self._task.budget, self._task.steps
        steps = [self._last(draw) - self._first(draw) for draw in draws]
        total = sum(steps)
        over = self.steps + total - budget * a_draw
        if over <= 0:
            return total
        if set(steps) == {a_draw} and not over % a_draw:
            raise StrategyError(f"asked for {over // a_draw} draw(s) beyond its budget of {budget}")
        raise StrategyError(
            f"asked for {over} step(s) beyond its budget of {budget} draws of {a_draw} steps"
        )

    def _last(self, draw: Draw) -> int:
        return self._whole(draw) if draw.stop is None else draw.stop

    def _first(self, draw: Draw) -> int:
        if draw.start is None:
            return 0
        earlier = self._by_id[draw.start.draw_id].draw
        return self._last(earlier) if draw.start.renoise is None else draw.start.renoise

    def _whole(self, draw: Draw) -> int:
        """Return the steps that a draw would make from noise to its end."""
        if not draw.settings:
            return self._task.steps
        return whole_steps({**self._settings, **draw.settings})


def _check_values(draw: Draw) -> None:
    """Refuse what the log could not hold, or a digest not be made of."""
    index = draw.index
    if type(index) is not int or index > LARGEST_INDEX:
        raise StrategyError(f"asked for draw {index!r}; indices are whole numbers of 32 bits")
    if index < 0:
        raise StrategyError(f"asked for draw {index}; indices start at 0")
    texts = [] if draw.text is None else [draw.text]
    for feedback in draw.feedback:
        if not isinstance(feedback, Feedback):
            raise StrategyError(f"asked for draw {index} with feedback that is none")
        texts += [feedback.draw_id, feedback.sentence]
    for text in texts:
        if not isinstance(text, str) or not is_encodable(text):
            raise StrategyError(f"asked for draw {index} with {text!r} for a text")
    if draw.noise is not None or draw.start is not None or draw.stop is not None:
        _check_trajectory(draw)
    try:
        if draw.settings != {}:
            canonical_json(dict(draw.settings))
    except (TypeError, ValueError) as error:
        raise StrategyError(f"asked for draw {index} with unusable settings: {error}") from None


def _check_trajectory(draw: Draw) -> None:
    """Refuse noise, a start or a stop of which no identity could be made."""
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


def _content(draw: Draw) -> Hashable:
    """Return what determines a draw's image within its search: no two draws may have it equal."""
    noise = draw.noise or Noise(draw.index)
    # Settings and cosines count by their spelling: 1, 1.0 and True are equal and not the same.
    settings = canonical_json(dict(draw.settings)) if draw.settings else ""
    turns = canonical_json(noise.turns) if noise.turns else ""
    return noise.index, turns, draw.text, settings, draw.feedback, draw.start, draw.stop
