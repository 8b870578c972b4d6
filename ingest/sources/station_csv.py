"""Station soil moisture from delimited text whose columns the study file maps (CASMOS, CIMISS).

Nothing about a file is guessed: time zone, time label, unit, layers, codes and every column are
named in the study file. A column neither mapped nor ignored stops the file, and so does a line that
cannot be read.

A reading is one layer of one row. Its reason is the first that applies: `ambiguous_local_time`,
`outside_period`, `duplicate_identical`, `duplicate_conflict` (these drop the row), `missing`,
`qc_flag`, `not_positive`, `above_maximum` (these make the value null), else `ok`. Duplicates are
looked for within a file; a row that comes in two files is left to the warehouse.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import math
import re
import zlib
import zoneinfo
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as text
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ingest.reader import BadInput, Extract, RawFile, Reader, SourceSettings, expand

REASONS = (
    "ok",
    "missing",
    "qc_flag",
    "not_positive",
    "above_maximum",
    "outside_period",
    "duplicate_identical",
    "duplicate_conflict",
    "ambiguous_local_time",
)
STATION_SCHEMA = pa.schema(
    [
        ("station_id", pa.string()),
        ("network", pa.string()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("elevation_m", pa.float64()),
    ]
)
_SUFFIXES = (".csv", ".txt", ".tsv", ".dat")
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?([0-5]\d))?")
_DAY_US = 86_400_000_000
_UNREADABLE = (UnicodeDecodeError, csv.Error, EOFError, OSError, zlib.error)


def parse_timezone(text: str) -> dt.tzinfo:
    """An IANA key or a fixed offset as a time zone.

    Raises:
        ValueError: neither; the message says what is allowed.

    >>> parse_timezone("UTC+08:00").utcoffset(None)
    datetime.timedelta(seconds=28800)
    """
    if text in ("UTC", "GMT", "Z"):
        return dt.UTC
    if match := _OFFSET.fullmatch(text):
        offset = dt.timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
        if offset <= dt.timedelta(hours=14):
            return dt.timezone(-offset if match[1] == "-" else offset)
    else:
        try:
            return zoneinfo.ZoneInfo(text)
        except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
            pass
    raise ValueError(
        f"unknown time zone {text!r}: allowed are IANA keys such as Asia/Shanghai or UTC, "
        "and fixed offsets such as UTC+08:00"
    )


def _known_timezone(text: str) -> str:
    parse_timezone(text)
    return text


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TimeColumns(_Part):
    """Where a row's time stands: one column with its strptime format, or its parts."""

    column: str | None = None
    format: str | None = None
    year: str | None = None
    month: str | None = None
    day: str | None = None
    hour: str | None = None
    minute: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> TimeColumns:
        parts = [self.year, self.month, self.day, self.hour]
        if self.column and self.format and not any(parts + [self.minute]):
            if "%z" in self.format or "%Z" in self.format:
                raise ValueError("a time format with %z or %Z contradicts the key timezone")
            return self
        if all(parts) and not self.column and not self.format:
            return self
        raise ValueError("give either {column, format} or {year, month, day, hour, minute?}")

    def names(self) -> list[str]:
        parts = [self.column, self.year, self.month, self.day, self.hour, self.minute]
        return [name for name in parts if name]


class DataColumns(_Part):
    """Column names of the data files."""

    station_id: str
    time: TimeColumns
    latitude: str | None = None
    longitude: str | None = None
    elevation: str | None = None
    network: str | None = None


class ListColumns(_Part):
    """Column names of the station list."""

    station_id: str
    latitude: str
    longitude: str
    elevation: str | None = None
    network: str | None = None


class StationList(_Part):
    """A separate file with one row per station."""

    path: str
    columns: ListColumns
    ignored_columns: tuple[str, ...] = ()


class Layer(_Part):
    """One soil layer: its value column, its QC column, its depths."""

    column: str
    qc_column: str | None = None
    top_m: Annotated[float, Field(ge=0, le=10)]
    bottom_m: Annotated[float, Field(gt=0, le=10)]


class StationCsv(SourceSettings):
    """Settings of a source of station text files."""

    format: Literal["station_csv"]
    timezone: Annotated[str, AfterValidator(_known_timezone)]
    time_label: Literal["instant", "hour_ending"]
    unit: Literal["m3 m-3", "percent"]
    columns: DataColumns
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]
    missing_codes: tuple[float | str, ...] = (999999.0, 999998.0, 999017.0, -9999.0)
    accepted_qc: tuple[int | str, ...] = (0,)
    null_qc: Literal["reject", "accept"] = "reject"  # an empty QC field
    ignored_columns: tuple[str, ...] = ()
    station_list: StationList | None = None
    network: str = ""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: Literal["utf-8", "gb18030"] = "utf-8"

    @model_validator(mode="after")
    def _consistent(self) -> StationCsv:
        data = self.columns
        if bool(data.latitude) != bool(data.longitude):
            raise ValueError("columns.latitude and columns.longitude belong together")
        if bool(self.station_list) == bool(data.latitude):
            raise ValueError(
                "coordinates come from exactly one place: "
                "columns.latitude and longitude, or station_list"
            )
        if self.station_list and (data.elevation or data.network):
            raise ValueError(
                "with station_list, elevation and network belong to station_list.columns"
            )
        for layer in self.layers:
            if layer.bottom_m <= layer.top_m:
                raise ValueError(f"layer {layer.column}: bottom_m must lie below top_m")
        for upper, lower in zip(self.layers, self.layers[1:], strict=False):
            if lower.top_m < upper.bottom_m:
                raise ValueError(
                    f"layers go downwards: {lower.column} starts above {upper.column}'s bottom"
                )
        mapped = [name for name, _ in _data_fields(self)]
        if repeated := {name for name in mapped if mapped.count(name) > 1}:
            raise ValueError(f"mapped twice: {', '.join(sorted(repeated))}")
        if both := set(mapped) & set(self.ignored_columns):
            raise ValueError(f"both mapped and ignored: {', '.join(sorted(both))}")
        return self


def _data_fields(settings: StationCsv) -> list[tuple[str, str]]:
    """(column, kind) of every mapped column: text, integer, number, qc or time."""
    columns, time = settings.columns, settings.columns.time
    words = [columns.station_id] + ([columns.network] if columns.network else [])
    number = [c for c in (columns.latitude, columns.longitude, columns.elevation) if c]
    fields = [(c, "text") for c in words] + [(c, "number") for c in number]
    fields += [(c, "time" if time.column else "integer") for c in time.names()]
    fields += [(layer.column, "number") for layer in settings.layers]
    return fields + [(layer.qc_column, "qc") for layer in settings.layers if layer.qc_column]


def classify(
    values: np.ndarray,
    qc: np.ndarray | None,
    *,
    missing_codes: Sequence[float],
    accepted_qc: Sequence[int | str],
    accept_null_qc: bool,
    divisor: float,
    sm_max: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Readings in m3 m-3 and the index into `REASONS` of each.

    value = raw / divisor, in double; missing, then qc_flag, then value <= 0, then value > sm_max.

    Args:
        values: (n,) raw values, NaN where the field was empty.
        qc: (n,) QC codes (NaN or None where empty), or None without a QC column.

    Returns:
        (n,) float64 values and (n,) uint8 reasons.

    >>> v, r = classify(np.array([25.0, 61.0, 999999.0, 0.0]), None, missing_codes=[999999],
    ...                 accepted_qc=[0], accept_null_qc=False, divisor=100.0, sm_max=0.6)
    >>> [REASONS[i] for i in r]
    ['ok', 'above_maximum', 'missing', 'not_positive']
    """
    value = values / divisor
    reason = np.zeros(len(values), np.uint8)
    reason[value > sm_max] = REASONS.index("above_maximum")
    reason[value <= 0] = REASONS.index("not_positive")
    if qc is not None:
        accepted = np.zeros(len(values), bool)
        for code in accepted_qc:
            accepted |= qc == code
        if accept_null_qc:
            accepted |= np.isnan(qc) if qc.dtype.kind == "f" else qc == ""
        reason[~accepted] = REASONS.index("qc_flag")
    missing = ~np.isfinite(values)
    for code in missing_codes:
        missing |= values == code
    reason[missing] = REASONS.index("missing")
    return value, reason


def to_utc(local: np.ndarray, timezone: dt.tzinfo) -> np.ndarray:
    """Local clock times to UTC; NaT where the clock shows a time twice or never.

    Args:
        local: (n,) datetime64[us].
    """
    days = np.arange(
        local.min().astype("M8[D]") - 1, local.max().astype("M8[D]") + 3, dtype="M8[D]"
    )
    offsets = {timezone.utcoffset(dt.datetime.combine(day, dt.time())) for day in days.tolist()}
    if len(offsets) == 1:
        return local - np.timedelta64(offsets.pop())
    clock, place = np.unique(local, return_inverse=True)
    utc = np.empty_like(clock)
    for i, moment in enumerate(clock.astype("M8[us]").tolist()):
        early, late = (timezone.utcoffset(moment.replace(fold=fold)) for fold in (0, 1))
        utc[i] = np.datetime64(moment - early if early == late else "NaT", "us")
    return utc[place]


class StationCsvReader(Reader):
    """Reads mapped station text files: tables `reading` and `station`.

    `station` rows come from the station list, or else from each data file, one for every distinct
    set of coordinates that the file gives a station. `observed_at` is the label in UTC.

    Args:
        sm_max: largest possible soil moisture, m3 m-3; above it a value becomes null.
        threads: threads of the text parser; results do not depend on them.
    """

    sort_key: ClassVar[dict[str, tuple[str, ...]]] = {
        "reading": ("station_id", "observed_at"),
        "station": ("station_id", "network", "latitude", "longitude", "elevation_m"),
    }
    version: ClassVar[str] = "1"
    settings: StationCsv

    def __init__(self, *, sm_max: float = 0.60, threads: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.sm_max, self.threads = sm_max, threads
        layers = [(f"sm_{i}_m3m3", pa.float32()) for i in range(1, len(self.settings.layers) + 1)]
        self.tables = {
            "reading": pa.schema(
                [("station_id", pa.string()), ("observed_at", pa.timestamp("us")), *layers]
            ),
            "station": STATION_SCHEMA,
        }

    def fingerprint(self) -> dict[str, Any]:
        found = super().fingerprint() | {"sm_max": self.sm_max}
        if found["settings"]["station_list"]:
            del found["settings"]["station_list"]["path"]
        return found

    def find(self) -> list[RawFile]:
        root, locations = self.expand_paths()
        station_list = (
            expand(self.settings.station_list.path) if self.settings.station_list else None
        )
        found = []
        if station_list and station_list.is_file():
            found.append(self.raw_file(station_list.parent, station_list, partition="station_list"))
        for location in locations:
            if station_list and location.resolve() == station_list.resolve():
                continue
            name = str(location.relative_to(root)).removesuffix(".gz")
            known = name.lower().endswith(_SUFFIXES)
            found.append(
                self.raw_file(
                    root,
                    location,
                    partition=re.sub(r"[^\w.-]+", "-", str(Path(name).with_suffix(""))),
                    status="ok" if known else "not_recognised",
                    reason="" if known else f"not one of {' '.join(_SUFFIXES)} (.gz)",
                )
            )
        return found

    def read(self, raw: RawFile) -> Extract:
        if raw.partition == "station_list":
            return self._read_station_list(raw.location)
        return self._read_data(raw.location)

    # -- data files

    def _read_data(self, path: Path) -> Extract:
        settings = self.settings
        fields = _data_fields(settings)
        header = self._header(path, [c for c, _ in fields], settings.ignored_columns, self.key)
        table = self._scan(path, header, dict(fields))
        if not table.num_rows:
            raise self._empty(path)
        local = self._local_times(table)
        names, code = _station_codes(table[settings.columns.station_id])
        if names[0] == "" or np.isnat(local).any():
            raise self._locate(path, header, dict(fields), "a row without station or time")
        observed_at = to_utc(local, parse_timezone(settings.timezone))
        raw_columns = [table[c] for la in settings.layers for c in (la.column, la.qc_column) if c]
        # UTC keeps the order of local clocks, because hours that a clock shows twice are dropped
        ranked, repeated = _ranked(code, local)
        row_reason = self._row_reasons(observed_at)
        if repeated.any():
            _mark_duplicates(row_reason, ranked, repeated, raw_columns)
        placed = ranked[row_reason[ranked] == 0] if row_reason.any() else ranked
        codes = [c for c in settings.missing_codes if not isinstance(c, str)]
        tally = np.zeros(len(names) * len(REASONS), np.int64)
        slot = code * len(REASONS)
        columns: list[pa.Array] = [
            pa.array(names, pa.string()).take(pa.array(code[placed])),
            pa.array(observed_at[placed], pa.timestamp("us")),
        ]
        for layer in settings.layers:
            value, reason = classify(
                table[layer.column].to_numpy(),
                table[layer.qc_column].to_numpy() if layer.qc_column else None,
                missing_codes=codes,
                accepted_qc=settings.accepted_qc,
                accept_null_qc=settings.null_qc == "accept",
                divisor=100.0 if settings.unit == "percent" else 1.0,
                sm_max=self.sm_max,
            )
            if len(placed) < len(code):
                np.copyto(reason, row_reason, where=row_reason > 0)
            tally += np.bincount(slot + reason, minlength=len(tally))
            columns.append(pa.array(value.astype(np.float32)[placed], mask=reason[placed] > 0))
        counts = [
            (names[i // len(REASONS)], REASONS[i % len(REASONS)], int(tally[i]))
            for i in np.flatnonzero(tally)
        ]
        tables = {"reading": pa.Table.from_arrays(columns, schema=self.tables["reading"])}
        if settings.columns.latitude:
            tables["station"] = self._stations(path, table, names, code)
        return Extract(tables, counts)

    def _row_reasons(self, observed_at: np.ndarray) -> np.ndarray:
        """Index into `REASONS` of rows outside the period or without a certain time, else 0."""
        reason = np.zeros(len(observed_at), np.uint8)
        first = np.datetime64(self.period[0], "us")
        end = np.datetime64(self.period[1] + dt.timedelta(days=1), "us")
        if self.settings.time_label == "hour_ending":  # the hour before the label: 00:00 ends a day
            inside = (observed_at > first) & (observed_at <= end)
        else:
            inside = (observed_at >= first) & (observed_at < end)
        reason[~inside] = REASONS.index("outside_period")
        reason[np.isnat(observed_at)] = REASONS.index("ambiguous_local_time")
        return reason

    def _local_times(self, table: pa.Table) -> np.ndarray:
        """Clock times as written, datetime64[us]; NaT where a row has none that exists."""
        time = self.settings.columns.time
        if time.column:
            encoded = pc.dictionary_encode(table[time.column]).combine_chunks()
            moments = []
            for word in encoded.dictionary.to_pylist():
                try:
                    moments.append(dt.datetime.strptime(word.strip(), time.format or ""))
                except ValueError:
                    moments.append(None)
            return np.array(moments, "M8[us]")[encoded.indices.to_numpy()]
        parts = np.stack([table[name].to_numpy() for name in time.names()])
        whole = (np.isfinite(parts) & (parts == np.floor(parts)) & (np.abs(parts) < 1e4)).all(
            axis=0
        )
        year, month, day, hour, *minute = np.where(whole, parts, 0).astype(np.int64)
        minutes = hour * 60 + (minute[0] if minute else 0)
        date = ((year - 1970) * 12 + month - 1).astype("M8[M]").astype("M8[D]") + (day - 1)
        exists = whole & (year > 0) & (month >= 1) & (month <= 12) & (day >= 1)
        exists &= date.astype("M8[M]").astype(np.int64) == (year - 1970) * 12 + month - 1
        exists &= (hour >= 0) & (minutes >= 0) & (minutes <= 1440)  # 24:00 ends the day
        if minute:
            exists &= (minute[0] >= 0) & (minute[0] <= 59)
        local = date.astype("M8[us]") + minutes * np.timedelta64(60_000_000, "us")
        return np.where(exists, local, np.datetime64("NaT", "us"))

    def _stations(
        self, path: Path, table: pa.Table, names: list[str], code: np.ndarray
    ) -> pa.Table:
        columns = self.settings.columns
        mapped = [columns.network, columns.latitude, columns.longitude, columns.elevation]
        sources = {name: table[name] for name in mapped if name}
        distinct = pa.table({"": code} | sources).group_by(["", *sources]).aggregate([]).to_pylist()
        rows = [
            {
                "station_id": names[row[""]],
                "network": (row.get(columns.network) or "").strip() or self.settings.network,
                "latitude": row[columns.latitude],
                "longitude": row[columns.longitude],
                "elevation_m": row.get(columns.elevation),
            }
            for row in distinct
        ]
        return self._checked_stations(path, rows)

    # -- the station list

    def _read_station_list(self, path: Path) -> Extract:
        listing = self.settings.station_list
        assert listing is not None
        kinds = {listing.columns.station_id: "text"}
        kinds |= {c: "number" for c in (listing.columns.latitude, listing.columns.longitude)}
        if listing.columns.elevation:
            kinds[listing.columns.elevation] = "number"
        if listing.columns.network:
            kinds[listing.columns.network] = "text"
        header = self._header(
            path, list(kinds), listing.ignored_columns, f"{self.key}.station_list"
        )
        place = {name: i for i, name in enumerate(header)}
        rows = []
        for number, line in self._lines(path):
            self._check_line(path, number, line, header, kinds)
            word = {key: line[place[c]].strip() for key, c in listing.columns if c}
            rows.append(
                {
                    "station_id": word["station_id"],
                    "network": word.get("network") or self.settings.network,
                    "latitude": self._place(word["latitude"]),
                    "longitude": self._place(word["longitude"]),
                    "elevation_m": self._place(word.get("elevation", "")),
                }
            )
        if not rows:
            raise self._empty(path)
        return Extract({"station": self._checked_stations(path, rows)})

    def _place(self, word: str) -> float | None:
        return None if word in self._empty_words() else float(word)

    def _checked_stations(self, path: Path, rows: list[dict[str, Any]]) -> pa.Table:
        """Distinct stations in order; missing codes become null, impossible places are fatal."""
        for row in rows:
            for name, limit in (("latitude", 90.0), ("longitude", 360.0), ("elevation_m", 9000.0)):
                value = row[name]
                if (
                    value is None
                    or not math.isfinite(value)
                    or value in self.settings.missing_codes
                ):
                    row[name] = None
                elif abs(value) > limit:
                    raise BadInput(
                        f"{name} {value:g} of station {row['station_id']} is impossible",
                        file=path,
                        key=f"{self.key}.columns",
                        remedy="give decimal degrees and metres, or add the code to missing_codes",
                        reason="bad_coordinates",
                    )
        distinct = {tuple(row.values()): row for row in rows}
        ordered = sorted(distinct.values(), key=lambda r: [(v is not None, v) for v in r.values()])
        return pa.Table.from_pylist(ordered, schema=STATION_SCHEMA)

    # -- text

    def _header(
        self, path: Path, mapped: Sequence[str], ignored: Sequence[str], key: str
    ) -> list[str]:
        """The file's column names, each either mapped or ignored."""
        with self._open(path) as stream:
            try:
                header = next(csv.reader(stream, delimiter=self.settings.delimiter), [])
            except _UNREADABLE as error:
                raise self._not_text(path, error) from None
        header = [name.strip() for name in header]
        if not any(header):
            raise self._empty(path)
        if any("\0" in name for name in header):
            raise self._not_text(path, "zero bytes in the header")
        if repeated := sorted({name for name in header if header.count(name) > 1}):
            raise BadInput(
                f"column {repeated[0]!r} stands twice in the header",
                file=path,
                key=f"{key}.columns",
                remedy="rename one of them in the file",
                reason="duplicate_column",
            )
        if absent := [name for name in mapped if name not in header]:
            raise BadInput(
                f"no column {absent[0]!r}; the file has {', '.join(header)[:500]}",
                file=path,
                key=f"{key}.columns",
                remedy="map the column's name in this file, or correct delimiter",
                reason="missing_column",
            )
        if unknown := [name for name in header if name not in mapped and name not in ignored]:
            raise BadInput(
                f"column {unknown[0]!r} is neither mapped nor ignored",
                file=path,
                key=f"{key}.columns",
                remedy=f"map it under columns or layers, or add it to {key}.ignored_columns",
                reason="unknown_column",
            )
        return header

    def _scan(self, path: Path, header: list[str], kinds: dict[str, str]) -> pa.Table:
        """The mapped columns of every row; numbers, codes and parts of times as doubles."""
        encoded = pa.dictionary(pa.int32(), pa.string())
        types = {c: pa.float64() if self._numeric(kind) else encoded for c, kind in kinds.items()}
        try:
            return text.read_csv(
                path,
                read_options=text.ReadOptions(
                    column_names=header,
                    skip_rows=1,
                    encoding=self.settings.encoding,
                    use_threads=self.threads > 1,
                    block_size=1 << 22,
                ),
                parse_options=text.ParseOptions(delimiter=self.settings.delimiter),
                convert_options=text.ConvertOptions(
                    column_types=types,
                    include_columns=list(kinds),
                    null_values=self._empty_words(),
                    auto_dict_encode=False,
                ),
            )
        except (pa.ArrowException, OSError, EOFError, UnicodeError) as error:
            raise self._locate(path, header, kinds, str(error)) from None

    def _numeric(self, kind: str) -> bool:
        codes_are_numbers = all(isinstance(code, int) for code in self.settings.accepted_qc)
        return kind in ("number", "integer") or (kind == "qc" and codes_are_numbers)

    def _empty_words(self) -> list[str]:
        return ["", *(code for code in self.settings.missing_codes if isinstance(code, str))]

    def _locate(
        self, path: Path, header: list[str], kinds: dict[str, str], message: str
    ) -> BadInput:
        """The first line that cannot be read, found by a slow second reading."""
        try:
            number = 0
            for number, line in self._lines(path):
                self._check_line(path, number, line, header, kinds)
            if not number:
                return self._empty(path)
        except BadInput as bad:
            return bad
        return BadInput(message.split("\n")[0], file=path, remedy="correct or remove the file")

    def _check_line(
        self, path: Path, number: int, line: list[str], header: list[str], kinds: dict[str, str]
    ) -> None:
        """Raise with line number and text unless every mapped field can be read."""

        def broken(what: str) -> BadInput:
            shown = self.settings.delimiter.join(line)
            return BadInput(
                f"line {number}: {what} in {shown[:200]!r}",
                file=path,
                key=f"{self.key}.columns",
                remedy="correct the line; a word that means missing belongs to missing_codes",
                reason="broken_line",
            )

        if len(line) != len(header):
            raise broken(f"{len(line)} fields instead of {len(header)}")
        field = dict(zip(header, (word.strip() for word in line), strict=True))
        for column, kind in kinds.items():
            word = field[column]
            if word in self._empty_words():
                if column in self._required():
                    raise broken(f"column {column} is empty")
                continue
            try:
                if self._numeric(kind):
                    float(word)
            except ValueError:
                raise broken(f"{word[:50]!r} in column {column} is not a number") from None
        time = self.settings.columns.time
        if not set(time.names()) <= set(kinds):
            return
        try:
            if time.column:
                dt.datetime.strptime(field[time.column], time.format or "")
            else:
                parts = [float(field[c]) for c in time.names()]
                year, month, day, hour, *minute = (int(part) for part in parts)
                if not all(part.is_integer() for part in parts):
                    raise ValueError
                dt.datetime(
                    year, month, day, 0 if hour == 24 and not any(minute) else hour, *minute
                )
        except ValueError:
            shown = " ".join(field[c] for c in time.names())
            raise broken(f"{shown[:50]!r} is not a time") from None

    def _required(self) -> set[str]:
        names = {self.settings.columns.station_id, *self.settings.columns.time.names()}
        if self.settings.station_list:
            names.add(self.settings.station_list.columns.station_id)
        return names

    def _lines(self, path: Path) -> Iterator[tuple[int, list[str]]]:
        """Line number and fields of every line below the header that is not blank."""
        with self._open(path) as stream:
            reader = csv.reader(stream, delimiter=self.settings.delimiter, strict=True)
            try:
                next(reader, None)
                for line in reader:
                    if line:
                        yield reader.line_num, line
            except _UNREADABLE as error:
                raise self._not_text(path, error) from None

    def _open(self, path: Path):
        encoding = "utf-8-sig" if self.settings.encoding == "utf-8" else self.settings.encoding
        opener = gzip.open if path.suffix == ".gz" else open
        return opener(path, "rt", encoding=encoding, newline="")

    def _empty(self, path: Path) -> BadInput:
        return BadInput(
            "no rows below the header",
            file=path,
            remedy="remove the file or fetch it again",
            reason="empty_file",
        )

    def _not_text(self, path: Path, error: Exception | str) -> BadInput:
        return BadInput(
            f"not readable as {self.settings.encoding} text ({error})",
            file=path,
            key=f"{self.key}.encoding",
            remedy="declare encoding: gb18030 or utf-8, or fetch the file again",
        )


def _station_codes(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Sorted station names and each row's place among them."""
    encoded = column.combine_chunks()
    written = [word.strip() for word in encoded.dictionary.to_pylist()]
    names = sorted(set(written))
    place = {name: i for i, name in enumerate(names)}
    return names, np.array([place[name] for name in written], np.int64)[encoded.indices.to_numpy()]


def _ranked(code: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows ordered by code, time, place in the file; whether each has the key of the one before."""
    row = np.arange(len(code))
    repeated = np.zeros(len(code), bool)
    step, later = np.diff(code), np.diff(time).view(np.int64)
    if ((step > 0) | ((step == 0) & (later > 0))).all():
        return row, repeated
    if (later < 0).any():
        row = np.argsort(time, kind="stable")
    # codes are few: a stable sort of small integers is a radix sort
    small = code.astype(np.uint16 if code.max() < 65536 else np.int64)[row]
    row = row[np.argsort(small, kind="stable")]
    repeated[1:] = (np.diff(code[row]) == 0) & (np.diff(time[row]).view(np.int64) == 0)
    return row, repeated


def _mark_duplicates(
    reason: np.ndarray, ranked: np.ndarray, repeated: np.ndarray, raw: list[pa.ChunkedArray]
) -> None:
    """Mark rows that share station and time: equal ones keep the first, others keep none."""
    member = repeated | np.append(repeated[1:], False)
    rows, group = ranked[member], np.cumsum(~repeated)[member]
    fields = pa.table({str(i): c.take(pa.array(rows)) for i, c in enumerate(raw)}).to_pylist()
    variants: dict[int, set[str]] = {}
    for key, field in zip(group.tolist(), fields, strict=True):
        variants.setdefault(key, set()).add(repr(field))  # as text, for a NaN never equals itself
    for row, key, again in zip(rows, group.tolist(), repeated[member], strict=True):
        if reason[row]:
            continue
        if len(variants[key]) > 1:
            reason[row] = REASONS.index("duplicate_conflict")
        elif again:
            reason[row] = REASONS.index("duplicate_identical")
