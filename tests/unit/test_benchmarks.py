"""Figures are made as the page says, the gate closes on slower code, and results files are sound."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from benchmarks import __main__ as command
from benchmarks import (
    check,
    control_factors,
    daily_anomalies,
    granule_reading,
    paper_scale,
    queries,
    station_text_reading,
)
from benchmarks import record as record_module
from benchmarks.dbt_steps import Node, steps_of
from benchmarks.page import PAGE, filled
from benchmarks.process_tree import Watched, watch
from benchmarks.record import (
    RESULTS,
    Record,
    alternate,
    markdown_table,
    peak_rss_mb,
    read_results,
    text_table,
    write_results,
)
from ingest.reader import PROJECT_ROOT
from tests.unit.test_docs import sql_blocks

KEYS = {
    *("name", "seconds", "peer", "peer_seconds", "ratio", "bar"),
    *("met", "peak_rss_mb", "cells", "days"),
}
RESULTS_FILES = sorted(RESULTS.glob("*.json"))


# -- a figure


def test_ratio_is_how_much_faster_than_the_peer():
    assert Record("a", seconds=0.5, peer="p", peer_seconds=2.0).ratio == 4.0
    assert Record("a", seconds=0.5).ratio is None


@pytest.mark.parametrize(
    ("bar", "met"),
    [
        ("ratio >= 4", True),
        ("ratio >= 4.1", False),
        ("seconds < 0.5", False),
        ("seconds <= 0.5", True),
        ("seconds <= 1 and peak_rss_mb <= 99", False),
        ("seconds <= 1 and peak_rss_mb <= 100", True),
        (None, None),
    ],
)
def test_a_bar_is_met_or_not(bar, met):
    found = Record("a", seconds=0.5, peer="p", peer_seconds=2.0, peak_rss_mb=100.0, bar=bar)
    assert found.met is met


def test_a_bar_on_what_was_not_measured_is_refused():
    with pytest.raises(ValueError, match="peak_rss_mb, which was not measured"):
        Record("a", seconds=1.0, bar="peak_rss_mb <= 100")
    with pytest.raises(ValueError, match="expected as in"):
        Record("a", seconds=1.0, bar="fast")


def test_ways_take_turns_and_the_median_counts(monkeypatch):
    clock, order = [0.0], []
    monkeypatch.setattr(record_module.time, "perf_counter", lambda: clock[0])

    def way(name, durations):
        left = iter(durations)

        def run():
            order.append(name)
            clock[0] += next(left)

        return run

    seconds = alternate(way("ours", [1, 50, 3]), way("peer", [7, 9, 8]), runs=3)
    assert seconds == [3, 8]
    assert order == ["ours", "peer"] * 3


def test_peak_memory_is_the_works_own():
    held = np.ones(40_000_000)  # 320 MB in this process
    small, large = peak_rss_mb(bytes, 1), peak_rss_mb(bytearray, 300_000_000)
    assert small < 100 < held.nbytes / 1e6
    assert 290 < large - small < 320


# -- a command and its processes


def test_a_watched_command_counts_its_descendants_memory_and_folders(tmp_path):
    grandchild = "x = bytearray(200_000_000); import time; time.sleep(0.6)"
    script = (
        "import pathlib, subprocess, sys; print('[1] begins')\n"
        f"pathlib.Path({str(tmp_path)!r}, 'spill').write_bytes(bytes(3_000_000))\n"
        f"subprocess.run([sys.executable, '-c', {grandchild!r}])\n"
        f"pathlib.Path({str(tmp_path)!r}, 'spill').unlink(); print('[2] ends'); sys.exit(3)"
    )
    found = watch(
        [sys.executable, "-c", script], cwd=tmp_path, env={}, folders=[tmp_path], every_s=0.05
    )
    assert found.code == 3
    assert 200 < found.peak_rss_mb < 400
    assert found.peak_folder_mb(0) == 3.0
    assert 0.5 < found.said_at("[2]") - found.said_at("[1]") < found.seconds
    with pytest.raises(ValueError, match="no line"):
        found.said_at("[3]")


def test_steps_of_a_build_by_folder():
    samples = [
        (t, rss, (disk,)) for t, rss, disk in ((0, 1, 10), (2, 9, 30), (4, 4, 45), (6, 7, 50))
    ]
    watched = Watched(
        seconds=7,
        code=0,
        lines=[],
        samples=[(t, r * 10**6, (d[0] * 10**6,)) for t, r, d in samples],
    )
    nodes = [
        Node("a", "skill", "model", 2.5, start=1, end=3),
        Node("a_unique", "skill", "test", 0.5, start=3.5, end=4.5),
        Node("b", "factors", "model", 1.0, start=5, end=6.5),
    ]
    steps = steps_of(nodes, watched)
    skill, factors = steps["skill"], steps["factors"]
    assert (skill.models_s, skill.tests_s, skill.peak_rss_mb, skill.disk_mb) == (2.5, 0.5, 9, 35)
    assert (factors.models_s, factors.tests_s, factors.peak_rss_mb, factors.disk_mb) == (1, 0, 7, 5)


# -- the gate


class Clock:
    """Time that passes only when told to, so that no ratio hangs on how busy the machine is."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def taking(self, seconds: float, function=lambda: None):
        """The function, which then takes so long."""

        def slowed(*arguments, **options):
            self.now += seconds
            return function(*arguments, **options)

        return slowed

    def sorting(self, seconds: float, peer_seconds: float = 0.02):
        """A benchmark of something that takes `seconds`, beside a peer."""

        def measure(*, small: bool) -> list[Record]:
            assert small
            ours, peer = alternate(self.taking(seconds), self.taking(peer_seconds), runs=3)
            return [
                Record("sorting", seconds=ours, peer="bubble sort", peer_seconds=peer),
                Record("size", seconds=ours),
            ]

        return measure


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """Measures every benchmark of the test."""
    clock = Clock()
    monkeypatch.setattr(record_module, "time", clock)
    return clock


@pytest.fixture
def recorded(tmp_path, monkeypatch, clock):
    """Ratios recorded of something that takes a quarter of its peer's time."""
    path = tmp_path / "recorded.json"
    monkeypatch.setattr(check, "RECORDED", path)
    monkeypatch.setattr(check, "benchmarks", lambda names: {"sort": clock.sorting(0.005)})
    assert check.main(["--record"]) == 0
    return path


def test_recorded_ratios_carry_a_tolerance_and_its_reason(recorded):
    (entry,) = json.loads(recorded.read_text())["records"]
    assert entry["name"] == "sorting" and entry["ratio"] == pytest.approx(4)
    assert 0 < entry["tolerance"] < 1 and entry["tolerance_reason"]


def test_the_gate_closes_on_a_slowed_function(recorded, clock, monkeypatch, capsys):
    monkeypatch.setattr(check, "benchmarks", lambda names: {"sort": clock.sorting(0.016)})
    assert check.main([]) == 1
    assert "sorting: ratio 1.25, recorded 4, allowed down to 2" in capsys.readouterr().err


def test_the_gate_stays_open_on_the_same_code(recorded, capsys):
    assert check.main([]) == 0
    assert "no ratio has fallen" in capsys.readouterr().out


def test_the_gate_stays_open_on_noise_that_slows_both_sides(recorded, clock, monkeypatch):
    monkeypatch.setattr(check, "benchmarks", lambda names: {"sort": clock.sorting(0.03, 0.09)})
    assert check.main([]) == 0


def test_one_disturbed_measurement_is_repeated(recorded, clock, monkeypatch):
    durations = iter([0.02, 0.005])
    monkeypatch.setattr(
        check,
        "benchmarks",
        lambda names: {"sort": lambda small: clock.sorting(next(durations))(small=small)},
    )
    assert check.main([]) == 0
    assert next(durations, None) is None


def test_the_gate_closes_when_a_figure_comes_or_goes(recorded, monkeypatch, capsys):
    other = Record("merging", seconds=1.0, peer="p", peer_seconds=2.0)
    monkeypatch.setattr(check, "benchmarks", lambda names: {"sort": lambda small: [other]})
    assert check.main([]) == 1
    told = capsys.readouterr().err
    assert "sorting: recorded, but not measured any more" in told
    assert "merging: not recorded yet" in told


def test_the_gate_closes_on_a_slowed_factor(tmp_path, monkeypatch, clock):
    """The recorded ratios, until a statistic of the project does its work four times."""
    content = json.loads(check.RECORDED.read_text())
    ratio = {entry["name"]: entry["ratio"] for entry in content["records"]}
    coupling, variables = ratio["vertical_coupling_loop"], ratio["instrumental_variables_loop"]
    content["records"] = [
        entry for entry in content["records"] if entry["ratio"] in (coupling, variables)
    ]
    path = tmp_path / "recorded.json"
    path.write_text(json.dumps(content))
    scaled = 20 * 1000 / 50  # cells, and the members of which the loop does a part
    for name, seconds in (
        ("vertical_coupling", 1),
        ("looped_coupling", coupling),
        ("double_instrumental_variable", 1),
        ("looped_instrumental_variable", variables / scaled),
    ):
        function = getattr(control_factors, name)
        monkeypatch.setattr(control_factors, name, clock.taking(seconds, function))
    monkeypatch.setattr(control_factors, "peak_rss_mb", lambda *work: 1.0)
    measures = {"control_factors": control_factors.measure}
    assert check.check(measures, path) == []
    as_recorded = control_factors.vertical_coupling

    def slow(*arguments, **options):
        return [as_recorded(*arguments, **options) for _ in range(4)][-1]

    monkeypatch.setattr(control_factors, "vertical_coupling", slow)
    (line,) = check.check(measures, path)
    assert line.startswith(f"vertical_coupling_loop: ratio {coupling / 4:.3g}")


def test_recorded_ratios_are_complete():
    entries = json.loads(check.RECORDED.read_text())["records"]
    assert len({entry["name"] for entry in entries}) == len(entries) >= len(command.WITH_PEERS)
    for entry in entries:
        assert entry["ratio"] > 0 and 0 < entry["tolerance"] < 1 and entry["tolerance_reason"]


# -- results files and the page


def test_results_are_merged_by_name(tmp_path):
    path = tmp_path / "results.json"
    write_results(path, [Record("a", seconds=1.23456), Record("b", seconds=2.0)])
    write_results(
        path, [Record("c", seconds=4.0), Record("a", seconds=3.0)], keep=read_results(path)
    )
    content = json.loads(path.read_text())
    assert [(r["name"], r["seconds"]) for r in content["records"]] == [("a", 3), ("b", 2), ("c", 4)]
    assert {"processor", "cores", "memory_gb", "system"} == set(content["machine"])
    assert {"python", "duckdb", "pandas"} <= set(content["versions"])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("path", RESULTS_FILES, ids=lambda p: p.name)
def test_committed_results_agree_with_themselves(path):
    content = json.loads(path.read_text())
    given = {f.name for f in fields(Record) if f.init}
    assert {"machine", "versions", "records"} == set(content)
    for entry in content["records"]:
        assert set(entry) >= KEYS
        again = Record(**{k: v for k, v in entry.items() if k in given})
        assert again.met == entry["met"]
        assert (again.ratio is None) == (entry["ratio"] is None)
        if again.ratio is not None:
            assert again.ratio == pytest.approx(entry["ratio"], rel=2e-3)


def test_the_page_shows_the_results_files():
    assert filled(PAGE.read_text()) == PAGE.read_text()


def test_the_page_follows_the_results(tmp_path):
    write_results(tmp_path / "latest.json", [Record("a", seconds=123.0, note="slow")])
    text = filled("x\n<!-- results of latest.json -->\nold\n<!-- end -->\ny\n", tmp_path)
    assert "| `a` | 123 | slow |" in text and "old" not in text
    assert filled(text, tmp_path) == text
    assert "Nothing measured yet" in filled(text, tmp_path / "nowhere")


def test_tables_tell_what_is_missed():
    records = [asdict(Record("a", seconds=2.0, bar="seconds < 1", note="why"))]
    header, row, _, note = text_table(records).splitlines()
    assert header.split() == ["figure", "seconds", "bar", "met"]
    assert row.split() == ["a", "2", "seconds", "<", "1", "NO"] and note == "a: why"
    assert markdown_table(records).splitlines()[2] == "| `a` | 2 | seconds < 1 | NO | why |"


# -- answers are compared before they are timed


def test_station_text_is_compared_with_both_peers(tmp_path):
    source = tmp_path / "soil_moisture_201707.csv"
    ours, copied, by_pandas = (tmp_path / f"{n}.parquet" for n in "abc")
    station_text_reading.write_month(source, stations=3)
    station_text_reading.read_month(source, ours)
    station_text_reading.copy_month(source, copied)
    station_text_reading.convert_with_pandas(source, by_pandas)
    assert station_text_reading.largest_difference(ours, copied, by_pandas) == 0
    frame = pd.read_parquet(by_pandas)
    frame.loc[5, "sm_10_20cm"] = np.nan
    frame.to_parquet(by_pandas)
    with pytest.raises(AssertionError, match="1 of 2232 rows"):
        station_text_reading.largest_difference(ours, copied, by_pandas)
    source.write_text(source.read_text().replace(",0,0,0,0,0", ",2,0,0,0,0", 1))
    station_text_reading.copy_month(source, copied)
    with pytest.raises(AssertionError, match="rows differ"):
        station_text_reading.largest_difference(ours, copied, by_pandas)


def test_granule_values_are_compared():
    table = pa.table({"ssm_m3m3": [0.25, np.nan, 0.5]})
    compare = granule_reading.largest_difference
    assert compare(table, {"ssm_m3m3": np.array([0.25, np.nan, 0.25])}) == 0.25
    with pytest.raises(AssertionError, match="missing at other cells"):
        compare(table, {"ssm_m3m3": np.array([0.25, 0.5, 0.5])})


def test_daily_values_are_compared():
    day = pd.date_range("2017-01-01", periods=3)
    frame = pd.DataFrame({(1, 2): [0.1, np.nan, 0.3]}, index=day)
    compare = daily_anomalies.largest_difference
    assert compare({"l4": frame}, {"l4": frame + 0.5}) == pytest.approx(0.5)
    with pytest.raises(AssertionError, match="missing at other days"):
        compare({"l4": frame}, {"l4": frame.fillna(0)})


def test_days_that_pytesmo_averages_over_30_values_are_left_out():
    day = pd.date_range("2017-01-01", "2018-12-31")
    kept = daily_anomalies.away_from_leap_day(day, window_days=31)
    left_out = day[~kept & (day.year == 2017)]
    assert (left_out[0], left_out[-1], len(left_out)) == (
        pd.Timestamp("2017-02-14"),
        pd.Timestamp("2017-03-15"),
        30,
    )


def test_every_worked_query_is_timed():
    own = [query for _, query in queries.worked_queries()]
    assert own == [query for _, query, _ in sql_blocks(queries.PAGE)] and len(own) > 20


# -- the commands


def test_unknown_names_are_explained(capsys, tmp_path):
    assert command.main(["--only", "sorting"]) == 2
    assert "'sorting' does not exist" in capsys.readouterr().err
    results = ["--results", str(tmp_path / "results.json")]
    assert paper_scale.main(["--steps", "sorting", *results]) == 2
    assert "choose among build, unchanged" in capsys.readouterr().err


def test_a_missing_warehouse_is_explained(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "warehouse_path", lambda study: tmp_path / "warehouse.duckdb")
    assert command.main(["--only", "queries"]) == 2
    assert "make build STUDY=twin" in capsys.readouterr().err


def test_packages_of_peers_are_pinned_beside_the_lock():
    def pins(name: str) -> dict[str, str]:
        lines = (PROJECT_ROOT / name).read_text().splitlines()
        return dict(line.split("==") for line in lines if line and not line.startswith("#"))

    peers = pins("requirements-bench.txt")
    assert "pytesmo" in peers and not set(peers) & set(pins("requirements.lock"))


def test_figures_of_another_memory_limit_have_names_of_their_own():
    assert paper_scale.Setting("twin").suffix == ""
    assert paper_scale.Setting("twin", memory="2GiB").suffix == "_memory_2gib"


def test_every_benchmark_with_peers_is_on_the_page():
    page = Path(PAGE).read_text()
    assert all(f"| `{name}` |" in page for name in command.WITH_PEERS)
    assert all(f"`{step}`" in page for step in paper_scale.STEPS)
