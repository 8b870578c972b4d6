"""What really happened and which errors were built in: Parquet, never among the raw files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from ingest.twin.soil_column import hydraulics
from ingest.twin.world import World


def cells_table(world: World) -> pl.DataFrame:
    """One row per simulated cell: designed error levels, soil and true parameters."""
    c, climate, pixels = world.cells, world.climate, world.pixels
    here, pixel = c.place, c.pixel
    columns = {
        "grid_row": c.row,
        "grid_col": c.col,
        "pixel_row": pixels.row36[pixel],
        "pixel_col": pixels.col36[pixel],
        "precipitation_error_level": climate.error_level[here],
        "log_coupling_bias": c.log_coupling_bias,
        "pet_error": c.pet_error,
        "drainage_factor": c.drainage_factor,
        "lai_variability": climate.lai_variability[here],
        "lai_mean_m2m2": climate.lai_mean[here],
        "wetness": climate.wetness[here],
        "annual_rain_mm": climate.annual_rain_mm[here],
        "clay_topsoil_frac": climate.clay_top[here],
        "clay_subsoil_frac": climate.clay_sub[here],
        "kappa_mm_d": climate.kappa_mm_d[here],
        "roughness_min": climate.roughness_min[here],
        "roughness_max": climate.roughness_max[here],
        "porosity_m3m3": hydraulics.py_func(world.model.clay)[0],
        "tb_model_porosity_ratio": c.porosity_ratio,
        "roughness_factor": pixels.roughness_factor[pixel],
        "vegetation_b": pixels.b_true[pixel],
        "vegetation_omega": pixels.omega_true[pixel],
        "tb_noise_k": pixels.tb_noise_k[pixel],
    }
    return pl.DataFrame(columns)


def daily_table(world: World) -> pl.DataFrame:
    """One row per cell and day of the period."""
    c, days = world.cells, world.days
    dates = world.dates[days]
    n, k = dates.size, c.row.size
    values = {
        "ssm_m3m3": world.true_surface,
        "rzsm_m3m3": world.true_rootzone,
        "latent_heat_wm2": world.true_latent_heat,
        "precipitation_mm": world.weather.rain,
        "lai_m2m2": world.weather.lai_grid[:, c.place],
    }
    return pl.DataFrame(
        {
            "grid_row": np.repeat(c.row, n),
            "grid_col": np.repeat(c.col, n),
            "obs_date": np.tile(dates, k),
            **{name: v[days].T.astype(np.float32).ravel() for name, v in values.items()},
        }
    )


def stations_table(world: World) -> pl.DataFrame:
    """One row per station: its cell, its own soil, its errors and its defect."""
    st = world.stations
    return pl.DataFrame(
        {
            "station_id": st.station_id,
            "network": st.network,
            "latitude": st.lat,
            "longitude": st.lon,
            "grid_row": world.cells.row[st.cell],
            "grid_col": world.cells.col[st.cell],
            "rain_scatter": st.rain_scatter,
            "clay_topsoil_frac": st.clay_top,
            "clay_subsoil_frac": st.clay_sub,
            "kappa_mm_d": st.kappa_mm_d,
            "lai_factor": st.lai_factor,
            "drift_amplitude": st.drift_amplitude,
            "defect": st.defect,
        }
    )


def write_truth(world: World, folder: Path) -> int:
    """Write the three tables; returns the number of files."""
    folder.mkdir(parents=True, exist_ok=True)
    cells_table(world).write_parquet(folder / "cells.parquet")
    daily_table(world).write_parquet(folder / "daily.parquet")
    stations_table(world).write_parquet(folder / "stations.parquet")
    return 3
