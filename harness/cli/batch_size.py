"""`--batch-size`: a number, or `auto` for one that is measured before the run begins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

if TYPE_CHECKING:
    from harness.engine.launch import Execution
    from harness.log.location import Location
    from harness.plan import Plan


class BatchSize(click.ParamType[int | str]):
    """A whole number above 0, or "auto"."""

    AUTO: ClassVar[str] = "auto"
    name = "N|auto"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """Check what was given."""
        if value == self.AUTO:
            return self.AUTO
        return click.IntRange(min=1).convert(value, param, ctx)


def settle(
    plan: Plan, execution: Execution, out: Location | None, results: Path, *, is_laddered: bool
) -> tuple[Plan, dict[str, Any]]:
    """Fix the generator's batch size: an earlier run's of the same command, else by measuring.

    Args:
        plan: With whatever batch size.
        execution: Where the run will work.
        out: Its folder, if one was given.
        results: Where to look for it otherwise.
        is_laddered: Whether late rounds may run at fewer rows.

    Returns:
        The plan, and what its manifest is to keep of the measurement.

    Raises:
        HarnessError: It cannot be measured, or the run not be written.
    """
    from harness.engine.calibration import calibrate, earlier, with_batch_size
    from harness.log.files import check_writable
    from harness.log.run_folder import RunFolder, find_runs

    folders = [RunFolder(out)] if out is not None else find_runs(results)
    known = earlier(plan, folders, is_laddered=is_laddered)
    if known is not None:
        click.echo(f"batch size: {known}, as this run was begun with", err=True)
        return with_batch_size(plan, known, is_laddered=is_laddered), {}
    check_writable(results if out is None else out)
    click.echo("measuring batch sizes …", err=True)
    calibration = calibrate(plan, execution, is_laddered=is_laddered)
    for size in calibration.sizes:
        click.echo(
            f"  {size.batch_size:3d}: {size.images_per_second:.2f} images/s, "
            f"{size.memory_bytes / 2**30:.2f} GB held",
            err=True,
        )
    click.echo(f"batch size: {calibration.batch_size} ({calibration.stopped})", err=True)
    settled = with_batch_size(plan, calibration.batch_size, is_laddered=is_laddered)
    return settled, {"calibration": calibration.record()}
