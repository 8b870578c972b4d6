"""SPL4SM geophysical granules (gph): 3-hourly means of soil moisture, fluxes and vegetation, 9 km.

Also the open-loop and nature runs that share the layout. The time is the file name's: the centre of
the averaging window. Product: doi:10.5067/KPJNN2GI1DQR.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import h5py
import numpy as np
import pyarrow as pa
from pydantic import field_validator

from ingest.reader import Extract, RawFile
from ingest.sources.spl4sm_granule import (
    DIMENSIONLESS,
    VOLUMETRIC,
    GranuleReader,
    GranuleSettings,
    cell_columns,
    float32_column,
    get_datasets,
    read_variable,
)

GROUP = "Geophysical_Data"

LandColumn = Literal[
    "ssm_m3m3",
    "rzsm_m3m3",
    "precipitation_mmd",
    "latent_heat_wm2",
    "lai_m2m2",
    "soil_temperature_k",
    "snow_mass_kgm2",
]


class LandVariable(NamedTuple):
    """Where a lake column comes from: dataset, accepted units, factor to the column's unit."""

    dataset: str
    units: frozenset[str]
    factor: float = 1.0


LAND_VARIABLES: dict[LandColumn, LandVariable] = {
    "ssm_m3m3": LandVariable("sm_surface", VOLUMETRIC),
    "rzsm_m3m3": LandVariable("sm_rootzone", VOLUMETRIC),
    "precipitation_mmd": LandVariable(
        "precipitation_total_surface_flux", frozenset({"kg m-2 s-1", "mm s-1"}), 86400.0
    ),
    "latent_heat_wm2": LandVariable("heat_flux_latent", frozenset({"w m-2"})),
    "lai_m2m2": LandVariable("leaf_area_index", DIMENSIONLESS | {"m2 m-2"}),
    "soil_temperature_k": LandVariable("soil_temp_layer1", frozenset({"k", "kelvin"})),
    "snow_mass_kgm2": LandVariable("snow_mass", frozenset({"kg m-2", "mm"})),
}
OPTIONAL_COLUMNS = ("soil_temperature_k", "snow_mass_kgm2")  # only for the frozen-soil mask

LAND_SCHEMA = pa.schema(
    [
        pa.field("grid_row", pa.int32(), nullable=False),
        pa.field("grid_col", pa.int32(), nullable=False),
        pa.field("observed_at", pa.timestamp("us"), nullable=False),
        *(pa.field(column, pa.float32()) for column in get_args(LandColumn)),
    ]
)


def with_usual_datasets(fields: Any, usual: dict[LandColumn, str]) -> Any:
    """A list of columns as a mapping to their usual datasets; anything else as it is.

    >>> with_usual_datasets(["ssm_m3m3"], {"ssm_m3m3": "sm_surface"})
    {'ssm_m3m3': 'sm_surface'}
    """
    if not isinstance(fields, list | tuple):
        return fields
    return {str(column): usual.get(str(column), "") for column in fields}


class Spl4smGph(GranuleSettings):
    """Settings of a gph source.

    `fields` says which columns to read and from which dataset of the file; a list of columns takes
    the usual datasets. Columns that are not listed exist in the lake and are null.
    """

    format: Literal["spl4sm_gph"]
    fields: dict[LandColumn, str] = {
        column: variable.dataset
        for column, variable in LAND_VARIABLES.items()
        if column not in OPTIONAL_COLUMNS
    }

    @field_validator("fields", mode="before")
    @classmethod
    def _usual_datasets(cls, given: Any) -> Any:
        return with_usual_datasets(given, {c: v.dataset for c, v in LAND_VARIABLES.items()})

    @field_validator("fields")
    @classmethod
    def _at_least_one(cls, given: dict[LandColumn, str]) -> dict[LandColumn, str]:
        if not given:
            raise ValueError(f"no column to read; choose from {', '.join(LAND_VARIABLES)}")
        return given


class Spl4smGphReader(GranuleReader):
    """Reads one 3-hourly granule into table `land`, one row per study cell inside the file."""

    tables = {"land": LAND_SCHEMA}
    sort_key = {"land": ("observed_at", "grid_row", "grid_col")}
    collection = "gph"
    settings: Spl4smGph

    def extract(self, file: h5py.File, raw: RawFile) -> Extract:
        time = self.time_of(raw)
        fields = self.settings.fields
        opened = get_datasets(file, GROUP, fields.values(), product="SPL4SM gph")
        datasets = dict(zip(fields, opened, strict=True))
        cells, rows, cols = self.locate(file, opened[0])
        n = len(cells)
        columns: dict[str, pa.Array] = {
            **cell_columns(cells),
            "observed_at": pa.array(np.full(n, np.datetime64(time, "us"))),
        }
        counts: list[tuple[str, str, int]] = []
        for column, variable in LAND_VARIABLES.items():
            if column not in datasets:
                columns[column] = pa.nulls(n, pa.float32())
                continue
            reading = read_variable(
                datasets[column], rows, cols, shape=opened[0].shape, units=variable.units
            )
            columns[column] = float32_column(reading.values, factor=variable.factor)
            counts += reading.counts(column, n_outside_window=len(self.cells) - n)
        return Extract({"land": pa.table(columns, schema=LAND_SCHEMA)}, counts)
