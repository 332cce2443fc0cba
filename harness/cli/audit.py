"""`audit`: check a run as a reviewer would who trusts nobody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import DEVICE, NATURAL, PATH
from harness.cli.terminal import printable
from harness.log.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.audit.result import Result


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN…")
@click.option("--regenerate", type=NATURAL, default=20, help="Draws to make again.")
@click.option("--rescore", type=NATURAL, default=50, help="Verdicts to ask for again.")
@click.option("--seed", type=NATURAL, default=0, help="Of the choice of both.")
@click.option("--against", type=PATH, help="Another run to hold it against.")
@click.option("--published", metavar="WORDS",
              help="Published score to hold it against, e.g. 'best-of-N 20'; default: of the same "
              "method.")  # fmt: skip
@click.option("--report", type=PATH, help="Report to check; default: RUN/report.")
@click.option("--report-seed", type=NATURAL, default=0,
              help="Seed that the report was written with.")  # fmt: skip
@click.option("--json", "out", type=PATH, metavar="FILE",
              help="Write the results to a file as well.")  # fmt: skip
@click.option("--device", type=DEVICE, default="auto", help="Where models run.")
@click.option("--plugins", is_flag=True,
              help="Import plug-ins that a manifest names by import path.")  # fmt: skip
def audit(
    runs: tuple[Path, ...], published: str | None, out: Path | None, device: str, **rest: Any
) -> int:
    """Check the runs in the folders or bundles RUN… and print a table for each.

    Digests, completeness, costs and decisions are recomputed from the log; a sample of draws
    and verdicts is made again with the checkpoints that are here. Nothing is downloaded. Exits
    with 1 if anything fails.
    """
    import tempfile
    from dataclasses import asdict

    from harness.analysis.published import load_published
    from harness.audit.audit import audit as carry_out
    from harness.audit.audited_run import AuditedRun, Options
    from harness.audit.bundle import unpack
    from harness.audit.checks.published import select
    from harness.audit.loaded import Loaded
    from harness.engine.devices import chosen_device
    from harness.log.files import write_json

    loads = rest["regenerate"] or rest["rescore"]
    device = chosen_device(device if loads or device == "cuda" else "cpu")
    if published is not None:
        select(load_published(), published)  # a name that nobody has should not wait for models
    options = Options(published=published, device=device, **rest)
    audits = {}
    loaded = Loaded()
    for run in runs:
        click.echo(printable(run))
        with tempfile.TemporaryDirectory() as room:
            folder, images = (
                unpack(run, Path(room)) if run.is_file() else (RunFolder.existing(run), None)
            )
            audits[str(run)] = results = carry_out(AuditedRun(folder, options, images, loaded))
        _print(results)
        failed = sum(result.failed for result in results)
        click.echo(f"{'FAILED' if failed else 'passed'}: {failed} of {len(results)} checks fail\n")
    if out is not None:
        content = {run: [asdict(result) for result in results] for run, results in audits.items()}
        write_json(out, content)
    return 1 if any(result.failed for results in audits.values() for result in results) else 0


def _print(results: Sequence[Result]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("check", "looked at", "result", "evidence"):
        table.add_column(name, overflow="fold")
    for result in results:
        style = {"fail": "bold red", "pass": ""}.get(result.outcome, "dim")
        table.add_row(
            Text(result.check),
            Text(result.looked_at),
            Text(result.outcome, style=style),
            Text("\n".join(map(printable, result.evidence))),
        )
    console = Console(highlight=False)
    # Piped output is for programs and logs, which break no lines.
    Console(highlight=False, width=None if console.is_terminal else 200).print(table)
