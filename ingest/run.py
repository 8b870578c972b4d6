"""Ingest of a whole study: stations first, since they say which grid cells the products are read at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from ingest.grid import M09
from ingest.lake import Lake, SourceSummary
from ingest.reader import BadInput, Reader
from ingest.sources.gridded_netcdf import GriddedNetcdf, GriddedNetcdfReader
from ingest.sources.ismn_archive import IsmnArchive, IsmnArchiveReader
from ingest.sources.spl4sm_gph import Spl4smGph, Spl4smGphReader
from ingest.sources.station_csv import StationCsv, StationCsvReader
from ingest.study import Study, settings_table

_READERS: dict[type, type[Reader]] = {
    StationCsv: StationCsvReader,
    IsmnArchive: IsmnArchiveReader,
    Spl4smGph: Spl4smGphReader,
    GriddedNetcdf: GriddedNetcdfReader,
}


def reader_of(study: Study, source: str, *, cells: np.ndarray | None = None) -> Reader:
    """The reader of one source of a study (`insitu` or a product's key)."""
    key, settings = study.sources()[source]
    extra: dict = {}
    if isinstance(settings, StationCsv | IsmnArchive):
        extra["sm_max"] = study.rules.sm_max
    if isinstance(settings, IsmnArchive):
        extra["scratch"] = study.folder / "scratch" / source
    return _READERS[type(settings)](
        key=key,
        source=source,
        settings=settings,
        period=(study.period.start, study.period.end),
        cells=cells,
        **extra,
    )


def ingest(study: Study, lake: Lake, *, say: Callable[[str], None] = print) -> list[SourceSummary]:
    """Bring the study's lake up to date: stations, then products at the stations' cells.

    Raises:
        BadInput: a source without usable files, or no station inside the grid and the region.
    """
    summaries = [lake.ingest(reader_of(study, "insitu"))]
    cells = study_cells(study, lake)
    write_study_tables(study, lake, cells)
    for source in study.sources():
        if source != "insitu":
            summaries.append(lake.ingest(reader_of(study, source, cells=cells)))
    return summaries


def study_cells(study: Study, lake: Lake) -> np.ndarray:
    """Row and column of every M09 cell that holds a station, sorted; (n, 2)."""
    stations = lake.scan("insitu", "station").select("latitude", "longitude").collect()
    stations = stations.filter(pl.col("latitude").is_not_null() & pl.col("longitude").is_not_null())
    if study.region is not None:
        box = study.region
        stations = stations.filter(
            pl.col("latitude").is_between(box.south, box.north)
            & pl.col("longitude").is_between(box.west, box.east)
        )
    row, col = M09.index(stations["latitude"].to_numpy(), stations["longitude"].to_numpy())
    cells = np.unique(np.stack([row, col], axis=1)[row >= 0], axis=0)
    if not len(cells):
        raise BadInput(
            f"none of {lake.scan('insitu', 'station').collect().height} stations lies inside the grid"
            + (" and the study's region" if study.region else ""),
            key="region" if study.region else "insitu.source",
            remedy="check the station coordinates (degrees) and the region",
            reason="no_station",
        )
    return np.ascontiguousarray(cells.astype(np.int32))


def write_study_tables(study: Study, lake: Lake, cells: np.ndarray) -> None:
    """What the warehouse needs beside the sources: the settings, and the centres of the cells."""
    latitude, longitude = M09.centre(cells[:, 0], cells[:, 1])
    centre = {
        "grid_row": cells[:, 0],
        "grid_col": cells[:, 1],
        "latitude": latitude,
        "longitude": longitude,
    }
    for name, frame in (
        ("study_cell", pl.DataFrame(centre)),
        ("study_setting", settings_table(study)),
    ):
        temporary = lake.root / f".tmp-{name}.parquet"
        frame.write_parquet(temporary)
        temporary.replace(lake.root / f"{name}.parquet")


def files_found(study: Study) -> dict[str, tuple[str, int, int]]:
    """Source -> (study key, number of files, bytes) without opening any file."""
    found = {}
    for source, (key, _) in study.sources().items():
        reader = reader_of(study, source, cells=np.empty((0, 2), np.int32))
        _, files = reader.expand_paths()
        found[source] = (key, len(files), sum(f.stat().st_size for f in files))
    return found
