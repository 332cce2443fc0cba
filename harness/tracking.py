"""Experiment trackers as sinks for a run's progress: never needed, never in the way.

A tracker is told what the progress bar is told. It works in a thread of its own, which takes the
latest numbers whenever it is ready for some, so that one that is slow, fails, hangs or ends its
thread costs a warning at most: a run's log is the same with and without it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.engine.progress import Progress
from harness.errors import UsageError, first_line
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.models import bundled

PROJECT = "inference-scaling"
"""Project or experiment, where the tracker's own environment variable names no other."""

LOG_SECONDS = 1.0
"""The shortest time between two steps."""

FINISH_SECONDS = 10.0
"""How long a tracker is waited for once the run has ended."""

Values = Mapping[str, float]

Log = Callable[[int, Values], None]
"""Takes the numbers at a step: how many searches have ended."""

Tracker = Callable[[Manifest, RunFolder], AbstractContextManager[Log]]
"""Begins, or goes on with, the record of the run that is in a folder; leaving it ends it. Whatever
it raises ends its part, and not the run's."""


@contextmanager
def tensorboard(manifest: Manifest, folder: RunFolder) -> Iterator[Log]:
    """Write event files beside the run's folder, under `tensorboard/` (package tensorboard)."""
    from torch.utils.tensorboard import SummaryWriter

    local = folder.path if isinstance(folder.path, Path) else Path("results", manifest.run)
    writer: Any = SummaryWriter(str(local.parent / "tensorboard" / local.name))
    rows = "".join(f"    {name} = {value}\n" for name, value in described(manifest).items())
    writer.add_text("run", rows)

    def log(step: int, values: Values) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    yield log
    writer.close()


@contextmanager
def weights_and_biases(manifest: Manifest, folder: RunFolder) -> Iterator[Log]:
    """Feed a run of the same id at Weights & Biases (package wandb; `WANDB_PROJECT` and such)."""
    import wandb

    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        id=manifest.run,
        name=folder.path.name,
        resume="allow",
        config=described(manifest),
        notes=bundled.label(manifest.config),
        settings=wandb.Settings(console="off"),
    )
    yield lambda step, values: run.log(dict(values), step=step)
    run.finish()


@contextmanager
def mlflow(manifest: Manifest, folder: RunFolder) -> Iterator[Log]:
    """Feed a run in MLflow, found again by its id (package mlflow; `MLFLOW_TRACKING_URI`)."""
    from mlflow import MlflowClient

    client = MlflowClient()
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    existing = client.get_experiment_by_name(name)
    experiment = existing.experiment_id if existing else client.create_experiment(name)
    runs = client.search_runs([experiment], f"tags.`harness.run` = '{manifest.run}'")
    if runs:
        run = runs[0].info.run_id
        client.update_run(run, status="RUNNING")
    else:
        tags = {"harness.run": manifest.run, "mlflow.note.content": bundled.label(manifest.config)}
        run = client.create_run(experiment, run_name=folder.path.name, tags=tags).info.run_id
        for key, value in described(manifest).items():
            client.log_param(run, key, value[:500])

    def log(step: int, values: Values) -> None:
        for name, value in values.items():
            client.log_metric(run, name, value, step=step)

    yield log
    client.set_terminated(run)


TRACKERS: Mapping[str, Tracker] = {
    "wandb": weights_and_biases, "mlflow": mlflow, "tensorboard": tensorboard,
}  # fmt: skip
"""By the name of the package that each needs."""


def check_trackers(names: Sequence[str]) -> None:
    """Refuse a tracker whose package is not installed.

    Raises:
        UsageError: It is not.
    """
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # a mere folder of that name, such as its files
            raise UsageError(
                f"--track {name} needs the package {name}, which is not installed",
                f"pip install {name}, or leave --track out; no run needs one",
            )


def described(manifest: Manifest) -> dict[str, str]:
    """Return what a run is, as names and texts, the label of the miniature first if it needs it."""
    label = bundled.label(manifest.config)
    return {**({"label": label} if label else {}), **_flat(manifest.config)}


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in fields.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: str(value)}
    return flat


@contextmanager
def tracking(
    names: Sequence[str], folder: RunFolder, warn: Callable[[str], None]
) -> Iterator[Callable[[Progress], None]]:
    """Feed trackers named as in `TRACKERS`; yields what to call with the progress.

    The run's manifest is there with the first progress. `warn` is called once with a sentence for
    a tracker that fails.
    """
    with ExitStack() as stack:
        feeds = [_Feed(name, folder, warn) for name in names]
        for feed in feeds:
            stack.callback(feed.close)

        def observe(progress: Progress) -> None:
            for feed in feeds:
                feed.observe(progress)

        yield observe


class _Feed(threading.Thread):
    """One tracker in its thread. Has state: the latest numbers."""

    def __init__(self, name: str, folder: RunFolder, warn: Callable[[str], None]) -> None:
        super().__init__(name=f"track-{name}", daemon=True)
        self._tracker, self._folder, self._warn = TRACKERS[name], folder, warn
        self._label = f"the tracker {name}"
        self._latest: tuple[int, Values] = (0, {})
        self._has_news, self._is_closing = threading.Event(), threading.Event()
        self._is_left = False

    def observe(self, progress: Progress) -> None:
        self._latest = progress.searches_ended, _values(progress)
        self._has_news.set()
        if self.ident is None:
            self.start()

    def close(self) -> None:
        if self.ident is None:
            return
        self._is_closing.set()
        self._has_news.set()
        self.join(FINISH_SECONDS)
        if self.is_alive():
            self._is_left = True
            self._warn(f"{self._label} does not end and is left behind")

    def run(self) -> None:
        try:
            logged, is_last = -1, False
            with self._tracker(Manifest.read(self._folder.manifest), self._folder) as log:
                while not is_last:
                    self._has_news.wait()
                    self._has_news.clear()
                    is_last = self._is_closing.is_set()  # asked first: then the latest are the last
                    step, values = self._latest
                    if step != logged:
                        log(step, values)
                        logged = step
                    self._is_closing.wait(LOG_SECONDS)
        except BaseException as error:  # a library's sys.exit included
            if not self._is_left:
                self._warn(f"{self._label} failed, the run goes on: {first_line(error)}")


def _values(progress: Progress) -> dict[str, float]:
    values = {
        "searches_ended": progress.searches_ended,
        "searches_failed": progress.searches_failed,
        "draws": progress.draws,
        "draws_failed": progress.draws_failed,
        "draws_reused": progress.reused.total(),
        "draws_per_second": progress.draws_per_second,
        "failed_tries": progress.failures.total(),
    }
    return values if progress.micro is None else {**values, "micro": progress.micro}
