"""Progress of a long step: one moving line on a terminal, plain lines now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


class Progress:
    """Counts items done; prints rate and time left.

    Args:
        title: what is being done.
        total: items to do; nothing is printed when there are none.
        unit: what an item is called.
        say: prints a plain line.
        every_s: seconds between plain lines.
    """

    def __init__(
        self,
        title: str,
        total: int,
        unit: str,
        *,
        say: Callable[[str], None] = print,
        every_s: float = 10.0,
    ):
        self.title, self.total, self.unit, self.say, self.every_s = title, total, unit, say, every_s
        self.done, self.rows = 0, 0
        self.started = self.last = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def advance(self, items: int = 1, rows: int = 0) -> None:
        """Note that `items` more are done, which gave `rows` rows."""
        self.done += items
        self.rows += rows
        now = time.monotonic()
        if self.terminal:
            print(f"\r\033[K  {self._line(now)}", end="", file=sys.stderr, flush=True)
        elif now - self.last >= self.every_s:
            self.last = now
            self.say(f"  {self._line(now)}")

    def close(self) -> None:
        """End the moving line."""
        if self.terminal and self.total:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _line(self, now: float) -> str:
        seconds = max(now - self.started, 1e-9)
        rate = self.done / seconds
        left = (self.total - self.done) / rate if rate else float("nan")
        rows = f", {self.rows:,} rows" if self.rows else ""
        if self.total == 1:
            return f"{self.title}{rows}"
        return (
            f"{self.title}: {self.done:,} of {self.total:,} {self.unit}{rows}, "
            f"{rate:,.0f} {self.unit}/s, {left:,.0f} s left"
        )
