"""ISMN archives: synthetic files in every layout met, and a real archive against a plain parse."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ingest.reader import PROJECT_ROOT, BadInput
from ingest.sources.ismn_archive import IsmnArchive, IsmnArchiveReader, parse_header

REALDATA = PROJECT_ROOT / os.environ.get("SKILLHOUSE_REALDATA", "../shared/realdata")
REAL_ARCHIVE = REALDATA / "hawaii" / "Data_separate_files_header_hawaii_2016_2019.zip"
PERIOD = (dt.date(2017, 1, 1), dt.date(2017, 12, 31))
FOLDER = "NET/Folder"
NAME = "NET_NET_Folder_sm_0.050000_0.100000_Probe-A_20160101_20180101.stm"
HEADER = "NET  NET  Header_Name  33.25 -97.5  120.0 0.0500 0.1000 Probe A"
ROWS = [
    ("2016/12/31 23:00", "0.301", "G"),
    ("2017/01/01 00:00", "0.302", "G"),
    ("2017/01/01 01:00", "0.303", "D01,D03"),
    ("2017/01/01 02:00", "-9999.0000", "M"),
    ("2017/01/01 03:00", "0.000", "G"),
    ("2017/01/01 04:00", "0.700", "G"),
    ("2017/12/31 23:00", "0.250", "G"),
    ("2018/01/01 00:00", "0.251", "G"),
]
COUNTS = {
    "outside_period": 2,
    "ok": 2,
    "qc_flag": 1,
    "missing": 1,
    "not_positive": 1,
    "above_maximum": 1,
}
KEPT = [
    (dt.datetime(2017, 1, 1, 0), 0.302),
    (dt.datetime(2017, 1, 1, 1), None),
    (dt.datetime(2017, 1, 1, 2), None),
    (dt.datetime(2017, 1, 1, 3), None),
    (dt.datetime(2017, 1, 1, 4), None),
    (dt.datetime(2017, 12, 31, 23), 0.25),
]


def header_values(rows=ROWS, *, header=HEADER, provider="OK", end="\n", header_end=None) -> bytes:
    lines = [f"{t} {v} {f} {provider}".rstrip() for t, v, f in rows]
    return (header + (header_end or end) + "".join(line + end for line in lines)).encode()


def ceop(rows=ROWS, *, depths="0.0500 0.1000", end="\n") -> bytes:
    lines = [
        f"{t} {t} NET NET Header_Name 33.25000 -97.50000 120.00 {depths} {v} {f} OK" + end
        for t, v, f in rows
    ]
    return "".join(lines).encode()


def put(root: Path, content: bytes, *, name=NAME, folder=FOLDER) -> Path:
    target = root / folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


def make_reader(
    root: Path, *, period=PERIOD, sm_max=0.60, scratch=None, **changes
) -> IsmnArchiveReader:
    settings = {"path": str(root), "format": "ismn", **changes}
    return IsmnArchiveReader(
        key="insitu",
        source="insitu",
        settings=IsmnArchive.model_validate(settings),
        period=period,
        scratch=root.parent / "scratch" if scratch is None else scratch,
        sm_max=sm_max,
    )


def read_one(root: Path, content: bytes, *, name=NAME, **changes):
    put(root, content, name=name)
    reader = make_reader(root, **changes)
    [raw] = reader.find()
    return reader.read(raw)


def rows_of(extract) -> list[tuple]:
    table = extract.tables["reading"].to_pylist()
    return [
        (r["observed_at"], None if r["sm_m3m3"] is None else round(r["sm_m3m3"], 6)) for r in table
    ]


def counts_of(extract) -> dict[str, int]:
    assert {entity for entity, _, _ in extract.counts} <= {FOLDER}
    return {reason: n for _, reason, n in extract.counts}


LAYOUTS = {
    "LF": header_values(),
    "CRLF": header_values(end="\r\n"),
    "lone CR": header_values(end="\r"),
    "LF CR header, CRLF rows": header_values(end="\r\n", header_end="\n\r"),
    "quoted sensor": header_values(header=HEADER.replace("Probe A", "'Meter-5TM'")),
    "station with spaces": header_values(header=HEADER.replace("Header_Name", "St. Mary No 4")),
    "sensor missing": header_values(header=HEADER.replace("Probe A", "")),
    "depths bottom first": header_values(header=HEADER.replace("0.0500 0.1000", "0.1000 0.0500")),
    "no provider flag": header_values(provider=""),
    "provider flags of any length": header_values().replace(b"0.301 G OK", b"0.301 G V 1"),
    "provider flag of two words": header_values(provider="V 1"),
    "leading blank line": b"\n" + header_values(),
    "ceop": ceop(),
    "ceop CRLF": ceop(end="\r\n"),
    "ceop depths bottom first": ceop(depths="0.1000 0.0500"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_rows(tmp_path, layout, capfd):
    content = LAYOUTS[layout]
    extract = read_one(tmp_path / "archive", content)
    assert rows_of(extract) == KEPT
    assert counts_of(extract) == COUNTS
    assert extract.tables["station"].to_pylist() == [
        {
            "station_id": FOLDER,
            "network": "NET",
            "latitude": 33.25,
            "longitude": -97.5,
            "elevation_m": 120.0,
        }
    ]
    assert extract.tables["sensor"].to_pylist() == [
        {
            "station_id": FOLDER,
            "sensor_id": "0.050000_0.100000_Probe-A_20160101_20180101",
            "depth_top_m": 0.05,
            "depth_bottom_m": 0.1,
        }
    ]
    assert extract.sha256 == hashlib.sha256(content).hexdigest()
    assert capfd.readouterr() == ("", "")


def test_zip_and_folder_give_the_same(tmp_path):
    folder = tmp_path / "archive"
    put(folder, header_values())
    archive = tmp_path / "zipped" / "a.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        target.write(folder / FOLDER / NAME, f"{FOLDER}/{NAME}")
        target.writestr(f"{FOLDER}/NET_NET_Folder_static_variables.csv", "a;b\n")
        target.writestr("Readme.txt", "x")
    from_folder = make_reader(folder)
    from_zip = make_reader(archive, scratch=tmp_path / "scratch")
    [raw] = from_zip.find()
    assert raw.path == f"a.zip/{FOLDER}/{NAME}"
    assert raw.location == archive and raw.partition == "NET-Folder"
    assert raw.size == len(header_values())
    one, other = from_folder.read(from_folder.find()[0]), from_zip.read(raw)
    assert all(one.tables[t].equals(other.tables[t]) for t in one.tables)
    assert one.counts == other.counts
    assert from_folder.find()[0].path == f"{FOLDER}/{NAME}"
    # nothing is written beside the archive, and no scratch is left
    assert [p.name for p in archive.parent.iterdir()] == ["a.zip"]
    assert not list((tmp_path / "scratch").iterdir())


def test_new_content_of_the_same_size_and_time_is_seen(tmp_path):
    archive = tmp_path / "a.zip"
    stamps = []
    for value in ("0.302", "0.303"):
        with zipfile.ZipFile(archive, "w") as target:
            info = zipfile.ZipInfo(f"{FOLDER}/{NAME}", date_time=(2020, 1, 1, 0, 0, 0))
            target.writestr(info, header_values([("2017/01/01 00:00", value, "G")] * 40))
        [raw] = make_reader(archive).find()
        stamps.append((raw.size, raw.mtime_ns))
    assert stamps[0][0] == stamps[1][0] and stamps[0] != stamps[1]


def test_flags_are_accepted_only_as_a_whole_list(tmp_path):
    rows = [(f"2017/01/01 0{i}:00", "0.3", f) for i, f in enumerate(["G", "D01", "D01,D03", "U"])]
    root = tmp_path / "archive"
    good = read_one(root, header_values(rows))
    assert counts_of(good) == {"ok": 1, "qc_flag": 3}
    some = read_one(root, header_values(rows), accepted_flags=["G", "D01"])
    assert counts_of(some) == {"ok": 2, "qc_flag": 2}
    many = read_one(root, header_values(rows), accepted_flags=["G", "D03", "D01", "U"])
    assert counts_of(many) == {"ok": 4}


def test_duplicates_within_a_file(tmp_path):
    rows = [
        ("2017/01/01 02:00", "0.30", "G"),
        ("2017/01/01 00:00", "0.30", "G"),
        ("2017/01/01 00:00", "0.30", "G"),
        ("2017/01/01 01:00", "0.30", "G"),
        ("2017/01/01 01:00", "0.31", "G"),
        ("2017/01/01 01:00", "0.30", "G"),
    ]
    extract = read_one(tmp_path / "archive", header_values(rows))
    assert rows_of(extract) == [
        (dt.datetime(2017, 1, 1, 0), 0.3),
        (dt.datetime(2017, 1, 1, 2), 0.3),
    ]
    assert counts_of(extract) == {"ok": 2, "duplicate_identical": 1, "duplicate_conflict": 3}


def test_sm_max_and_flags_are_in_the_fingerprint(tmp_path):
    root = tmp_path / "archive"
    assert counts_of(read_one(root, header_values(), sm_max=0.8))["ok"] == 3
    prints = [
        str(make_reader(root, **c).fingerprint())
        for c in ({}, {"sm_max": 0.8}, {"accepted_flags": ["G", "U"]})
    ]
    assert len(set(prints)) == 3


def test_several_sensors_at_one_depth_and_replacements_keep_apart(tmp_path):
    root = tmp_path / "archive"
    for sensor in ("Probe-A", "Probe-B", "Probe_B_new"):
        put(root, header_values(), name=NAME.replace("Probe-A", sensor))
    put(root, header_values(), name=NAME.replace("20180101", "20190101"))
    reader = make_reader(root)
    sensors = [reader.read(raw).tables["sensor"]["sensor_id"][0].as_py() for raw in reader.find()]
    assert len(sensors) == len(set(sensors)) == 4


def test_what_is_found_and_what_is_not_read(tmp_path):
    root = tmp_path / "archive"
    put(root, header_values())
    put(root, header_values(), name=NAME.replace("_sm_", "_ts_"))  # soil temperature: no concern
    put(root, header_values(), name="odd.stm")
    put(root, (HEADER + "\r\n\r\n").encode(), name=NAME.replace("Probe-A", "Probe-Z"))
    put(root, b"", name=NAME.replace("Probe-A", "Probe-Y"))
    put(root, header_values(), folder="OTHER/Far")
    reader = make_reader(root)
    found = {(Path(r.path).parent.name, Path(r.path).name): r.status for r in reader.find()}
    assert found == {
        ("Folder", NAME): "ok",
        ("Folder", "odd.stm"): "not_recognised",
        ("Folder", NAME.replace("Probe-A", "Probe-Z")): "empty_file",
        ("Folder", NAME.replace("Probe-A", "Probe-Y")): "empty_file",
        ("Far", NAME): "ok",
    }
    for changes in ({"networks": ["OTHER"]}, {"stations": ["Far"]}, {"stations": ["OTHER/Far"]}):
        assert [r.partition for r in make_reader(root, **changes).find()] == ["OTHER-Far"]
    assert make_reader(tmp_path / "absent").find() == []


@pytest.mark.parametrize(
    ("content", "reason", "found"),
    [
        (header_values([*ROWS, ("2017/13/01 00:00", "0.3", "G")]), "broken_line", "row 9"),
        (header_values([*ROWS[:2], ("2017/01/01 09:00", "0.x3", "G")]), "broken_line", "row 3"),
        (header_values() + b"2018/01/01 01:00\n", "broken_line", "row 9"),
        (header_values([*ROWS, ("2018/01/01 01:00", "", "")]), "broken_line", "row 9"),
        (ceop([ROWS[0], ("2017/01/01 09:00", "??", "G")]), "broken_line", "row 2"),
        (b"<html>not found</html>\n" * 90, "not_recognised", "html"),
        (header_values(header=HEADER.replace("33.25", "133.25")), "not_recognised", "133.25"),
        (
            header_values(header=HEADER.replace("0.0500 0.1000", "-2.0 -2.0")),
            "above_ground",
            "2 m above the ground",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path, content, reason, found):
    with pytest.raises(BadInput) as caught:
        read_one(tmp_path / "archive", content)
    bad = caught.value
    assert bad.reason == reason and found in bad.found and NAME in str(bad) and bad.remedy


def test_damaged_archives(tmp_path):
    broken = tmp_path / "archive" / "broken.zip"
    broken.parent.mkdir()
    broken.write_bytes(b"PK\x03\x04 no zip at all")
    reader = make_reader(broken)
    [raw] = reader.find()
    with pytest.raises(BadInput, match="not a readable zip"):
        reader.read(raw)
    with zipfile.ZipFile(broken, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr(f"{FOLDER}/{NAME}", header_values(ROWS * 50))
    data = bytearray(broken.read_bytes())
    data[len(NAME) + 80] ^= 0xFF
    broken.write_bytes(data)
    [raw] = reader.find()
    with pytest.raises(BadInput):
        reader.read(raw)


@pytest.mark.parametrize("line", ["", "NET NET Station 33 -97", "2017/01/01 00:00 0.3 G OK"])
def test_a_line_that_is_no_header(line):
    with pytest.raises(ValueError):
        parse_header(line)


needs_archive = pytest.mark.skipif(
    not REAL_ARCHIVE.exists(), reason=f"no real ISMN archive at {REAL_ARCHIVE}"
)


@needs_archive
def test_the_real_archive_equals_a_plain_parse(tmp_path):
    reader = make_reader(tmp_path / "x", path=str(REAL_ARCHIVE))
    found = reader.find()
    assert len(found) == 20 and len({r.partition for r in found}) == 3
    seen = set()
    for raw in found[::3]:
        member = raw.path.split(".zip/")[1]
        text = zipfile.ZipFile(REAL_ARCHIVE).read(member).decode()
        head, *lines = text.split("\n")
        expected, counts = [], Counter()
        for line in lines:
            if not line.strip():
                continue
            date, clock, value, flag = line.split()[:4]
            moment = dt.datetime.strptime(f"{date} {clock}", "%Y/%m/%d %H:%M")
            value = float(value)
            if not PERIOD[0] <= moment.date() <= PERIOD[1]:
                counts["outside_period"] += 1
                continue
            good = flag == "G" and 0 < value <= 0.6
            why = "ok" if good else "qc_flag" if flag != "G" else "not_positive"
            counts[why] += 1
            expected.append((moment, float(np.float32(value)) if good else None))
        extract = reader.read(raw)
        table = extract.tables["reading"].to_pylist()
        assert [(r["observed_at"], r["sm_m3m3"]) for r in table] == expected
        assert {why: n for _, why, n in extract.counts} == counts
        station = extract.tables["station"].to_pylist()[0]
        assert station["station_id"] == "/".join(member.split("/")[:2])
        numbers = [float(word) for word in head.split()[3:8]]
        assert [station[k] for k in ("latitude", "longitude", "elevation_m")] == numbers[:3]
        sensor = extract.tables["sensor"].to_pylist()[0]
        assert [sensor["depth_top_m"], sensor["depth_bottom_m"]] == numbers[3:]
        seen |= set(counts)
    assert {"ok", "qc_flag", "outside_period"} <= seen
