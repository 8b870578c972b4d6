"""What dbt gives to SQL templates, for the linter: `ref`, `var` and friends over a study with one of everything."""

VARS = {
    "lake": "lake",
    "study": {
        "study": "t",
        "seed": 1,
        "period": {"start": "2017-01-01", "end": "2018-12-31"},
        "region": None,
        "regions": {"a": {"south": -90, "north": 0, "west": -180, "east": 180}},
        "rules": {
            "min_hours": 12,
            "sm_max": 0.6,
            "qc_plateau": True,
            "cell_mean": "bias_adjusted",
            "clim_window": 31,
            "clim_min_samples": 10,
            "cross_mask": True,
            "min_pairs": 100,
            "members": 1000,
            "block_days": 30,
            "level": 0.95,
            "spatial_block_km": 72,
            "headline_interval": "block",
            "cp_alpha": "ssm_over_rzsm",
            "ivd_lag_days": 1,
            "ivd_series": "anomaly",
            "h_use_porosity_scaling": True,
            "omf_combine": "rms_species",
            "precip_series": "anomaly",
            "clay": "abs",
            "lai_clim_min_samples": 3,
        },
        "sources": ["insitu", "ol", "l4"],
        "insitu": {
            "title": "x",
            "format": "station_csv",
            "time_label": "hour_ending",
            "layers": [{"top_m": 0.0, "bottom_m": 0.1}, {"top_m": 0.1, "bottom_m": 0.2}],
            "rzsm_depth_m": 0.5,
        },
        "roles": {"insitu": "insitu", "baseline": "ol", "candidate": "l4"},
        "products": [
            {
                "key": "ol",
                "role": "baseline",
                "title": "a",
                "version": "",
                "min_samples": 6,
                "samples_per_day": 8,
                "time_label": "window_centre",
                "on_grid": True,
            },
            {
                "key": "l4",
                "role": "candidate",
                "title": "a",
                "version": "",
                "min_samples": 6,
                "samples_per_day": 8,
                "time_label": "instant",
                "on_grid": False,
                "surface_layer": 1,
                "rzsm_depth_m": 1.0,
                "root_zone": [{"index": 1, "thickness_m": 0.1}, {"index": 2, "thickness_m": 0.9}],
            },
        ],
        "references": {
            "precipitation": [
                {
                    "key": "p",
                    "role": "benchmark",
                    "title": "p",
                    "version": "",
                    "day_offset": 0,
                    "days_per_step": 1,
                    "hourly": False,
                },
                {
                    "key": "h",
                    "role": "alternative",
                    "title": "h",
                    "version": "",
                    "day_offset": 0,
                    "days_per_step": 1,
                    "hourly": True,
                },
            ],
            "latent_heat": [
                {
                    "key": "le",
                    "role": "benchmark",
                    "title": "le",
                    "version": "",
                    "day_offset": 0,
                    "days_per_step": 1,
                    "hourly": False,
                }
            ],
            "leaf_area_index": [
                {
                    "key": "lai",
                    "role": "benchmark",
                    "title": "lai",
                    "version": "",
                    "day_offset": 0,
                    "days_per_step": 1,
                    "hourly": False,
                }
            ],
            "soil_texture": [
                {
                    "key": "s1",
                    "role": "benchmark",
                    "title": "s1",
                    "version": "",
                    "day_offset": 0,
                    "days_per_step": 1,
                    "hourly": False,
                },
                {
                    "key": "s2",
                    "role": "alternative",
                    "title": "s2",
                    "version": "",
                    "day_offset": 0,
                    "days_per_step": 1,
                    "hourly": False,
                },
            ],
        },
        "tb_innovation": True,
        "land_constants": True,
        "land_cover": True,
        "candidate_fields": ["precipitation_mmd", "latent_heat_wm2", "lai_m2m2"],
    },
}


def ref(name):
    return name


def var(name, default=None):
    return VARS.get(name, default)


def config(**_):
    return ""
