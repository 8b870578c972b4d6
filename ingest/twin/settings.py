"""Every number a person may change in the synthetic twin, each with its reason."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ingest.grid import M09

Range = tuple[float, float]


def _key(default, why: str, **limits):
    return Field(default, description=why, **limits)


class TwinSettings(BaseModel):
    """Settings of the twin experiment; nothing here prescribes a skill, it emerges from the errors.

    >>> TwinSettings().window_size
    64
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = _key(7, "every random number follows from it", ge=0)
    n_cells: int = _key(280, "enough cells for eight factors and five groups", ge=10)
    n_stations: int = _key(300, "mostly one a cell, three cells hold 3, 4 and 5")
    window_row: int = _key(320, "northern edge (M09), on a 36-km boundary")
    window_col: int = _key(3112, "western edge (M09), on a 36-km boundary")
    window_size: int = _key(64, "M09 cells a side: 256 whole 36-km pixels", ge=8)
    spin_up_days: int = _key(180, "the soil forgets its first guess", ge=0)
    n_members: int = _key(24, "as many as the real system", ge=3)

    # filter and ensemble
    obs_error_k: float = _key(5.0, "assumed Tb error; 1e6 switches the assimilation off", gt=0)
    rain_perturbation: float = _key(0.25, "log sd of a member's rain, lag-1 correlation 0.5")
    surface_noise_m3m3: float = _key(0.012, "additive noise of the surface layer per 3 h")
    root_noise_m3m3: float = _key(1e-4, "small: otherwise root-zone increments are unsafe")

    # radiometer
    tb_noise_k: Range = _key((3.2, 3.8), "sd of the radiometer's noise, one value a pixel")
    pixel_share: float = _key(0.25, "share of a pixel's Tb that its simulated cells explain")
    surroundings_rain_scatter: Range = _key((0.6, 0.8), "log sd of the surroundings' own rain")
    roughness_error: float = _key(0.12, "log sd of true over assumed roughness")
    vegetation_error: float = _key(0.2, "log sd of true over assumed b and omega")
    porosity_ratio: Range = _key((0.95, 1.05), "porosity of the Tb model over the land model's")

    # precipitation
    precipitation_error_range: Range = _key((0.15, 0.75), "error level eps, wet SE to dry NW")
    precipitation_error_level: float | None = _key(None, "one eps everywhere (0.02: near perfect)")
    gauge_error: Range = _key((0.6, 0.12), "benchmark rain: log sd, share of missed days")

    # land model
    kappa_mm_d: float = _key(30.0, "median of the true layer-to-layer exchange")
    coupling_bias: Range = _key((-1.1, 0.7), "log of model over true exchange: mean, sd")
    drainage_error: float = _key(0.5, "log sd of the model's drainage time error")
    pet_error: Range = _key((0.1, 0.6), "log sd of the model's evaporative demand error")

    # in situ and benchmarks
    station_rain_scatter: Range = _key((0.5, 0.8), "log sd of a station's own rain")
    station_parameter_scatter: float = _key(0.2, "log sd of a station's clay, exchange and LAI")
    sensor_noise_m3m3: Range = _key((0.018, 0.005), "white daily noise: 0-10 cm, every layer")
    drift_amplitude: Range = _key((0.5, 0.6), "depth-common AR(0.8) error: median, log sd")
    gap_share: float = _key(0.05, "days without in situ data", ge=0, lt=1)
    latent_heat_error_wm2: Range = _key((12.0, 0.5), "benchmark LE error: sd, lag-1 correlation")
    lai_noise: float = _key(0.05, "relative noise of the benchmark LAI")

    # how far weather reaches: coarse benchmark grids must see a field, not noise
    rain_length_km: float = _key(60.0, "correlation length of rain, storms and LAI anomalies")
    error_length_km: float = _key(40.0, "correlation length of the model's weather errors")
    weather_length_km: float = _key(150.0, "correlation length of radiation and temperature")

    @model_validator(mode="after")
    def _window_holds_whole_pixels(self):
        if self.window_row % 4 or self.window_col % 4 or self.window_size % 4:
            raise ValueError("window_row, window_col and window_size must be multiples of 4")
        inside = 0 <= self.window_row <= M09.rows - self.window_size
        if not inside or not 0 <= self.window_col <= M09.cols - self.window_size:
            raise ValueError("the window leaves the M09 grid")
        if self.n_cells > self.window_size**2 // 4:
            raise ValueError("n_cells: at most a quarter of the window's cells")
        if not self.n_cells + 9 <= self.n_stations <= 2 * self.n_cells + 6:
            raise ValueError("n_stations must lie between n_cells + 9 and 2 n_cells + 6")
        return self
