"""Archives of the International Soil Moisture Network, folders or zip files, by the `ismn` package.

Both text layouts ("Header+values" and CEOP in separate files) and every line ending met in archives
are read. The package cannot cope with all of them (headers alone, names with underscores, depths
given bottom first), so each file is first laid out afresh in a scratch folder and the package reads
that; it never writes beside the archive. Its metadata search over a whole archive is not needed: a
file's own header says where its station and sensor stand.

Source: Dorigo et al. 2021, doi:10.5194/hess-25-5749-2021; flags: doi:10.2136/vzj2012.0097.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from ingest.reader import BadInput, Extract, RawFile, Reader, SourceSettings
from ingest.sources.station_csv import STATION_SCHEMA

REASONS = (
    "ok",
    "missing",
    "qc_flag",
    "not_positive",
    "above_maximum",
    "outside_period",
    "duplicate_identical",
    "duplicate_conflict",
)
MISSING_CODES = (-9999.0, -999.99, -999.9, -999.0, 999999.0)
_NAME = re.compile(
    r"_(?P<variable>[A-Za-z]+\d*)"
    r"_(?P<sensor_id>-?\d+\.\d+_-?\d+\.\d+_(?P<sensor>.*)_\d{8}_\d{8})\.stm$"
)
_NUMBER = re.compile(r"-?\d+(\.\d*)?")
_DATE = re.compile(r"\d{4}/\d\d/\d\d")
_DEEPEST_M = 50.0
_WIDTH = {"header_values": 5, "ceop": 15}  # words of a row
_PEEK_BYTES = 1024  # larger files have rows below their header


class IsmnArchive(SourceSettings):
    """Settings of an ISMN archive; `path` is a zip file, a folder, or a folder of zip files."""

    format: Literal["ismn"]
    accepted_flags: tuple[str, ...] = ("G",)  # exactly good; "D01,D03" needs both accepted
    networks: tuple[str, ...] | None = None
    stations: tuple[str, ...] | None = None  # folder name, or NETWORK/folder name


@dataclass(frozen=True)
class SensorHeader:
    """What a file says about its station and sensor."""

    layout: Literal["header_values", "ceop"]
    latitude: float
    longitude: float
    elevation_m: float
    depth_top_m: float
    depth_bottom_m: float


def parse_header(first_line: str) -> SensorHeader:
    """The header of a "Header+values" file, or the constant part of a CEOP row.

    Args:
        first_line: the file's first line that is not blank.

    Raises:
        ValueError: neither layout.

    >>> parse_header("SCAN SCAN Mana_House 19.95 -155.53 1291.0 0.1 0.05 Hydraprobe Analog_B")
    ... # doctest: +ELLIPSIS
    SensorHeader(layout='header_values', ..., depth_top_m=0.05, depth_bottom_m=0.1)
    """
    words = first_line.split()
    if len(words) >= _WIDTH["ceop"] - 1 and _DATE.fullmatch(words[0]) and _DATE.fullmatch(words[2]):
        layout, candidates = "ceop", [words[7:12]]
    else:  # names may hold spaces and numbers: take the first place and depths that can be
        layout, candidates = "header_values", [words[i : i + 5] for i in range(3, len(words) - 4)]
    for numbers in candidates:
        if not all(_NUMBER.fullmatch(word) for word in numbers):
            continue
        latitude, longitude, elevation, *depths = (float(word) for word in numbers)
        if abs(latitude) <= 90 and abs(longitude) <= 360 and max(map(abs, depths)) <= _DEEPEST_M:
            break
    else:
        raise ValueError("no place and depths as in a Header+values line or a CEOP row")
    top, bottom = sorted(depths)
    return SensorHeader(layout, latitude, longitude, elevation, top, bottom)


class IsmnArchiveReader(Reader):
    """Reads soil moisture of ISMN archives: tables `station`, `sensor`, `reading`.

    A station is NETWORK/folder name; a sensor is one file (replacements are files of their own).

    Args:
        scratch: folder for temporary files, outside the archive.
        sm_max: largest possible soil moisture, m3 m-3; above it a value becomes null.
    """

    tables: ClassVar[dict[str, pa.Schema]] = {
        "station": STATION_SCHEMA,
        "sensor": pa.schema(
            [
                ("station_id", pa.string()),
                ("sensor_id", pa.string()),
                ("depth_top_m", pa.float64()),
                ("depth_bottom_m", pa.float64()),
            ]
        ),
        "reading": pa.schema(
            [
                ("station_id", pa.string()),
                ("sensor_id", pa.string()),
                ("observed_at", pa.timestamp("us")),
                ("sm_m3m3", pa.float32()),
            ]
        ),
    }
    sort_key: ClassVar[dict[str, tuple[str, ...]]] = {
        "station": ("station_id",),
        "sensor": ("station_id", "sensor_id"),
        "reading": ("station_id", "sensor_id", "observed_at"),
    }
    version: ClassVar[str] = "1"
    hashes: ClassVar[bool] = True
    settings: IsmnArchive

    def __init__(self, *, scratch: Path, sm_max: float = 0.60, **kwargs: Any):
        super().__init__(**kwargs)
        self.scratch, self.sm_max = Path(scratch), sm_max

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"sm_max": self.sm_max}

    def find(self) -> list[RawFile]:
        root, locations = self.expand_paths()
        found = []
        for location in locations:
            if location.suffix.lower() == ".stm":
                network, station = location.parent.parent.name, location.parent.name
                if self._wanted(network, station, location.name):
                    status = self._status(location.name, location.stat().st_size, location, None)
                    found.append(
                        self.raw_file(
                            root,
                            location,
                            partition=_partition(network, station),
                            status=status,
                            reason="" if status == "ok" else status,
                        )
                    )
            elif location.suffix.lower() == ".zip":
                found.extend(self._members(root, location))
        return found

    def _members(self, root: Path, archive: Path) -> list[RawFile]:
        whole = self.raw_file(root, archive, partition=_partition("", archive.stem))
        try:
            infos = zipfile.ZipFile(archive).infolist()
        except (zipfile.BadZipFile, OSError):
            return [whole]  # read() says what is wrong with it
        found = []
        for info in infos:
            member = PurePosixPath(info.filename)
            if info.is_dir() or member.suffix.lower() != ".stm":
                continue
            network, station = member.parent.parent.name, member.parent.name
            if not self._wanted(network, station, member.name):
                continue
            status = self._status(member.name, info.file_size, archive, info.filename)
            moment = datetime(*info.date_time, tzinfo=UTC)
            found.append(
                RawFile(
                    path=f"{whole.path}/{info.filename}",
                    location=archive,
                    size=info.file_size,
                    # zip times are whole seconds: the checksum fills the rest, so that new
                    # content of the same size and time is seen
                    mtime_ns=int(moment.timestamp()) * 10**9 + info.CRC % 10**9,
                    partition=_partition(network, station),
                    status=status,
                    reason="" if status == "ok" else status,
                )
            )
        return sorted(found, key=lambda raw: raw.path)

    def _wanted(self, network: str, station: str, name: str) -> bool:
        match = _NAME.search(name)
        if match and match["variable"] != "sm":
            return False
        if self.settings.networks is not None and network not in self.settings.networks:
            return False
        stations = self.settings.stations
        return stations is None or station in stations or f"{network}/{station}" in stations

    def _status(self, name: str, size: int, location: Path, member: str | None) -> str:
        if not _NAME.search(name):
            return "not_recognised"
        if size > _PEEK_BYTES:
            return "ok"
        try:
            lines = _lines(_content(location, member))
        except BadInput:
            return "ok"  # read() tells
        has_rows = len(lines) > 1 or (lines and _DATE.match(lines[0].strip()))
        return "ok" if has_rows else "empty_file"

    def read(self, raw: RawFile) -> Extract:
        member = None
        if raw.location.suffix.lower() == ".zip":
            member = raw.path.partition(f"{raw.location.name}/")[2] or None
            if member is None:
                raise BadInput(
                    "not a readable zip file", file=raw.path, remedy="download the archive again"
                )
        content = _content(raw.location, member, shown=raw.path)
        place = PurePosixPath(member or raw.location.as_posix())
        station_id = f"{place.parent.parent.name}/{place.parent.name}"
        match = _NAME.search(place.name)
        assert match is not None  # find() gave no other file
        lines = _lines(content)
        if not lines:
            raise self._empty(raw)
        try:
            header = parse_header(lines[0])
        except ValueError as error:
            raise BadInput(
                f"first line {lines[0][:120]!r}: {error}",
                file=raw.path,
                remedy="export the archive as Header+values or as CEOP in separate files",
                reason="not_recognised",
            ) from None
        if header.depth_top_m < 0:
            raise BadInput(
                f"a soil moisture sensor at {-header.depth_top_m:g} m above the ground",
                file=raw.path,
                remedy="correct the depth in the file's header, or leave the station out",
                reason="above_ground",
            )
        rows = lines[1:] if header.layout == "header_values" else lines
        if not rows:
            raise self._empty(raw)
        moments, values, flags = self._read_with_package(raw, header, match["sensor"], rows)
        return self._extract(
            station_id, match["sensor_id"], header, content, moments, values, flags
        )

    def _read_with_package(
        self, raw: RawFile, header: SensorHeader, sensor: str, rows: list[str]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Times, values and flag lists by the `ismn` package, from a clean copy in `scratch`."""
        from ismn.base import IsmnRoot
        from ismn.filehandlers import DataFile

        depths = f"{header.depth_top_m:.6f}_{header.depth_bottom_m:.6f}"
        name = f"N_N_S_sm_{depths}_{sensor.replace('_', '-')}_00000000_00000000.stm"
        width = _WIDTH[header.layout]
        text = []
        for number, row in enumerate(rows, 1):
            n_words = len(words := row.split())
            if n_words == width:
                text.append(row)
            elif n_words < width - 1:
                raise self._broken(raw, number, row)
            else:  # the provider's flag is blank, or has several words
                text.append(" ".join([*words, "-"][:width]))
        if header.layout == "header_values":
            place = f"{header.latitude} {header.longitude} {header.elevation_m}"
            text.insert(0, f"N N S {place} {header.depth_top_m} {header.depth_bottom_m} sensor")
        self.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="ismn-", dir=self.scratch) as folder:
            copy = Path(folder, "N", "S", name)
            copy.parent.mkdir(parents=True)
            copy.write_text("\n".join(text) + "\n", encoding="ascii", errors="replace")
            try:
                frame = DataFile(IsmnRoot(folder), copy.relative_to(folder), temp_root=folder)
                frame = frame.read_data()
                moments = frame.index.to_numpy().astype("M8[us]")
                values = frame["soil_moisture"].to_numpy().astype(np.float64)
            except Exception as error:  # the package raises whatever its parser met
                raise self._locate(raw, header, rows, str(error)) from None
        if len(values) != len(rows) or np.isnat(moments).any():
            raise self._locate(raw, header, rows, f"{len(values)} of {len(rows)} rows")
        return moments, values, frame["soil_moisture_flag"].fillna("").astype(str).to_numpy()

    def _locate(self, raw: RawFile, header: SensorHeader, rows: list[str], what: str) -> BadInput:
        """The first row that cannot be read."""
        for number, row in enumerate(rows, 1):
            words = row.split()
            try:
                datetime.strptime(" ".join(words[:2]), "%Y/%m/%d %H:%M")
                float(words[_WIDTH[header.layout] - 3])
            except ValueError:
                return self._broken(raw, number, row)
        return self._broken(raw, len(rows), what)

    def _broken(self, raw: RawFile, number: int, row: str) -> BadInput:
        return BadInput(
            f"row {number}: no time, value and flag in {row[:200]!r}",
            file=raw.path,
            remedy="download the archive again or remove the file",
            reason="broken_line",
        )

    def _empty(self, raw: RawFile) -> BadInput:
        return BadInput(
            "no rows below the header",
            file=raw.path,
            remedy="nothing to do: the sensor gave no data",
            reason="empty_file",
        )

    def _extract(
        self,
        station_id: str,
        sensor_id: str,
        header: SensorHeader,
        content: bytes,
        moments: np.ndarray,
        values: np.ndarray,
        flags: np.ndarray,
    ) -> Extract:
        reason = np.zeros(len(values), np.uint8)
        words, place = np.unique(flags, return_inverse=True)
        accepted = [set(word.split(",")) <= set(self.settings.accepted_flags) for word in words]
        reason[values > self.sm_max] = REASONS.index("above_maximum")
        reason[values <= 0] = REASONS.index("not_positive")
        reason[~np.array(accepted)[place]] = REASONS.index("qc_flag")
        missing = ~np.isfinite(values) | np.isin(values, MISSING_CODES)
        reason[missing] = REASONS.index("missing")

        order = np.argsort(moments, kind="stable")
        moments, values, reason, place = (a[order] for a in (moments, values, reason, place))
        new = np.append(True, moments[1:] != moments[:-1])
        if not new.all():
            group = np.cumsum(new) - 1
            first = np.flatnonzero(new)[group]
            same = (place == place[first]) & (
                (values == values[first]) | (np.isnan(values) & np.isnan(values[first]))
            )
            conflict = np.bincount(group, ~same) > 0
            reason[~new] = REASONS.index("duplicate_identical")
            reason[conflict[group]] = REASONS.index("duplicate_conflict")
        start = np.datetime64(self.period[0], "us")
        end = np.datetime64(self.period[1] + timedelta(days=1), "us")
        reason[(moments < start) | (moments >= end)] = REASONS.index("outside_period")

        kept = reason <= REASONS.index("above_maximum")
        n = int(kept.sum())
        reading = pa.Table.from_arrays(
            [
                pa.repeat(station_id, n),
                pa.repeat(sensor_id, n),
                pa.array(moments[kept]),
                pa.array(values[kept].astype(np.float32), mask=reason[kept] > 0),
            ],
            schema=self.tables["reading"],
        )
        network = station_id.partition("/")[0]
        elevation = header.elevation_m if abs(header.elevation_m) < 9000 else None
        station = [station_id, network, header.latitude, header.longitude, elevation]
        sensor = [station_id, sensor_id, header.depth_top_m, header.depth_bottom_m]
        tables = {
            "station": _one_row(station, self.tables["station"]),
            "sensor": _one_row(sensor, self.tables["sensor"]),
            "reading": reading,
        }
        n_of = np.bincount(reason, minlength=len(REASONS))
        counts = [(station_id, why, int(k)) for why, k in zip(REASONS, n_of, strict=True) if k]
        return Extract(tables, counts, sha256=hashlib.sha256(content).hexdigest())


def _one_row(values: list, schema: pa.Schema) -> pa.Table:
    columns = [pa.array([v], t) for v, t in zip(values, schema.types, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)


def _partition(network: str, station: str) -> str:
    return re.sub(r"[^\w.-]+", "-", f"{network}-{station}".strip("-"))


def _lines(content: bytes) -> list[str]:
    """Lines that are not blank, whatever ends them: LF, CRLF, a lone CR, or LF CR."""
    text = content.decode("utf-8", errors="replace")
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()]


@lru_cache(maxsize=4)
def _archive(path: Path, mtime_ns: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _content(location: Path, member: str | None, *, shown: str | None = None) -> bytes:
    try:
        if member is None:
            return location.read_bytes()
        return _archive(location, location.stat().st_mtime_ns).read(member)
    except (zipfile.BadZipFile, OSError, KeyError, EOFError, ValueError) as error:
        raise BadInput(
            f"cannot be read ({error})",
            file=shown or location,
            remedy="download the archive again",
        ) from None
    except Exception as error:  # zlib.error: a damaged member
        raise BadInput(
            f"damaged member ({error})",
            file=shown or location,
            remedy="download the archive again",
        ) from None
