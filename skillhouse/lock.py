"""One build at a time per study, and no process left behind when a build is killed."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.reader import BadInput

_PR_SET_PDEATHSIG = 1


@contextmanager
def build_lock(path: Path, study: str) -> Iterator[None]:
    """Hold the study's lock; the system frees it when the process ends, however it ends.

    Raises:
        BadInput: another build of the study is running; names its process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BadInput(
                f"a build of study {study} is running as process {file.read().strip() or '?'}",
                file=path,
                remedy="wait for it to end, or stop it; readers of the published warehouse are not blocked",
                reason="locked",
            ) from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


def end_with_parent(parent: int) -> None:
    """Let this process end with its parent, however that ends (Linux).

    Args:
        parent: process id the parent had; when it is gone already, this process ends at once.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
