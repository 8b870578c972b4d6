"""Runs a command and watches the memory of all its processes and the size of folders it writes.

Memory is the sum of the resident sets of the command and its descendants, sampled from /proc; pages
that processes share count in each of them, so the sum is an upper bound.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

EVERY_S = 0.2
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Watched:
    """A finished command.

    Args:
        seconds: wall time.
        code: exit code.
        lines: (time, line) of standard output and error, time in seconds of the epoch.
        samples: (time, resident bytes of all processes, bytes of each watched folder).
    """

    seconds: float
    code: int
    lines: list[tuple[float, str]]
    samples: list[tuple[float, int, tuple[int, ...]]]

    @property
    def output(self) -> str:
        return "\n".join(line for _, line in self.lines)

    @property
    def peak_rss_mb(self) -> float:
        """Peak of the summed resident sets, in 10^6 bytes."""
        return max((rss for _, rss, _ in self.samples), default=0) / 1e6

    def peak_folder_mb(self, folder: int) -> float:
        """Peak size of a watched folder, by its position, in 10^6 bytes."""
        return max((sizes[folder] for _, _, sizes in self.samples), default=0) / 1e6

    def during(self, start: float, end: float) -> list[tuple[float, int, tuple[int, ...]]]:
        """Samples of a span, and the last one before it."""
        before = [sample for sample in self.samples if sample[0] < start]
        return before[-1:] + [sample for sample in self.samples if start <= sample[0] <= end]

    def said_at(self, text: str) -> float:
        """When the first line that starts with a text came.

        Raises:
            ValueError: no line does.
        """
        for moment, line in self.lines:
            if line.startswith(text):
                return moment
        raise ValueError(f"no line of the output starts with {text!r}:\n{self.output[-2000:]}")


def watch(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    folders: Sequence[Path] = (),
    echo: bool = False,
    every_s: float = EVERY_S,
) -> Watched:
    """Run a command to its end and sample memory and folders meanwhile; `echo` shows its output."""
    lines: list[tuple[float, str]] = []
    samples = []
    start = time.perf_counter()
    process = subprocess.Popen(
        list(command),
        cwd=cwd,
        env={**env, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def listen() -> None:
        for line in process.stdout:
            lines.append((time.time(), line.rstrip("\n")))
            if echo:
                print(line, end="", flush=True)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        while process.poll() is None:
            rss = sum(map(_resident, descendants(process.pid)))
            samples.append((time.time(), rss, tuple(map(folder_bytes, folders))))
            time.sleep(every_s)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    seconds = time.perf_counter() - start
    listener.join()
    return Watched(seconds=seconds, code=process.returncode, lines=lines, samples=samples)


def descendants(pid: int) -> Iterator[int]:
    """A process and every process below it."""
    yield pid
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                yield from descendants(int(child))
    except OSError:  # it has just ended
        return


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder, those that vanish meanwhile left out."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue
    return total


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):  # it has just ended
        return 0
