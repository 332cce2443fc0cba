"""What a run, or a folder of scored images, came to, as a person reads it on stdout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.analysis.evidence import skills_line
from harness.analysis.protocol import without_score
from harness.cli.recorded import resume_command
from harness.cli.terminal import printable, say
from harness.config import read_config
from harness.interop.plan import MMDET
from harness.interop.results import OFFICIAL, read_files
from harness.interop.scores import Scores, Share, summarise_scores
from harness.log import store
from harness.log.location import local
from harness.log.manifest import FINISHED, Manifest
from harness.log.run_folder import RunFolder
from harness.models import bundled, leakage, provenance
from harness.price import UNPRICED, Price
from harness.prompts import notice_of
from harness.runs.measurement import GENEVAL, covered
from harness.runs.money import spending
from harness.runs.summary import Summary, memory_words, summarise
from harness.runs.wording import cells, n_of
from harness.statistics.intervals import Estimate


def print_summary(folder: RunFolder, price: Price = UNPRICED) -> Summary:
    """Summarise a run and print it, with what it cost at a price."""
    summary = summarise(folder.path)
    print_result(summary, folder)
    say(spent_line(summary, price), *covered(folder, summary.manifest))
    say(f"results   {folder.path}")
    if summary.manifest.state != FINISHED:
        say(f"resume    {resume_command(folder.path, summary.manifest.config)}")
    return summary


def spent_line(summary: Summary, price: Price = UNPRICED) -> str:
    """Return a line with a run's device-hours and what they cost at a price."""
    return f"spent     {spending([(summary.manifest, summary.cost)], price)}"


def print_result(summary: Summary, folder: RunFolder | None = None) -> None:
    """Print what a run came to, or, without a folder, one that was not made would have."""
    config = summary.manifest.config
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(printable(_title(config))), style="bold")
    oracle = "ORACLE run: the judge is the scorer, so the score is an upper bound"
    labels = [bundled.label(config), oracle if config["oracle"] else "", leakage.warning(config)]
    say(*filter(None, labels), *leakage.notices(summary.verifying))
    if summary.tags:
        console.print(_scores(summary))
    elif config["scorer"] is None:
        say("no scorer: this benchmark has images and verdicts only")
    say(*_facts(summary, folder))


def _title(config: Mapping[str, object]) -> str:
    strategy, benchmark = config["strategy"], config["benchmark"]
    assert isinstance(strategy, dict) and isinstance(benchmark, dict)
    options = ", ".join(f"{name}={value}" for name, value in strategy["options"].items())
    return (
        f"{strategy['name']}{f' ({options})' if options else ''} · budget {config['budget']} · "
        f"{benchmark['name']} · {bundled.suite_name(config)} · seed {config['seed']}"
    )


def _scores(summary: Summary) -> Table:
    rows = [
        (tag or "(no tag)", estimate, [n_of(prompts, total)], "")
        for tag, (estimate, prompts, total) in summary.tags.items()
    ]
    of = n_of(sum(each[1] for each in summary.tags.values()),
              sum(each[2] for each in summary.tags.values()))  # fmt: skip
    rows.append(("macro (mean over tags)", summary.macro, [of], "bold"))
    rows.append(("micro (mean over prompts)", summary.micro, [of], "bold"))
    return scores_table(["prompts"], rows)


def _facts(summary: Summary, folder: RunFolder | None) -> list[str]:
    per_search = f"{summary.draws_per_search:.2f} a search"
    budget = summary.manifest.config["budget"]
    unscored = summary.searches - summary.searches_scored if summary.tags else 0
    lines = [
        f"searches  {summary.searches} of {summary.searches_total}, "
        f"{summary.searches_failed} failed"
        f"{f', {without_score(unscored, summary.least)}' if unscored else ''}",
        f"draws     {summary.draws} ({per_search}), budget {budget}, "
        f"{summary.draws_failed} failed, {summary.retries} retried",
    ]
    lines += notice_of(read_config(summary.manifest.config))
    if folder is not None:
        lines += skills_line(folder, summary.manifest, selected=True)
    lines.append(f"truncated {summary.truncated.summary}")
    for run, count in summary.reused.items():
        lines.append(f"reused    {count} draws of run {run}, with what they cost there")
    lines += [f"verifier  {line}" for line in provenance.lines(summary.verifying)]
    if summary.accepted is not None:
        lines.append(f"judge     accepts {summary.accepted:.3f} of the selected images")
    if total := sum(summary.agreement.values()):
        of = summary.agreement
        lines.append(
            f"agreement {(of['right accepted'] + of['wrong rejected']) / total:.3f} of {total} "
            f"draws: {of['right accepted']} correct and {of['wrong accepted']} wrong accepted, "
            f"{of['right rejected']} correct and {of['wrong rejected']} wrong rejected"
        )
    for name, mean in summary.metrics.items():
        lines.append(f"{metric_line(name, mean)} of the selected images")
    for name, count in summary.unmeasured.items():
        lines.append(f"metric    {name} has no value of {count} selected images")
    for role, cost in summary.cost.items():
        seconds, flops = cost["device_seconds"], cost["flops"]
        parts = [
            "time not recorded" if seconds is None else f"{seconds:.1f} device-s",
            "FLOPs not counted" if flops is None else f"{flops / 1e12:.3g} TFLOPs",
        ]
        if (rows := cost["rows"]) and role == "generator":
            padded = cost["padded_flops"]
            with_padding = f", {padded / 1e12:.3g} TFLOPs with padding" if padded else ""
            fill = f" ({summary.draws / rows:.0%} full)" if summary.draws <= rows else ""
            parts.append(f"{rows:.0f} rows computed for {summary.draws} draws{fill}{with_padding}")
        if cost["nfe"]:
            parts.append(f"{cost['nfe']:.0f} NFE")
        if cost["tokens"]:
            parts.append(f"{cost['tokens']:.0f} tokens")
        lines.append(f"{role:<9} {', '.join(parts)}")
    if folder is not None:
        lines.append(f"memory    {memory_words([summary.manifest])}")
    for name, counts in (("tries", summary.failures), ("workers", summary.deaths)):
        for role, kinds in counts.items():
            listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
            what = "tries failed" if name == "tries" else "lost"
            lines.append(f"{name:<9} {sum(kinds.values())} {role} {what}: {listed}")
    for message, count in summary.errors.items():
        lines.append(f"error     {count} × {message}")
    if summary.nothing_scored:
        reason = next(iter(summary.errors), "no search selected anything")
        lines.append(f"nothing could be scored: {reason}")
    return lines


def print_scores(folder: RunFolder, results: Sequence[Path], price: Price = UNPRICED) -> Scores:
    """Summarise a folder of scored images and print it, with what scoring cost at a price."""
    scores = summarise_scores(folder)
    manifest = Manifest.read(folder.manifest)
    config, summary = manifest.config, summarise(folder.path)
    say(*filter(None, [bundled.label(config)]), *leakage.notices(summary.verifying))
    name = config["benchmark"]["name"]
    Console(highlight=False, soft_wrap=True).print(_table(scores, name))
    everything = scores.per_image
    left_out = everything.images - everything.scored
    cost = summary.cost["scorer"]
    seconds, flops = cost["device_seconds"], cost["flops"]
    speed = f", {everything.scored / seconds:.1f} images a device-second" if seconds else ""
    counted = "FLOPs not counted" if flops is None else f"{flops / 1e12:.3g} TFLOPs"
    duration = "device-seconds not recorded" if seconds is None else f"{seconds:.1f} device-s"
    own = "".join(f"{path} ({name}'s format), " for path in results)
    spec = config["scorer"]
    parts = ", ".join(f"{part} {ref}" for part, ref in spec["checkpoints"].items())
    original = " (run by mmdet)" if spec["settings"].get("backend") == MMDET else ""
    say(
        f"models    {parts}{original}; {spec['dtype']}, batches of {spec['batch_size']}",
        f"images    {everything.scored} of {everything.images} scored, of {everything.prompts} "
        f"prompts{f'; {left_out} not scored, and in no score' if left_out else ''}",
        *skills_line(folder, manifest, selected=False),
        *covered(folder, manifest),
        *(metric_line(*each) for each in summary.metrics.items()),
        *(f"verifier  {line}" for line in provenance.lines(summary.verifying)),
        f"scorer    {duration}, {counted}{speed}",
        spent_line(summary, price),
        f"results   {own}{folder.log} (Parquet)",
        *([] if everything.scored else [f"nothing could be scored: {scores.refused[0]}"]),
    )
    return scores


def show_scores(folder: RunFolder, price: Price = UNPRICED) -> int:
    """Print what a folder of scored images has come to, and how to go on if it is not finished.

    Returns the exit code: 1 if there are images and none could be scored.
    """
    manifest = Manifest.read(folder.manifest)
    done = store.read(folder.log, "candidates", ["prompt_id"]).num_rows
    known = [path for name in OFFICIAL if (path := local(folder.path) / name).exists()]
    unscored = done and not print_scores(folder, known, price).per_image.scored
    if manifest.state != FINISHED:
        total = len(read_files(folder))
        click.echo(f"unfinished {done} of {total} images are done")
        click.echo(f"go on with {manifest.command}")
    return 1 if unscored else 0


def _table(scores: Scores, benchmark: str) -> Table:
    known = sum(of.estimate is not None for of in scores.tags.values())
    tags = "tags" if known in (0, len(scores.tags)) else f"{known} of {len(scores.tags)} tags"
    macro = f"macro (official: mean over {tags})", "micro (mean over prompts)"
    micro = f"macro (mean over {tags})", "micro, the official score"
    names = macro if benchmark == GENEVAL else micro
    rows = [(tag or "(no tag)", of.estimate, _over(of), "") for tag, of in scores.tags.items()]
    rows += [
        (name, estimate, _over(scores.per_image), style)
        for name, estimate, style in (
            (names[0], scores.macro, "bold"),
            (names[1], scores.micro, "bold"),
            ("per image (all images pooled)", scores.per_image.estimate, ""),
            ("per prompt (any image correct)", scores.per_prompt, ""),
        )
    ]
    return scores_table(["images", "prompts"], rows)


def _over(of: Share) -> list[str]:
    return [n_of(of.scored, of.images), n_of(of.scored_prompts, of.prompts)]


def scores_table(
    counted: Sequence[str], rows: Iterable[tuple[str, Estimate | None, Sequence[str], str]]
) -> Table:
    """Return a table of scores with their intervals."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "score", "95% interval", *counted, "method"):
        table.add_column(name, justify="left" if name in ("", "method") else "right")
    for name, estimate, over, style in rows:
        value, interval, method = cells(estimate)
        table.add_row(Text(printable(name)), value, interval, *over, method, style=style)
    return table


def metric_line(name: str, mean: Estimate) -> str:
    """Return what is printed of the mean of a metric, with its interval if there is one."""
    interval = f" ({mean.low:.4g}–{mean.high:.4g})" if mean.method else ""
    return f"metric    {name} {mean.value:.4g}{interval}"
