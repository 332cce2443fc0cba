"""Metrics of a finished run's images that were measured afterwards, beside its own rows.

Each time is a small run of its own under the run's `metrics/`, with its manifest and shards, whose
draws are the run's images. The run's own files stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.errors import HarnessError
from harness.log import integrity, store
from harness.log.manifest import FINISHED, Manifest
from harness.log.run_folder import RunFolder

Shown = tuple[str, str]
"""Prompt id and digest of an image's pixels: all that a metric's value hangs on."""


def measurements(folder: RunFolder) -> Iterator[tuple[RunFolder, Manifest]]:
    """Yield what was measured of a run afterwards, and came to its end, in order of its names.

    Raises:
        HarnessError: A manifest is damaged, or is of another run's images.
    """
    run = None
    if not folder.metrics.exists():
        return
    for name in sorted(path.name for path in folder.metrics.iterdir()):
        measured = RunFolder(folder.metrics / name)
        if not measured.is_run:
            continue
        manifest = Manifest.read(measured.manifest)
        run = run or Manifest.read(folder.manifest).run
        if manifest.config["generator"].get("settings", {}).get("run") != run:
            raise HarnessError(
                f"{measured.path} holds what was measured of another run",
                f"move it out of {folder.path}",
            )
        if manifest.state == FINISHED:
            yield measured, manifest


def verifying(folder: RunFolder, manifest: Manifest) -> dict[str, Any]:
    """Return a run's config, in which metrics count that measured its images afterwards."""
    config = dict(manifest.config)
    for _, later in measurements(folder):
        ours, theirs = config.get("metric") or {}, later.config["metric"]
        trusted = ours.get("trust_remote_code") or theirs.get("trust_remote_code", False)
        config["metric"] = {
            **theirs,
            "checkpoints": {**ours.get("checkpoints", {}), **theirs["checkpoints"]},
            "trust_remote_code": trusted,
        }
        own = {k: v for k, v in later.config["digests"].items() if k.startswith("metric.")}
        config["digests"] = {**config["digests"], **own}
    return config


def measured_later(folder: RunFolder) -> Mapping[Shown, Mapping[str, float]]:
    """Return the values of a run's images that were measured afterwards, by metric.

    Raises:
        HarnessError: Something of it is damaged, or of another run.
    """
    values: dict[Shown, dict[str, float]] = {}
    for measured, _ in measurements(folder):
        integrity.check(measured)
        columns = ["prompt_id", "image", "metrics"]
        for row in store.read(measured.log, "candidates", columns).to_pylist():
            if row["image"] is not None:
                values.setdefault((row["prompt_id"], row["image"]), {}).update(row["metrics"] or ())
    return values
