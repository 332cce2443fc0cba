"""Starts, resumes and finishes a run: lock, executor, manifest, engine, in that order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.config import differences
from harness.engine.engine import Engine
from harness.engine.executors.base import Executor, Patience
from harness.engine.executors.inline import InlineExecutor
from harness.engine.progress import Progress
from harness.engine.reuse import Pool
from harness.engine.session import Session
from harness.engine.sources import Source
from harness.engine.worker import Setup
from harness.errors import HarnessError, UsageError
from harness.log import shards, store
from harness.log.costs import COSTS, REPLIES, WORKED, sums
from harness.log.environment import environment
from harness.log.files import explained, is_leftover, make_folder, remove_leftovers
from harness.log.integrity import check_rows
from harness.log.location import Location
from harness.log.lock import exclusive
from harness.log.manifest import FINISHED, Manifest, PromptSet, now
from harness.log.prompts import check_prompts, prompts_path, write_prompts
from harness.log.run_folder import RunFolder
from harness.log.schema import TABLES
from harness.plan import Plan
from harness.records import Role
from harness.seeds import present

DEFAULT_GPU_SHARE = {**dict.fromkeys(Role, 0.2), Role.GENERATOR: 0.6}
"""How roles share a GPU when nothing else is said: all on each. One alone has it all; where
metrics come on top, the generator makes room for them."""


@dataclass(frozen=True)
class Execution:
    """The place of the work. None of it changes what comes out.

    Attributes:
        executor: "inline", "ray", or "auto": Ray where there are GPUs, an address or several
            workers, else inline.
        workers: Actors of each role (Ray only).
        gpu_share: GPUs an actor of a role holds; default 0.6, 0.2, 0.2 on "cuda", none on "cpu".
        address: An existing Ray cluster's.
        patience: How long batches, models and places in the cluster are waited for.

    Raises:
        UsageError: Several workers, or shares of GPUs, asked of the inline executor.
    """

    executor: Literal["auto", "inline", "ray"] = "auto"
    workers: int = 1
    gpu_share: Mapping[Role, float] = field(default_factory=dict)
    address: str | None = None
    device: str = "cpu"
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        if self.executor == "inline" and self.workers > 1:
            raise UsageError(
                f"the inline executor has one worker, not {self.workers}", "use --executor ray"
            )
        if any(self.gpu_share.values()) and not self.uses_ray:
            raise UsageError(
                "only Ray's actors hold shares of GPUs, and there would be none",
                "use --executor ray, or leave --gpu-share out",
            )

    @property
    def uses_ray(self) -> bool:
        """True if work goes to Ray actors."""
        uses_cluster = (
            self.address is not None or self.workers > 1 or self.device.startswith("cuda")
        )
        return self.executor == "ray" or (self.executor == "auto" and uses_cluster)


def check_folder(folder: RunFolder, plan: Plan) -> Manifest | None:
    """Return the manifest that is in a run's folder already, or None if the folder is free.

    Raises:
        UsageError: It belongs to another config or to other prompts, or holds something that is
            no run.
        HarnessError: Its manifest is damaged, or the prompts that it keeps are.
    """
    with explained(folder.path):  # such as a name that is too long for any
        if not folder.path.exists():
            return None
    if not folder.is_run:
        if not folder.path.is_dir():
            raise UsageError(f"{folder.path} is a file", "choose another --out")
        # A driver that was killed before there was a manifest leaves these, and no run.
        own = {".lock", prompts_path(folder).name}
        if any(p.name not in own and not is_leftover(p) for p in folder.path.iterdir()):
            raise UsageError(
                f"{folder.path} holds something that is not a run", "choose another --out"
            )
        return None
    manifest = Manifest.read(folder.manifest)
    if manifest.config_digest != plan.config.digest:
        ours = plan.config.model_dump(mode="json")
        fields = differences(present(manifest.config), present(ours))
        raise UsageError(
            f"{folder.path} belongs to another config; it differs in {', '.join(fields)}",
            "choose another --out, or leave --out away for a folder of its own",
        )
    check_prompts(folder, manifest)
    # The config names where prompts come from, such as a file, and not what is in it.
    if manifest.prompt_set != PromptSet.of(plan.prompts):
        raise UsageError(
            f"{folder.path} was started with other prompts than there are now",
            "put the original prompts back, or give --out another folder to start a new run",
        )
    return manifest


def is_finished(manifest: Manifest | None) -> bool:
    """Return whether a folder holds a run that came to its end."""
    return manifest is not None and manifest.state == FINISHED


def work(
    plan: Plan,
    execution: Execution,
    folder: RunFolder,
    *,
    command: str,
    observe: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    executor: Executor | None = None,
    notes: Mapping[str, Any] | None = None,
    reuse: Sequence[RunFolder] = (),
    source: AbstractContextManager[Source] | None = None,
    count: Callable[[], Mapping[str, Any]] = dict,
) -> Progress | None:
    """Bring a run to its end, from wherever it stands.

    Args:
        plan: What to run.
        execution: Where to run it.
        folder: Where it lives; made if need be.
        command: The command line, for the manifest.
        observe: Called with the progress after every step.
        stop: Asked before every step whether to stop there.
        executor: Used instead of the one that `execution` describes.
        notes: What else the manifest's entry of this session is to say.
        reuse: Runs whose draws are not made again where this one asks for them.
        source: Knows images that were made elsewhere; entered once the folder holds a run.
        count: Asked at the end what else the manifest's totals are to say.

    Returns:
        The progress made, or None if the run was finished already.

    Raises:
        UsageError: The folder belongs to something else, or draws of a run cannot be reused.
        HarnessError: Another process holds the folder, models cannot be loaded, the log is
            damaged or cannot be written.
        Interrupted: Asked to stop; everything acknowledged is safe.
    """
    if is_finished(check_folder(folder, plan)):
        return None
    with folder_for(folder.path):
        # Again, for what another driver did until it let go of the folder.
        manifest = check_folder(folder, plan)
        if is_finished(manifest):
            return None
        if manifest is not None:
            check_rows(folder, manifest.run)
        remove_leftovers(folder.path, folder.images)  # the log sees to its own
        pool = Pool.open(reuse, plan)
        executor = executor or make_executor(plan, execution, folder.images)
        try:
            executor.start()
            pool.check_devices(executor.describe())
            if manifest is None or not prompts_path(folder).exists():  # former versions kept none
                write_prompts(folder, plan.prompts)
            manifest = manifest or _new_manifest(plan, command)
            session = Session(
                manifest, folder.manifest, executor, command=command, notes=notes or {}
            )

            def step(progress: Progress) -> None:
                session.observe(progress)
                observe(progress)

            with contextlib.ExitStack() as stack:
                sources = [pool, *([stack.enter_context(source)] if source else [])]
                engine = Engine(plan, executor, folder, sources=sources, observe=step, stop=stop)
                try:
                    progress = engine.run()
                except BaseException as error:
                    session.end(engine.progress, error)
                    raise
            manifest = session.end(progress)
        finally:
            executor.close()
        files = [
            shard.path.name for table in TABLES for shard in shards.discover(folder.log, table)
        ]
        sums = {**totals(folder, judged=plan.config.judged), **count()}
        manifest.finished(sums, files).write(folder.manifest)
    return progress


@contextmanager
def folder_for(path: Location) -> Iterator[None]:
    """Make a run's folder and hold it; one that was made for nothing is taken away again.

    Raises:
        HarnessError: It cannot be made, or another process holds it.
    """
    new = not path.exists()
    make_folder(path)
    try:
        with exclusive(path):
            try:
                yield
            finally:
                # Only by who holds it: whoever was refused would take it from under the holder.
                if new and isinstance(path, Path) and not (path / "manifest.json").exists():
                    with contextlib.suppress(OSError):
                        (path / ".lock").unlink(missing_ok=True)
    finally:
        if new:
            with contextlib.suppress(OSError):  # it holds something: a run, or another's lock
                path.rmdir()


def make_executor(plan: Plan, execution: Execution, images: Location | None = None) -> Executor:
    """Return the executor that an execution describes.

    Without the run's folder of images, images travel through the driver.
    """
    roles = list(plan.config.specs)
    setup = Setup(plan.config, plan.paths, execution.device)
    if not execution.uses_ray:
        return InlineExecutor(setup, roles, patience=execution.patience)
    from harness.engine.executors.ray import Placement, RayExecutor

    on_gpu = execution.device.startswith("cuda")
    default = DEFAULT_GPU_SHARE if len(roles) > 1 else dict.fromkeys(roles, 1.0)
    if Role.METRIC in roles and Role.GENERATOR in roles:
        default = {**default, Role.GENERATOR: default[Role.GENERATOR] - default[Role.METRIC]}
    share = {**(default if on_gpu else {}), **execution.gpu_share}
    placement = {
        role: Placement(
            workers=execution.workers,
            gpus=share.get(role, 0.0),
            # Generators spread over the cores; judges and scorers come along for free.
            cpus=1.0 if role is roles[0] else 0.0,
        )
        for role in roles
    }
    return RayExecutor(
        setup,
        placement,
        address=execution.address,
        patience=execution.patience,
        images=images if Role.GENERATOR in roles else None,
    )


def totals(folder: RunFolder, *, judged: bool) -> dict[str, Any]:
    """Draws, failures and costs of a run, summed over its log; None for a cost that is unknown."""
    table = store.read(folder.log, "candidates", columns=["error", *WORKED, *COSTS])
    return {
        "draws": table.num_rows,
        "draws_failed": table.num_rows - table["error"].null_count,
        **sums(table, store.read(folder.log, "replies", REPLIES), judged=judged),
    }


def _new_manifest(plan: Plan, command: str) -> Manifest:
    config = plan.config
    if not plan.prompts:
        raise HarnessError("there is nothing to run")
    return Manifest(
        run=config.run,
        config=config.model_dump(mode="json"),
        config_digest=config.digest,
        prompt_set=PromptSet.of(plan.prompts),
        command=command,
        environment=environment(),
        created=now(),
    )


def default_folder(plan: Plan, root: Path) -> RunFolder:
    """Return the folder of a run that is given none: the same for the same config."""
    config = plan.config
    name = (
        f"{config.suite}-{config.benchmark.name}-{config.strategy.name}-{config.budget}"
        f"-s{config.seed}-{config.run[:8]}"
    )
    return RunFolder(root / "".join(c if c.isalnum() or c in "-_." else "_" for c in name))
