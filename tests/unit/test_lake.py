"""The lake's promises: incremental, atomic, nothing half-loaded, independent of history."""

import datetime as dt
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar, Literal

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.lake import Lake
from ingest.reader import PROJECT_ROOT, BadInput, Extract, Reader, SourceSettings

PERIOD = (dt.date(2017, 1, 1), dt.date(2018, 12, 31))


class Numbers(SourceSettings):
    """One integer a line; a toy format."""

    format: Literal["numbers"] = "numbers"
    factor: int = 1


class NumbersReader(Reader):
    """File `<partition>_<anything>.txt`; a line that is no number refuses the file."""

    tables: ClassVar = {"value": pa.schema([("file", pa.string()), ("n", pa.int64())])}
    sort_key: ClassVar = {"value": ("n", "file")}
    opened: ClassVar[list[str]] = []

    def find(self):
        root, files = self.expand_paths()
        return [self.raw_file(root, f, partition=f.name.split("_")[0]) for f in files]

    def read(self, raw):
        self.opened.append(raw.path)
        try:
            numbers = [int(line) for line in raw.location.read_text().split()]
        except ValueError as error:
            raise BadInput(str(error), file=raw.path, key=self.key, remedy="mend it") from error
        numbers = [n * self.settings.factor for n in numbers]
        table = pa.table({"file": [raw.path] * len(numbers), "n": numbers})
        return Extract({"value": table}, [("value", "ok", len(numbers))])


def reader(folder: Path, **settings) -> NumbersReader:
    return NumbersReader(
        key="numbers",
        source="numbers",
        settings=Numbers(path=str(folder), **settings),
        period=PERIOD,
    )


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, text in {"a_1": "3 1", "a_2": "2", "b_1": "9"}.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.fixture
def lake(tmp_path):
    NumbersReader.opened.clear()
    with Lake(tmp_path / "lake", say=lambda _: None) as lake:
        yield lake


def content(lake: Lake) -> list[tuple]:
    return sorted(lake.scan("numbers", "value").select("source_file", "n").collect().rows())


def snapshot(lake: Lake) -> dict[str, bytes]:
    files = sorted((lake.root / "numbers").rglob("*.parquet"))
    return {str(f.relative_to(lake.root)): f.read_bytes() for f in files}


def test_everything_is_read_once(raw, lake):
    assert lake.ingest(reader(raw)).n_read == 3
    assert content(lake) == [("a_1.txt", 1), ("a_1.txt", 3), ("a_2.txt", 2), ("b_1.txt", 9)]
    again = lake.ingest(reader(raw))
    assert (again.n_read, again.n_kept) == (0, 3)
    assert len(NumbersReader.opened) == 3


def test_only_changed_new_and_removed_files_matter(raw, lake):
    lake.ingest(reader(raw))
    NumbersReader.opened.clear()
    (raw / "a_2.txt").write_text("20 21")
    (raw / "c_1.txt").write_text("5")
    (raw / "b_1.txt").unlink()
    done = lake.ingest(reader(raw))
    assert sorted(NumbersReader.opened) == ["a_2.txt", "c_1.txt"]
    assert (done.n_read, done.n_kept) == (2, 1)
    assert content(lake) == [
        ("a_1.txt", 1), ("a_1.txt", 3), ("a_2.txt", 20), ("a_2.txt", 21), ("c_1.txt", 5),
    ]  # fmt: skip
    assert lake.manifest("numbers")["source_file"].to_list() == ["a_1.txt", "a_2.txt", "c_1.txt"]


def test_a_changed_setting_reads_everything_again(raw, lake):
    lake.ingest(reader(raw))
    done = lake.ingest(reader(raw, factor=10))
    assert done.n_read == 3
    assert [n for _, n in content(lake)] == [10, 30, 20, 90]
    lake.ingest(reader(raw, factor=10, licence="any"))  # says nothing about what is read
    assert len(NumbersReader.opened) == 6


def test_touching_a_file_is_a_change(raw, lake):
    lake.ingest(reader(raw))
    os.utime(raw / "b_1.txt", ns=(1, 1))
    assert lake.ingest(reader(raw)).n_read == 1


def test_damaged_file_is_recorded_and_leaves_nothing(raw, lake):
    (raw / "a_3.txt").write_text("7 x 8")
    done = lake.ingest(reader(raw))
    assert done.n_refused == 1
    assert not [n for _, n in content(lake) if n in (7, 8)]
    row = lake.manifest("numbers").filter(pl.col("source_file") == "a_3.txt").row(0, named=True)
    assert (row["status"], row["reason"], row["n_rows"]) == ("refused", "damaged_file", 0)
    assert "a_3.txt" in row["message"] and "mend it" in row["message"]
    assert lake.ingest(reader(raw)).n_read == 0  # an unchanged damaged file is not read again
    (raw / "a_3.txt").write_text("7 8")
    assert lake.ingest(reader(raw)).n_refused == 0
    assert ("a_3.txt", 7) in content(lake)


def test_damaged_file_can_be_fatal(raw, lake):
    lake.ingest(reader(raw, on_bad_file="fail"))
    before = content(lake)
    (raw / "a_3.txt").write_text("x")
    with pytest.raises(BadInput, match=r"a_3\.txt"):
        lake.ingest(reader(raw, on_bad_file="fail"))
    assert content(lake) == before


def test_no_usable_file_is_fatal(tmp_path, lake):
    folder = tmp_path / "none"
    folder.mkdir()
    with pytest.raises(BadInput, match=r"numbers\.path.*no file matches"):
        lake.ingest(reader(folder))
    (folder / "a_1.txt").write_text("x")
    with pytest.raises(BadInput, match="nothing usable among 1 files"):
        lake.ingest(reader(folder))


def test_killed_before_the_manifest_was_written(raw, lake):
    """Partitions that no manifest names, and temporary files, are swept away and read again."""
    lake.ingest(reader(raw))
    whole = snapshot(lake)
    folder = lake.root / "numbers"
    (folder / "manifest.parquet").unlink()
    (folder / "value" / ".tmp-1-a-0.parquet").write_bytes(b"half")
    (folder / "value" / "z-000000000000.parquet").write_bytes(b"never committed")
    lake.ingest(reader(raw))
    assert snapshot(lake) == whole


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"PAR1")])
def test_a_damaged_partition_is_read_again(raw, lake, damage):
    lake.ingest(reader(raw))
    before = content(lake)
    (partition,) = (lake.root / "numbers" / "value").glob("a-*.parquet")
    damage(partition)
    NumbersReader.opened.clear()
    assert lake.ingest(reader(raw)).n_read == 2
    assert NumbersReader.opened == ["a_1.txt", "a_2.txt"]
    assert content(lake) == before


@pytest.mark.parametrize("other", [b"", b"PAR1", None])
def test_a_damaged_manifest_costs_only_time(raw, lake, other):
    lake.ingest(reader(raw))
    whole = snapshot(lake)
    manifest = lake.root / "numbers" / "manifest.parquet"
    if other is None:
        lake.manifest("numbers").drop("counts").write_parquet(manifest)
    else:
        manifest.write_bytes(other)
    assert lake.ingest(reader(raw)).n_read == 3
    assert snapshot(lake) == whole


def test_hash_is_of_the_content(raw, lake):
    lake.ingest(reader(raw))
    for name, digest in lake.manifest("numbers").select("source_file", "sha256").rows():
        assert digest == hashlib.sha256((raw / name).read_bytes()).hexdigest()
    lake.ingest(reader(raw, hash="none", factor=2))
    assert lake.manifest("numbers")["sha256"].null_count() == 3


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["a_1", "a_2", "b_1", "c_1"]),
            st.lists(st.integers(0, 99), min_size=1, max_size=4),
            min_size=1,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_content_does_not_depend_on_history(tmp_path_factory, states):
    """Any sequence of raw folders ends with the lake that the last one alone gives."""
    base = tmp_path_factory.mktemp("history")
    raw = base / "raw"
    raw.mkdir()
    with Lake(base / "lake", say=lambda _: None) as walked:
        for stamp, state in enumerate(states):
            for old in raw.iterdir():
                old.unlink()
            for name, numbers in state.items():
                path = raw / f"{name}.txt"
                path.write_text(" ".join(map(str, numbers)))
                os.utime(path, ns=(stamp, stamp + 1))
            walked.ingest(reader(raw))
    with Lake(base / "fresh", say=lambda _: None) as fresh:
        fresh.ingest(reader(raw))
        partitions = {k: v for k, v in snapshot(fresh).items() if "manifest" not in k}
    assert {k: v for k, v in snapshot(walked).items() if "manifest" not in k} == partitions


def test_workers_do_not_change_the_lake(raw, tmp_path):
    with Lake(tmp_path / "one", workers=1, say=lambda _: None) as lake:
        lake.ingest(reader(raw))
        one = snapshot(lake)
    with Lake(tmp_path / "two", workers=2, say=lambda _: None) as lake:
        lake.ingest(reader(raw))
        assert snapshot(lake) == one


def test_workers_end_with_their_parent(tmp_path):
    """kill -9 of the ingesting process leaves no reader behind."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import multiprocessing, os, time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from ingest.lake import die_with_parent\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    pool = ProcessPoolExecutor(1, context, die_with_parent, (os.getpid(),))\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    pool.submit(time.sleep, 60).result()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT)},
    )
    worker = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        if "State:\tZ" in Path(f"/proc/{worker}/status").read_text():
            return
        time.sleep(0.1)
    pytest.fail(f"worker {worker} outlived its parent")
