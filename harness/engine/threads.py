"""The waiting of CPU threads for each other, settled before torch and numpy are imported."""

from __future__ import annotations

import os


def patient_threads() -> None:
    """Have OpenMP threads sleep, not spin, while they wait for each other.

    Spinning keeps a core busy that the thread waited for may need: on two cores with other
    processes at work, the miniature made 0.5 images a second spinning and 5 to 8 sleeping. The
    user's own choice of `OMP_WAIT_POLICY` stands.

    numpy's products (OpenBLAS, which always spins) run in one thread: those of an analysis are many
    and small, and on two such cores `forecast` took 48 s with two threads and 3 s with one.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
