"""The prompts of a run that the text encoder cut, as its log says."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from harness.log import store
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.truncation import Truncated


def logged_truncation(folder: RunFolder, manifest: Manifest) -> Truncated:
    """Read which prompts of a run had texts cut, of those with draws in the log.

    Raises:
        HarnessError: The log is damaged.
    """
    return truncation_in(store.read(folder.log, "candidates", ["prompt_id", "truncated"]), manifest)


def truncation_in(table: pa.Table, manifest: Manifest) -> Truncated:
    """Return which prompts of a run had texts cut, of those with draws in a table of candidates."""
    known = table.filter(pc.is_valid(table["truncated"]))
    cut = known.filter(pc.greater(pc.list_value_length(known["truncated"]), 0))

    def texts() -> Iterator[tuple[str, list[str]]]:
        yield from ((prompt_id, []) for prompt_id in known["prompt_id"].unique().to_pylist())
        yield from zip(cut["prompt_id"].to_pylist(), cut["truncated"].to_pylist(), strict=True)

    return Truncated.of(manifest.prompt_set.count, texts())
