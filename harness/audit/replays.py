"""Every search replayed against the log, by the strategy that the config names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness import replay
from harness.audit.audited_run import AuditedRun, Row
from harness.audit.result import CannotCheck
from harness.engine.deadline import deadline
from harness.engine.searches import Search, SearchKey
from harness.records import Prompt
from harness.replay import LoggedAnswers, Replayed


def replayed(run: AuditedRun) -> Mapping[SearchKey, Replayed]:
    """Replay all searches of a run, once; later calls get the same.

    Raises:
        CannotCheck: The strategy is not here, or the log cannot be read.
    """
    if run.replays is None:
        strategy, config = run.strategy, run.config
        replies = dict(replay.by_search(run.table("replies", list(replay.REPLY)), "replies"))
        with deadline(0):
            run.replays = {
                key: replay.replay(
                    Search(
                        strategy,
                        prompt,
                        key.replicate,
                        budget=config.budget,
                        run_seed=config.seed,
                        settings=config.generator.settings,
                    ),
                    LoggedAnswers(rows, replies.get(key, ()), same_rounds=True),
                )
                for key, prompt, rows in _searches(run)
            }
    return run.replays


def _searches(run: AuditedRun) -> Iterator[tuple[SearchKey, Prompt, Sequence[Row]]]:
    try:
        texts = {prompt.id: prompt.text for prompt in run.prompts}
    except CannotCheck:
        texts = {}
    logged = set()
    for key, rows in run.by_search(("prompt", "tag", *replay.COLUMNS)):
        logged.add(key)
        text = str(texts.get(key.prompt_id, rows[0]["prompt"]))
        yield key, Prompt(key.prompt_id, text, str(rows[0]["tag"])), rows
    for key in run.searches.keys() - logged:
        yield key, Prompt(key.prompt_id, str(texts.get(key.prompt_id, ""))), ()
