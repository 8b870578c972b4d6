"""GEOSldas output in tile space (NetCDF-4): the land model's runs as GEOSldas users share them.

One file holds variables (time, tile) of one collection. A tile belongs to the 9-km cell that
contains its `lat`, `lon`; the file's IG and JG are not used, their base (0 or 1) differs between
runs. The label of an average is the centre of its window: 12:00 for a daily mean, 01:30, 04:30, ...
for the 3-hourly ones, so the UTC day of the label is the day of the values.
Source: GEOSldas, doi:10.5194/gmd-12-2777-2019.
"""

from __future__ import annotations

import calendar
import datetime as dt
import fnmatch
import hashlib
import re
from collections import defaultdict
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import h5py
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import model_validator

from ingest.grid import M09, project
from ingest.reader import BadInput, Extract, RawFile, Reader, SourceSettings
from ingest.sources.spl4sm_gph import (
    LAND_SCHEMA,
    LAND_VARIABLES,
    OPTIONAL_COLUMNS,
    LandColumn,
    with_usual_datasets,
)
from ingest.sources.spl4sm_granule import (
    cell_columns,
    check_numbers,
    check_units,
    classify,
    digest_stored,
    float32_column,
    numeric_attribute,
    open_dataset,
    open_hdf5,
    text_attribute,
)

UNDEFINED_ABOVE = 1e10  # the fill is 1e15, in float32 and after any averaging still far above
EDGE_CELLS = 0.499  # further than this from a cell's centre, a tile lies on the edge of two cells

Collection = Literal["SMAP_L4_SM_gph", "tavg3_1d_lnd_Nt", "tavg24_1d_lnd_Nt"]
SAMPLES_PER_DAY: dict[Collection, int] = {
    "SMAP_L4_SM_gph": 8,
    "tavg3_1d_lnd_Nt": 8,
    "tavg24_1d_lnd_Nt": 1,
}
LND_DATASETS: dict[LandColumn, str] = {
    "ssm_m3m3": "SFMC",
    "rzsm_m3m3": "RZMC",
    "precipitation_mmd": "PRECTOTCORRLAND",
    "latent_heat_wm2": "LHLAND",
    "lai_m2m2": "LAI",
    "soil_temperature_k": "TSOIL1",
    "snow_mass_kgm2": "SNOMAS",
}
GPH_DATASETS: dict[LandColumn, str] = {c: v.dataset for c, v in LAND_VARIABLES.items()}

_NAME = re.compile(
    r"(.+?)\.(SMAP_L4_SM_gph|tavg3_1d_lnd_Nt|tavg24_1d_lnd_Nt)"
    r"\.(?:monthly\.)?(\d{6}|\d{8}|\d{8}_\d{4}z)\.nc4"
)
_TIME_UNITS = re.compile(
    r"(second|minute|hour|day)s? since (\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:[ T](\d{1,2}):(\d{2})(?::(\d{2})(?:\.0*)?)?)? ?(?:Z|UTC|\+?0?0:?00)?"
)
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


class TileFileName(NamedTuple):
    """What a file name says: run, collection, first day, and the instant of a single-step file."""

    experiment: str
    collection: Collection
    span: Literal["step", "day", "month"]
    start: dt.datetime

    @property
    def n_days(self) -> int:
        month = calendar.monthrange(self.start.year, self.start.month)[1]
        return month if self.span == "month" else 1


def parse_name(name: str) -> TileFileName | None:
    """The parts of a tile-space file's name, None for any other name.

    A daily file of the daily-mean collection is one step, whatever its label.

    >>> parse_name("OL7000.tavg24_1d_lnd_Nt.20170701_1200z.nc4")[:3]
    ('OL7000', 'tavg24_1d_lnd_Nt', 'step')
    >>> parse_name("OL7000.SMAP_L4_SM_gph.monthly.201707.nc4").span
    'month'
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    experiment, collection, stamp = match.groups()
    span, form = {6: ("month", "%Y%m"), 8: ("day", "%Y%m%d"), 14: ("step", "%Y%m%d_%H%Mz")}[
        len(stamp)
    ]
    try:
        start = dt.datetime.strptime(stamp, form)
    except ValueError:
        return None
    return TileFileName(experiment, collection, span, start)


class GeosldasNc4(SourceSettings):
    """Settings of a tile-space source: one collection of one run.

    `fields` as for SPL4SM granules: columns and their variables, or a list of columns.
    """

    format: Literal["geosldas_nc4"]
    collection: Collection = "SMAP_L4_SM_gph"
    experiment: str | None = None  # the run's name before the first dot, `?` and `*` allowed
    fields: dict[LandColumn, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _usual_variables(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        is_land = str(given.get("collection", "")).startswith("tavg")
        usual = LND_DATASETS if is_land else GPH_DATASETS
        fields = given.get("fields") or [c for c in usual if c not in OPTIONAL_COLUMNS]
        return {**given, "fields": with_usual_datasets(fields, usual)}

    @property
    def samples_per_day(self) -> int:
        """Values that a full day has."""
        return SAMPLES_PER_DAY[self.collection]


class GeosldasNc4Reader(Reader):
    """Reads one tile-space file into table `land`, one row per step and study cell with a tile."""

    tables = {"land": LAND_SCHEMA}
    sort_key = {"land": ("observed_at", "grid_row", "grid_col")}
    settings: GeosldasNc4

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if self.cells is not None:  # sorted by row, column: the partitions' order
            self.cells = np.unique(np.asarray(self.cells, dtype=np.int64).reshape(-1, 2), axis=0)

    def find(self) -> list[RawFile]:
        """Every .nc4 file with its fate.

        Where a month has daily or single files, its joined file is `superseded` (it may be a mean);
        so is a day's join beside single files. Of one name in two folders the first path is read,
        the other is a `duplicate`.

        Raises:
            BadInput: `several_versions`, files of more than one run are left.
        """
        root, locations = self.expand_paths()
        found: list[RawFile] = []
        usable: list[tuple[TileFileName, RawFile]] = []
        for location in locations:
            if location.suffix != ".nc4":
                continue
            name = parse_name(location.name)
            status = "ok"
            if name is None:
                status = "not_recognised"
            elif name.collection != self.settings.collection:
                status = "other_collection"
            elif not fnmatch.fnmatchcase(name.experiment, self.settings.experiment or "*"):
                status = "other_version"
            elif not any(map(self.inside_period, _days(name))):
                status = "outside_period"
            partition = f"{name.start:%Y-%m}" if name else ""
            raw = self.raw_file(root, location, partition=partition, status=status)
            if name is None or status != "ok":
                found.append(raw)
            else:
                usable.append((name, raw))
        experiments = {name.experiment for name, _ in usable}
        if len(experiments) > 1:
            raise BadInput(
                f"files of several runs: {', '.join(sorted(experiments))}",
                key=f"{self.key}.experiment",
                remedy="Name one of them",
                reason="several_versions",
            )
        return sorted(found + _without_overlap(usable), key=lambda raw: raw.path)

    def read(self, raw: RawFile) -> Extract:
        name = parse_name(raw.location.name)
        if name is None:
            raise BadInput(
                "the name is not that of a GEOSldas collection",
                file=raw.location,
                reason="not_recognised",
            )
        with open_hdf5(raw.location) as file:
            return self._extract(file, name)

    def _extract(self, file: h5py.File, name: TileFileName) -> Extract:
        fields = self.settings.fields
        datasets = dict(zip(fields, self._variables(file, fields.values()), strict=True))
        n_steps, n_tiles = next(iter(datasets.values())).shape
        times = _times(file, name, n_steps)
        steps = [i for i, time in enumerate(times) if self.inside_period(time.date())]
        has_tile, tiles = self._tiles(file, n_tiles)
        cells, n_out = self.cells[has_tile], int((~has_tile).sum()) * len(steps)
        n_late = (n_steps - len(steps)) * len(self.cells)
        columns: dict[str, pa.Array] = {
            **cell_columns(np.tile(cells, (len(steps), 1))),
            "observed_at": pa.array(
                np.repeat(np.array([times[i] for i in steps], "datetime64[us]"), len(cells))
            ),
        }
        counts: list[tuple[str, str, int]] = []
        for column, variable in LAND_VARIABLES.items():
            if column not in datasets:
                columns[column] = pa.nulls(len(cells) * len(steps), pa.float32())
                continue
            dataset = datasets[column]
            if dataset.shape != (n_steps, n_tiles):
                raise BadInput(
                    f"{dataset.name} has shape {dataset.shape}, others {(n_steps, n_tiles)}",
                    file=file.filename,
                    remedy="Fetch the file again",
                    reason="wrong_grid",
                )
            check_numbers(dataset)
            check_units(dataset, variable.units)
            first, last = int(tiles.min()), int(tiles.max()) + 1
            stored = [dataset[i, first:last][tiles - first] for i in steps]
            values = np.concatenate(stored) if stored else np.empty(0, dataset.dtype)
            reading = classify(
                np.where(np.abs(values) > UNDEFINED_ABOVE, np.nan, values),
                fill=numeric_attribute(dataset, "_FillValue"),
                valid_min=numeric_attribute(dataset, "valid_min"),
                valid_max=numeric_attribute(dataset, "valid_max"),
            )
            columns[column] = float32_column(reading.values, factor=variable.factor)
            counts += reading.counts(column, n_outside_window=n_out)
            if n_late:
                counts.append((column, "outside_period", n_late))
        return Extract({"land": pa.table(columns, schema=LAND_SCHEMA)}, counts)

    def _variables(self, file: h5py.File, names) -> list[h5py.Dataset]:
        datasets = []
        for name in names:
            dataset = open_dataset(file, name)
            if dataset is None:
                raise BadInput(
                    f"no variable {name}, the file has {', '.join(sorted(file)) or 'nothing'}",
                    file=file.filename,
                    key=f"{self.key}.fields",
                    remedy="Correct the variable's name in the study or leave its column out",
                    reason="missing_variable",
                )
            if dataset.ndim != 2:
                raise BadInput(
                    f"{name} has shape {dataset.shape}, not (time, tile)",
                    file=file.filename,
                    remedy="Give the output in tile space, not regridded",
                    reason="wrong_grid",
                )
            datasets.append(dataset)
        return datasets

    def _tiles(self, file: h5py.File, n_tiles: int) -> tuple[NDArray[np.bool_], NDArray]:
        """Which study cells have a tile, and the tile of each that has."""
        lat, lon = self._variables_1d(file, n_tiles)
        digest = hashlib.blake2b(self.cells.tobytes(), digest_size=16)
        digest_stored(lat, digest)
        digest_stored(lon, digest)
        key = digest.digest()
        if key not in _tile_of_cell:
            if len(_tile_of_cell) >= 16:
                _tile_of_cell.clear()
            _tile_of_cell[key] = match_tiles(lat[()], lon[()], self.cells)
        tiles, n_on_edge, n_shared = _tile_of_cell[key]
        found, reason = "", "wrong_grid"
        if 2 * n_on_edge > n_tiles:
            found = f"{n_on_edge} of {n_tiles} tiles lie on the edges of 9-km cells: another grid"
        elif n_shared:
            found = f"{n_shared} of the study's cells hold several tiles"
        elif (tiles < 0).all():
            found = f"none of the study's {len(tiles)} cells has a tile"
            reason = "no_cell_in_file"
        if found:
            raise BadInput(
                found,
                file=file.filename,
                key=self.key,
                remedy="Give output on the 9-km EASE-Grid 2.0 (M09) that covers the study's region",
                reason=reason,
            )
        return tiles >= 0, tiles[tiles >= 0]

    def _variables_1d(self, file: h5py.File, n_tiles: int) -> list[h5py.Dataset]:
        coordinates = []
        for name in ("lat", "lon"):
            dataset = open_dataset(file, name)
            if dataset is None or dataset.shape != (n_tiles,):
                raise BadInput(
                    f"no {name} per tile" if dataset is None else f"{name} is {dataset.shape}",
                    file=file.filename,
                    remedy="Give the output in tile space with the tiles' lat and lon",
                    reason="missing_variable" if dataset is None else "wrong_grid",
                )
            coordinates.append(dataset)
        return coordinates


_tile_of_cell: dict[bytes, tuple[NDArray, int, int]] = {}


def match_tiles(
    latitude: NDArray, longitude: NDArray, cells: NDArray[np.integer]
) -> tuple[NDArray[np.int64], int, int]:
    """The tile inside each 9-km cell.

    Args:
        latitude, longitude: (n_tiles,) degrees; undefined ones match nothing.
        cells: (n_cells, 2) row and column.

    Returns:
        (n_cells,) tile index, -1 without tile; number of tiles on cell edges; cells with several.
    """
    lat, lon = latitude.astype(np.float64), longitude.astype(np.float64)
    usable = (np.abs(lat) <= 90) & (np.abs(lon) <= 360)
    lat, lon = np.where(usable, lat, 0.0), np.where(usable, lon, 0.0)
    row, col = M09.index(lat, lon)
    x, y = project(lat, lon)
    off_x = np.abs((x - M09.x0_m) / M09.cell_m - col - 0.5)
    off_y = np.abs((M09.y0_m - y) / M09.cell_m - row - 0.5)
    inside = usable & (row >= 0) & (np.maximum(off_x, off_y) <= EDGE_CELLS)
    tile_ids = np.flatnonzero(inside)
    tile_cells = row[tile_ids].astype(np.int64) * M09.cols + col[tile_ids]
    order = np.argsort(tile_cells, kind="stable")
    tile_cells, tile_ids = tile_cells[order], tile_ids[order]
    wanted = cells[:, 0].astype(np.int64) * M09.cols + cells[:, 1]
    left = np.searchsorted(tile_cells, wanted, "left")
    n_found = np.searchsorted(tile_cells, wanted, "right") - left
    found = np.full(len(cells), -1, np.int64)
    found[n_found > 0] = tile_ids[left[n_found > 0]]
    return found, int((usable & ~inside).sum()), int((n_found > 1).sum())


def _days(name: TileFileName) -> list[dt.date]:
    return [name.start.date() + dt.timedelta(days=i) for i in range(name.n_days)]


def _without_overlap(files: list[tuple[TileFileName, RawFile]]) -> list[RawFile]:
    finer: dict[str, set] = defaultdict(set)  # span -> days or months that have finer files
    for name, _ in files:
        if name.span == "step":
            finer["day"].add(name.start.date())
        if name.span != "month":
            finer["month"].add((name.start.year, name.start.month))
    seen: set[TileFileName] = set()
    result = []
    for name, raw in sorted(files, key=lambda pair: pair[1].path):
        month = (name.start.year, name.start.month)
        if (name.span == "day" and name.start.date() in finer["day"]) or (
            name.span == "month" and month in finer["month"]
        ):
            raw = replace(raw, status="superseded")
        elif name in seen:
            raw = replace(raw, status="duplicate")
        seen.add(name)
        result.append(raw)
    return result


def _times(file: h5py.File, name: TileFileName, n_steps: int) -> list[dt.datetime]:
    """The label of each step: the file name's; of a join, the time axis, checked by the name."""

    def refuse(found: str, reason: str = "wrong_time") -> BadInput:
        return BadInput(
            found,
            file=file.filename,
            remedy="Give single-step files, or joins whose time axis holds every step's label",
            reason=reason,
        )

    per_day = SAMPLES_PER_DAY[name.collection]
    centres = {720} if per_day == 1 else set(range(90, 1440, 180))  # minutes of the day
    if name.span == "step" or (name.span == "day" and per_day == 1):
        if n_steps != 1:
            raise refuse(f"{n_steps} time steps in a file of one")
        if name.span == "step" and name.start.hour * 60 + name.start.minute not in centres:
            raise refuse(f"label {name.start:%H:%M} is not the centre of an averaging window")
        return [name.start.replace(hour=12) if per_day == 1 else name.start]
    if n_steps == 1:
        raise refuse(f"one time step in a file of a {name.span}: a mean, not a join", "period_mean")
    times = _decode_times(file, n_steps)
    if times is None:
        raise refuse("no time axis that can be decoded")
    days = set(_days(name))
    strays = [time for time in times if time.date() not in days]
    if strays:
        raise refuse(f"time {strays[0]} in the file of a {name.span}, {name.start:%Y-%m-%d}")
    if per_day == 1:  # whatever the hour, the label lies in its day
        times = [time.replace(hour=12, minute=0, second=0) for time in times]
    odd = [time for time in times if time.hour * 60 + time.minute not in centres]
    if odd:
        raise refuse(f"label {odd[0]} is not the centre of an averaging window")
    if any(later <= earlier for earlier, later in zip(times, times[1:], strict=False)):
        raise refuse("times do not increase")
    return times


def _decode_times(file: h5py.File, n_steps: int) -> list[dt.datetime] | None:
    axis = open_dataset(file, "time")
    units = text_attribute(axis, "units") if axis is not None else None
    match = _TIME_UNITS.fullmatch(units.strip()) if units else None
    if axis is None or match is None or axis.shape != (n_steps,) or n_steps == 0:
        return None
    origin = dt.datetime(*(int(part or 0) for part in match.groups()[1:]))
    offsets = axis[()].astype(np.float64) * _SECONDS[match[1]]
    if not np.isfinite(offsets).all() or np.abs(offsets).max() > 1e10:
        return None
    return [origin + dt.timedelta(seconds=round(float(offset))) for offset in offsets]
