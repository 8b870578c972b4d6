"""The Parquet lake of one study: immutable partitions, committed by a manifest.

    <lake>/<source>/<table>/<partition>-<digest>.parquet      rows, sorted by the table's key, with `source_file`
    <lake>/<source>/<table>/_schema.parquet                   no rows: gives the table its columns
    <lake>/<source>/manifest.parquet                          one row per raw file: the commit mark

A partition is written under a temporary name, renamed, and counts only once the manifest (itself replaced in one
rename) names it; whatever the manifest does not name is swept away. So an ingest may be killed at any moment: the
next one reads what is not yet committed and ends with the same lake. A partition's content depends on the raw files
present and the reader's settings alone, never on the history of runs.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest.progress import Progress
from ingest.reader import BadInput, RawFile, Reader

MANIFEST = "manifest.parquet"
MANIFEST_SCHEMA: dict[str, pl.DataType] = {
    "source_file": pl.String(),
    "partition": pl.String(),
    "digest": pl.String(),
    "size_bytes": pl.Int64(),
    "modified_ns": pl.Int64(),
    "sha256": pl.String(),
    "n_rows": pl.Int64(),
    "first_time": pl.Datetime("us"),
    "last_time": pl.Datetime("us"),
    "reader": pl.String(),
    "fingerprint": pl.String(),
    "status": pl.String(),
    "reason": pl.String(),
    "message": pl.String(),
    "counts": pl.List(pl.Struct({"entity": pl.String(), "reason": pl.String(), "n": pl.Int64()})),
}
_TEMPORARY = ".tmp-"


@dataclass(frozen=True)
class SourceSummary:
    """What one ingest did: files read now, files kept from before, files refused, rows in the lake."""

    source: str
    n_read: int
    n_kept: int
    n_refused: int
    n_rows: int
    seconds: float


@dataclass(frozen=True)
class _Task:
    """One partition to (re)write: files to read now, and manifest rows of files whose lake rows are kept."""

    reader: Reader
    folder: Path
    partition: str
    digest: str
    to_read: tuple[RawFile, ...]
    kept: tuple[dict, ...]


class Lake:
    """Writes and reads the lake of one study.

    Args:
        root: folder of the lake.
        workers: processes that read raw files; 1 reads in this process.
        say: where plain lines of progress go.
    """

    def __init__(self, root: Path, *, workers: int = 1, say: Callable[[str], None] = print):
        self.root, self.workers, self.say = root, workers, say
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Lake:
        return self

    def __exit__(self, *exc) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def manifest(self, source: str) -> pl.DataFrame:
        """One row per raw file of a source that the lake knows; none when it is damaged."""
        path = self.root / source / MANIFEST
        nothing = pl.DataFrame(schema=MANIFEST_SCHEMA)
        if not path.exists():
            return nothing
        try:
            rows = pl.read_parquet(path)
        except pl.exceptions.PolarsError:
            rows = None
        if rows is None or rows.schema != nothing.schema:
            self.say(f"  the manifest of {source} is damaged: its files are read again")
            return nothing
        return rows

    def scan(self, source: str, table: str) -> pl.LazyFrame:
        """All rows of one lake table."""
        return pl.scan_parquet(self.root / source / table / "*.parquet")

    def n_rows(self, source: str, table: str) -> int:
        """Number of rows of one lake table."""
        files = (self.root / source / table).glob("*.parquet")
        return sum(pq.read_metadata(f).num_rows for f in files)

    def ingest(self, reader: Reader) -> SourceSummary:
        """Bring a source's part of the lake up to date with its raw files.

        Raises:
            BadInput: no file can be used, or one cannot and the study says `on_bad_file: fail`.
        """
        started = time.monotonic()
        folder = self.root / reader.source
        for table, schema in reader.tables.items():
            _write_parquet(folder / table / "_schema.parquet", _with_source(schema).empty_table())
        fingerprint = _fingerprint(reader)
        old = self.manifest(reader.source).filter(pl.col("fingerprint") == fingerprint)
        damaged = _damaged_partitions(folder, reader, old)
        if damaged:
            self.say(f"  {len(damaged)} partitions of {reader.source} are damaged: read again")
        old = old.filter(~pl.col("partition").is_in(damaged) | (pl.col("digest") == ""))
        rows = {r["source_file"]: r for r in old.iter_rows(named=True)}
        files = reader.find()
        tasks = _plan(reader, folder, files, rows, fingerprint)
        wanted = {raw.partition for raw in files if raw.status == "ok"}
        current = {
            name: row for name, row in rows.items() if row["partition"] in wanted and row["digest"]
        }
        for raw in files:
            if raw.status != "ok":
                current[raw.path] = _manifest_row(raw, "", fingerprint, reader)
        progress = Progress(
            f"reading {reader.source}", sum(len(t.to_read) for t in tasks), "files", say=self.say
        )
        self._commit(reader.source, current)
        for task, results in self._run(tasks):
            current = {
                name: row
                for name, row in current.items()
                if row["partition"] != task.partition or not row["digest"]
            }
            current |= {row["source_file"]: row for row in results}
            self._commit(reader.source, current)
            progress.advance(len(task.to_read), sum(row["n_rows"] for row in results))
        _sweep(folder, reader, {f"{r['partition']}-{r['digest']}" for r in current.values()})
        progress.close()
        return self._summary(reader, current, tasks, started)

    def _summary(
        self, reader: Reader, current: dict, tasks: list[_Task], started: float
    ) -> SourceSummary:
        refused = [r for r in current.values() if r["status"] == "refused"]
        usable = [r for r in current.values() if r["status"] == "ok"]
        empty = [t for t in reader.tables if not self.n_rows(reader.source, t)]
        for row in refused[:5]:
            self.say(f"  refused: {row['message']}")
        if len(refused) > 5:
            self.say(f"  … and {len(refused) - 5} more, all listed in meta_input_file")
        if not usable or len(empty) == len(reader.tables) or (refused and empty):
            if refused:
                why = f"{len(refused)} are refused, the first: {refused[0]['message']}"
            elif usable:
                why = "none holds a row for this study's period and cells"
            elif current:
                reasons = sorted({r["reason"] for r in current.values()})
                why = f"every file is left out ({', '.join(reasons)})"
            else:
                why = f"no file matches {reader.settings.path}"
            raise BadInput(
                f"nothing usable among {len(current)} files: {why}",
                key=f"{reader.key}.path",
                remedy="check the path and the period, or get the data: "
                + (reader.settings.obtain or "see the study file"),
                reason="no_usable_file",
            )
        n_read = sum(len(t.to_read) for t in tasks)
        return SourceSummary(
            source=reader.source,
            n_read=n_read,
            n_kept=len(usable) + len(refused) - n_read,
            n_refused=len(refused),
            n_rows=sum(r["n_rows"] for r in usable),
            seconds=time.monotonic() - started,
        )

    def _run(self, tasks: list[_Task]) -> Iterator[tuple[_Task, list[dict]]]:
        """Write partitions, here or in worker processes; yields each as it is done."""
        if self.workers == 1 or len(tasks) < 2:
            for task in tasks:
                yield task, _write_partition(task)
            return
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=die_with_parent,
                initargs=(os.getpid(),),
            )
        pending = {self._pool.submit(_write_partition, task): task for task in tasks}
        try:
            for future in as_completed(pending):
                yield pending[future], future.result()
        finally:
            for future in pending:
                future.cancel()

    def _commit(self, source: str, rows: dict[str, dict]) -> None:
        frame = pl.DataFrame([rows[k] for k in sorted(rows)], schema=MANIFEST_SCHEMA, orient="row")
        path = self.root / source / MANIFEST
        temporary = path.with_name(f"{_TEMPORARY}{os.getpid()}-{MANIFEST}")
        frame.write_parquet(temporary)
        os.replace(temporary, path)


def die_with_parent(parent: int) -> None:
    """In a worker: end as soon as the parent process is gone, however it went."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _damaged_partitions(folder: Path, reader: Reader, manifest: pl.DataFrame) -> list[str]:
    """Partitions whose files do not hold the rows that the manifest counts (removed or cut by someone)."""
    damaged = []
    counted = manifest.filter(pl.col("digest") != "").group_by("partition", "digest")
    for partition, digest, n_rows in counted.agg(pl.col("n_rows").sum()).sort("partition").rows():
        paths = [folder / table / f"{partition}-{digest}.parquet" for table in reader.tables]
        try:
            found = sum(pq.read_metadata(path).num_rows for path in paths if path.exists())
        except (pa.ArrowException, OSError):
            found = -1
        if found != n_rows:
            damaged.append(partition)
    return damaged


def _plan(reader, folder, files, rows, fingerprint) -> list[_Task]:
    """Which partitions must be written, and which of their files need reading."""
    wanted: dict[str, list[RawFile]] = defaultdict(list)
    for raw in files:
        if raw.status == "ok":
            wanted[raw.partition].append(raw)
    known: dict[str, dict[str, dict]] = defaultdict(dict)
    for name, row in rows.items():
        if row["digest"]:
            known[row["partition"]][name] = row
    tasks = []
    for partition, raws in sorted(wanted.items()):
        before = known[partition]
        same = {
            raw.path
            for raw in raws
            if raw.path in before
            and (before[raw.path]["size_bytes"], before[raw.path]["modified_ns"])
            == (raw.size, raw.mtime_ns)
        }
        if len(same) == len(raws) == len(before):
            continue
        identity = [fingerprint, *sorted(f"{raw.path}|{raw.size}|{raw.mtime_ns}" for raw in raws)]
        tasks.append(
            _Task(
                reader=reader,
                folder=folder,
                partition=partition,
                digest=hashlib.sha256("\n".join(identity).encode()).hexdigest()[:12],
                to_read=tuple(raw for raw in raws if raw.path not in same),
                kept=tuple(before[name] for name in sorted(same)),
            )
        )
    return tasks


def _write_partition(task: _Task) -> list[dict]:
    """Read a partition's new files, add the rows kept, write, rename; returns its manifest rows."""
    reader = task.reader
    fingerprint = _fingerprint(reader)
    parts: dict[str, list[pa.Table]] = {name: [] for name in reader.tables}
    results = [{**row, "digest": task.digest} for row in task.kept]
    names = pa.array(
        sorted({row["source_file"] for row in task.kept} | {raw.path for raw in task.to_read})
    )
    for raw in task.to_read:
        row = _manifest_row(raw, task.digest, fingerprint, reader)
        results.append(row)
        try:
            by_lake = reader.settings.hash == "sha256" and not reader.hashes
            sha256 = _sha256(raw.location) if by_lake else None
            extract = reader.read(raw)
        except BadInput as error:
            if reader.settings.on_bad_file == "fail":
                raise
            row |= {"status": "refused", "reason": error.reason, "message": str(error)}
            continue
        first, last = _time_range(extract.tables)
        row |= {
            "sha256": extract.sha256 or sha256,
            "n_rows": sum(table.num_rows for table in extract.tables.values()),
            "first_time": first,
            "last_time": last,
            "counts": [{"entity": e, "reason": why, "n": n} for e, why, n in extract.counts if n],
        }
        for name, table in extract.tables.items():
            rows = table.select(reader.tables[name].names).cast(reader.tables[name])
            file = names.index(raw.path).as_py()
            column = pa.array(np.full(rows.num_rows, file, np.int32))
            parts[name].append(rows.append_column("source_file", column))
    for name, tables in parts.items():
        if task.kept:
            tables.append(_kept_rows(task, name, names))
        _write_rows(task, name, tables, names)
    return results


def _kept_rows(task: _Task, name: str, names: pa.Array) -> pa.Table:
    """Rows of the partition's unchanged files, from its version before; files by their place in `names`."""
    schema = task.reader.tables[name].append(pa.field("source_file", pa.int32()))
    path = task.folder / name / f"{task.partition}-{task.kept[0]['digest']}.parquet"
    if not path.exists():
        return schema.empty_table()
    table = pq.ParquetFile(path).read()
    kept = pa.array([row["source_file"] for row in task.kept])
    table = table.filter(pc.is_in(table["source_file"], value_set=kept))
    file = pc.index_in(table["source_file"], value_set=names)
    return table.set_column(table.num_columns - 1, "source_file", file).cast(schema)


def _write_rows(task: _Task, name: str, tables: list[pa.Table], names: pa.Array) -> None:
    """Sort and write; only in the file do rows hold their source's name, which is long."""
    rows = pa.concat_tables(tables) if tables else None
    if rows is None or not rows.num_rows:
        return
    order = [(column, "ascending") for column in (*task.reader.sort_key[name], "source_file")]
    rows = rows.sort_by(order)
    chunks = [pa.DictionaryArray.from_arrays(c, names) for c in rows["source_file"].chunks]
    rows = rows.set_column(rows.num_columns - 1, "source_file", pa.chunked_array(chunks))
    _write_parquet(task.folder / name / f"{task.partition}-{task.digest}.parquet", rows)


def _write_parquet(path: Path, table: pa.Table) -> None:
    """Write under a temporary name, then rename: a file with its final name is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_TEMPORARY}{os.getpid()}-{path.name}")
    pq.write_table(table, temporary, compression="zstd", store_schema=False)  # types as in Parquet
    os.replace(temporary, path)


def _with_source(schema: pa.Schema) -> pa.Schema:
    return schema.append(pa.field("source_file", pa.string()))


def _time_range(tables: dict[str, pa.Table]) -> tuple:
    """First and last instant of a file's rows, over the columns that hold time."""
    instants = []
    for table in tables.values():
        for column in ("observed_at", "obs_date"):
            if column in table.column_names and table.num_rows:
                ends = pc.min_max(table[column].cast(pa.timestamp("us")))
                instants += [end for end in ends.as_py().values() if end is not None]
    return (min(instants), max(instants)) if instants else (None, None)


def _manifest_row(raw: RawFile, digest: str, fingerprint: str, reader: Reader) -> dict:
    return {
        "source_file": raw.path,
        "partition": raw.partition,
        "digest": digest,
        "size_bytes": raw.size,
        "modified_ns": raw.mtime_ns,
        "sha256": None,
        "n_rows": 0,
        "first_time": None,
        "last_time": None,
        "reader": f"{type(reader).__module__}.{type(reader).__name__} {reader.version}",
        "fingerprint": fingerprint,
        "status": raw.status,
        "reason": raw.status,
        "message": raw.reason,
        "counts": [],
    }


def _fingerprint(reader: Reader) -> str:
    """Hash of everything but the files that decides a source's lake rows."""
    cells = "" if reader.cells is None else hashlib.sha256(reader.cells.tobytes()).hexdigest()
    text = json.dumps(
        [
            type(reader).__name__,
            reader.version,
            reader.fingerprint(),
            {name: str(schema) for name, schema in reader.tables.items()},
            cells,
        ],
        sort_keys=True,
        default=str,
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sweep(folder: Path, reader: Reader, committed: set[str]) -> None:
    """Remove partitions that the manifest does not name, and temporary files of ingests that were killed."""
    for left in folder.glob(f"{_TEMPORARY}*"):
        left.unlink(missing_ok=True)
    for table in reader.tables:
        for path in (folder / table).iterdir():
            if path.name != "_schema.parquet" and path.stem not in committed:
                path.unlink(missing_ok=True)
    for other in folder.iterdir():
        if other.is_dir() and other.name not in reader.tables:
            shutil.rmtree(other)
