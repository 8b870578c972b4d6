"""SPL4SM analysis updates (aup): brightness temperature observed and forecast at each instant.

A forecast exists at more places than an assimilated observation: only pairs are kept. The orbit
flag is 1 ascending, 2 descending, 0 the average of both. Product: doi:10.5067/60HB8VIP2T8W.
"""

from __future__ import annotations

from typing import Literal

import h5py
import numpy as np
import pyarrow as pa

from ingest.reader import Extract, RawFile
from ingest.sources.spl4sm_granule import (
    DIMENSIONLESS,
    GranuleReader,
    GranuleSettings,
    cell_columns,
    float32_column,
    get_datasets,
    read_variable,
)

KELVIN = frozenset({"k", "kelvin"})
ORBIT_AVERAGED = 0
TB_SCHEMA = pa.schema(
    [
        pa.field("grid_row", pa.int32(), nullable=False),
        pa.field("grid_col", pa.int32(), nullable=False),
        pa.field("observed_at", pa.timestamp("us"), nullable=False),
        pa.field("polarization", pa.string(), nullable=False),
        pa.field("orbit", pa.int8()),
        pa.field("resolution", pa.int8()),
        pa.field("observed_k", pa.float32(), nullable=False),
        pa.field("forecast_k", pa.float32(), nullable=False),
    ]
)


class Spl4smAup(GranuleSettings):
    """Settings of an aup source."""

    format: Literal["spl4sm_aup"]


class Spl4smAupReader(GranuleReader):
    """Reads one instant into table `tb`: a row per cell and polarization with both values.

    Every study cell has one fate per polarization (entities `tb_h`, `tb_v`): `ok`, `orbit_averaged`
    and `orbit_unknown` are rows of the lake, the others are not.
    """

    tables = {"tb": TB_SCHEMA}
    sort_key = {"tb": ("observed_at", "grid_row", "grid_col", "polarization")}
    collection = "aup"
    settings: Spl4smAup

    def extract(self, file: h5py.File, raw: RawFile) -> Extract:
        time = self.time_of(raw)
        product = "SPL4SM aup"
        observed = {
            p: get_datasets(
                file,
                "Observations_Data",
                [f"tb_{p}_obs_assim", f"tb_{p}_orbit_flag", f"tb_{p}_resolution_flag"],
                product=product,
            )
            for p in "hv"
        }
        forecasts = get_datasets(
            file, "Forecast_Data", ["tb_h_forecast", "tb_v_forecast"], product=product
        )
        shape = observed["h"][0].shape
        cells, rows, cols = self.locate(file, observed["h"][0])
        tables, counts = [], []
        for (p, (assimilated, orbit, resolution)), forecast in zip(
            observed.items(), forecasts, strict=True
        ):
            seen = read_variable(assimilated, rows, cols, shape=shape, units=KELVIN)
            at = np.flatnonzero(seen.is_ok)
            fates = {
                "ok": 0,
                "fill": int(seen.is_fill.sum()),
                "out_of_range": int(seen.is_out_of_range.sum()),
                "outside_window": len(self.cells) - len(cells),
            }
            if at.size:
                expected = read_variable(forecast, rows[at], cols[at], shape=shape, units=KELVIN)
                fates["forecast_missing"] = int(at.size - expected.is_ok.sum())
                at, forecast_k = at[expected.is_ok], expected.values[expected.is_ok]
            if at.size:
                orbit_flag, resolution_flag = (
                    read_variable(flag, rows[at], cols[at], shape=shape, units=DIMENSIONLESS).values
                    for flag in (orbit, resolution)
                )
                orbit_flag[~np.isin(orbit_flag, (0, 1, 2))] = np.nan
                fates["orbit_averaged"] = int((orbit_flag == ORBIT_AVERAGED).sum())
                fates["orbit_unknown"] = int(np.isnan(orbit_flag).sum())
                fates["ok"] = at.size - fates["orbit_averaged"] - fates["orbit_unknown"]
                columns = {
                    **cell_columns(cells[at]),
                    "observed_at": pa.array(np.full(at.size, np.datetime64(time, "us"))),
                    "polarization": pa.repeat(p, at.size),
                    "orbit": _flag_column(orbit_flag),
                    "resolution": _flag_column(resolution_flag),
                    "observed_k": float32_column(seen.values[at]),
                    "forecast_k": float32_column(forecast_k),
                }
                tables.append(pa.table(columns, schema=TB_SCHEMA))
            counts += [(f"tb_{p}", why, n) for why, n in fates.items() if n or why == "ok"]
        table = pa.concat_tables([TB_SCHEMA.empty_table(), *tables])
        order = [(column, "ascending") for column in self.sort_key["tb"]]
        return Extract({"tb": table.sort_by(order) if table.num_rows else table}, counts)


def _flag_column(flags: np.ndarray) -> pa.Array:
    known = (flags >= 0) & (flags <= 127)
    return pa.array(np.where(known, flags, 0).astype(np.int8), mask=~known)
