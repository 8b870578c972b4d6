"""The report page and the printed figures: numbers, privacy, and what a browser makes of them."""

import base64
import datetime as dt
import json
import re
import shutil
import struct
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
import vl_convert
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from ingest.reader import BadInput
from report.figures import _CONFIG as PRINT_CONFIG
from report.figures import write_figures
from report.gallery import complete_spec, figures, shared_data
from report.page import write_report
from report.reading import read_findings
from report.series import packed_series, unpack

LAYERS = ("ssm", "rzsm")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
DRIVER = shutil.which("chromedriver") or ""


class Page(HTMLParser):
    """What the tests look for in a page: resources, text, embedded scripts."""

    def __init__(self, path: Path):
        super().__init__(convert_charrefs=True)
        self.path, self.resources, self.policy = path, [], ""
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._within: tuple[str, str | None] = ("", None)
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self._within = (tag, found.get("id"))
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"]
        self.resources += [found[k] for k in ("src", "href", "srcset", "action") if k in found]

    def handle_endtag(self, tag):
        self._within = ("", None)

    def handle_data(self, data):
        tag, identity = self._within
        if tag == "script":
            if identity:
                self.scripts[identity] = self.scripts.get(identity, "") + data
        elif tag != "style":
            self.text += data

    @property
    def payload(self) -> dict:
        return json.loads(self.scripts["payload"])

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", self.text)

    def series(self, cell: str) -> dict[str, np.ndarray]:
        """Decoded series of a cell: product → (2, n_days), surface then root zone."""
        about = self.payload["series"]
        names = [product["label"] for product in about["products"]]
        packed = base64.b64decode(self.scripts[f"series-{cell}"])
        values = unpack(packed, shape=(2, len(names), about["days"]), step=about["step"])
        return {n: values[:, i] for i, n in enumerate(names)}


def change(warehouse: Path, *statements: str) -> Path:
    with duckdb.connect(str(warehouse)) as connection:
        for statement in statements:
            connection.execute(statement)
    return warehouse


def silent(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def page(built, tmp_path_factory) -> Page:
    return Page(write_report(built.warehouse, tmp_path_factory.mktemp("page"), say=silent))


@pytest.fixture(scope="module")
def withheld(built, tmp_path_factory) -> Path:
    """A warehouse whose stations may not be passed on."""
    path = tmp_path_factory.mktemp("withheld") / "warehouse.duckdb"
    shutil.copy(built.warehouse, path)
    return change(
        path, "update meta_study set value = 'False' where key = 'insitu.source.redistribute'"
    )


@pytest.fixture(scope="module")
def poor(built, tmp_path_factory) -> Path:
    """A warehouse as of a study without root zone in the baseline and without any factor."""
    path = tmp_path_factory.mktemp("poor") / "warehouse.duckdb"
    shutil.copy(built.warehouse, path)
    factors = [
        row[0]
        for row in duckdb.connect(str(path), read_only=True)
        .execute("select factor from dim_factor")
        .fetchall()
    ]
    numbers = ("r_baseline", "r_candidate", "delta_r", "q_iid", "q_block") + tuple(
        f"delta_r_{s}_ci_{k}" for s in ("iid", "block") for k in ("lower", "upper")
    )
    flags = ("is_significant", "is_significant_iid", "is_significant_block")
    forest = "status = 'missing_factor'"
    return change(
        path,
        f"update fct_skill_gain set status = 'baseline_no_layer', n_days = 0,"
        f" {', '.join(f'{n} = null' for n in numbers + flags)} where layer = 'rzsm'",
        "update fct_skill set status = 'no_layer', value = null"
        " where layer = 'rzsm' and product = 'open_loop'",
        "delete from fct_skill_summary where layer = 'rzsm'",
        "update fct_skill_summary set status = 'too_few_blocks', share_improved_ci_lower = null,"
        " share_improved_ci_upper = null, mean_delta_r_ci_lower = null, mean_delta_r_ci_upper = null",
        f"update fct_control_factor set {', '.join(f'{f} = null' for f in factors)}",
        "update fct_factor_status set status = 'no_source', n_obs = 0",
        f"update fct_forest_importance set {forest}, importance_pct = null, importance_rank = null,"
        " importance_sd_pct = null",
        f"update fct_forest_cross_validation set {forest}, r = null",
        f"update fct_forest_null set {forest}, null_value = null",
        f"update fct_factor_group set {forest}, mean = null, median = null",
        f"update fct_factor_anova set {forest}, p_value = null",
        f"update fct_robustness set {forest}, kendall_tau_with_base = null, top_three = null",
        "update meta_build set is_synthetic = false",
        *(f"delete from {t}" for t in ("fct_precipitation_lag", "fct_vertical_coupling")),
    )


# ---- without a browser


def test_front_page_says_what_the_summary_says(built, page):
    for layer, words in (("ssm", "Surface"), ("rzsm", "Root zone")):
        [row] = built.ask(
            "select mean_delta_r, mean_delta_r_ci_lower, mean_delta_r_ci_upper, share_improved,"
            " n_cells, mean_r_baseline, mean_r_candidate, share_significant_block,"
            " share_significant_iid from fct_skill_summary"
            f" where stratum = 'all' and layer = '{layer}'"
        )
        gain, low, high, improved, n, baseline, candidate, block, iid = row
        card = page.words.split(f"{words} soil moisture", 1)[1].split("What goes with the gain")[0]
        card = card.replace("−", "-").replace("\xa0", " ")
        assert card.strip().startswith(f"{gain:+.3f} mean gain")
        if low is not None:
            assert f"95 % interval {low:+.3f} to {high:+.3f}" in card
        assert f"{100 * improved:.0f} % of {n}" in card
        assert f"{baseline:.3f} → {candidate:.3f}" in card
        assert f"{100 * block:.0f} % by blocks of days, {100 * iid:.0f} % by single days" in card


def test_front_page_names_the_first_factors_of_the_forest(twin, tmp_path):
    page = Page(write_report(twin.warehouse, tmp_path, say=silent))
    for layer, words in (("ssm", "Surface"), ("rzsm", "Root zone")):
        top = twin.ask(
            "select factor, importance_pct from fct_forest_importance where variant = 'base'"
            f" and target = 'delta_r' and layer = '{layer}' order by importance_rank limit 3"
        )
        card = page.words.split(f"{words} soil moisture", 1)[1].split("Shares of what")[0]
        places = [
            card.index(factor.removesuffix("_k").replace("_", " ").split()[-1], 1)
            for factor, _ in top
            if not factor.startswith(("tb", "lai"))
        ]
        assert places == sorted(places)
        assert all(f" {share:.0f} ± " in card for _, share in top)


def test_synthetic_study_says_so(page, poor, tmp_path):
    assert "SYNTHETIC" in page.words and "nothing about real products" in page.words
    real = Page(write_report(poor, tmp_path, say=silent))
    assert "SYNTHETIC" not in real.words


def test_page_asks_nothing_of_the_network(page):
    assert page.resources, "the page links its sections"
    assert all(r.startswith(("#", "data:")) for r in page.resources)
    assert page.policy.startswith("default-src 'none'")
    assert "connect-src" not in page.policy  # so it falls back to none


def test_page_is_complete_at_once(page):
    assert sorted(p.name for p in page.path.parent.iterdir()) == ["index.html"]


def test_same_warehouse_same_page(built, page, tmp_path):
    again = write_report(built.warehouse, tmp_path, say=silent)
    assert again.read_bytes() == page.path.read_bytes()


def test_embedded_series_are_those_of_the_warehouse(built, page):
    half = page.payload["series"]["step"] / 2 + 1e-9
    cells = [row[0] for row in built.ask("select gridcell_id from dim_gridcell order by all")]
    assert sorted(f"series-{cell}" for cell in cells) == sorted(
        name for name in page.scripts if name.startswith("series-")
    )
    for cell in (cells[0], cells[-1]):
        for product, values in page.series(cell).items():
            key = "insitu" if product == "stations" else product
            rows = built.ask(
                "select ssm_anomaly_m3m3, rzsm_anomaly_m3m3 from fct_daily_anomaly"
                f" where gridcell_id = '{cell}' and product = '{key}' order by obs_date"
            )
            expected = np.array(rows, dtype=float).T
            assert (np.isnan(values) == np.isnan(expected)).all()
            assert np.nanmax(np.abs(values - expected)) <= half


def test_coarser_step_where_series_would_be_too_large(built):
    products = ["insitu", "open_loop", "l4"]
    fine, texts = packed_series(built.warehouse, products)
    coarse, fewer = packed_series(
        built.warehouse, products, max_bytes=sum(map(len, texts.values())) - 1
    )
    assert coarse == 2 * fine
    assert sum(map(len, fewer.values())) < sum(map(len, texts.values()))


def test_series_that_may_not_be_passed_on_stay_out(built, withheld, tmp_path):
    page = Page(write_report(withheld, tmp_path / "shared", say=silent))
    cell = built.ask("select min(gridcell_id) from dim_gridcell")[0][0]
    assert list(page.series(cell)) == ["open_loop", "l4"]
    assert page.payload["series"]["withheld"] == ["insitu"]
    assert "PRIVATE" not in page.words
    assert "not in this page: insitu" in page.words
    told = []
    private = Page(write_report(withheld, tmp_path / "private", private=True, say=told.append))
    assert list(private.series(cell)) == ["stations", "open_loop", "l4"]
    assert "PRIVATE: contains data that may not be passed on" in private.words
    assert "PRIVATE" in told[0]


def test_nothing_is_marked_private_where_all_may_be_passed_on(built, tmp_path):
    page = Page(write_report(built.warehouse, tmp_path, private=True, say=silent))
    assert "PRIVATE" not in page.words


@pytest.mark.parametrize("which", ["built", "poor"])
def test_every_chart_is_valid_and_compiles(which, request):
    source = request.getfixturevalue(which)
    findings = read_findings(source if isinstance(source, Path) else source.warehouse)
    shared = shared_data(findings)
    drawn = figures(findings)
    for figure in drawn:
        for panel in figure.panels:
            assert bool(panel.charts) != bool(panel.note), (figure.key, panel.title)
            for chart in panel.charts:
                chart.to_dict(validate=True)
                spec = complete_spec(chart, shared | figure.data, cell_px=3, mask="block")
                vl_convert.vegalite_to_vega(spec)
    assert len({figure.key for figure in drawn}) == len(drawn)


def test_study_without_a_layer_and_without_factors_says_why(built, poor, tmp_path):
    n = built.ask("select count(*) from dim_gridcell")[0][0]
    page = Page(write_report(poor, tmp_path, say=silent))
    assert f"No gain in this layer; cells: baseline no layer ({n})" in page.words
    assert "no interval: too few blocks" in page.words
    factors = page.words.split("The eight control factors")[1].split("How well do")[0]
    assert f": No cell has a value: no source ({n})." in factors
    for (factor,) in built.ask("select factor from dim_factor"):
        assert factor.removesuffix("_k").replace("_", " ") in factors.lower()
    assert ": ." not in page.words and ": )" not in page.words  # a reason for everything
    assert "No ranking of factors: missing factor" in page.words
    assert "The study has no source for this check" in page.words


def test_empty_sensitivity_says_how_to_fill_it(built, page, tmp_path, home):
    assert built.ask("select count(*) from fct_sensitivity")[0][0] == 0
    assert "make sensitivity STUDY=mini" in page.words
    change(
        home.warehouse,
        "insert into fct_sensitivity (switch, value, value_of_base, layer, status, n_cells,"
        " mean_delta_r) values ('base', 'base', 'base', 'ssm', 'ok', 14, 0.05),"
        " ('clim_window', '61', '31', 'ssm', 'ok', 14, 0.04)",
    )
    filled = Page(write_report(home.warehouse, tmp_path, say=silent))
    assert "clim_window = 61" in filled.words
    assert "make sensitivity" not in filled.words


def test_every_claim_and_every_reason_has_its_row(built, page):
    for (claim,) in built.ask("select claim from fct_paper_check"):
        assert claim in page.text
    table = page.words.split("Everything that entered a stage, by reason")[1]
    for stage, entity, reason, n in built.ask("select stage, entity, reason, n from fct_ledger"):
        row = f"{stage} {entity} {reason}".replace("_", " ") + f" {n:,} "
        assert row.replace(" ", "") in table.replace(" ", ""), row


def test_two_equal_products_and_a_study_without_cells_are_told(built, tmp_path):
    equal = tmp_path / "equal" / "warehouse.duckdb"
    equal.parent.mkdir()
    shutil.copy(built.warehouse, equal)
    numbers = ("mean_delta_r", "mean_delta_r_ci_lower", "mean_delta_r_ci_upper")
    change(equal, f"update fct_skill_summary set {', '.join(f'{n} = 0' for n in numbers)}")
    page = Page(write_report(equal, tmp_path / "equal", say=silent))
    assert "+0.000 mean gain" in page.words
    change(equal, "delete from dim_gridcell")
    with pytest.raises(BadInput, match=r"no cell, so nothing to report; stations: ok \(\d+\)"):
        write_report(equal, tmp_path / "empty", say=silent)
    assert not (tmp_path / "empty").exists()


def axes(spec):
    """Axes of a specification: channel and definition of every position."""
    if isinstance(spec, list):
        for part in spec:
            yield from axes(part)
    elif isinstance(spec, dict):
        for channel in ("x", "y"):
            definition = spec.get("encoding", {}).get(channel)
            if definition and "field" in definition:
                yield channel, definition
        for part in spec.values():
            yield from axes(part)


def test_every_axis_of_numbers_says_its_unit(twin):
    """In brackets, by its labels (degrees, per cent), or it counts."""
    for figure in figures(read_findings(twin.warehouse)):
        for panel in figure.panels:
            for chart in panel.charts:
                spec = chart.to_dict(validate=False)
                for channel in ("x", "y"):
                    found = [d for c, d in axes(spec) if c == channel and d["type"] != "nominal"]
                    titles = {d["title"] for d in found if d.get("title")}
                    labelled = any(
                        "°" in str(d.get("axis")) or (d.get("axis") or {}).get("format") == "%"
                        for d in found
                    )
                    if found and not labelled:
                        assert titles, (figure.key, panel.title, channel)
                    for title in titles:
                        counts = title in ("cells", "stations in the cell")
                        assert "(" in title or counts or labelled, (figure.key, title)
        if figure.key.startswith("groups-"):
            name = figure.title.removeprefix("Groups of cells by ")
            for panel in figure.panels:
                spec = [c.to_dict(validate=False) for c in panel.charts]
                assert {d["title"] for c, d in axes(spec) if c == "x"} == {name}


def test_frames_of_printed_panels_are_those_of_the_style(built):
    findings = read_findings(built.warehouse)
    stations = figures(findings)[0]
    data = shared_data(findings) | stations.data
    spec = complete_spec(stations.panels[0].charts[0], data, cell_px=3, mask="none")
    svg = vl_convert.vegalite_to_svg(spec | {"config": PRINT_CONFIG})
    frame = re.search(r'<path class="background"[^>]*stroke="([^"]*)"', svg)
    assert frame[1] == PRINT_CONFIG["view"]["stroke"]


def test_printed_figures_are_pdf_and_fine_png(poor, tmp_path):
    written = write_figures(poor, tmp_path / "figures", say=silent)
    assert sorted(tmp_path.joinpath("figures").iterdir()) == sorted(written)
    keys = {path.stem.split("-", 1)[1] for path in written}
    assert {"stations", "skill-ssm", "skill-rzsm", "significance", "ledger"} <= keys
    assert "factors" not in keys  # nothing to draw
    for path in written:
        content = path.read_bytes()
        if path.suffix == ".pdf":
            assert content.startswith(b"%PDF") and len(content) > 5000
        else:
            place = content.index(b"pHYs")
            across, _, unit = struct.unpack(">IIB", content[place + 4 : place + 13])
            assert unit == 1 and across * 0.0254 >= 200  # dots per inch
            assert struct.unpack(">I", content[16:20])[0] > 1000


# ---- in a browser


class Browser:
    """A headless Chromium on one page, with what its console and network said."""

    def __init__(self, width: int):
        self.profile = tempfile.mkdtemp(prefix="chromium-")
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            f"--user-data-dir={self.profile}",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.driver.set_script_timeout(120)
        self.resize(width)

    def resize(self, width: int) -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def run(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments):
        return WebDriverWait(self.driver, 20, 0.05).until(lambda _: self.run(script, *arguments))

    def open(self, path: Path) -> None:
        self.driver.get(path.as_uri())

    def draw_all(self) -> None:
        """Open what is folded and scroll through the page until every chart is drawn."""
        self.driver.execute_async_script(
            """const done = arguments[0];
            document.querySelectorAll("details").forEach((d) => { d.open = true; });
            (async () => {
              for (let y = 0; y < document.documentElement.scrollHeight; y += 700) {
                scrollTo({ top: y, behavior: "instant" });
                await new Promise((r) => setTimeout(r, 40));
              }
              done();
            })()"""
        )
        self.wait(
            "return document.querySelectorAll('main .chart').length"
            " === document.querySelectorAll('main .chart[data-drawn]').length"
        )

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        messages = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        return [
            m["params"]["request"]["url"]
            for m in messages
            if m["method"] == "Network.requestWillBeSent"
            and m["params"]["documentURL"].startswith("file:")  # not the browser's own start page
        ]

    def blank_charts(self) -> list[str]:
        """Charts without a mark: an SVG without paths, a canvas without colour."""
        return self.run(
            """return [...document.querySelectorAll("main .chart")].filter((chart) => {
              const canvas = chart.querySelector("canvas");
              if (canvas) {
                const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
                const colours = new Set();
                for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 128)
                  colours.add((data[i] << 16) + (data[i + 1] << 8) + data[i + 2]);
                return colours.size < 4;
              }
              return !chart.querySelector(".mark-rect path, .mark-symbol path, .mark-line path");
            }).map((chart) => chart.dataset.label)"""
        )

    def close(self) -> None:
        self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)


@pytest.fixture(scope="module")
def browser():
    if not (CHROMIUM and DRIVER):
        pytest.skip("no Chromium and chromedriver on the path: the page's behaviour is not tested")
    browser = Browser(1280)
    yield browser
    browser.close()


@pytest.fixture
def shown(browser, page):
    """The mini study's page, freshly loaded."""
    browser.resize(1280)
    browser.open(page.path)
    browser.wait("return document.querySelector('.chart[data-drawn]') !== null")
    return browser


def check_page(browser: Browser, path: Path) -> None:
    browser.requests()
    browser.complaints()
    browser.open(path)
    browser.draw_all()
    assert browser.blank_charts() == []
    assert browser.complaints() == []
    assert [u for u in browser.requests() if not u.startswith(("file:", "data:", "blob:"))] == []


def test_every_figure_draws_without_a_complaint_or_a_request(browser, page):
    check_page(browser, page.path)


def test_twin_draws_too(browser, twin, tmp_path):
    check_page(browser, write_report(twin.warehouse, tmp_path, say=silent))


def test_study_without_factors_draws_what_it_has(browser, poor, tmp_path):
    check_page(browser, write_report(poor, tmp_path, say=silent))


def place_on_map(browser: Browser, cell: str, chart: str) -> tuple[int, int]:
    browser.run(
        "document.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})",
        chart,
    )
    browser.wait("return document.querySelector(arguments[0]).view !== undefined", chart)
    return tuple(
        browser.run(
            """const chart = document.querySelector(arguments[0]), view = chart.view;
            const box = chart.querySelector("canvas").getBoundingClientRect();
            const { gridcell_id, longitude, latitude } =
              JSON.parse(document.getElementById("payload").textContent).datasets.cells;
            const i = gridcell_id.indexOf(arguments[1]);
            return [box.left + view.origin()[0] + view.scale("x")(longitude[i]),
                    box.top + view.origin()[1] + view.scale("y")(latitude[i])].map(Math.round)""",
            chart,
            cell,
        )
    )


def some_cell(built) -> str:
    """A cell with a gain, that with the most gaps in its stations' series."""
    return built.ask(
        "select gridcell_id from fct_daily_anomaly"
        " semi join (from fct_skill_gain where status = 'ok') using (gridcell_id)"
        " where product = 'insitu' and ssm_anomaly_m3m3 is null"
        " group by all order by count(*) desc, gridcell_id limit 1"
    )[0][0]


def panel_is_open(browser: Browser, cell: str) -> None:
    browser.wait(
        "const title = document.getElementById('cell-title');"
        "return title && title.textContent.includes(arguments[0])"
        " && document.querySelectorAll('#cell .chart[data-drawn]').length >= 4",
        cell,
    )


def test_a_click_on_a_cell_shows_its_series(shown, built):
    cell = some_cell(built)
    x, y = place_on_map(shown, cell, "#skill-ssm .chart.map")
    action = ActionBuilder(shown.driver)
    action.pointer_action.move_to_location(x, y)
    action.pointer_action.click()
    action.perform()
    panel_is_open(shown, cell)
    # what is drawn is what the warehouse holds
    rows = shown.run("return document.querySelector('#cell .chart').view.data('series')")
    half = 0.0005 / 2 + 1e-4 / 2
    expected = built.ask(
        "select product, obs_date, ssm_anomaly_m3m3 from fct_daily_anomaly"
        f" where gridcell_id = '{cell}' order by all"
    )
    roles = {"insitu": "insitu", "open_loop": "baseline", "l4": "candidate"}
    days = {d: (d - dt.date(1970, 1, 1)).days * 86_400_000 for _, d, _ in expected}
    drawn = {(r["product"], r["date"]): r["value"] for r in rows}
    assert len(drawn) == len(expected) == 3 * 243
    for product, day, value in expected:
        found = drawn[roles[product], days[day]]
        assert (found is None) == (value is None)
        assert value is None or abs(found - value) <= half
    assert shown.run("return document.activeElement.id") == "cell"
    ActionChains(shown.driver).send_keys(Keys.ESCAPE).perform()
    assert shown.run("return document.getElementById('cell').hidden")
    assert "map" in shown.run("return document.activeElement.className")
    assert shown.complaints() == []


def test_panel_shows_skill_factors_and_their_status(shown, built):
    cell = some_cell(built)
    shown.driver.find_element(By.ID, "find").send_keys(cell, Keys.ENTER)
    panel_is_open(shown, cell)
    text = shown.driver.find_element(By.ID, "cell").text.replace("−", "-")
    [(gain,)] = built.ask(
        f"select delta_r from fct_skill_gain where gridcell_id = '{cell}' and layer = 'ssm'"
    )
    assert f"{gain:+.3f}" in text
    for factor, status in built.ask(
        f"select factor, status from fct_factor_status where gridcell_id = '{cell}'"
    ):
        words = factor.removesuffix("_k").replace("_", " ")
        row = next(line for line in text.splitlines() if line.lower().startswith(words))
        assert row.endswith(status.replace("_", " "))


def test_keys_choose_and_open_a_cell(shown, built):
    shown.run("document.querySelector('#skill-ssm .chart.map').focus()")
    shown.wait("return document.activeElement.view !== undefined")
    ActionChains(shown.driver).send_keys(Keys.ARROW_RIGHT).perform()
    chosen = shown.run("return document.getElementById('status').textContent").split(":")[0]
    ActionChains(shown.driver).send_keys(Keys.ARROW_DOWN).perform()
    then = shown.run("return document.getElementById('status').textContent").split(":")[0]
    place = {c: (la, lo) for c, la, lo in built.ask(
        "select gridcell_id, latitude, longitude from dim_gridcell")}  # fmt: skip
    assert place[then][0] < place[chosen][0]  # further south
    before = shown.run("return document.activeElement.view.scale('x').domain()")
    ActionChains(shown.driver).send_keys("+").perform()
    shown.wait(
        "const [low, high] = document.activeElement.view.scale('x').domain();"
        "return high - low < 0.7 * arguments[0]",
        before[1] - before[0],
    )
    ActionChains(shown.driver).send_keys(Keys.ENTER).perform()
    panel_is_open(shown, then)


def test_hovering_a_cell_shows_stations_values_and_status(shown, built):
    cell = some_cell(built)
    stations = ", ".join(
        row[0]
        for row in built.ask(
            f"select station_id from dim_station where gridcell_id = '{cell}' and status = 'ok'"
            " order by station_id"
        )
    )
    [(gain, status)] = built.ask(
        f"select delta_r, status from fct_skill_gain where gridcell_id = '{cell}' and layer = 'ssm'"
    )
    x, y = place_on_map(shown, cell, "#skill-ssm .panel:nth-child(3) .chart.map")
    action = ActionBuilder(shown.driver)
    action.pointer_action.move_to_location(x - 40, y - 40)
    action.pointer_action.move_to_location(x, y)
    action.perform()
    text = shown.wait(
        "const tip = document.getElementById('vg-tooltip-element');"
        "return tip && tip.classList.contains('visible') && tip.innerText"
    )
    words = re.sub(r"\s+", " ", text).replace("−", "-")
    assert f"cell {cell}" in words and f"stations {stations}" in words
    assert f"gain ΔR {gain:+.3f}" in words and f"status {status}" in words
    shown.driver.find_element(By.ID, "find").send_keys(cell, Keys.ENTER)
    panel_is_open(shown, cell)
    assert stations in shown.driver.find_element(By.ID, "cell").text


def test_the_chosen_cell_stays_on_a_map_that_is_zoomed(shown, built):
    is_shown = """const view = document.activeElement.view;
        const { gridcell_id, longitude, latitude } =
          JSON.parse(document.getElementById("payload").textContent).datasets.cells;
        const i = gridcell_id.indexOf(document.getElementById("find").value);
        return [["x", longitude], ["y", latitude]].every(([s, values]) => {
          const [low, high] = view.scale(s).domain();
          return low <= values[i] && values[i] <= high;
        })"""
    width = "const [low, high] = document.activeElement.view.scale('x').domain(); return high - low"
    shown.run("document.querySelector('#skill-ssm .chart.map').focus()")
    shown.wait("return document.activeElement.view !== undefined")
    whole = shown.run(width)
    press = ActionChains(shown.driver).send_keys
    press(Keys.ARROW_RIGHT).perform()  # the first cell
    for zoom in (0.6, 0.36, 0.216, 0.13):
        press("+").perform()
        shown.wait(f"{width} < arguments[0]", (zoom + 0.01) * whole)
        assert shown.run(is_shown)
    for key in (Keys.ARROW_UP, Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_LEFT):
        press(key).perform()
        assert shown.wait(is_shown)  # the map follows


def test_significance_can_be_judged_by_days_by_blocks_or_not_at_all(shown, built):
    chart = "#skill-ssm .panel:nth-child(3) .chart.map"
    place_on_map(shown, some_cell(built), chart)
    count = """let n = 0;
        (function walk(item) {
          if (item.datum && item.datum.gridcell_id && item.fill === "#9b9b9b") n += 1;
          (item.items || []).forEach(walk);
        })(document.querySelector(arguments[0]).view.scenegraph().root);
        return n === arguments[1]"""
    for scheme in ("iid", "none", "block"):
        shown.run(f"document.querySelector('input[value={scheme}]').click()")
        grey = 0
        if scheme != "none":
            grey = built.ask(
                "select count(*) from fct_skill_gain where layer = 'ssm' and status = 'ok'"
                f" and not is_significant_{scheme}"
            )[0][0]
        assert shown.wait(count, chart, grey), scheme


def test_light_and_dark(shown):
    look = (
        "return [getComputedStyle(document.body).backgroundColor,"
        " document.querySelector('.chart[data-drawn]:not(.map) text, .legend li') !== null,"
        " document.documentElement.dataset.theme]"
    )
    shown.run(
        "try { localStorage.clear() } catch {}; document.documentElement.dataset.theme = 'light'"
    )
    light = shown.run(look)
    shown.driver.find_element(By.ID, "theme").click()
    dark = shown.run(look)
    assert dark[2] == "dark" and dark[0] != light[0]
    shown.run("document.querySelector('#stations').scrollIntoView()")
    colour = (
        "const t = document.querySelector('#stations .role-axis-label text');"
        "const colour = t && t.getAttribute('fill');"
        "return colour !== arguments[0] && colour"
    )
    drawn_dark = shown.wait(colour, "")
    shown.driver.find_element(By.ID, "theme").click()
    assert shown.wait(colour, drawn_dark) != drawn_dark  # the charts are drawn again
    assert shown.complaints() == []


@pytest.mark.parametrize("width", [375, 760])
def test_page_fits_a_narrow_screen(browser, page, width):
    browser.resize(width)
    browser.open(page.path)
    browser.draw_all()
    assert browser.run("return document.documentElement.scrollWidth") <= width
    wide = browser.run(
        "return [...document.querySelectorAll('main .chart')].filter((c) =>"
        " (c.querySelector('svg, canvas')).getBoundingClientRect().width > c.clientWidth + 1)"
        ".map((c) => c.dataset.label)"
    )
    assert wide == []
    cut = browser.run(
        "return [...document.querySelectorAll('main .chart svg text')]"
        ".map((t) => t.textContent).filter((t) => t.includes('…'))"
    )
    assert cut == []
    covered = browser.run(
        """return [...document.querySelectorAll(".zoom button")].filter((button) => {
          const map = button.closest(".panel").querySelector("canvas").getBoundingClientRect();
          return button.getBoundingClientRect().bottom > map.top + 3;
        }).length"""
    )
    assert covered == 0
    browser.run("document.querySelector('#find').value = arguments[0];"
                "document.querySelector('#find').dispatchEvent(new Event('change'))",
                page.payload["datasets"]["cells"]["gridcell_id"][0])  # fmt: skip
    browser.wait("return document.querySelectorAll('#cell table').length === 2")
    assert browser.run(
        "return [...document.querySelectorAll('#cell .scroll')].every((t) =>"
        " t.scrollWidth <= t.clientWidth)"
    )


def test_everything_is_named_and_reachable_by_keyboard(shown):
    shown.run("document.activeElement.blur()")
    ActionChains(shown.driver).send_keys(Keys.TAB).perform()
    assert shown.run("return document.activeElement.className") == "skip"
    unnamed = shown.run(
        "return [...document.querySelectorAll('.chart, figure, table, button, input')].filter((e) =>"
        " !(e.getAttribute('aria-label') || e.querySelector('figcaption, caption') ||"
        " e.textContent.trim() || e.closest('label'))).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert unnamed == []
    assert shown.run(
        "return [...document.querySelectorAll('.chart.map')].every((map) => map.tabIndex === 0)"
    )


def test_data_of_a_figure_as_csv(shown, built):
    shown.run(
        """window.saved = [];
        URL.createObjectURL = (blob) => { window.saved.push(blob); return "#"; };
        HTMLAnchorElement.prototype.click = () => {};
        document.querySelector('.csv[data-figure="skill-ssm"]').click()"""
    )
    text = shown.driver.execute_async_script("window.saved[0].text().then(arguments[0])")
    frame = pl.read_csv(text.encode())
    expected = dict(
        built.ask("select gridcell_id, delta_r from fct_skill_gain where layer = 'ssm'")
    )
    assert frame.height == len(expected)
    for cell, gain in frame.select("gridcell_id", "ssm_delta_r").iter_rows():
        assert gain == (expected[cell] and pytest.approx(expected[cell], rel=1e-4))


def test_withheld_series_are_told_in_the_panel(browser, withheld, built, tmp_path):
    browser.resize(1280)
    browser.open(write_report(withheld, tmp_path, say=silent))
    cell = some_cell(built)
    browser.driver.find_element(By.ID, "find").send_keys(cell, Keys.ENTER)
    browser.wait("return document.querySelectorAll('#cell .chart[data-drawn]').length === 2")
    text = browser.driver.find_element(By.ID, "cell").text
    assert "may not be passed on" in text and "Products against stations" not in text
    products = browser.run(
        "return [...new Set(document.querySelector('#cell .chart').view.data('series')"
        ".map((row) => row.product))]"
    )
    assert sorted(products) == ["baseline", "candidate"]
