"""Prompts of searches that failed before their first draw: the log has no row to name them."""

from __future__ import annotations

from collections.abc import Collection

from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.prompts import read_prompts
from harness.records import Prompt


def prompts_without_draws(
    folder: RunFolder, manifest: Manifest, ids: Collection[str]
) -> dict[str, Prompt]:
    """The run's prompts of these ids.

    Without them such a prompt would make a tag of its own, and be missing from comparisons,
    which would reward failing.

    Args:
        folder: The run.
        manifest: Its manifest.
        ids: Prompts that the log says nothing of but their id.

    Raises:
        HarnessError: The run's prompts are damaged, or are not kept and cannot be built again.
    """
    if not ids:
        return {}
    return {prompt.id: prompt for prompt in read_prompts(folder, manifest) if prompt.id in ids}
