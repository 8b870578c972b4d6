"""What a newcomer does after the build: doctor, three queries, report, export, and reading the bundle elsewhere."""

import csv
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import duckdb
import pandas as pd
import pytest
import xarray as xr

from ingest.reader import PROJECT_ROOT
from skillhouse import __main__ as commands
from skillhouse.lock import build_lock
from tests.end_to_end.conftest import Default
from tests.unit.test_docs import sql_blocks

HOW_TO = sorted((PROJECT_ROOT / "docs" / "how-to").glob("*.md"))
QUERIES = [(page.stem, query) for page in HOW_TO for _, query, _ in sql_blocks(page)]


# -- doctor


def doctor(home) -> subprocess.CompletedProcess[str]:
    return home.run("doctor", "--study", str(home.study_file))


def line_of(done: subprocess.CompletedProcess[str], what: str) -> str:
    (line,) = re.findall(rf"^(\w+ +{what}: .*)$", done.stdout, re.MULTILINE)
    return line


def test_doctor_finds_nothing_wrong_after_a_build(home):
    done = doctor(home)
    assert done.returncode == 0, done.stdout
    assert line_of(done, "warehouse").startswith("ok") and "up to date" in done.stdout
    assert "nothing hinders make build" in done.stdout


def test_doctor_names_what_has_changed_since_the_build(home):
    home.edit(lambda content: content["rules"].update(members=300))
    raw = next((home.data / "raw" / "cgdpa").rglob("*.nc"))
    os.utime(raw, ns=(0, 0))
    line = line_of(doctor(home), "warehouse")
    assert line.startswith("warning")
    assert line.endswith("since then changed: the study's settings, raw files of cgdpa")


def test_doctor_names_a_warehouse_that_is_none(home):
    home.warehouse.write_text("not a database")
    done = doctor(home)
    assert done.returncode == 0
    assert line_of(done, "warehouse").startswith("warning") and "not readable" in done.stdout


def test_doctor_names_a_running_build(home):
    with build_lock(home.path / ".build" / "mini" / "lock", "mini"):
        done = doctor(home)
    assert done.returncode == 1 and line_of(done, "lock").startswith("problem")


# -- pages


def test_the_data_dictionary_describes_the_published_file(built):
    """The published file's own columns are the oracle of the page."""
    page = (PROJECT_ROOT / "docs" / "data-dictionary.md").read_text()
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))
    with duckdb.connect(str(built.warehouse), read_only=True) as connection:
        columns = connection.execute(
            "select table_name, column_name, lower(data_type) from duckdb_columns()"
            " where database_name = 'warehouse' and table_name not in ('meta_build', 'meta_column')"
        ).fetchall()
        tables = {
            t for (t,) in connection.execute("select table_name from duckdb_tables()").fetchall()
        }
    told = [
        (table, column, kind)
        for table, text in sections.items()
        for column, kind in re.findall(r"^\| \*{0,2}`(\w+)`\*{0,2} \| (\w+) \|", text, re.MULTILINE)
        if table not in ("meta_build", "meta_column")
    ]
    assert len(columns) > 200 and sorted(told) == sorted(columns)
    assert set(sections) == tables


@pytest.mark.parametrize(("page", "query"), QUERIES, ids=[page for page, _ in QUERIES])
def test_queries_of_the_how_to_pages_run(built, page, query):
    assert built.ask(query)


# -- the default study: look, ask, take away


@pytest.fixture(scope="module")
def newcomer(twin, tmp_path_factory) -> Default:
    """A place with nothing but the published warehouse of the default study."""
    place = Default(tmp_path_factory.mktemp("newcomer"))
    shutil.copy(twin.warehouse, place.warehouse)
    return place


def test_three_queries_of_the_readme_answer(newcomer):
    queries = [query for _, query, _ in sql_blocks(PROJECT_ROOT / "README.md")][:3]
    assert len(queries) == 3
    for query in queries:
        assert newcomer.ask(query)


def test_the_report_is_one_file(newcomer):
    done = newcomer.run("report")
    assert done.returncode == 0, done.stdout + done.stderr
    page = newcomer.path / "report" / "out" / "twin" / "index.html"
    assert str(page.relative_to(newcomer.path)) in done.stdout
    text = page.read_text()
    assert len(text) < 15e6
    assert "synthetic" in text.lower()
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?://", text)


@pytest.fixture(scope="module")
def bundle(newcomer):
    done = newcomer.run("export")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (newcomer.path / "export").iterdir()
    assert folder.name in done.stdout
    return folder


def gains(newcomer) -> dict[tuple[str, str], tuple[float | None, str]]:
    rows = newcomer.ask("select gridcell_id, layer, delta_r, status from fct_skill_gain")
    return {(cell, layer): (gain, status) for cell, layer, gain, status in rows}


def test_the_bundle_is_whole(bundle):
    for name in ("README.md", "datapackage.json", "dictionary.csv", "SHA256SUMS"):
        assert (bundle / name).stat().st_size, name
    listed = dict(
        reversed(line.split(maxsplit=1))
        for line in (bundle / "SHA256SUMS").read_text().splitlines()
    )
    files = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    assert {name.lstrip("*./") for name in listed} == files - {"SHA256SUMS"}
    for name, digest in listed.items():
        assert hashlib.sha256((bundle / name.lstrip("*./")).read_bytes()).hexdigest() == digest
    package = json.loads((bundle / "datapackage.json").read_text())
    assert {resource["path"] for resource in package["resources"]} <= files


def test_pandas_reads_the_parquet(newcomer, bundle):
    frame = pd.read_parquet(bundle / "parquet" / "fct_skill_gain.parquet")
    read = {(row.gridcell_id, row.layer): row for row in frame.itertuples()}
    for key, (gain, status) in gains(newcomer).items():
        assert read[key].status == status
        assert read[key].delta_r == gain if gain is not None else pd.isna(read[key].delta_r)
    assert len(read) == len(gains(newcomer))


def test_the_csv_reads_as_r_would(newcomer, bundle):
    """Header first, one line per row, no index, points as decimal marks: `read.csv` needs no option."""
    with gzip.open(bundle / "csv" / "fct_skill_gain.csv.gz", "rt", newline="") as file:
        head, *rows = list(csv.reader(file))
    assert head[:2] == ["gridcell_id", "layer"] and {len(row) for row in rows} == {len(head)}
    place, wanted = head.index("delta_r"), gains(newcomer)
    assert {(row[0], row[1]) for row in rows} == set(wanted)
    for row in rows:
        gain, _ = wanted[row[0], row[1]]
        assert row[place] in ("", "NA") if gain is None else float(row[place]) == gain


def test_xarray_opens_the_netcdf(newcomer, bundle):
    with xr.open_dataset(bundle / "netcdf" / "fct_daily_anomaly.nc") as data:
        assert data.attrs["Conventions"].startswith("CF-1.")
        days = newcomer.ask("select count(distinct obs_date) from fct_daily_anomaly")[0][0]
        assert data.sizes["time"] == days
        (name,) = [n for n in data.data_vars if n == "ssm_anomaly_m3m3"]
        known = int(data[name].notnull().sum())
        assert data[name].attrs["units"]
    rows = newcomer.ask("select count(ssm_anomaly_m3m3) from fct_daily_anomaly")[0][0]
    assert known == rows


def test_make_help_lists_what_a_newcomer_needs():
    done = subprocess.run(["make", "help"], cwd=PROJECT_ROOT, capture_output=True, text=True)
    for target in (
        "build",
        "test",
        "check",
        "doctor",
        "report",
        "figures",
        "export",
        "docs",
        "sql",
    ):
        assert re.search(rf"^{target} ", done.stdout, re.MULTILINE), target


def test_a_wrong_command_is_told_without_a_traceback(tmp_path):
    (tmp_path / "latin.yml").write_bytes("title: Maß".encode("latin-1"))
    (tmp_path / "text.yml").write_text("no keys")
    for arguments in (
        ["bild"],
        ["check", "--study", "nope"],
        ["doctor", "--study", "nope"],
        ["check", "--study", str(tmp_path / "latin.yml")],
        ["doctor", "--study", str(tmp_path / "latin.yml")],
        ["export", "--study", str(tmp_path / "text.yml")],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "skillhouse", *arguments],
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode and "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("damage", ["no database", "truncated", "damaged"])
@pytest.mark.parametrize("command", ["export", "report", "figures", "path"])
def test_a_damaged_warehouse_is_told_without_a_traceback(built, tmp_path, command, damage):
    shutil.copy(built.study_file, tmp_path / "mini.yml")
    home = type(built)(tmp_path)
    home.warehouse.parent.mkdir(parents=True)
    content = built.warehouse.read_bytes()
    half = len(content) // 2
    home.warehouse.write_bytes(
        {
            "no database": b"no database at all" * 1000,
            "truncated": content[:half],
            "damaged": content[: half // 4]
            + bytes(len(content) - half // 2)
            + content[-half // 4 :],
        }[damage]
    )
    done = home.run(command, "--study", str(home.study_file))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.search(r"error: .*warehouse\.duckdb: not a warehouse .*make build", done.stderr)


def test_what_was_not_foreseen_is_told_with_a_way_to_its_traceback(monkeypatch, capsys):
    def fails(_options):
        raise KeyError("surprise")

    monkeypatch.setattr(commands, "_check", fails)
    assert commands.main(["check"]) == 2
    told = capsys.readouterr().err
    assert "KeyError: 'surprise'" in told and "V=-v" in told and "Traceback" not in told
    with pytest.raises(KeyError):
        commands.main(["-v", "check"])


def test_a_folder_that_cannot_be_written_is_named(built, tmp_path):
    (tmp_path / "export").write_text("a file where the folder should be")
    shutil.copy(built.study_file, tmp_path / "mini.yml")
    home = type(built)(tmp_path)
    shutil.copytree(built.warehouse.parent, home.warehouse.parent)
    done = home.run("export", "--study", str(home.study_file))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"{tmp_path}/export" in done.stderr and "make doctor" in done.stderr
