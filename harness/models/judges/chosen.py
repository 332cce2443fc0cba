"""From a suite's judge and what the user says of it to the judge of a run."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.base import Benchmark
from harness.errors import UsageError
from harness.models.suites import ModelSpec
from harness.options import build, resolved
from harness.registry import JUDGES


def chosen_judge(
    judge: ModelSpec, given: str | None, settings: Mapping[str, str], metrics: ModelSpec
) -> ModelSpec:
    """Return the judge that a user names, or the suite's, with the options given.

    Args:
        judge: The suite's.
        given: KIND or KIND=REF, or None for the suite's.
        settings: Options as given (`-J name=value`).
        metrics: The suite's references and settings of metrics, for a judge that is made of one.

    Raises:
        UsageError: An unknown kind or option, a value it does not take, or no checkpoint.
    """
    kind, equals, reference = (given or judge.kind).partition("=")
    factory = JUDGES.get(kind)  # an unknown name should fail before anything else does
    if equals and not reference:
        raise UsageError(
            f"--judge {given} names no checkpoint", f"say --judge {kind} or --judge {kind}=REF"
        )
    if kind != judge.kind:
        # Another kind of judge shares neither checkpoints nor settings with the suite's.
        judge = judge.model_copy(update={"kind": kind, "checkpoints": {}, "settings": {}})
    complete = getattr(factory, "complete", None)
    if settings and not (hasattr(factory, "parse") or hasattr(factory, "Settings")):
        raise UsageError(f"the judge '{kind}' has no options", "leave -J out")
    judge = judge.model_copy(update={"settings": {**judge.settings, **settings}})
    if complete is not None:
        judge = complete(judge, reference, metrics)
    elif reference:
        main = getattr(factory, "main_part", "")
        if not main:
            raise UsageError(f"the judge '{kind}' takes no checkpoint", f"say --judge {kind}")
        # A processor is a model's own; another model brings another, in its folder.
        parts = {part: ref for part, ref in judge.checkpoints.items() if part != "processor"}
        judge = judge.model_copy(update={"checkpoints": {**parts, main: reference}})
    if not settings:
        return judge
    if hasattr(factory, "parse"):
        typed = dict(factory.parse(judge.settings))
    else:
        title = f"judge {kind}"
        typed = resolved(build(factory.Settings, judge.settings, flag="-J", title=title))
    chosen = {name: typed[name] for name in settings}
    return judge.model_copy(update={"settings": {**judge.settings, **chosen}})


def check_judge(judge: ModelSpec, benchmark: Benchmark) -> None:
    """Refuse at planning time what the judge itself would refuse."""
    check = getattr(JUDGES.get(judge.kind), "check", None)
    if check is not None:
        check(judge.checkpoints.keys(), judge.settings, benchmark)


def is_remote(kind: str) -> bool:
    """Return whether a judge, by the name of its kind, sends images to where its settings say."""
    known = kind in JUDGES.names()  # what is named by import path is asked about anyhow
    return known and bool(getattr(JUDGES.get(kind), "is_remote", False))
