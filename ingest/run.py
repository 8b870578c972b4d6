"""Ingest of a whole study: stations first, since they say which grid cells the products are read at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from ingest.grid import M09
from ingest.lake import Lake, SourceSummary
from ingest.reader import BadInput, Reader
from ingest.sources.cgls_lai import CglsLai, CglsLaiReader
from ingest.sources.flat_binary_grid import FlatBinaryGrid, FlatBinaryGridReader
from ingest.sources.geosldas_nc4 import GeosldasNc4, GeosldasNc4Reader
from ingest.sources.gridded_flux import GriddedFlux, GriddedFluxReader
from ingest.sources.gridded_netcdf import GriddedNetcdf, GriddedNetcdfReader
from ingest.sources.hwsd import HwsdV1, HwsdV1Reader, HwsdV2, HwsdV2Reader
from ingest.sources.ismn_archive import IsmnArchive, IsmnArchiveReader
from ingest.sources.mcd12q1 import Mcd12q1, Mcd12q1Reader
from ingest.sources.spl4sm_aup import Spl4smAup, Spl4smAupReader
from ingest.sources.spl4sm_gph import Spl4smGph, Spl4smGphReader
from ingest.sources.spl4sm_lmc import Spl4smLmc, Spl4smLmcReader
from ingest.sources.station_csv import StationCsv, StationCsvReader
from ingest.study import Study, settings_table

Stations = Sequence[tuple[str, float, float]]
_READERS: dict[type, type[Reader]] = {
    StationCsv: StationCsvReader,
    IsmnArchive: IsmnArchiveReader,
    Spl4smGph: Spl4smGphReader,
    GeosldasNc4: GeosldasNc4Reader,
    GriddedNetcdf: GriddedNetcdfReader,
    GriddedFlux: GriddedFluxReader,
    FlatBinaryGrid: FlatBinaryGridReader,
    CglsLai: CglsLaiReader,
    HwsdV1: HwsdV1Reader,
    HwsdV2: HwsdV2Reader,
    Spl4smAup: Spl4smAupReader,
    Spl4smLmc: Spl4smLmcReader,
    Mcd12q1: Mcd12q1Reader,
}


def reader_of(
    study: Study,
    source: str,
    *,
    cells: np.ndarray | None = None,
    stations: Stations = (),
) -> Reader:
    """The reader of one source of a study, by its lake folder."""
    key, settings = study.sources()[source]
    extra: dict = {}
    if isinstance(settings, StationCsv | IsmnArchive):
        extra["sm_max"] = study.rules.sm_max
    if isinstance(settings, IsmnArchive):
        extra["scratch"] = study.folder / "scratch" / source
    if isinstance(settings, Mcd12q1):
        extra["stations"] = list(stations)
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
    stations = study_stations(study, lake)
    cells = study_cells(stations)
    write_study_tables(study, lake, cells)
    for source in study.sources():
        if source != "insitu":
            reader = reader_of(study, source, cells=cells, stations=stations)
            summaries.append(lake.ingest(reader))
    return summaries


def study_stations(study: Study, lake: Lake) -> Stations:
    """Key, latitude and longitude of every station inside the grid and the study's region."""
    listed = (
        lake.scan("insitu", "station")
        .sort("source_file")
        .unique("station_id", keep="first", maintain_order=True)
        .collect()
    )
    found = listed.drop_nulls(["latitude", "longitude"])
    if study.region is not None:
        box = study.region
        found = found.filter(
            pl.col("latitude").is_between(box.south, box.north)
            & pl.col("longitude").is_between(box.west, box.east)
        )
    row, _ = M09.index(found["latitude"].to_numpy(), found["longitude"].to_numpy())
    found = found.filter(pl.Series(row >= 0))
    if found.is_empty():
        raise BadInput(
            f"none of {listed.height} stations lies inside the grid"
            + (" and the study's region" if study.region else ""),
            key="region" if study.region else "insitu.source",
            remedy="check the station coordinates (degrees) and the region",
            reason="no_station",
        )
    return found.select("station_id", "latitude", "longitude").sort("station_id").rows()


def study_cells(stations: Stations) -> np.ndarray:
    """Row and column of every M09 cell that holds a station, sorted; (n, 2)."""
    index = M09.index([s[1] for s in stations], [s[2] for s in stations])
    return np.ascontiguousarray(np.unique(np.stack(index, axis=1), axis=0).astype(np.int32))


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
