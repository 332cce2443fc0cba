"""`bundle`: a run in one file, for an auditor elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import PATH
from harness.log.run_folder import RunFolder


@click.command()
@click.argument("run", type=PATH)
@click.option("--out", type=PATH, required=True, metavar="FILE", help="The zip file to write.")
@click.option("--plugins", is_flag=True,
              help="Import plug-ins that the manifest names by import path.")  # fmt: skip
def bundle(run: Path, out: Path, plugins: bool) -> int:
    """Pack manifest, log, selected images, environment and an audit of RUN into FILE.

    The audit is the one that needs no models; `audit FILE` makes draws and verdicts again.
    Exits with 1 if the audit fails; the file is written all the same.
    """
    from harness.audit.audit import audit
    from harness.audit.audited_run import AuditedRun, Options
    from harness.audit.bundle import pack

    audited = AuditedRun(RunFolder.existing(run), Options(plugins=plugins))
    results = audit(audited)
    images = pack(audited, results, out)
    failed = [result.check for result in results if result.failed]
    click.echo(f"{out}: {images} images; audit {'fails: ' + ', '.join(failed) if failed else 'ok'}")
    return 1 if failed else 0
