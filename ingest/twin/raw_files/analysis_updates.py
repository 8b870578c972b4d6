"""SPL4SMAU-like granules: Tb observed, rescaled and forecast at each analysis instant."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ingest.twin.model_ensemble import ASCENDING, DESCENDING
from ingest.twin.raw_files.granules import EPOCH, Field, plane, template, write_granule
from ingest.twin.settings import TwinSettings
from ingest.twin.world import World

INSTANT_HOURS = {ASCENDING: 9, DESCENDING: 21}  # UTC; the other six instants see no overpass
ORBIT_FLAG = {ASCENDING: 1, DESCENDING: 2}
RESOLUTION_36_KM = 1


def _both(group: str, name: str, *rest) -> list[Field]:
    return [Field(group, name.replace("?", p), *rest) for p in "hv"]


AUP_FIELDS = (
    *_both("Observations_Data", "tb_?_obs", "K", 100.0, 350.0, "Composite brightness temperature"),
    *_both("Observations_Data", "tb_?_obs_assim", "K", 100.0, 350.0, "Rescaled, as assimilated"),
    *_both("Observations_Data", "tb_?_obs_errstd", "K", 0.0, 50.0, "Assumed error sd"),
    *_both("Observations_Data", "tb_?_orbit_flag", "dimensionless", 0, 2,
           "1 = ascending, 2 = descending, 0 = both", "u4"),
    *_both("Observations_Data", "tb_?_resolution_flag", "dimensionless", 1, 2,
           "1 = 36 km, 2 = 9 km", "u4"),
    *_both("Observations_Data", "tb_?_obs_time_sec", "s", 465156000.0, 946000000.0,
           "Overpass time, seconds since 2000-01-01 12:00", "f8"),
    *_both("Forecast_Data", "tb_?_forecast", "K", 100.0, 350.0, "Ensemble mean forecast"),
    *_both("Forecast_Data", "tb_?_forecast_ensstd", "K", 0.0, 50.0, "Ensemble sd of the forecast"),
    Field("Forecast_Data", "sm_surface_forecast", "m3 m-3", 0.0, 0.9, "Surface soil moisture"),
    Field("Analysis_Data", "sm_surface_analysis", "m3 m-3", 0.0, 0.9, "Surface soil moisture"),
)  # fmt: skip


@dataclass(frozen=True)
class AupSource:
    """Day arrays of the assimilation run, from which its eight aup granules a day are cut.

    `tb` arrays are (n_days, n_pixels, overpass, polarisation), `surface` ones
    (n_days, n_cells, overpass).
    """

    folder: Path
    start: dt.date
    settings: TwinSettings
    cell_places: np.ndarray
    pixel_places: np.ndarray  # (n_pixels, 16)
    tb: dict[str, np.ndarray]
    surface: dict[str, np.ndarray]

    def write_days(self, first: int, last: int) -> int:
        """Write the granules of days first..last - 1; returns how many."""
        image = template(self.settings, AUP_FIELDS)
        nowhere = np.array([], dtype=int)
        empty = {f.path: plane(self.settings, nowhere, nowhere, f) for f in AUP_FIELDS}
        overpass_at = {hour: which for which, hour in INSTANT_HOURS.items()}
        for day in range(first, last):
            for hour in range(0, 24, 3):
                date = self.start + dt.timedelta(days=day)
                instant = dt.datetime.combine(date, dt.time(hour))
                chunks = empty
                if hour in overpass_at:
                    chunks = empty | self._instant(day, overpass_at[hour], instant)
                folder = self.folder / f"{instant:%Y}"
                folder.mkdir(parents=True, exist_ok=True)
                name = f"SMAP_L4_SM_aup_{instant:%Y%m%dT%H%M%S}_Vv4030_001.h5"
                write_granule(folder / name, image, chunks, instant)
        return (last - first) * 8

    def _instant(self, day: int, which: int, instant: dt.datetime) -> dict[str, bytes]:
        """Chunks of one overpass; a pixel's values are posted on its 16 cells."""
        seconds = (instant - EPOCH).total_seconds()
        values = {}
        for p, pol in enumerate("hv"):
            obs, assim, forecast, spread = (
                self.tb[name][day, :, which, p] for name in ("obs", "assim", "forecast", "spread")
            )
            seen, used = np.isfinite(obs), np.isfinite(assim)
            values |= {
                f"tb_{pol}_obs": obs,
                f"tb_{pol}_obs_assim": assim,
                f"tb_{pol}_obs_errstd": np.where(used, self.settings.obs_error_k, np.nan),
                f"tb_{pol}_orbit_flag": np.where(seen, ORBIT_FLAG[which], np.nan),
                f"tb_{pol}_resolution_flag": np.where(seen, RESOLUTION_36_KM, np.nan),
                f"tb_{pol}_obs_time_sec": np.where(seen, seconds, np.nan),
                f"tb_{pol}_forecast": forecast,
                f"tb_{pol}_forecast_ensstd": spread,
            }
        chunks = {}
        for field in AUP_FIELDS:
            if field.name in values:
                places, data = self.pixel_places, values[field.name][:, None]
            else:
                places, data = self.cell_places, self.surface[field.name][day, :, which]
            chunks[field.path] = plane(self.settings, places, data, field)
        return chunks


def aup_source(world: World, raw: Path) -> AupSource:
    """The analysis updates of the assimilation run, ready to be written."""
    run, days = world.assimilation, world.days
    thawed = ~world.frozen[:, :, None, None]
    return AupSource(
        folder=raw / "aup",
        start=world.period[0],
        settings=world.settings,
        cell_places=world.cells.place,
        pixel_places=world.pixels.places,
        tb={
            "obs": world.tb_obs[days],
            "assim": world.tb_assim[days],
            "forecast": np.where(thawed, run.tb_forecast, np.nan)[days],
            "spread": np.where(thawed, run.tb_spread, np.nan)[days],
        },
        surface={
            "sm_surface_forecast": run.surface_forecast[days],
            "sm_surface_analysis": run.surface_analysis[days],
        },
    )
