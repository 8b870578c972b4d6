"""The how-to pages do what they say: settings are valid, files in them are read, code in them runs."""

import datetime as dt
import importlib
import re
import sys

import numpy as np
import polars as pl
import pytest
import yaml
from pydantic import ValidationError

from ingest.grid import M09
from ingest.lake import Lake
from ingest.reader import PROJECT_ROOT, BadInput
from ingest.run import reader_of, study_cells, study_stations
from ingest.study import Study, load_study
from tests.unit.test_docs import sql_blocks

HOW_TO = PROJECT_ROOT / "docs" / "how-to"
FORMAT_OF_THE_EXAMPLE = "cell_csv"


def blocks(page: str, language: str) -> list[str]:
    text = (HOW_TO / f"{page}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def in_a_study(fragment: str) -> dict:
    """The published study with a page's settings in place of its own."""
    content = yaml.safe_load((PROJECT_ROOT / "studies" / "china.yml").read_text())
    for key, value in yaml.safe_load(fragment).items():
        if key == "products":
            replaced = {product["role"] for product in value.values()}
            kept = {k: p for k, p in content[key].items() if p["role"] not in replaced}
            content[key] = kept | value
        else:
            content[key] = value
    return content


FRAGMENTS = [
    (page.stem, fragment)
    for page in sorted(HOW_TO.glob("*.md"))
    for fragment in blocks(page.stem, "yaml")
]


@pytest.mark.parametrize(("page", "fragment"), FRAGMENTS, ids=[page for page, _ in FRAGMENTS])
def test_settings_are_valid(page, fragment):
    if FORMAT_OF_THE_EXAMPLE not in fragment:
        Study.model_validate(in_a_study(fragment))
        return
    with pytest.raises(ValidationError) as refused:  # the format that the page itself adds
        Study.model_validate(in_a_study(fragment))
    (error,) = refused.value.errors()
    assert error["type"] == "union_tag_invalid" and error["ctx"]["tag"] == FORMAT_OF_THE_EXAMPLE


def test_there_are_settings():
    assert {page for page, _ in FRAGMENTS} == {
        "adding-a-product-reader",
        "your-own-products",
        "your-own-stations",
    }


def test_station_files_of_the_page_are_read_by_its_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_DATA", str(tmp_path))
    readings, listed = blocks("your-own-stations", "csv")
    (tmp_path / "stations").mkdir()
    (tmp_path / "stations" / "2017.csv").write_text(readings)
    (tmp_path / "stations" / "list.csv").write_text(listed)
    (fragment,) = [b for b in blocks("your-own-stations", "yaml") if "station_csv" in b]
    study = Study.model_validate(in_a_study(fragment))
    lake = Lake(tmp_path / "lake", say=lambda line: None)
    done = lake.ingest(reader_of(study, "insitu"))
    assert (done.n_read, done.n_refused) == (2, 0)  # readings and list
    given = lake.scan("insitu", "reading").select(pl.selectors.float()).collect()
    found = given.unpivot()["value"].drop_nulls().sort()
    wanted = sorted(float(v) for v in re.findall(r",(0\.\d+)", readings))
    assert found.to_list() == pytest.approx(wanted) and len(wanted) == 8  # -99 is missing
    stations = study_stations(study, lake)
    assert [s[0] for s in stations] == ["A01", "A02"]
    assert study_cells(stations).shape == (2, 2)


# -- adding a product reader


@pytest.fixture
def cell_csv(tmp_path, monkeypatch):
    """The reader of the page's module for three cells, and a writer of its files."""
    (code,) = blocks("adding-a-product-reader", "python")
    (tmp_path / "cell_csv_of_the_page.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("cell_csv_of_the_page")
    monkeypatch.delitem(sys.modules, "cell_csv_of_the_page")
    cells = np.array([[300, 3100], [300, 3101], [301, 3100]], np.int32)
    settings = module.CellCsv(format="cell_csv", path=str(tmp_path / "raw"), samples_per_day=8)

    def write(name: str, rows: list[tuple]) -> None:
        path = tmp_path / "raw" / name
        path.parent.mkdir(exist_ok=True)
        lines = []
        for cell, time, ssm, rzsm in rows:
            lat, lon = M09.centre([cell[0]], [cell[1]])
            lines.append(f"{time},{lat[0]:.5f},{lon[0]:.5f},{ssm},{rzsm}")
        path.write_text("\n".join(["time,latitude,longitude,ssm,rzsm", *lines, ""]))

    reader = module.CellCsvReader(
        key="products.x.source",
        source="x",
        settings=settings,
        period=(dt.date(2017, 1, 1), dt.date(2017, 12, 31)),
        cells=cells,
    )
    return reader, write, tmp_path


def test_the_reader_of_the_page_reads(cell_csv):
    reader, write, folder = cell_csv
    write(
        "soil_20170101.csv",
        [
            ((300, 3100), "2017-01-01T01:30:00", 0.25, 0.125),
            ((300, 3101), "2017-01-01T01:30:00", -9999, ""),
            ((200, 3100), "2017-01-01T01:30:00", 0.5, 0.5),  # not a study cell
        ],
    )
    write("soil_20180101.csv", [((300, 3100), "2018-01-01T01:30:00", 0.25, 0.125)])
    write("readme.csv", [])
    assert {raw.path: raw.status for raw in reader.find()} == {
        "soil_20170101.csv": "ok",
        "soil_20180101.csv": "outside_period",
        "readme.csv": "not_recognised",
    }
    lake = Lake(folder / "lake", say=lambda line: None)
    done = lake.ingest(reader)
    assert (done.n_read, done.n_rows) == (1, 2)
    columns = ["grid_row", "grid_col", "observed_at", "ssm_m3m3", "rzsm_m3m3", "lai_m2m2"]
    time = dt.datetime(2017, 1, 1, 1, 30)
    assert lake.scan("x", "land").select(columns).collect().rows() == [
        (300, 3100, time, 0.25, 0.125, None),
        (300, 3101, time, None, None, None),
    ]
    (raw,) = [raw for raw in reader.find() if raw.status == "ok"]
    assert sorted(c for c in reader.read(raw).counts if c[2]) == [
        ("rzsm_m3m3", "fill", 1),
        ("rzsm_m3m3", "ok", 1),
        ("ssm_m3m3", "ok", 1),
        ("ssm_m3m3", "out_of_range", 1),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("time,latitude,longitude,ssm\n", "missing_variable"), ("", "damaged_file")],
)
def test_the_reader_of_the_page_refuses(cell_csv, text, reason):
    reader, write, folder = cell_csv
    write("soil_20170101.csv", [])
    (folder / "raw" / "soil_20170101.csv").write_text(text)
    (raw,) = reader.find()
    with pytest.raises(BadInput) as refused:
        reader.read(raw)
    assert refused.value.reason == reason


# -- adding a factor


def test_the_page_names_the_one_list_of_factors():
    page = (HOW_TO / "adding-a-factor.md").read_text()
    listed = {
        path.relative_to(PROJECT_ROOT).as_posix()
        for folder in ("models", "macros")
        for path in (PROJECT_ROOT / folder).rglob("*.sql")
        if re.search(r"microwave_roughness'?,?\s+'?lai_mean", path.read_text())
    }
    told = set(re.findall(r"`((?:models|macros|analysis)/[\w/]+\.\w+)`", page))
    assert listed == {"macros/control_factors.sql"} and listed <= told
    assert {path for path in told if not (PROJECT_ROOT / path).exists()} == set()


# -- the published study


def test_every_source_of_the_published_study_is_on_its_page():
    page = (HOW_TO / "the-china-study.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \| ([\d ]+|about \d+) \| .* \|$", page, re.MULTILINE)
    study = load_study("china")
    folders = {
        re.match(r"\$\{CHINA_DATA\}/(\w+)", settings.path)[1]
        for _, settings in study.sources().values()
    }
    assert {folder for folder, _ in rows} == folders and len(rows) == len(folders)
    days = (study.period.end - study.period.start).days + 1
    n_files = {folder: n.replace(" ", "") for folder, n in rows}
    for granules in ("open_loop", "SPL4SMGP", "SPL4SMAU"):
        assert n_files[granules] == str(8 * days)
    assert n_files["cma_merged"] == str(24 * days)
    required = ("casmos", "open_loop", "SPL4SMGP")
    missed = page.split("## What its lack costs")[1].split("##")[0]
    assert {f for f in folders if f"`{f}`" not in missed} == set(required)


def test_arithmetic_of_the_published_study():
    page = (HOW_TO / "the-china-study.md").read_text()
    region = load_study("china").region
    row, col = M09.index([region.north, region.south], [region.west, region.east])
    assert f"rows {row[0]} to {row[1]} and columns {col[0]} to {col[1]}" in page
    assert f"{row[1] - row[0] + 1} × {col[1] - col[0] + 1} of {M09.rows} × {M09.cols}" in page
    checked = 0
    for line in re.findall(r"^    (\w+ .+ (?:GB|bytes?).*)$", page, re.MULTILINE):
        total = re.search(r"([\d.]+) GB(?:$| not)", line)
        if "×" not in line or " to " in line or not total:
            continue
        line = re.sub(r"\(.*?\)", "", line)
        product = 1.0
        for number, unit in re.findall(r"(?:^\w+ +|× )(?:about )?(\d[\d ]*\d|\d+) ?(MB)?", line):
            product *= float(number.replace(" ", "")) * (1e6 if unit else 1)
        assert product / 1e9 == pytest.approx(float(total[1]), rel=0.05), line
        checked += 1
    assert checked == 7


# -- all pages


def test_every_page_is_in_the_index():
    index = (PROJECT_ROOT / "docs" / "README.md").read_text()
    pages = [p.relative_to(PROJECT_ROOT / "docs") for p in (PROJECT_ROOT / "docs").rglob("*.md")]
    own = {str(p) for p in pages if p.parts[0] != "adr" and p.name != "README.md"}
    assert {p for p in own if f"({p})" not in index} == set()


def test_pages_have_queries():
    """tests/end_to_end/test_newcomer_path.py runs them."""
    assert sum(len(sql_blocks(page)) for page in HOW_TO.glob("*.md")) >= 4
