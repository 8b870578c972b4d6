"""A collaborator's path: export by the command, then read every artefact with other programs."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
import warnings
from functools import partial
from pathlib import Path

import duckdb
import frictionless
import netCDF4
import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr

from ingest.reader import PROJECT_ROOT
from ingest.study import load_study
from skillhouse.export import exposed_tables, project_version

PAGES = ("docs/export.md", "docs/ibis-and-polars.md")
UNITS = {
    *("1", "m3 m-3", "mm", "W m-2", "K", "m2 m-2", "d", "h", "km", "m", "percent"),
    *("degrees_north", "degrees_east"),
}


@pytest.fixture(scope="session")
def bundle(built) -> Path:
    """The mini study, exported through the command line."""
    done = built.run("export", "--study", str(built.study_file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    (built.path / "export_stdout.txt").write_text(done.stdout)
    return built.path / "export" / f"mini-{project_version()}"


def sums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def python_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def datasets(bundle: Path) -> list[Path]:
    found = sorted((bundle / "netcdf").glob("*.nc"))
    assert len(found) >= 13
    return found


def test_the_command_tells_what_it_did(built, bundle):
    told = (built.path / "export_stdout.txt").read_text()
    assert all(f"  {name}: " in told for name in [*exposed_tables(), "meta_build"])
    assert re.search(r"Exported 38 tables, [\d,]+ rows, \d+ files, .*SYNTHETIC", told, re.DOTALL)


def test_checksums_hold(bundle):
    done = subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=bundle)
    assert done.returncode == 0
    listed = {line.split("  ", 1)[1] for line in (bundle / "SHA256SUMS").read_text().splitlines()}
    assert listed == sums(bundle).keys() - {"SHA256SUMS"}


def test_the_data_package_is_valid(bundle):
    report = frictionless.validate(str(bundle / "datapackage.json"), type="package")
    assert report.valid, report.flatten(["name", "rowNumber", "fieldName", "note"])[:5]
    package = frictionless.Package(str(bundle / "datapackage.json"))
    assert {r.path for r in package.resources} == {
        path for path in sums(bundle) if path.startswith(("parquet/", "csv/", "netcdf/"))
    }
    skill = package.get_resource("fct_skill_gain-csv").schema
    assert skill.primary_key == ["gridcell_id", "layer"]
    assert skill.foreign_keys[0]["reference"]["resource"] == "dim_gridcell-csv"
    assert skill.get_field("delta_r").custom["unit"] == "1"
    assert len(package.sources) == len(load_study("twin").sources())


def test_a_damaged_file_is_noticed(bundle, tmp_path):
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    for name in ("csv/fct_skill_gain.csv.gz", "netcdf/fct_skill_gain.nc"):
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
    package = frictionless.Package(str(copy / "datapackage.json"))
    for name in ("fct_skill_gain-csv", "fct_skill_gain-netcdf"):
        assert not package.get_resource(name).validate().valid


def test_parquet_and_csv_hold_the_warehouse(built, bundle):
    with duckdb.connect(str(built.warehouse), read_only=True) as connection:
        for name in [*exposed_tables(), "meta_build"]:
            parquet = bundle / "parquet" / f"{name}.parquet"
            (differing,) = connection.execute(
                f"select count(*) from (from {name} except all from '{parquet}')"
            ).fetchone()
            n = [
                connection.execute(f"select count(*) from {t}").fetchone()
                for t in (name, f"'{parquet}'")
            ]
            assert (differing, n[0]) == (0, n[1]), name
            frame = connection.sql(f"from '{parquet}'").pl()
            text = pl.read_csv(
                bundle / "csv" / f"{name}.csv.gz",
                schema_overrides={
                    c: pl.String if t == pl.Datetime else t for c, t in frame.schema.items()
                },
            ).with_columns(
                pl.col(c).str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us")
                for c, t in frame.schema.items()
                if t == pl.Datetime
            )
            assert text.equals(frame), name


def test_csv_reads_as_r_reads_it(bundle):
    """`read.csv(gzfile(…), na.strings = "")`: header, quotes, empty is NA, types guessed by column."""
    read = partial(pd.read_csv, compression="gzip", keep_default_na=False, na_values=[""])
    gain = read(bundle / "csv/fct_skill_gain.csv.gz")
    assert gain["delta_r"].dtype == float and gain["n_days"].dtype.kind == "i"
    assert set(gain["is_significant"].dropna()) <= {True, False}
    tb = read(bundle / "csv/fct_tb_innovation.csv.gz")
    as_r = pd.to_datetime(tb["observed_at"], format="%Y-%m-%dT%H:%M:%S.%fZ", utc=True)
    assert as_r.dt.year.eq(2017).all() and tb["observed_k"].between(50, 350).all()
    days = pd.to_datetime(
        read(bundle / "csv/fct_daily_anomaly.csv.gz")["obs_date"], format="%Y-%m-%d"
    )
    assert days.min() == pd.Timestamp("2017-01-01") and days.max() == pd.Timestamp("2017-08-31")


# -- the same bytes


def test_exports_repeat_byte_for_byte_whatever_the_threads(built, bundle, tmp_path, monkeypatch):
    from skillhouse import export as export_module

    connect = duckdb.connect
    for threads in (1, 3):
        monkeypatch.setattr(
            export_module.duckdb, "connect", partial(connect, config={"threads": threads})
        )
        again = export_module.export(
            load_study(str(built.study_file)),
            built.warehouse,
            tables=None,
            formats=["parquet", "csv", "netcdf"],
            version=project_version(),
            study_file=built.study_file,
            out=tmp_path / str(threads),
            say=lambda _: None,
        )
        assert sums(again) == sums(bundle)


def test_the_study_file_comes_along(built, bundle):
    assert (bundle / "study.yml").read_bytes() == built.study_file.read_bytes()


# -- CF


def test_netcdf_keeps_the_rules_of_cf(bundle):
    for path in datasets(bundle):
        with netCDF4.Dataset(path) as file:
            assert file.Conventions == "CF-1.8"
            for name in ("title", "institution", "source", "history", "references", "comment"):
                assert getattr(file, name), (path.name, name)
            assert "SYNTHETIC" in file.comment
            for variable in file.variables.values():
                _keeps_cf(file, variable, f"{path.stem}.{variable.name}")


def _keeps_cf(file, variable, where):
    assert re.fullmatch(r"[A-Za-z]\w*", variable.name), where
    attributes = variable.ncattrs()
    is_text = variable.dtype == "S1"
    if variable.name in file.dimensions:  # a coordinate variable: numbers, rising, never missing
        values = variable[:]
        assert variable.dimensions == (variable.name,) and not np.ma.is_masked(values), where
        assert (np.diff(values) > 0).all(), where
    if variable.name == "time":
        assert variable.standard_name == "time" and variable.calendar == "standard"
        assert " since 1970-01-01" in variable.units
    if "bounds" in attributes:
        bounds = file[variable.bounds]
        assert bounds.dimensions[:-1] == variable.dimensions and bounds.shape[-1] == 2
        assert not bounds.ncattrs(), where  # they have those of their coordinate
        assert ((bounds[:, 0] <= variable[:]) & (variable[:] <= bounds[:, 1])).all()
    if variable.name in ("crs", "time_bnds"):
        return
    assert variable.long_name, where
    if "flag_values" in attributes:
        assert variable.flag_values.dtype == variable.dtype, where
        assert np.size(variable.flag_values) == len(variable.flag_meanings.split()), where
        present = set(np.ma.compressed(variable[:]).tolist())
        assert present <= set(np.atleast_1d(variable.flag_values).tolist()), where
    elif (
        not is_text
        and "flag_meanings" not in attributes
        and "since" not in getattr(variable, "units", "")
    ):
        assert getattr(variable, "units", None) in UNITS or _only_null(variable), where
    if "_FillValue" in attributes:
        assert np.asarray(variable._FillValue).dtype == variable.dtype, where
        assert file[variable.grid_mapping].grid_mapping_name, where
        for other in variable.coordinates.split():
            assert set(file[other].dimensions[:1]) <= set(variable.dimensions), where
        for other in getattr(variable, "ancillary_variables", "").split():
            assert file[other].dimensions == variable.dimensions, where
        order = [d for d in variable.dimensions if d in ("gridcell", "time")]
        assert list(variable.dimensions[-len(order) :]) == order, where
    if "cell_methods" in attributes:
        dimension, method = variable.cell_methods.split(": ")
        assert dimension in variable.dimensions and method in ("mean", "sum"), where


def _only_null(variable) -> bool:
    return np.ma.count(variable[:]) == 0 and variable.dtype == "i4"


def test_xarray_opens_every_file_without_a_warning(built, bundle):
    days = [
        row[0] for row in built.ask("select distinct obs_date from fct_daily_anomaly order by 1")
    ]
    cells = {row[0] for row in built.ask("select gridcell_id from dim_gridcell")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in datasets(bundle):
            with xr.open_dataset(path, decode_coords="all") as data:
                assert {"lat", "lon", "x", "y", "gridcell_id", "crs"} <= set(data.coords)
                assert set(data["gridcell_id"].values) == cells
                assert not [v for v in data if data[v].dtype.kind == "m"], (
                    "a count read as a duration"
                )
        with xr.open_dataset(bundle / "netcdf/fct_daily_anomaly.nc") as data:
            assert [d.date() for d in pd.DatetimeIndex(data["time"].values)] == days


def test_netcdf_holds_the_warehouse(built, bundle):
    """One table through xarray, back to rows."""
    with xr.open_dataset(bundle / "netcdf/fct_daily_anomaly.nc") as data:
        frame = (
            data[["ssm_anomaly_m3m3", "product", "gridcell_id"]]
            .to_dataframe()
            .reset_index()[["product", "gridcell_id", "time", "ssm_anomaly_m3m3"]]
            .sort_values(["product", "gridcell_id", "time"])
        )
    with duckdb.connect(str(built.warehouse), read_only=True) as connection:
        wanted = connection.sql(
            "select ssm_anomaly_m3m3 from fct_daily_anomaly order by product, gridcell_id, obs_date"
        ).df()
    assert len(frame) == len(wanted) > 1000
    np.testing.assert_array_equal(
        frame["ssm_anomaly_m3m3"].values, wanted["ssm_anomaly_m3m3"].values
    )


# -- whole or not at all


def test_a_killed_export_leaves_no_half_bundle(built, bundle):
    """Killed at its first file, then started again."""
    version, folder = "2030.1.0", built.path / "export"
    arguments = ("export", "--study", str(built.study_file), "--version", version)
    process = subprocess.Popen(
        built.command(*arguments),
        cwd=PROJECT_ROOT,
        env=built.environment,
        stdout=subprocess.DEVNULL,
    )
    aside = folder / f".mini-{version}.part"
    deadline = time.monotonic() + 60
    while not list(aside.glob("csv/*.gz")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert aside.exists() and not (folder / f"mini-{version}").exists()
    assert built.run(*arguments).returncode == 0
    assert not aside.exists() and (folder / f"mini-{version}" / "SHA256SUMS").exists()
    shutil.rmtree(folder / f"mini-{version}")


def test_a_mistake_is_told_without_a_traceback(built):
    done = built.run("export", "--study", str(built.study_file), "--tables", "fct_skil")
    assert done.returncode == 2
    assert "key TABLES: no public table 'fct_skil'. the nearest: fct_skill" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_warehouse_is_told_without_a_traceback(built, tmp_path):
    shutil.copy(built.study_file, tmp_path / "mini.yml")
    empty = type(built)(tmp_path)
    done = empty.run("export", "--study", str(empty.study_file))
    assert done.returncode == 2
    assert "no warehouse yet" in done.stderr and "Traceback" not in done.stderr


# -- what the pages and the bundle's own README say


@pytest.fixture
def desk(built, bundle, tmp_path, monkeypatch) -> Path:
    """A folder with a warehouse and a bundle, as the pages expect it."""
    (tmp_path / "warehouse.duckdb").symlink_to(built.warehouse)
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / bundle.name).symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_blocks(blocks: list[str]) -> dict:
    names: dict = {}
    for block in blocks:
        exec(block, names)
    return names


def test_the_blocks_of_the_export_page_run(desk):
    names = run_blocks(python_blocks((PROJECT_ROOT / "docs/export.md").read_text()))
    assert set(names["mean_by_product"].index) == {"insitu", "l4", "open_loop"}
    assert names["mean_by_product"].between(0.01, 0.6).all()
    assert names["columns"]["delta_r"]["unit"] == "1"
    assert names["cells"]["latitude"].dtype == pl.Float64
    assert len(names["series"]) == 243 and "ok" in names["meanings"].values()


def test_the_blocks_of_the_notebook_page_run(desk, built):
    names = run_blocks(python_blocks((PROJECT_ROOT / "docs/ibis-and-polars.md").read_text()))
    stored = built.ask(
        "select n_cells, mean_delta_r from fct_skill_summary where stratum = 'all' order by layer desc"
    )
    assert names["headline"].select("n_cells", "mean_delta_r").rows() == stored
    assert names["fifths"]["fifth"].to_list() == [1, 2, 3, 4, 5]
    assert names["best"]["delta_r"].is_sorted(descending=True)
    assert names["wide"].height == 243
    assert {"baseline", "candidate", "insitu"} < set(names["wide"].columns)
    assert names["compared"].height >= 10 and names["largest"] < 1e-12


def test_the_readme_of_the_bundle_is_right(bundle, monkeypatch):
    text = (bundle / "README.md").read_text()
    first = text.split("\n## ")[0]
    assert first.splitlines()[2].startswith("**SYNTHETIC")
    for path in sums(bundle).keys() - {"README.md"}:
        table = re.sub(r"^(?:parquet|csv|netcdf)/(\w+)\..*", r"\1", path)
        assert table in text, path
    monkeypatch.chdir(bundle)
    names = run_blocks(python_blocks(text))
    assert len(names["frame"]) > 1000 and names["candidate"].sizes["time"] == 243
    assert names["one_cell"]["gridcell_id"].ndim == 0


def test_the_pages_have_blocks():
    for page in PAGES:
        assert len(python_blocks((PROJECT_ROOT / page).read_text())) >= 5
