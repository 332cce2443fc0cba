"""`view`: look at runs in a browser, finished or being written."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import PATH, plugins_option, price_options
from harness.errors import UsageError
from harness.log.run_folder import RunFolder, find_runs
from harness.price import Price


@click.command()
@click.argument("runs", nargs=-1, type=RunFolder.existing, metavar="[RUN…]")
@click.option("--root", type=PATH, default=Path("results"),
              help="Where to look for runs, if none is named.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="any that is free",
              help="Port on this machine's own address.")  # fmt: skip
@price_options
@plugins_option
def view(runs: tuple[RunFolder, ...], root: Path, port: int, price: Price) -> None:
    """Serve pages about runs to a browser on this machine, until Ctrl-C.

    All runs with state and score, one run as it goes, its searches as chains of images with
    sentences, verdicts and detections, and two runs prompt by prompt. Nothing is written, no
    folder but the runs' is read, and the address holds a token without which nobody is answered.
    From another machine: `ssh -L PORT:127.0.0.1:PORT HOST`. `/metrics` has every run's numbers
    for Prometheus, with the token as its bearer token.
    """
    import secrets
    import socket

    import uvicorn

    from harness.view.app import make_app
    from harness.view.runs import Library

    folders = runs or find_runs(root)
    if not folders:
        raise UsageError(f"no runs under {root}", "name some, or another --root")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        raise UsageError(f"port {port} cannot be had: {error.strerror}", "name another") from None
    port, token = listener.getsockname()[1], secrets.token_urlsafe(18)
    click.echo(f"http://127.0.0.1:{port}/?token={token}")
    click.echo("Ctrl-C ends it", err=True)
    config = uvicorn.Config(
        make_app(Library(folders, price), token, port), log_level="warning", access_log=False,
        server_header=False, lifespan="off",
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])
