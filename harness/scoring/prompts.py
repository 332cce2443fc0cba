"""The prompts of a run with their metadata, which the log does not repeat in every row."""

from __future__ import annotations

from harness.config import FOREIGN, read_config
from harness.errors import HarnessError
from harness.log.manifest import Manifest, PromptSet
from harness.log.prompts import kept_prompts
from harness.log.run_folder import RunFolder
from harness.options import build
from harness.plan import select_prompts
from harness.records import Prompt
from harness.registry import BENCHMARKS


def read_prompts(folder: RunFolder, manifest: Manifest) -> list[Prompt]:
    """Return the prompts of a run, in order.

    They are those kept with it. A run of a former version has its benchmark's, and where these
    come from a file it must still hold them.

    Raises:
        UsageError: The benchmark is not installed here.
        HarnessError: The prompts are not those that the run was made with.
    """
    prompts = kept_prompts(folder, manifest)
    if prompts is not None:
        return prompts
    config = read_config(manifest.config)
    benchmark = build(BENCHMARKS.get(config.benchmark.name), config.benchmark.options, flag="-B")
    if config.generator.kind == FOREIGN:
        return list(benchmark.prompts())
    prompts = select_prompts(benchmark.prompts(), config.tags, config.limit)
    if PromptSet.of(prompts) != manifest.prompt_set:
        raise HarnessError(
            f"{folder.path} was made with other prompts than benchmark '{config.benchmark.name}' "
            "has now",
            "put the original prompts back",
        )
    return prompts
