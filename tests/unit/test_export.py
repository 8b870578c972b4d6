"""The bundle's parts on small hand-made tables: order, guard, formats, versions, interruption."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path

import duckdb
import netCDF4
import numpy as np
import polars as pl
import pytest
import yaml

from ingest.reader import PROJECT_ROOT, BadInput
from ingest.study import Study, load_study, settings_table
from skillhouse import export as export_module
from skillhouse.bundle_description import settings_as_yaml
from skillhouse.export import export, exposed_tables, project_version
from skillhouse.licence_guard import restricted_sources, restrictions

CELLS = ["M09-r300-c3100", "M09-r300-c3101"]
DAYS = ["2017-01-01", "2017-01-02", "2017-01-04"]


def column(table, name, unit="1", *, key=False):
    return (table, name, unit, key, f"What {name} is.")


TABLES = {
    "dim_gridcell": "gridcell_id varchar, grid_row integer, grid_col integer, latitude double,"
    " longitude double, igbp_class integer",
    "dim_product": "product varchar, quantity varchar, role varchar, source varchar, version varchar",
    "dim_station": "station_id varchar, gridcell_id varchar, igbp_class integer",
    "fct_daily_soil_moisture": "product varchar, gridcell_id varchar, obs_date date,"
    " ssm_m3m3 float, n_obs_ssm integer",
    "fct_daily_roughness": "gridcell_id varchar, obs_date date, roughness double",
    "fct_soil_texture": "gridcell_id varchar, clay_topsoil_frac double",
    "fct_skill": "product varchar, gridcell_id varchar, layer varchar, metric varchar,"
    " value double, n_days integer, status varchar",
    "fct_skill_gain": "gridcell_id varchar, layer varchar, delta_r double, is_significant boolean,"
    " status varchar",
    "fct_tb_innovation": "gridcell_id varchar, observed_at timestamp, polarization varchar,"
    " observed_k float",
    "meta_study": "key varchar, value varchar",
    "meta_build": "build_id varchar, study varchar, study_hash varchar, code_hash varchar,"
    " git_commit varchar, is_synthetic boolean, seed bigint, finished_at timestamp",
}
KEYS = {
    "dim_gridcell": ["gridcell_id"],
    "dim_product": ["product", "quantity"],
    "dim_station": ["station_id"],
    "fct_daily_soil_moisture": ["product", "gridcell_id", "obs_date"],
    "fct_daily_roughness": ["gridcell_id", "obs_date"],
    "fct_soil_texture": ["gridcell_id"],
    "fct_skill": ["product", "gridcell_id", "layer", "metric"],
    "fct_skill_gain": ["gridcell_id", "layer"],
    "fct_tb_innovation": ["gridcell_id", "observed_at", "polarization"],
    "meta_study": ["key"],
    "meta_build": ["build_id"],
}
UNITS = {"ssm_m3m3": "m3 m-3", "observed_k": "K", "n_days": "days", "value": "per metric"}


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("hawaii")


@pytest.fixture
def warehouse(tmp_path, written) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copy(written, tmp_path / "warehouse.duckdb"))


@pytest.fixture(scope="module")
def written(tmp_path_factory, study) -> Path:
    """Two cells, two products and the stations, written in the wrong order."""
    path = tmp_path_factory.mktemp("written") / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        for name, columns in TABLES.items():
            connection.execute(f"create table {name} ({columns})")
            connection.execute(f"comment on table {name} is 'One row per thing of {name}.'")
        connection.execute(
            "create table meta_column (table_name varchar, column_name varchar, unit varchar,"
            " is_key boolean, description varchar)"
        )
        connection.executemany(
            "insert into meta_column values (?, ?, ?, ?, ?)",
            [
                column(
                    name, c.split()[0], UNITS.get(c.split()[0], "1"), key=c.split()[0] in KEYS[name]
                )
                for name, columns in TABLES.items()
                for c in columns.split(", ")
            ],
        )
        connection.execute(
            f"insert into dim_gridcell values ('{CELLS[1]}', 300, 3101, 39.1, 109.6, 10),"
            f" ('{CELLS[0]}', 300, 3100, 39.1, 109.5, 12)"
        )
        connection.execute(
            "insert into dim_product values ('insitu', 'soil_moisture', 'insitu', 'stations', ''),"
            " ('gldas_noah', 'soil_moisture', 'candidate', 'GLDAS', '2.1'),"
            " ('era5_land', 'soil_moisture', 'baseline', 'ERA5', ''),"
            " ('hwsd', 'soil_texture', 'benchmark', 'HWSD', '')"
        )
        connection.execute(f"insert into dim_station values ('A/1', '{CELLS[0]}', 10)")
        for product in ("insitu", "gldas_noah", "era5_land"):
            for cell in reversed(CELLS):
                for i, day in enumerate(reversed(DAYS)):
                    value = "null" if i == 1 else 0.1 + i / 7
                    connection.execute(
                        f"insert into fct_daily_soil_moisture values"
                        f" ('{product}', '{cell}', '{day}', {value}, {24 - i})"
                    )
        connection.execute(
            f"insert into fct_daily_roughness values ('{CELLS[0]}', '{DAYS[0]}', 0.5)"
        )
        connection.execute(f"insert into fct_soil_texture values ('{CELLS[0]}', 0.3)")
        connection.execute(
            "insert into fct_skill values"
            f" ('gldas_noah', '{CELLS[0]}', 'ssm', 'spearman', 0.5, 700, 'ok'),"
            f" ('gldas_noah', '{CELLS[0]}', 'ssm', 'bias_m3m3', 0.01, 700, 'ok'),"
            f" ('gldas_noah', '{CELLS[1]}', 'ssm', 'spearman', null, 3, 'too_few_days'),"
            f" ('gldas_noah', '{CELLS[1]}', 'ssm', 'bias_m3m3', null, 3, 'too_few_days')"
        )
        connection.execute(
            f"insert into fct_skill_gain values ('{CELLS[1]}', 'ssm', null, null, 'too_few_days'),"
            f" ('{CELLS[0]}', 'ssm', 0.1234567890123456789, true, 'ok'),"
            f" ('{CELLS[0]}', 'rzsm', -0.1, false, 'ok'), ('{CELLS[1]}', 'rzsm', 0.2, true, 'ok')"
        )
        connection.execute(
            f"insert into fct_tb_innovation values ('{CELLS[0]}', '2017-01-01 09:00', 'h', 250.5)"
        )
        settings = settings_table(study)
        connection.executemany(
            "insert into meta_study values (?, ?)", settings.select("key", "value").rows()
        )
        connection.execute(
            f"insert into meta_build values ('b1', 'hawaii', '{study.hash}', 'c1', '', false, 1,"
            " '2026-11-23 22:00:00.25')"
        )
    return path


@pytest.fixture(autouse=True)
def _few_tables(monkeypatch):
    monkeypatch.setattr(
        export_module, "exposed_tables", lambda: [name for name in TABLES if name != "meta_build"]
    )


def quiet(_line: str) -> None:
    pass


def write(study, warehouse, out, **options) -> Path:
    settings = {"tables": None, "formats": ["parquet", "csv", "netcdf"], "version": "2026.11.0"}
    return export(study, warehouse, out=out, say=quiet, **(settings | options))


def allowed(study: Study) -> Study:
    """The same study with stations that may be passed on."""
    source = study.insitu.source.model_copy(update={"redistribute": True})
    return study.model_copy(update={"insitu": study.insitu.model_copy(update={"source": source})})


def mark(warehouse: Path, key: str, value: str) -> None:
    """Change a setting as the built study recorded it."""
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("delete from meta_study where key = ?", [key])
        connection.execute("insert into meta_study values (?, ?)", [key, value])


# -- what is exported


def test_the_exposure_names_every_public_table():
    named = exposed_tables()  # the function imported above, not the patched one
    public = {
        path.stem
        for path in (PROJECT_ROOT / "models").rglob("*.sql")
        if path.stem.startswith(("dim_", "fct_", "bridge_", "meta_"))
    }
    assert set(named) == public and len(named) == len(public)


@pytest.mark.parametrize("name", ["fct_skil_gain", "int_skill_gain", "FCT_SKILL_GAIN"])
def test_an_unknown_or_private_table_is_refused_with_the_nearest(study, warehouse, tmp_path, name):
    with pytest.raises(
        BadInput, match=f"TABLES.*{name}.*(nearest|any of).*(skill_gain|meta_build)"
    ):
        write(study, warehouse, tmp_path / "out", tables=[name])
    assert not (tmp_path / "out").exists()


def test_formats_are_checked(study, warehouse, tmp_path):
    with pytest.raises(BadInput, match="FORMAT.*'xlsx'.*parquet, csv, netcdf"):
        write(study, warehouse, tmp_path, formats=["xlsx"])
    with pytest.raises(BadInput, match="FORMAT"):
        write(study, warehouse, tmp_path, formats=[])
    folder = write(study, warehouse, tmp_path, formats=["csv", "csv"])
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"csv"}


def test_an_empty_list_of_tables_is_not_all_tables(study, warehouse, tmp_path):
    with pytest.raises(BadInput, match="TABLES.*no table"):
        write(study, warehouse, tmp_path, tables=[])


def test_a_warehouse_of_another_version_is_told(study, warehouse, tmp_path):
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("drop table fct_skill")
    with pytest.raises(BadInput, match="lacks fct_skill: .*make build STUDY=hawaii"):
        write(study, warehouse, tmp_path)


def test_descriptions_are_one_line(study, warehouse, tmp_path):
    """Texts of the models are wrapped; a dictionary that line-based tools read is not."""
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("update meta_column set description = 'Wrapped' || chr(10) || 'text.'")
        connection.execute(f"comment on table fct_skill is 'One{chr(10)}  row.'")
    folder = write(study, warehouse, tmp_path)
    lines = (folder / "dictionary.csv").read_text().splitlines()
    assert all(line.endswith(",Wrapped text.") for line in lines[1:])
    with netCDF4.Dataset(folder / "netcdf/fct_skill.nc") as file:
        assert file.summary == "One row."
        assert file["spearman"].long_name == "spearman: Wrapped text."


@pytest.mark.parametrize("version", ["1.0", "2026.13.0", "2026.01.0", "../2026.1.0", "2026.1.0-x"])
def test_a_version_has_its_form(study, warehouse, tmp_path, version):
    with pytest.raises(BadInput, match="VERSION"):
        write(study, warehouse, tmp_path / "out", version=version)


def test_the_default_version_is_the_project_s(study, warehouse, tmp_path):
    assert write(study, warehouse, tmp_path, version="").name == f"hawaii-{project_version()}"
    assert re.fullmatch(r"\d{4}\.\d+\.\d+", project_version())


def test_no_warehouse_is_told(study, tmp_path):
    with pytest.raises(BadInput, match="no warehouse yet.*make build STUDY=hawaii"):
        write(study, tmp_path / "none.duckdb", tmp_path)
    other = tmp_path / "other.duckdb"
    duckdb.connect(str(other)).close()
    with pytest.raises(BadInput, match="not a warehouse"):
        write(study, other, tmp_path)
    other.write_bytes(b"no database at all" * 100)
    with pytest.raises(BadInput, match="not a warehouse"):
        write(study, other, tmp_path)
    assert not list(tmp_path.glob("hawaii*"))


def test_meta_build_always_comes_along(study, warehouse, tmp_path):
    folder = write(study, warehouse, tmp_path, tables=["fct_skill_gain"], formats=["csv"])
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {
        "csv/fct_skill_gain.csv.gz",
        "csv/meta_build.csv.gz",
        "README.md",
        "SHA256SUMS",
        "datapackage.json",
        "dictionary.csv",
        "study.yml",
    }


# -- values


def test_rows_are_in_key_order_and_nothing_is_lost(study, warehouse, tmp_path):
    folder = write(allowed(study), warehouse, tmp_path, tables=["fct_daily_soil_moisture"])
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        wanted = connection.sql("from fct_daily_soil_moisture order by 1, 2, 3").pl()
    assert pl.read_parquet(folder / "parquet/fct_daily_soil_moisture.parquet").equals(wanted)
    text = pl.read_csv(
        folder / "csv/fct_daily_soil_moisture.csv.gz", schema_overrides=wanted.schema
    )
    assert text.equals(wanted)


def test_doubles_and_times_round_trip_through_csv(study, warehouse, tmp_path):
    folder = write(study, warehouse, tmp_path)
    lines = (
        gzip.decompress((folder / "csv/fct_skill_gain.csv.gz").read_bytes()).decode().splitlines()
    )
    assert lines[0] == "gridcell_id,layer,delta_r,is_significant,status"
    assert lines[2] == f"{CELLS[0]},ssm,0.12345678901234568,true,ok"
    assert float(lines[2].split(",")[2]) == 0.1234567890123456789
    assert lines[4] == f"{CELLS[1]},ssm,,,too_few_days"
    built = gzip.decompress((folder / "csv/meta_build.csv.gz").read_bytes()).decode()
    assert ",2026-11-23T22:00:00.250000Z\n" in built


def test_the_gzip_holds_no_time(study, warehouse, tmp_path):
    folder = write(study, warehouse, tmp_path, formats=["csv"])
    for path in folder.glob("csv/*.gz"):
        assert path.read_bytes()[4:8] == b"\0\0\0\0"


def test_parquet_carries_units(study, warehouse, tmp_path):
    folder = write(study, warehouse, tmp_path, formats=["parquet"])
    path = str(folder / "parquet/fct_tb_innovation.parquet")
    pairs = duckdb.sql(f"select key, value from parquet_kv_metadata('{path}')").fetchall()
    metadata = {key.decode(): value.decode() for key, value in pairs}
    assert json.loads(metadata["columns"])["observed_k"] == {
        "unit": "K",
        "description": "What observed_k is.",
    }
    assert metadata["build_id"] == "b1" and metadata["is_synthetic"] == "false"


# -- the licence guard


def test_stations_not_to_be_passed_on_are_left_out(study, warehouse, tmp_path):
    folder = write(study, warehouse, tmp_path)
    for frame in (
        pl.read_parquet(folder / "parquet/fct_daily_soil_moisture.parquet"),
        pl.read_csv(folder / "csv/fct_daily_soil_moisture.csv.gz"),
    ):
        assert set(frame["product"]) == {"gldas_noah", "era5_land"}
    with netCDF4.Dataset(folder / "netcdf/fct_daily_soil_moisture.nc") as file:
        assert set(file["product"][:]) == {"gldas_noah", "era5_land"}
    readme = (folder / "README.md").read_text()
    assert "- `fct_daily_soil_moisture`: 6 rows of product insitu. Source `insitu`: ISMN" in readme
    assert "contains data that may not" not in readme


def test_a_table_asked_for_by_name_is_whole_with_a_warning(study, warehouse, tmp_path, capsys):
    folder = write(study, warehouse, tmp_path, tables=["fct_daily_soil_moisture"])
    frame = pl.read_parquet(folder / "parquet/fct_daily_soil_moisture.parquet")
    assert frame.filter(pl.col("product") == "insitu").height == 6
    assert (
        "WARNING: fct_daily_soil_moisture holds 6 rows of product insitu" in capsys.readouterr().err
    )
    readme = (folder / "README.md").read_text()
    assert "contains data that may not be passed on" in readme.split("##")[0]


def test_a_mark_in_the_study_file_or_in_the_warehouse_counts(study, warehouse, tmp_path):
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        assert restricted_sources(connection, allowed(study)) == {
            "insitu": "ISMN terms, no onward distribution"
        }
    mark(warehouse, "insitu.source.redistribute", "True")
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        assert list(restricted_sources(connection, study)) == ["insitu"]
        assert restricted_sources(connection, allowed(study)) == {}
    mark(warehouse, "products.era5_land.source.redistribute", "False")
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        assert list(restricted_sources(connection, allowed(study))) == ["era5_land"]


@pytest.mark.parametrize(
    ("source", "tables"),
    [
        ("insitu", set()),
        ("era5_land", set()),
        ("gldas_noah", {"fct_daily_roughness"}),
        ("land_constants", {"fct_daily_roughness"}),
        ("hwsd", {"fct_soil_texture"}),
        ("tb_innovation", {"fct_tb_innovation"}),
        ("land_cover", {"dim_station", "dim_gridcell"}),
    ],
)
def test_each_source_holds_back_its_own_tables(warehouse, source, tables):
    daily = {
        "fct_daily_soil_moisture",
        "fct_daily_anomaly",
        "fct_daily_precipitation",
        "fct_daily_latent_heat",
        "fct_leaf_area_index",
    }
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        found = restrictions(connection, {source: ""})
    assert {r.table for r in found} == daily | tables
    assert {r.rows for r in found if r.table in daily} == {f"product = '{source}'"}


def test_every_guarded_table_and_column_exists():
    """A table renamed in the models must not slip past the guard."""
    text = (PROJECT_ROOT / "skillhouse" / "licence_guard.py").read_text()
    named = set(re.findall(r'"((?:fct|dim)_\w+)"', text))
    built = {path.stem for path in (PROJECT_ROOT / "models").rglob("*.sql")}
    assert len(named) == 10 and named <= built


def test_a_column_is_held_back_and_its_rows_stay(study, warehouse, tmp_path):
    mark(warehouse, "land_cover.source.redistribute", "False")
    folder = write(study, warehouse, tmp_path, formats=["parquet"])
    cells = pl.read_parquet(folder / "parquet/dim_gridcell.parquet")
    assert cells.height == 2 and cells["igbp_class"].null_count() == 2
    assert "`dim_gridcell`: 2 values of igbp_class" in (folder / "README.md").read_text()


def test_an_empty_table_keeps_its_columns(study, warehouse, tmp_path):
    mark(warehouse, "tb_innovation.source.redistribute", "False")
    folder = write(study, warehouse, tmp_path)
    frame = pl.read_parquet(folder / "parquet/fct_tb_innovation.parquet")
    assert frame.height == 0 and frame.columns[-1] == "observed_k"
    text = gzip.decompress((folder / "csv/fct_tb_innovation.csv.gz").read_bytes())
    assert text == b"gridcell_id,observed_at,polarization,observed_k\n"
    assert not (folder / "netcdf/fct_tb_innovation.nc").exists()
    assert "`fct_tb_innovation` (no rows)" in (folder / "README.md").read_text()


def test_the_readme_cites_sources_and_method(study, warehouse, tmp_path):
    text = (write(study, warehouse, tmp_path, formats=["csv"]) / "README.md").read_text()
    for source, (_, settings) in study.sources().items():
        (row,) = re.findall(rf"^\| `{source}` \|.*$", text, re.MULTILINE)
        assert settings.citation in row and settings.licence in row
    assert "10.5194/hess-25-1569-2021" in text
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("update meta_build set is_synthetic = true")
    mark(warehouse, "insitu.source.citation", "")
    text = (write(study, warehouse, tmp_path, formats=["csv"]) / "README.md").read_text()
    assert re.search(r"^\| `insitu` \| .* \| none, simulated \|", text, re.MULTILINE)


# -- whole or not at all


def test_a_failed_export_leaves_the_last_bundle(study, warehouse, tmp_path, monkeypatch):
    out = tmp_path / "out"
    folder = write(study, warehouse, out)
    before = (folder / "SHA256SUMS").read_text()

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr(export_module, "write_netcdf", fails)
    with pytest.raises(OSError, match="disk full"):
        write(study, warehouse, out)
    assert [path.name for path in out.iterdir()] == ["hawaii-2026.11.0"]
    assert (folder / "SHA256SUMS").read_text() == before


def test_a_bundle_is_replaced_whole(study, warehouse, tmp_path):
    folder = write(study, warehouse, tmp_path / "out")
    assert (folder / "netcdf").is_dir()
    (folder.with_name(".hawaii-2026.11.0.part")).mkdir()  # left by an export that was killed
    again = write(study, warehouse, tmp_path / "out", formats=["csv"])
    assert again == folder and not (folder / "netcdf").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["hawaii-2026.11.0"]


def test_leftovers_of_killed_exports_go_whatever_their_version(study, warehouse, tmp_path):
    """Killed while writing, and between the two renames, of other versions than the next export's."""
    out = tmp_path / "out"
    first = write(study, warehouse, out, version="2026.1.0", formats=["csv"])
    second = write(study, warehouse, out, version="2026.2.0", formats=["csv"])
    before = (first / "SHA256SUMS").read_text()
    first.rename(out / ".hawaii-2026.1.0.old")
    shutil.copytree(second, out / ".hawaii-2026.2.0.old")
    (out / ".hawaii-2026.1.0.part" / "csv").mkdir(parents=True)
    write(study, warehouse, out, version="2026.3.0", formats=["csv"])
    assert sorted(path.name for path in out.iterdir()) == [f"hawaii-2026.{n}.0" for n in (1, 2, 3)]
    assert (first / "SHA256SUMS").read_text() == before


def test_one_export_at_a_time(study, warehouse, tmp_path):
    def meanwhile(line):
        if line.startswith("  "):  # a table is being written
            with pytest.raises(BadInput, match="another export.*wait for it"):
                write(study, warehouse, tmp_path)
            refused.append(line)

    refused = []
    export(study, warehouse, tables=None, formats=["csv"], version="", out=tmp_path, say=meanwhile)
    assert refused
    write(study, warehouse, tmp_path)


# -- NetCDF


def test_netcdf_holds_each_value_at_its_place(study, warehouse, tmp_path):
    folder = write(allowed(study), warehouse, tmp_path, tables=list(TABLES))
    with netCDF4.Dataset(folder / "netcdf/fct_daily_soil_moisture.nc") as file:
        cells = list(file["gridcell_id"][:])
        products = list(file["product"][:])
        days = [str(d)[:10] for d in netCDF4.num2date(file["time"][:], file["time"].units)]
        array, counts = file["ssm_m3m3"][:], file["n_obs_ssm"][:]
        bounds = file["time_bnds"][:]
    assert days == DAYS and cells == CELLS
    assert (bounds[:, 1] - bounds[:, 0] == 1).all()
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        rows = connection.sql("from fct_daily_soil_moisture").fetchall()
    assert array.shape == (3, 2, 3) and array.size == len(rows)
    for product, cell, day, value, n in rows:
        at = (products.index(product), cells.index(cell), days.index(str(day)))
        assert array.mask[at] if value is None else array[at] == np.float32(value)
        assert counts[at] == n


def test_netcdf_splits_metrics_and_flags_texts(study, warehouse, tmp_path):
    folder = write(study, warehouse, tmp_path)
    with netCDF4.Dataset(folder / "netcdf/fct_skill.nc") as file:
        assert file["spearman"].units == "1" and file["bias_m3m3"].units == "m3 m-3"
        assert file["bias_m3m3_n_days"].units == "d"
        assert file["spearman"][0, 0, 0] == 0.5 and file["spearman"][:].mask[0, 0, 1]
        assert file["bias_m3m3"][0, 0, 0] == 0.01
        meanings = file["spearman_status"].flag_meanings.split()
        assert [meanings[i] for i in file["spearman_status"][0, 0]] == ["ok", "too_few_days"]
    with netCDF4.Dataset(folder / "netcdf/fct_skill_gain.nc") as file:
        significant = file["is_significant"]
        layers = list(file["layer"][:])
        assert significant.flag_meanings == "false true"
        surface = significant[layers.index("ssm")]
        assert surface[0] == 1 and surface.mask[1]


def test_netcdf_places_cells_as_the_grid_does(study, warehouse, tmp_path):
    """Against pyproj's EPSG:6933, not the project's own formula."""
    from pyproj import Transformer

    folder = write(study, warehouse, tmp_path)
    with netCDF4.Dataset(folder / "netcdf/dim_gridcell.nc") as file:
        x, y, col = file["x"][:], file["y"][:], file["grid_col"][:]
        crs = file["crs"]
        assert crs.grid_mapping_name == "lambert_cylindrical_equal_area"
        assert crs.standard_parallel == 30 and crs.semi_major_axis == 6378137
        assert "6933" in crs.crs_wkt
    assert list(col) == [3100, 3101] and x[1] - x[0] == pytest.approx(9008.055210146)
    longitude, latitude = Transformer.from_crs(6933, 4326, always_xy=True).transform(x[0], y[0])
    from ingest.grid import M09

    wanted = M09.centre(300, 3100)
    assert (latitude, longitude) == pytest.approx([float(v) for v in wanted], abs=1e-6)


# -- the study file


def test_settings_of_the_warehouse_make_the_same_study(study):
    settings = dict(settings_table(study).select("key", "value").rows())
    content = yaml.safe_load(settings_as_yaml(settings))
    assert Study.model_validate(content).hash == study.hash


def test_the_study_file_is_copied_only_while_it_is_what_was_built(study, warehouse, tmp_path):
    folder = write(study, warehouse, tmp_path)
    assert (folder / "study.yml").read_bytes() == (
        PROJECT_ROOT / "studies" / "hawaii.yml"
    ).read_bytes()
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("update meta_build set study_hash = 'another'")
    shutil.rmtree(folder)
    text = (write(study, warehouse, tmp_path) / "study.yml").read_text()
    assert text.startswith("# The settings as built") and yaml.safe_load(text)["seed"] == 20170101
