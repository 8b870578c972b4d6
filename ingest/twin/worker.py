"""A process that writes some days of every granule source: `-m ingest.twin.worker JOBS RANK N`.

It ends when its standard input closes, so that a killed parent leaves no process behind.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading

DAYS_AT_ONCE = 10


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns when the pipe closes
    os._exit(1)


def main(jobs: str, rank: int, n_workers: int) -> None:
    """Write every n-th block of days of each source and print how many files each block gave."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with open(jobs, "rb") as f:
        sources, n_days = pickle.load(f)
    for source in sources:
        for first in range(rank * DAYS_AT_ONCE, n_days, n_workers * DAYS_AT_ONCE):
            n = source.write_days(first, min(first + DAYS_AT_ONCE, n_days))
            print(n, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
