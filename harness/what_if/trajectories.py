"""The draws of one search as parts of trajectories, which answer any strategy's draws.

A log names a draw by its place in its search. Another strategy asks for the same image under
another index, or in one go where the log stopped on the way. What a draw shows follows from its
trajectory (prompt, settings, feedback, noise) and the step at which it ends, since stopped and
continued equals the whole, bit for bit. So a draw is answered by the logged parts between its first
step and its last, wherever they stand; its image and what was said of it are those of the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness.engine.rows import logged_draw
from harness.engine.searches import SearchKey
from harness.errors import HarnessError, UsageError
from harness.identity import Earlier, Resolver
from harness.log.run_folder import RunFolder
from harness.records import (
    Candidate,
    Draw,
    Noise,
    Prompt,
    Question,
    Request,
    Role,
    Verdict,
    whole_steps,
)
from harness.replay import MissingDraw, Replayed, Row
from harness.seeds import canonical_json

VerdictOf = Callable[[Row], Verdict | None]
"""Reads what a judge says of an image from its row; None where the row does not have it."""

RENOISED = "taken back in noise"


@dataclass(frozen=True)
class Judging:
    """The judge of a replay.

    Attributes:
        verdict: Reads its verdict.
        samples: Whether a verdict holds for the logged draw alone, and for no other of its image.
        is_logged: Whether it is the judge that the run had.
    """

    verdict: VerdictOf
    samples: bool
    is_logged: bool = True


@dataclass(frozen=True, slots=True)
class Joined:
    """A draw as a log answers it.

    Attributes:
        draw: What was asked for.
        request: The draw, resolved.
        parts: The logged rows that it consists of, in order; its image is the last one's.
        round: In which of its search's rounds it was asked for.
    """

    draw: Draw
    request: Request[Any]
    parts: tuple[Row, ...]
    round: int


Place = tuple[Hashable, int, int]
"""A trajectory, and the first and the last step of a draw on it."""

Points = dict[str, tuple[Hashable, int]]
"""Trajectories and the steps at which draws stopped on them, by identity."""


@dataclass
class LoggedTrajectories:
    """The logged parts of one search's trajectories. Has state: plain draws that were resolved.

    Attributes:
        prompt: What it searched for.
        replicate: Which search of the prompt.
        resolver: Of its run.
    """

    prompt: Prompt
    replicate: int
    resolver: Resolver
    _parts: dict[tuple[Hashable, int], dict[int, Row]] = field(default_factory=dict)
    _points: Points = field(default_factory=dict)
    _plain: dict[Hashable, tuple[Place, tuple[Row, ...], Request[Any]]] = field(
        default_factory=dict
    )

    def add(self, rows: Iterable[Row]) -> None:
        """Take in the search's rows, those of all its draws."""
        for row in sorted(rows, key=lambda row: (row["round"] or 0, row["draw_index"])):
            place = self._place(logged_draw(row), self._points)
            if place is None:  # of a log that was edited
                continue
            trajectory, first, last = place
            self._points[row["draw_id"]] = trajectory, last
            self._parts.setdefault((trajectory, first), {})[last] = row

    def answer(
        self, draw: Draw, points: Points, earlier: Earlier
    ) -> tuple[tuple[Row, ...], Request[Any]] | None:
        """Return the rows that a draw consists of, and its request as a run would resolve it.

        Args:
            draw: What was asked for.
            points: Where draws of this replay stopped; it joins them if it has a stop.
            earlier: Their requests, likewise.

        Returns:
            None where some of its parts are not logged.
        """
        key = None
        if (draw.text, draw.feedback) == (None, ()) and not draw.settings:
            # All of it that identity and place hang on, since a start is named by identity.
            key = draw.noise or Noise(draw.index), draw.start, draw.stop
        known = self._plain.get(key)
        if known is None:
            place = self._place(draw, {**self._points, **points} if draw.start else points)
            parts = self.parts(place) if place is not None else ()
            if place is None or not parts:
                return None
            request = self.resolver.resolve(
                self.prompt, self.replicate, draw, parts[-1]["round"] or 1, earlier
            )
            known = place, parts, request
            if key is not None:  # what other strategies ask for, too
                self._plain[key] = known
        place, parts, request = known
        if draw.stop is not None:
            earlier[request.id] = request
            points[request.id] = place[0], place[2]
        return parts, request

    @cached_property
    def _usual(self) -> str:
        return canonical_json(dict(self.resolver.settings))

    def _place(self, draw: Draw, points: Points) -> Place | None:
        """Return where a draw lies; None if it starts from one that is not known."""
        settings, spelled = self.resolver.settings, self._usual
        if draw.settings:
            settings = {**settings, **draw.settings}
            spelled = canonical_json(dict(settings))
        text = self.prompt.text if draw.text is None else draw.text
        conditions = text, spelled, draw.feedback
        last = whole_steps(settings) if draw.stop is None else draw.stop
        noise, start = draw.noise or Noise(draw.index), draw.start
        if start is None:
            return (conditions, noise), 0, last
        if start.draw_id not in points:
            return None
        trajectory, at = points[start.draw_id]
        if start.renoise is not None:
            return (conditions, (trajectory, at, start.renoise, noise)), start.renoise, last
        if trajectory[0] == conditions:  # type: ignore[index]
            return trajectory, at, last
        return (conditions, (trajectory, at)), at, last

    def parts(self, place: Place) -> tuple[Row, ...]:
        """Return the rows between a place's steps; none if some are not logged.

        Where a part failed on the way, nothing comes after it, and it is the last.
        """
        trajectory, first, last = place
        failed: tuple[Row, ...] = ()
        ends = self._parts.get((trajectory, first), {})
        for end in sorted((end for end in ends if end <= last), reverse=True):
            row = ends[end]
            if end == last:
                return (row,)
            if row["image"] is None:
                failed = (row,)
            elif rest := self.parts((trajectory, end, last)):
                return (row, *rest)
        return failed


class TrajectoryAnswers:
    """Answers one replay of a search from its logged trajectories. Has state: what was asked for.

    Args:
        logged: The search's trajectories.
        judging: Who judges.

    Attributes:
        joined: The draws that were answered, by index.
    """

    indices: frozenset[int] = frozenset()

    def __init__(self, logged: LoggedTrajectories, judging: Judging) -> None:
        self.joined: dict[int, Joined] = {}
        self._logged = logged
        self._judging = judging
        self._points: Points = {}
        self._earlier: Earlier = {}

    def reply(self, question: Question, round: int) -> MissingDraw:
        """Return that there is no reply: another strategy's questions are others."""
        return MissingDraw(question.index, kind="question")

    def answer(self, draw: Draw, round: int) -> Candidate | MissingDraw:
        """Return the candidate that a strategy is sent for a draw, or why there is none.

        Raises:
            UsageError: The judge samples, so that what it would say of this draw is not logged.
        """
        known = self._logged.answer(draw, self._points, self._earlier)
        if known is None:
            return MissingDraw(draw.index, _described(draw))
        parts, request = known
        row, judging = parts[-1], self._judging
        if judging.samples and request.id != row["draw_id"]:
            raise UsageError(
                f"draw {draw.index} of prompt {self._logged.prompt.id} has the image of a logged "
                "draw but not its identity, by which the judge's sampling is seeded: what it would "
                "say of it is not in the log",
                "run the strategy, or give a judge that samples nothing, such as a metric",
            )
        error = row["error"] if row["error_role"] == Role.GENERATOR else None
        if judging.is_logged and row["error_role"] == Role.JUDGE:
            error = row["error"]
        verdict = judging.verdict(row) if error is None else None
        if error is None and verdict is None:
            return MissingDraw(draw.index, "without what the judge goes by")
        self.joined[draw.index] = Joined(draw, request, parts, round)
        return Candidate(draw, request.id, row["image"], verdict, error)


def _described(draw: Draw) -> str:
    """Return what a draw is that the log does not hold, beside its index."""
    start, noise = draw.start, draw.noise
    parts = []
    if start is not None and start.renoise is not None:
        parts.append(f"{RENOISED} to step {start.renoise}")
    if draw.stop is not None:
        parts.append(f"up to step {draw.stop}")
    if draw.feedback:
        parts.append("with feedback")
    if draw.text is not None:
        parts.append("for another prompt")
    if draw.settings:
        parts.append("with other settings")
    if noise is not None:
        parts.append("with noise near another" if noise.turns else f"from noise {noise.index}")
    return ", ".join(parts)


LISTED = 3
"""Missing draws that a message names."""


class LacksDraws(HarnessError):
    """The log does not hold all draws that a strategy asks for."""


def check_complete(
    folder: RunFolder, strategy: str, budget: int, results: Mapping[SearchKey, Replayed]
) -> None:
    """See that a log holds all draws that a strategy asked for.

    Args:
        folder: The run's.
        strategy: The strategy's name.
        budget: Its budget.
        results: Its searches.

    Raises:
        UsageError: Some are branches, which no other strategy's log holds.
        LacksDraws: Some are missing.
    """
    missing_draws = {key: result.missing for key, result in results.items() if result.missing}
    if not missing_draws:
        return
    draws = [(key, draw) for key, missing in missing_draws.items() for draw in missing]
    listed = "; ".join(_sentence(key, draw) for key, draw in draws[:LISTED])
    more = f"; and {len(draws) - LISTED} more" if len(draws) > LISTED else ""
    if any(RENOISED in draw.differing for _, draw in draws):
        raise UsageError(
            f"strategy '{strategy}' takes trajectories back in noise on their way; such branches "
            f"hang on its own choices, and those of {folder.path} are others: {listed}{more}",
            "run it, with --reuse for the draws that it has in common with a run",
        )
    raise LacksDraws(
        f"the log of {folder.path} cannot say: in {len(missing_draws)} of {len(results)} searches "
        f"'{strategy}' with a budget of {budget} asks for draws that it lacks: {listed}{more}",
        f"make those draws: python -m harness run --strategy {strategy} --budget {budget} "
        f"--reuse {folder.path}, with the run's other options",
    )


def _sentence(key: SearchKey, draw: MissingDraw) -> str:
    name = f"{draw.kind} {draw.index} of prompt {key.prompt_id}, replicate {key.replicate}"
    return f"{name} ({draw.differing})" if draw.differing else name
