"""SPL4SM land-model constants (lmc): soil and microwave parameters, one value a cell for ever.

Product: doi:10.5067/KGLC3UH4TMAQ. Roughness parameters: De Lannoy et al. 2013,
doi:10.1175/JHM-D-12-092.1.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import h5py
import pyarrow as pa

from ingest.reader import Extract, RawFile
from ingest.sources.spl4sm_granule import (
    DIMENSIONLESS,
    VOLUMETRIC,
    GranuleReader,
    GranuleSettings,
    cell_columns,
    float32_column,
    get_datasets,
    open_dataset,
    read_variable,
)

GROUP = "Land-Model-Constants_Data"
_METRE = frozenset({"m"})


class Constant(NamedTuple):
    """A dataset of the file, its accepted units, and whether a file may lack it."""

    dataset: str
    units: frozenset[str]
    required: bool = False


CONSTANTS = {
    "roughness_h_min": Constant("mwrtm_rghhmin", DIMENSIONLESS, True),
    "roughness_h_max": Constant("mwrtm_rghhmax", DIMENSIONLESS, True),
    "roughness_w_min_m3m3": Constant("mwrtm_rghwmin", VOLUMETRIC, True),
    "roughness_w_max_m3m3": Constant("mwrtm_rghwmax", VOLUMETRIC, True),
    "mwrtm_porosity_m3m3": Constant("mwrtm_poros", VOLUMETRIC, True),
    "clsm_porosity_m3m3": Constant("clsm_poros", VOLUMETRIC, True),
    "clsm_wilting_point_m3m3": Constant("clsm_wp", VOLUMETRIC),
    "mwrtm_sand_frac": Constant("mwrtm_sand", DIMENSIONLESS),
    "mwrtm_clay_frac": Constant("mwrtm_clay", DIMENSIONLESS),
    "surface_layer_m": Constant("clsm_dzsf", _METRE),
    "root_zone_layer_m": Constant("clsm_dzrz", _METRE),
    "land_frac": Constant("cell_land_fraction", DIMENSIONLESS),
    "elevation_m": Constant("cell_elevation", _METRE),
}
CONSTANTS_SCHEMA = pa.schema(
    [
        pa.field("grid_row", pa.int32(), nullable=False),
        pa.field("grid_col", pa.int32(), nullable=False),
        *(pa.field(column, pa.float32()) for column in CONSTANTS),
    ]
)


class Spl4smLmc(GranuleSettings):
    """Settings of an lmc source."""

    format: Literal["spl4sm_lmc"]


class Spl4smLmcReader(GranuleReader):
    """Reads the constants into table `constants`, one row per study cell inside the file.

    What only describes a cell may be missing from the file: its column is null, counted as
    `not_in_file`.
    """

    tables = {"constants": CONSTANTS_SCHEMA}
    sort_key = {"constants": ("grid_row", "grid_col")}
    collection = "lmc"
    settings: Spl4smLmc

    def extract(self, file: h5py.File, raw: RawFile) -> Extract:
        required = [c.dataset for c in CONSTANTS.values() if c.required]
        first = get_datasets(file, GROUP, required, product="SPL4SM lmc")[0]
        cells, rows, cols = self.locate(file, first)
        n, n_outside = len(cells), len(self.cells) - len(cells)
        columns: dict[str, pa.Array] = cell_columns(cells)
        counts: list[tuple[str, str, int]] = []
        for column, constant in CONSTANTS.items():
            dataset = open_dataset(file[GROUP], constant.dataset)
            if dataset is None:
                columns[column] = pa.nulls(n, pa.float32())
                counts.append((column, "not_in_file", len(self.cells)))
                continue
            reading = read_variable(dataset, rows, cols, shape=first.shape, units=constant.units)
            columns[column] = float32_column(reading.values)
            counts += reading.counts(column, n_outside_window=n_outside)
        return Extract({"constants": pa.table(columns, schema=CONSTANTS_SCHEMA)}, counts)
