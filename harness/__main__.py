"""`python -m harness` and `harness`: where modules are searched, then the command line.

Nothing but the standard library is imported before the search path is settled.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; errors become a sentence, a hint and an exit code."""
    _search_working_directory_last()
    from harness.cli.entry import run

    run()


def _search_working_directory_last() -> None:
    """Let plug-ins be found in the working directory, and nothing of the product's or installed.

    `python -m` puts the directory first, an installed script leaves it out; Python's `-P` means
    that nobody wants it.
    """
    if sys.flags.safe_path:
        return
    try:
        here = os.getcwd()
    except FileNotFoundError:  # the directory has been removed
        return
    if sys.path[:1] in ([""], [here]):
        del sys.path[0]
    if here not in sys.path:
        sys.path.append(here)


if __name__ == "__main__":
    main()
