"""What a source reader is: it finds raw files and turns one of them into lake tables.

A reader knows one file format. It opens files, checks them, converts units, nulls fills and impossible values
(counting each), clips to the study's period and cells, and returns Arrow tables. It computes no statistics.
`ingest.lake` decides which files to read, writes partitions and keeps the manifest.
"""

from __future__ import annotations

import datetime as dt
import glob
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

PROJECT_ROOT = Path(__file__).resolve().parent.parent
#: everything generated goes below this folder: data/, .build/, warehouse.duckdb
STATE_ROOT = Path(os.environ.get("SKILLHOUSE_STATE") or PROJECT_ROOT)
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


class BadInput(Exception):
    """A raw file or a study key that cannot be used: what was found, where, and the remedy.

    `reason` is the short code that tables carry (`damaged_file`, `wrong_grid`, `missing_variable`, ...).
    """

    def __init__(
        self,
        found: str,
        *,
        file: str | Path | None = None,
        key: str | None = None,
        remedy: str = "",
        reason: str = "damaged_file",
    ):
        self.found, self.file, self.key = found, str(file) if file else None, key
        self.remedy, self.reason = remedy, reason
        where = ", ".join(
            part
            for part in (f"file {self.file}" if self.file else "", f"key {key}" if key else "")
            if part
        )
        super().__init__(f"{where + ': ' if where else ''}{found}{'. ' + remedy if remedy else ''}")

    def __reduce__(self):  # crosses process borders whole
        return (_rebuild, (self.found, self.file, self.key, self.remedy, self.reason))


def _rebuild(found, file, key, remedy, reason):
    return BadInput(found, file=file, key=key, remedy=remedy, reason=reason)


def expand(path: str) -> Path | None:
    """Resolve `${NAME}` and `${NAME:-default}`; None when a variable without default is not set.

    Relative paths start at the project's root.
    """
    missing = [n for n, default in _VARIABLE.findall(path) if not default and not os.environ.get(n)]
    if missing:
        return None
    text = _VARIABLE.sub(lambda m: os.environ.get(m[1]) or m[2] or "", path)
    return PROJECT_ROOT / os.path.expanduser(text)


class SourceSettings(BaseModel):
    """The keys that every source of a study shares; each format adds its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str  # file, folder or glob (** allowed), ${VARIABLES} welcome
    obtain: str = ""  # where to get the data, printed when they are missing
    citation: str = ""
    licence: str = ""
    redistribute: bool = True
    hash: Literal["sha256", "none"] = "sha256"
    on_bad_file: Literal["skip", "fail"] = "skip"


@dataclass(frozen=True)
class RawFile:
    """One input file, before it is opened.

    `path` is what tables show: relative to the source's root (archive members: `archive.zip/member`).
    `partition` names the lake partition its rows belong to. A file whose `status` is not `ok`
    (`superseded`, `outside_period`, `not_recognised`) is recorded with its reason and never read.
    """

    path: str
    location: Path
    size: int
    mtime_ns: int
    partition: str
    status: str = "ok"
    reason: str = ""


@dataclass
class Extract:
    """What one raw file gave: rows per lake table, and counts (entity, reason, n) of every value met.

    For stations the entity is the station_id, for grids the variable's lake column; reasons start with `ok`.
    """

    tables: dict[str, pa.Table]
    counts: list[tuple[str, str, int]] = field(default_factory=list)
    sha256: str | None = None  # only where the lake cannot hash the file itself (archive members)


class Reader(ABC):
    """Base of all readers; instances are small and picklable (they cross process borders).

    Args:
        key: the study key of this source, for messages (`products.l4`).
        source: folder of the source in the lake.
        settings: the format's settings.
        period: first and last day of the study (UTC, both included).
        cells: (n, 2) int array of M09 row, column of the study's cells; None for station sources.
    """

    #: lake table -> schema (the lake adds `source_file`)
    tables: ClassVar[dict[str, pa.Schema]]
    #: lake table -> columns of its unique key, the sort order of partitions
    sort_key: ClassVar[dict[str, tuple[str, ...]]]
    #: bump when the same file would give other rows
    version: ClassVar[str] = "1"
    #: whether `read` returns the content's SHA-256 itself (archive members)
    hashes: ClassVar[bool] = False

    def __init__(
        self,
        *,
        key: str,
        source: str,
        settings: Any,
        period: tuple[dt.date, dt.date],
        cells: np.ndarray | None = None,
    ):
        self.key, self.source, self.settings, self.period = key, source, settings, period
        self.cells = cells

    def fingerprint(self) -> dict[str, Any]:
        """Every setting that decides what is read from a file; a change re-reads the source."""
        ignored = {"path", "obtain", "citation", "licence", "redistribute", "hash", "on_bad_file"}
        return {
            "settings": self.settings.model_dump(mode="json", exclude=ignored),
            "period": [d.isoformat() for d in self.period],
        }

    @abstractmethod
    def find(self) -> list[RawFile]:
        """The source's files, each with its partition; raises nothing when there are none."""

    @abstractmethod
    def read(self, raw: RawFile) -> Extract:
        """Read one file.

        Raises:
            BadInput: the file cannot be used; nothing of it is kept.
        """

    def inside_period(self, day: dt.date) -> bool:
        return self.period[0] <= day <= self.period[1]

    def expand_paths(self) -> tuple[Path, list[Path]]:
        """The source's root folder and its files (a folder means everything below it), sorted by name."""
        target = expand(self.settings.path)
        if target is None:
            return PROJECT_ROOT, []
        text = str(target)
        if any(c in text for c in "*?["):
            fixed = re.split(r"[*?\[]", text, maxsplit=1)[0]
            root = Path(fixed if fixed.endswith("/") else os.path.dirname(fixed))
            found: Iterable[str] = glob.glob(text, recursive=True)
        elif target.is_dir():
            root, found = target, glob.glob(f"{glob.escape(text)}/**/*", recursive=True)
        else:
            root, found = target.parent, [text] if target.exists() else []
        return root, sorted(Path(f) for f in found if os.path.isfile(f))

    def raw_file(self, root: Path, location: Path, **kwargs) -> RawFile:
        """A `RawFile` with its size and time taken from the disk."""
        stat = location.stat()
        return RawFile(
            path=os.path.relpath(location, root),
            location=location,
            size=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            **kwargs,
        )
