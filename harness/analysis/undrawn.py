"""Prompts of searches that failed before their first draw: the log has no row to name them."""

from __future__ import annotations

from collections.abc import Collection

from harness.errors import HarnessError
from harness.log.manifest import Manifest
from harness.options import build
from harness.records import Prompt
from harness.registry import BENCHMARKS, ImportRefused


def undrawn_prompts(manifest: Manifest, ids: Collection[str]) -> dict[str, Prompt]:
    """The benchmark's own prompts of these ids.

    Without them such a prompt would make a tag of its own, and be missing from comparisons,
    which would reward failing.

    Args:
        manifest: The run's.
        ids: Prompts that the log says nothing of but their id.

    Returns:
        By id, those that the benchmark as installed here has.

    Raises:
        ImportRefused: It is named by import path, and that was not allowed.
    """
    if not ids:
        return {}
    named = manifest.config["benchmark"]
    try:
        prompts = build(BENCHMARKS.get(named["name"]), named["options"], flag="-B").prompts()
    except ImportRefused:
        raise
    except HarnessError:
        return {}
    wanted = set(ids)
    return {prompt.id: prompt for prompt in prompts if prompt.id in wanted}
