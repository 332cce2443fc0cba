from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.what_if.bank import Bank, WhatIf


def what_if(path: Path, strategy: str, options: Any = None, **asked: Any) -> WhatIf:
    """Replay a strategy against the draws of a run."""
    return Bank.open(path).replayed(strategy, options, **asked)
