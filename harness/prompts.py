"""The prompts of a run: chosen of a benchmark's before it, read from its folder after it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from benchmarks.base import Benchmark
from harness.config import RunConfig, read_config
from harness.errors import HarnessError, UsageError, did_you_mean
from harness.log.files import make_folder, move
from harness.log.lock import exclusive
from harness.log.manifest import Manifest, PromptSet
from harness.log.prompts import prompts_path, stored_prompts, write_prompts
from harness.log.run_folder import RunFolder
from harness.options import build
from harness.records import Prompt
from harness.registry import BENCHMARKS
from harness.seeds import digest


def select_prompts(
    prompts: Sequence[Prompt], tags: Sequence[str], limit: int | None
) -> list[Prompt]:
    """The prompts of some tags, or a stratified sample of them, in official order.

    The sample hangs on the prompts' ids alone, not on the run's seed, so runs with different
    seeds share their prompts. Within a tag prompts are ordered by a hash; the r-th of n prompts
    of a tag gets the priority (r + ½) / n, and the smallest priorities are taken. So every tag
    gets its share, and a smaller sample is part of every larger one.

    Raises:
        UsageError: A tag that no prompt has, or nothing left.
    """
    known = {prompt.tag for prompt in prompts}
    for tag in tags:
        if tag not in known:
            raise UsageError(f"no prompt has the tag '{tag}'", did_you_mean(tag, known))
    chosen = [prompt for prompt in prompts if not tags or prompt.tag in tags]
    if not chosen:
        raise UsageError("there are no prompts to run", "check the benchmark's options")
    if limit is None or limit >= len(chosen):
        return chosen
    groups: defaultdict[str, list[Prompt]] = defaultdict(list)
    for prompt in chosen:
        groups[prompt.tag].append(prompt)
    ranked: list[tuple[float, str, str]] = []
    for group in groups.values():
        shuffled = sorted(group, key=lambda p: digest(["sample", p.id]))
        ranked += [
            ((rank + 0.5) / len(group), digest(["tie", p.id]), p.id)
            for rank, p in enumerate(shuffled)
        ]
    taken = {prompt_id for _, _, prompt_id in sorted(ranked)[:limit]}
    return [prompt for prompt in chosen if prompt.id in taken]


def benchmark_of(config: RunConfig) -> Benchmark:
    """Return a config's benchmark.

    Raises:
        UsageError: It is not installed here, or its options are no good any more.
    """
    benchmark: Benchmark = build(
        BENCHMARKS.get(config.benchmark.name), config.benchmark.options, flag="-B"
    )
    return benchmark


def notice_of(config: RunConfig) -> list[str]:
    """Return what must be said wherever a run's scores are shown; nothing if its code is not here.

    What a manifest names by import path is not imported for this.
    """
    try:
        notice = benchmark_of(config).notice
    except UsageError:
        return []
    return [f"notice    {notice}"] if notice else []


def benchmark_prompts(config: RunConfig) -> list[Prompt]:
    """The prompts that a config stands for, as its benchmark gives them here and now.

    Raises:
        UsageError: The benchmark is not installed here, or its prompts are no good any more.
    """
    return select_prompts(benchmark_of(config).prompts(), config.tags, config.limit)


def read_prompts(folder: RunFolder, manifest: Manifest) -> list[Prompt]:
    """The prompts of a run, in order: those that it keeps.

    The first programs kept none for runs over a benchmark. Theirs are built again, and are the
    run's if their digest is the manifest's.

    Raises:
        UsageError: They are not kept, and the benchmark is not installed here.
        HarnessError: What is kept is damaged, or what is built is not what the run began with.
    """
    if (prompts := stored_prompts(folder, manifest)) is not None:
        return prompts
    config = read_config(manifest.config)
    prompts = benchmark_prompts(config)
    if PromptSet.of(prompts) != manifest.prompt_set:
        raise HarnessError(
            f"{folder.path} keeps no prompts, and '{config.benchmark.name}' gives other prompts "
            "now than it was started with",
            "put the original prompts back",
        )
    return prompts


def repair_prompts(folder: RunFolder, manifest: Manifest) -> list[str]:
    """Write prompts that are damaged or gone again, if their source still has them.

    A damaged file is moved to the folder `damaged`, like everything that `harness.log.repair` sets
    aside.

    Returns:
        What was wrong and what was done, one sentence each; nothing if nothing was wrong.

    Raises:
        HarnessError: Another process works on the run, or a file cannot be written.
    """
    try:
        if stored_prompts(folder, manifest) is not None:
            return []
        notes = [f"{prompts_path(folder)} is missing"]
    except HarnessError as error:
        notes = [error.message]
    with exclusive(folder.path):
        if prompts_path(folder).is_file():
            make_folder(folder.path / "damaged")
            move(prompts_path(folder), folder.path / "damaged")
        try:
            prompts = benchmark_prompts(read_config(manifest.config))
        except HarnessError as error:
            return [*notes, f"its prompts cannot be had again: {error.message}"]
        if PromptSet.of(prompts) != manifest.prompt_set:
            return [*notes, "its prompts cannot be had again: their source gives other ones now"]
        write_prompts(folder, prompts)
    return [*notes, f"{len(prompts)} prompts were written again, equal to those it began with"]
