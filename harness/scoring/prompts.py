"""The prompts of a run with their metadata, which the log does not repeat in every row.

A run over a benchmark gets them from the benchmark. Images that came from elsewhere bring their
own, and those are kept beside the log.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from harness.config import FOREIGN, read_config
from harness.errors import HarnessError
from harness.log.files import write_atomically
from harness.log.manifest import Manifest, PromptSet
from harness.log.run_folder import RunFolder
from harness.options import build
from harness.records import Prompt
from harness.registry import BENCHMARKS

PROMPTS_FILE = "prompts.jsonl"
"""Beside the manifest of a run whose prompts are no benchmark's: one prompt a line."""


def write_prompts(folder: RunFolder, prompts: Sequence[Prompt]) -> None:
    """Keep the prompts of a run that are no benchmark's.

    Raises:
        HarnessError: The file cannot be written.
    """
    lines = (
        json.dumps({"id": p.id, "text": p.text, "tag": p.tag, "metadata": p.metadata}) + "\n"
        for p in prompts
    )
    write_atomically(folder.path / PROMPTS_FILE, "".join(lines).encode())


def read_prompts(folder: RunFolder, manifest: Manifest) -> list[Prompt]:
    """The prompts of a run, in order; with a sample of a benchmark's, all that it has.

    Raises:
        UsageError: The benchmark is not installed here.
        HarnessError: The file is not the one that the run was made with.
    """
    file, config = folder.path / PROMPTS_FILE, read_config(manifest.config)
    if config.generator.kind != FOREIGN or not file.exists():
        benchmark = config.benchmark
        return list(build(BENCHMARKS.get(benchmark.name), benchmark.options, flag="-B").prompts())
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
        prompts = [Prompt(**json.loads(line)) for line in lines if line]
        digest = PromptSet.of(prompts).digest
    except (OSError, ValueError, TypeError) as error:
        raise HarnessError(f"{file} cannot be read: {error}", "restore it from a copy") from error
    if digest != manifest.prompt_set.digest:
        raise HarnessError(
            f"{file} does not hold the prompts that the manifest names", "restore it from a copy"
        )
    return prompts
