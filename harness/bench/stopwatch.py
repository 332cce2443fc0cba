"""Wall time, and how busy the machine was with other things meanwhile."""

from __future__ import annotations

import time

import psutil


class Stopwatch:
    """Times a block. Has state: when it began, and afterwards the figures.

    Attributes:
        seconds: Wall time.
        busy: Processor cores that other processes kept busy, on average: what the system counts
            as used less what this process used.
    """

    seconds = 0.0
    busy = 0.0

    def __enter__(self) -> Stopwatch:
        """Start."""
        self._others, self._began = _others(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self._began
        # Both counts come in ticks of some 10 ms, so that a short block can end below zero.
        self.busy = max(0.0, _others() - self._others) / self.seconds


def _others() -> float:
    """Return processor seconds that others have used since the machine was started."""
    times = psutil.cpu_times()
    # A guest's time is in that of its host's users already.
    idle = ("idle", "iowait", "guest", "guest_nice")
    used = sum(value for name, value in times._asdict().items() if name not in idle)
    return float(used - sum(psutil.Process().cpu_times()[:2]))
