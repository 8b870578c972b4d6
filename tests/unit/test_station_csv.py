"""Station text: a literal row-by-row reading is the oracle; every rule has a file that needs it."""

from __future__ import annotations

import datetime as dt
import gzip
import math
import pickle
from collections import Counter
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.reader import BadInput
from ingest.sources.station_csv import REASONS, StationCsv, StationCsvReader, to_utc

HEADER = "Station_Id_C,Year,Mon,Day,Hour,VWC_0_10cm,VWC_10_20cm,Q_0_10cm,Q_10_20cm"
PERIOD = (dt.date(2017, 7, 1), dt.date(2017, 7, 31))
LIST = "Station_Id_C,Station_Name,Network,Lat,Lon,Alti\n"


def make_settings(path, **changes) -> StationCsv:
    base = {
        "path": str(path),
        "format": "station_csv",
        "timezone": "UTC+08:00",
        "time_label": "hour_ending",
        "unit": "percent",
        "columns": {
            "station_id": "Station_Id_C",
            "time": {"year": "Year", "month": "Mon", "day": "Day", "hour": "Hour"},
        },
        "layers": [
            {"column": "VWC_0_10cm", "qc_column": "Q_0_10cm", "top_m": 0, "bottom_m": 0.1},
            {"column": "VWC_10_20cm", "qc_column": "Q_10_20cm", "top_m": 0.1, "bottom_m": 0.2},
        ],
        "station_list": {
            "path": str(path / "station_list.csv"),
            "columns": {
                "station_id": "Station_Id_C",
                "latitude": "Lat",
                "longitude": "Lon",
                "elevation": "Alti",
                "network": "Network",
            },
            "ignored_columns": ["Station_Name"],
        },
    }
    return StationCsv.model_validate(base | changes)


def make_reader(path, *, sm_max=0.60, period=PERIOD, threads=1, **changes) -> StationCsvReader:
    return StationCsvReader(
        key="insitu",
        source="insitu",
        settings=make_settings(path, **changes),
        period=period,
        sm_max=sm_max,
        threads=threads,
    )


def read_lines(tmp_path, lines, *, header=HEADER, name="soil_moisture_201707.csv", **changes):
    (tmp_path / name).write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    reader = make_reader(tmp_path, **changes)
    raw = next(r for r in reader.find() if r.partition != "station_list")
    return reader.read(raw)


def counts_of(extract) -> dict[tuple[str, str], int]:
    return {(entity, reason): n for entity, reason, n in extract.counts}


def refusal(tmp_path, lines, **changes) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read_lines(tmp_path, lines, **changes)
    return caught.value


# -- values, counts, units


def test_hand_worked_rows(tmp_path):
    extract = read_lines(
        tmp_path,
        [
            "B,2017,7,2,9,25.5,999999,0,0",
            "A,2017,7,2,9,60.0,60.1,0,0",
            "A,2017,7,2,8,0,-3,0,0",
            "A,2017,7,2,10,,30,0,2",
            "A,2017,7,2,11,nan,999998,0,0",
        ],
    )
    table = extract.tables["reading"]
    assert table.schema == pa.schema(
        [
            ("station_id", pa.string()),
            ("observed_at", pa.timestamp("us")),
            ("sm_1_m3m3", pa.float32()),
            ("sm_2_m3m3", pa.float32()),
        ]
    )
    f = np.float32
    assert table.to_pylist() == [
        dict(station_id=s, observed_at=dt.datetime(2017, 7, 2, h), sm_1_m3m3=a, sm_2_m3m3=b)
        for s, h, a, b in [
            ("A", 0, None, None),
            ("A", 1, f(0.6), None),
            ("A", 2, None, None),
            ("A", 3, None, None),
            ("B", 1, f(0.255), None),
        ]
    ]
    assert counts_of(extract) == {
        ("A", "not_positive"): 2,
        ("A", "ok"): 1,
        ("A", "above_maximum"): 1,
        ("A", "missing"): 3,
        ("A", "qc_flag"): 1,
        ("B", "ok"): 1,
        ("B", "missing"): 1,
    }


def test_a_unit_is_converted_in_double_and_rounded_once(tmp_path):
    extract = read_lines(tmp_path, ["A,2017,7,2,9,23.3,12.7,0,0"])
    row = extract.tables["reading"].to_pylist()[0]
    assert row["sm_1_m3m3"] == float(np.float32(23.3 / 100))
    same = read_lines(tmp_path, ["A,2017,7,2,9,0.233,0.127,0,0"], unit="m3 m-3")
    assert same.tables["reading"].to_pylist()[0]["sm_1_m3m3"] == float(np.float32(0.233))


def test_sm_max_is_in_m3m3_and_in_the_fingerprint(tmp_path):
    lines = ["A,2017,7,2,9,70,30,0,0"]
    assert counts_of(read_lines(tmp_path, lines))[("A", "above_maximum")] == 1
    assert counts_of(read_lines(tmp_path, lines, sm_max=1.0)) == {("A", "ok"): 2}
    assert make_reader(tmp_path).fingerprint() != make_reader(tmp_path, sm_max=1.0).fingerprint()


def test_an_empty_quality_code_follows_the_study(tmp_path):
    lines = ["A,2017,7,2,9,25,30,,0"]
    assert counts_of(read_lines(tmp_path, lines)) == {("A", "qc_flag"): 1, ("A", "ok"): 1}
    assert counts_of(read_lines(tmp_path, lines, null_qc="accept")) == {("A", "ok"): 2}
    assert counts_of(read_lines(tmp_path, ["A,2017,7,2,9,25,30,0.0,1"], accepted_qc=[0, 1])) == {
        ("A", "ok"): 2
    }


def test_text_codes_and_words_for_missing(tmp_path):
    extract = read_lines(
        tmp_path,
        ["A,2017,7,2,9,25,n/a,G,G", "A,2017,7,2,10,25,30,,D01"],
        accepted_qc=["G"],
        missing_codes=[999999, "n/a"],
    )
    assert counts_of(extract) == {("A", "ok"): 1, ("A", "missing"): 1, ("A", "qc_flag"): 2}


def literal_reading(lines, *, sm_max=0.6):
    """Row by row, with Python's own parser and time zones."""
    parsed = []
    for line in lines:
        s, y, m, d, h, v1, v2, q1, q2 = line.split(",")
        label = dt.datetime(int(y), int(m), int(d)) + dt.timedelta(hours=int(h))
        utc = (
            label.replace(tzinfo=ZoneInfo("Asia/Shanghai")).astimezone(dt.UTC).replace(tzinfo=None)
        )
        parsed.append((s, utc, (v1, v2), (q1, q2)))
    counts, rows = Counter(), {}
    by_key: dict = {}
    for row in parsed:
        by_key.setdefault(row[:2], []).append(row)
    for (s, utc), same in by_key.items():
        inside = PERIOD[0] <= (utc - dt.timedelta(minutes=30)).date() <= PERIOD[1]
        if not inside:
            counts[s, "outside_period"] += 2 * len(same)
            continue
        if len({(r[2], r[3]) for r in same}) > 1:
            counts[s, "duplicate_conflict"] += 2 * len(same)
            continue
        if len(same) > 1:
            counts[s, "duplicate_identical"] += 2 * (len(same) - 1)
        values = []
        for v, q in zip(same[0][2], same[0][3], strict=True):
            x = float(v) / 100 if v else math.nan
            if not v or float(v) in (999999, 999998, 999017, -9999):
                reason = "missing"
            elif q != "0":
                reason = "qc_flag"
            elif x <= 0:
                reason = "not_positive"
            else:
                reason = "above_maximum" if x > sm_max else "ok"
            counts[s, reason] += 1
            values.append(float(np.float32(x)) if reason == "ok" else None)
        rows[s, utc] = values
    return rows, counts


value_text = st.sampled_from(
    ["", "999999", "-9999", "0", "-1.5", "0.1", "23.4", "60", "60.01", "7e1"]
)
row_text = st.builds(
    lambda s, d, h, a, b, q, r: f"{s},2017,{d[0]},{d[1]},{h},{a},{b},{q},{r}",
    st.sampled_from(["50001", "50002", "A9"]),
    st.sampled_from([(6, 30), (7, 1), (7, 2), (7, 31), (8, 1)]),
    st.sampled_from([0, 7, 8, 9, 23, 24]),
    value_text,
    value_text,
    st.sampled_from(["0", "0", "0", "2", ""]),
    st.sampled_from(["0", "9"]),
)


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.lists(row_text, min_size=1, max_size=25))
def test_agrees_with_the_literal_reading(tmp_path_factory, lines):
    tmp_path = tmp_path_factory.mktemp("literal")
    extract = read_lines(tmp_path, lines, timezone="Asia/Shanghai")
    rows, counts = literal_reading(lines)
    got = extract.tables["reading"].to_pylist()
    assert {
        (r["station_id"], r["observed_at"]): [r["sm_1_m3m3"], r["sm_2_m3m3"]] for r in got
    } == rows
    assert len(got) == len(rows)
    assert counts_of(extract) == dict(counts)
    assert sum(n for _, _, n in extract.counts) == 2 * len(lines)
    keys = [(r["station_id"], r["observed_at"]) for r in got]
    assert keys == sorted(keys)


# -- time


def test_hour_ending_midnight_belongs_to_the_day_before(tmp_path):
    lines = [
        "A,2017,7,1,8,11,30,0,0",  # 00:00 UTC of 1 July: the last hour of June
        "A,2017,7,1,9,12,30,0,0",
        "A,2017,8,1,8,13,30,0,0",  # 00:00 UTC of 1 August: the last hour of July
        "A,2017,8,1,9,14,30,0,0",
    ]

    def kept(extract):
        return [round(v, 2) for v in extract.tables["reading"]["sm_1_m3m3"].to_pylist()]

    assert kept(read_lines(tmp_path, lines)) == [0.12, 0.13]
    instants = read_lines(tmp_path, lines, time_label="instant")
    assert kept(instants) == [0.11, 0.12]
    assert counts_of(instants) == {("A", "ok"): 4, ("A", "outside_period"): 4}


def test_hour_24_is_the_next_midnight(tmp_path):
    extract = read_lines(tmp_path, ["A,2017,7,9,24,25,30,0,0"], timezone="UTC")
    assert extract.tables["reading"]["observed_at"].to_pylist() == [dt.datetime(2017, 7, 10)]


def test_one_time_column_with_a_format(tmp_path):
    extract = read_lines(
        tmp_path,
        ["A,02/07/2017 09.30,25"],
        header="id,when,vwc",
        columns={"station_id": "id", "time": {"column": "when", "format": "%d/%m/%Y %H.%M"}},
        layers=[{"column": "vwc", "top_m": 0, "bottom_m": 0.1}],
    )
    assert extract.tables["reading"].to_pylist() == [
        {
            "station_id": "A",
            "observed_at": dt.datetime(2017, 7, 2, 1, 30),
            "sm_1_m3m3": float(np.float32(0.25)),
        }
    ]


@pytest.mark.parametrize("key", ["America/Chicago", "Europe/Vienna", "Asia/Shanghai", "UTC"])
def test_local_clocks_agree_with_zoneinfo(key):
    zone = ZoneInfo(key)
    utc = np.arange("2017-01-01", "2018-01-01", np.timedelta64(1, "h"), dtype="M8[us]")
    local = [t.replace(tzinfo=dt.UTC).astimezone(zone).replace(tzinfo=None) for t in utc.tolist()]
    times = Counter(local)
    expected = [t if times[c] == 1 else None for t, c in zip(utc.tolist(), local, strict=True)]
    assert to_utc(np.array(local, "M8[us]"), zone).tolist() == expected


def test_an_hour_that_the_clock_shows_twice_is_counted(tmp_path):
    lines = [f"A,2017,11,5,{h},25,30,0,0" for h in (0, 1, 1, 2)]
    extract = read_lines(
        tmp_path,
        lines,
        timezone="America/Chicago",
        period=(dt.date(2017, 11, 1), dt.date(2017, 11, 30)),
    )
    assert extract.tables["reading"]["observed_at"].to_pylist() == [
        dt.datetime(2017, 11, 5, 5),
        dt.datetime(2017, 11, 5, 8),
    ]
    assert counts_of(extract) == {("A", "ok"): 4, ("A", "ambiguous_local_time"): 4}


@pytest.mark.parametrize("key", ["Beijing", "UTC+25", "CST8", "", "+8:75"])
def test_an_unknown_time_zone_says_what_is_allowed(tmp_path, key):
    with pytest.raises(ValidationError, match="Asia/Shanghai.*UTC\\+08:00"):
        make_settings(tmp_path, timezone=key)


@pytest.mark.parametrize("key", ["UTC+8", "+08:00", "GMT+0800", "Asia/Shanghai"])
def test_ways_to_write_beijing_time(tmp_path, key):
    extract = read_lines(tmp_path, ["A,2017,7,2,9,25,30,0,0"], timezone=key)
    assert extract.tables["reading"]["observed_at"].to_pylist() == [dt.datetime(2017, 7, 2, 1)]


# -- settings that contradict themselves


@pytest.mark.parametrize("key", ["timezone", "unit", "time_label"])
def test_what_must_be_declared_has_no_default(tmp_path, key):
    values = make_settings(tmp_path).model_dump()
    del values[key]
    with pytest.raises(ValidationError, match=key):
        StationCsv.model_validate(values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"station_list": None}, "exactly one place"),
        ({"unit": "mm"}, "percent"),
        ({"ignored_columns": ["VWC_0_10cm"]}, "both mapped and ignored"),
        ({"layers": [{"column": "Year", "top_m": 0, "bottom_m": 0.1}]}, "mapped twice"),
        ({"layers": [{"column": "v", "top_m": 0.2, "bottom_m": 0.1}]}, "below top_m"),
        (
            {"columns": {"station_id": "s", "time": {"column": "t", "format": "%H %z"}}},
            "contradicts the key timezone",
        ),
        ({"columns": {"station_id": "s", "time": {"column": "t", "year": "y"}}}, "give either"),
    ],
)
def test_contradicting_settings(tmp_path, changes, message):
    with pytest.raises(ValidationError, match=message):
        make_settings(tmp_path, **changes)


# -- files that cannot be used


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("A,2017,7,2,10,25,30,0", "8 fields instead of 9"),
        ("A,2017,7,2,10,25,30,0,0,7", "10 fields instead of 9"),
        ("A,2017,7,2,10,2s,30,0,0", "'2s' in column VWC_0_10cm is not a number"),
        ("A,2017,13,2,10,25,30,0,0", "'2017 13 2 10' is not a time"),
        ("A,2017,6,31,10,25,30,0,0", "'2017 6 31 10' is not a time"),
        ("A,2017,7,2,25,25,30,0,0", "'2017 7 2 25' is not a time"),
        ("A,2017,7,2,9.5,25,30,0,0", "'2017 7 2 9.5' is not a time"),
        ("A,2017,7,,10,25,30,0,0", "column Day is empty"),
        (",2017,7,2,10,25,30,0,0", "column Station_Id_C is empty"),
        ("A,2017,7,2,10,25,30,good,0", "'good' in column Q_0_10cm is not a number"),
    ],
)
def test_a_broken_line_refuses_the_file(tmp_path, line, found):
    good = ["A,2017,7,2,8,25,30,0,0", "A,2017,7,2,9,25,30,0,0"]
    bad = refusal(tmp_path, [*good, line, *good])
    assert bad.reason == "broken_line"
    assert f"line 4: {found}" in bad.found
    assert line in bad.found
    assert "soil_moisture_201707.csv" in str(bad)
    assert bad.remedy


def test_a_broken_time_word(tmp_path):
    bad = refusal(
        tmp_path,
        ["A,2017-07-02 09,25", "A,2017-07-32 09,25"],
        header="id,when,vwc",
        columns={"station_id": "id", "time": {"column": "when", "format": "%Y-%m-%d %H"}},
        layers=[{"column": "vwc", "top_m": 0, "bottom_m": 0.1}],
    )
    assert bad.reason == "broken_line" and "line 3: '2017-07-32 09' is not a time" in bad.found


@pytest.mark.parametrize("content", ["", "\n", HEADER, HEADER + "\n\n"])
def test_an_empty_file(tmp_path, content):
    (tmp_path / "soil_moisture_201707.csv").write_text(content)
    reader = make_reader(tmp_path)
    with pytest.raises(BadInput) as caught:
        reader.read(reader.find()[0])
    assert caught.value.reason == "empty_file"


def test_unknown_missing_and_repeated_columns(tmp_path):
    row = "A,2017,7,2,10,25,30,0,0"
    unknown = refusal(tmp_path, [row + ",1"], header=HEADER + ",Remark")
    assert unknown.reason == "unknown_column"
    assert "'Remark'" in unknown.found and "insitu.ignored_columns" in unknown.remedy
    kept = read_lines(
        tmp_path, [row + ",oak"], header=HEADER + ",Remark", ignored_columns=["Remark"]
    )
    assert counts_of(kept) == {("A", "ok"): 2}
    missing = refusal(tmp_path, [row], header=HEADER.replace("Hour", "Hours"))
    assert missing.reason == "missing_column" and "'Hour'" in missing.found
    repeated = refusal(tmp_path, [row], header=HEADER.replace("Q_10_20cm", "Q_0_10cm"))
    assert repeated.reason == "duplicate_column"


def test_encodings(tmp_path):
    path = tmp_path / "soil_moisture_201707.csv"
    text = f"{HEADER},备注\nA,2017,7,2,9,25,30,0,0,好\n"
    path.write_text(text, encoding="gb18030")
    changes = {"ignored_columns": ["备注"]}
    with pytest.raises(BadInput, match="gb18030"):
        make_reader(tmp_path, **changes).read(make_reader(tmp_path).find()[0])
    reader = make_reader(tmp_path, encoding="gb18030", **changes)
    assert counts_of(reader.read(reader.find()[0])) == {("A", "ok"): 2}
    path.write_text(text, encoding="utf-8-sig")
    reader = make_reader(tmp_path, **changes)
    assert counts_of(reader.read(reader.find()[0])) == {("A", "ok"): 2}


def test_compressed_and_truncated(tmp_path):
    path = tmp_path / "soil_moisture_201707.csv.gz"
    lines = [f"A,2017,7,{d},{h},25.{h},30,0,0" for d in range(1, 32) for h in range(9, 24)]
    data = gzip.compress("\n".join([HEADER, *lines]).encode(), mtime=0)
    path.write_bytes(data)
    reader = make_reader(tmp_path)
    assert reader.find()[0].partition == "soil_moisture_201707"
    assert reader.read(reader.find()[0]).tables["reading"].num_rows == len(lines)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput):
        reader.read(reader.find()[0])


def test_windows_lines_quotes_and_semicolons(tmp_path):
    (tmp_path / "m.csv").write_bytes(
        f'{HEADER}\r\n"A",2017,7,2,9, 25 ,30,0,0\r\n'.replace(",", ";").encode()
    )
    reader = make_reader(tmp_path, delimiter=";")
    assert reader.read(reader.find()[0]).tables["reading"]["station_id"].to_pylist() == ["A"]


# -- stations


def test_station_list(tmp_path):
    (tmp_path / "station_list.csv").write_text(
        LIST + "B,Beta,CMA,34.5,113.25,110.2\nA,Alpha,,33,112,999999\nA,Alpha,,33,112,999999\n"
        "C,Gamma,CMA,,,\n"
    )
    (tmp_path / "soil_moisture_201707.csv").write_text(HEADER + "\n")
    reader = make_reader(tmp_path, network="CASMOS")
    found = reader.find()
    assert [r.partition for r in found] == ["station_list", "soil_moisture_201707"]
    extract = reader.read(found[0])
    assert extract.tables["station"].schema == reader.tables["station"]
    assert [tuple(r.values()) for r in extract.tables["station"].to_pylist()] == [
        ("A", "CASMOS", 33.0, 112.0, None),
        ("B", "CMA", 34.5, 113.25, 110.2),
        ("C", "CMA", None, None, None),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("A,Alpha,CMA,3954,11623,110", "bad_coordinates"),
        ("A,Alpha,CMA,north,116,110", "broken_line"),
        ("A,Alpha,CMA,39,116", "broken_line"),
        (",Alpha,CMA,39,116,1", "broken_line"),
    ],
)
def test_a_broken_station_list_is_refused(tmp_path, line, reason):
    (tmp_path / "station_list.csv").write_text(LIST + line + "\n")
    reader = make_reader(tmp_path)
    with pytest.raises(BadInput) as caught:
        reader.read(reader.find()[0])
    assert caught.value.reason == reason


def test_coordinates_inside_data_files(tmp_path):
    columns = {
        "station_id": "id",
        "time": {"column": "t", "format": "%Y%m%d%H"},
        "latitude": "lat",
        "longitude": "lon",
        "elevation": "z",
        "network": "net",
    }
    extract = read_lines(
        tmp_path,
        [
            "B,2017070209,34.5,113.25,-9999,,25",
            "A,2017070209,33,112,10,X,25",
            "A,2017070210,33,112,10,X,26",
            "A,2017070211,33.2,112,10,X,26",
        ],
        header="id,t,lat,lon,z,net,vwc",
        columns=columns,
        layers=[{"column": "vwc", "top_m": 0, "bottom_m": 0.1}],
        station_list=None,
        network="CASMOS",
    )
    assert [tuple(r.values()) for r in extract.tables["station"].to_pylist()] == [
        ("A", "X", 33.0, 112.0, 10.0),
        ("A", "X", 33.2, 112.0, 10.0),
        ("B", "CASMOS", 34.5, 113.25, None),
    ]


# -- files and processes


def test_files_that_are_not_text_are_named(tmp_path):
    (tmp_path / "2017").mkdir()
    (tmp_path / "2017" / "07.csv").write_text(HEADER + "\n")
    (tmp_path / "notes.docx").write_text("x")
    found = make_reader(tmp_path).find()
    assert [(r.path, r.partition, r.status) for r in found] == [
        ("2017/07.csv", "2017-07", "ok"),
        ("notes.docx", "notes", "not_recognised"),
    ]
    assert make_reader(tmp_path / "absent").find() == []


@pytest.mark.parametrize("size", [2_000, 200_000])
def test_a_file_of_zero_bytes_is_refused(tmp_path, size):
    """What a download leaves that reserved its space and was cut; other code may raise csv's limit of a field."""
    (tmp_path / "07.csv").write_bytes(b"\0" * size)
    reader = make_reader(tmp_path)
    with pytest.raises(BadInput, match="not readable as") as caught:
        reader.read(reader.find()[0])
    assert len(str(caught.value)) < 1000


def test_a_message_about_a_long_header_is_short(tmp_path):
    assert len(refusal(tmp_path, ["A"], header="x" * 100_000).found) < 1000


@pytest.mark.parametrize(
    "content",
    [b"\0" * 200_000, b"id,lat,lon\n" + b"A,30,110\n" * 9999 + "哈密站,30,110\n".encode("gb18030")],
)
def test_a_station_list_that_is_not_text_is_refused(tmp_path, content):
    (tmp_path / "list.csv").write_bytes(content)
    columns = {"station_id": "id", "latitude": "lat", "longitude": "lon"}
    reader = make_reader(
        tmp_path, station_list={"path": str(tmp_path / "list.csv"), "columns": columns}
    )
    with pytest.raises(BadInput, match="not readable as"):
        reader.read(reader.find()[0])


def test_a_compressed_file_that_was_cut_is_refused(tmp_path):
    rows = [f"A,2017,7,{d},{h},25,30,0,0" for d in range(1, 29) for h in range(24)]
    whole = gzip.compress("\n".join([HEADER, *rows]).encode())
    (tmp_path / "07.csv.gz").write_bytes(whole[: len(whole) // 2])
    reader = make_reader(tmp_path)
    with pytest.raises(BadInput, match="not readable as"):
        reader.read(reader.find()[0])


def test_threads_and_row_order_change_nothing(tmp_path):
    rng = np.random.default_rng(4)
    lines = [
        f"S{s:03d},2017,7,{d},{h},{rng.integers(1, 700) / 10},{rng.integers(1, 700) / 10},0,0"
        for s in range(40)
        for d in range(1, 29)
        for h in range(24)
    ]
    one = read_lines(tmp_path, lines)
    shuffled = [lines[i] for i in rng.permutation(len(lines))]
    many = read_lines(tmp_path, shuffled, threads=2)
    assert one.tables["reading"].equals(many.tables["reading"])
    assert one.counts == many.counts
    assert sum(n for _, _, n in one.counts) == 2 * len(lines)


def test_reader_crosses_process_borders(tmp_path):
    reader = make_reader(tmp_path)
    again = pickle.loads(pickle.dumps(reader))
    assert again.tables == reader.tables and again.fingerprint() == reader.fingerprint()


def test_every_reason_is_reachable(tmp_path):
    lines = [
        "A,2017,7,2,9,25,999999,0,0",
        "A,2017,7,2,10,0,61,0,0",
        "A,2017,7,2,11,25,25,3,0",
        "A,2017,7,2,12,25,25,0,0",
        "A,2017,7,2,12,25,25,0,0",
        "A,2017,7,2,13,25,25,0,0",
        "A,2017,7,2,13,26,25,0,0",
        "A,2016,7,2,13,26,25,0,0",
    ]
    seen = {reason for _, reason, _ in read_lines(tmp_path, lines).counts}
    assert seen == set(REASONS) - {"ambiguous_local_time"}
