"""Every other choice that a study may make, in one build, with what can be checked literally."""

import duckdb
import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

OTHERS = {
    "cell_mean": "simple",
    "cross_mask": True,
    "qc_plateau": True,
    "block_days": "auto",
    "headline_interval": "iid",
    "cp_alpha": "rzsm_over_ssm",
    "ivd_lag_days": 2,
    "ivd_series": "raw",
    "h_use_porosity_scaling": False,
    "omf_combine": "daily_mean",
    "precip_series": "anomaly",
    "clay": "signed",
    "box_bins": "equal_width",
    "box_coupling": "signed",
}


@pytest.fixture(scope="module")
def other(built, tmp_path_factory):
    """The mini study with every rule turned to its other value."""
    home = built.copy(tmp_path_factory.mktemp("other") / "home")
    home.edit(lambda s: s["rules"].update(OTHERS))
    done = home.build()
    assert done.returncode == 0, done.stdout + done.stderr
    with duckdb.connect(str(home.warehouse), read_only=True) as connection:
        yield lambda query: connection.execute(query).pl()


def test_settings_are_recorded(other):
    said = dict(other("select key, value from meta_study where key like 'rules.%'").rows())
    assert {k: said[f"rules.{k}"] for k in OTHERS} == {k: str(v) for k, v in OTHERS.items()}


def test_simple_cell_mean(built, other):
    """Literal mean of the stations available that day."""
    with duckdb.connect(str(built.path / ".build/mini/scratch.duckdb"), read_only=True) as c:
        days = c.execute(
            "select gridcell_id, obs_date, avg(ssm_m3m3::double)::float as x from int_station_day"
            " join int_station using (station_id) where status = 'ok' group by all"
        ).pl()
    found = other("from fct_daily_soil_moisture where product = 'insitu'").drop_nulls("ssm_m3m3")
    both = found.join(days, on=["gridcell_id", "obs_date"])
    assert both.height == found.height > 1000
    assert (both["ssm_m3m3"] - both["x"]).abs().max() == 0


def test_cross_masked_climatology(other):
    wide = (
        other("from fct_daily_soil_moisture")
        .pivot(on="product", index=["gridcell_id", "obs_date"], values="ssm_m3m3")
        .sort("gridcell_id", "obs_date")
    )
    anomaly = other("from fct_daily_anomaly where product = 'l4' order by gridcell_id, obs_date")
    cell = wide["gridcell_id"][0]
    part = wide.filter(gridcell_id=cell)
    common = part.select(pl.all_horizontal(pl.exclude("gridcell_id", "obs_date").is_not_null()))
    x = np.where(common.to_series().to_numpy(), part["l4"].cast(pl.Float64).to_numpy(), np.nan)
    stored = anomaly.filter(gridcell_id=cell)["ssm_anomaly_m3m3"].to_numpy()
    k = np.arange(len(x))
    for i in k[::7]:
        near = np.minimum((k - i) % 365, (i - k) % 365) <= 15
        window = x[near & np.isfinite(x)]
        expected = part["l4"][int(i)] - window.mean() if len(window) >= 10 else np.nan
        assert stored[i] == pytest.approx(expected, abs=1e-7, nan_ok=True)


def test_inverse_ratio_never_gives_more_than_one(other):
    rows = other("from fct_vertical_coupling where status = 'ok'")
    literal = 1 - ((rows["r"] - 1) ** 2 + (rows["alpha"] - 1) ** 2).sqrt()
    assert (rows["coupling"] - literal).abs().max() < 1e-12
    assert rows.filter(product="open_loop")["alpha"].mean() < 1


def test_latent_heat_at_lag_two_on_raw_series(other):
    raw = other("from fct_daily_latent_heat").pivot(
        on="product", index=["gridcell_id", "obs_date"], values="latent_heat_wm2"
    )
    skill = dict(other("select gridcell_id, latent_heat_skill from fct_control_factor").rows())
    for (cell,), part in raw.group_by("gridcell_id"):
        x, y = (part.sort("obs_date")[p].cast(pl.Float64).to_numpy() for p in ("l4", "fluxcom"))
        ok = np.isfinite(x[2:]) & np.isfinite(y[2:]) & np.isfinite(x[:-2]) & np.isfinite(y[:-2])
        c = np.cov(np.stack([x[2:][ok], y[2:][ok], x[:-2][ok], y[:-2][ok]]), ddof=0)
        r2 = c[0, 1] * np.sqrt(c[0, 2] / c[1, 3]) / c[0, 0]
        assert skill[cell] == pytest.approx(np.sqrt(min(r2, 1)), abs=1e-9)


def test_roughness_without_scaling_differs(built, other):
    scaled = dict(built.ask("select gridcell_id, microwave_roughness from fct_control_factor"))
    plain = dict(other("select gridcell_id, microwave_roughness from fct_control_factor").rows())
    assert scaled.keys() == plain.keys()
    assert all(0 < abs(scaled[c] - plain[c]) < 0.2 for c in plain)


def test_daily_mean_innovation(other):
    daily = (
        other("from fct_tb_innovation where orbit in (1, 2)")
        .group_by("gridcell_id", pl.col("observed_at").dt.date())
        .agg(pl.col("innovation_k").mean())
        .group_by("gridcell_id")
        .agg(pl.col("innovation_k").std(ddof=1))
    )
    found = dict(other("select gridcell_id, tb_innovation_sd_k from fct_control_factor").rows())
    for cell, sd in daily.rows():
        assert found[cell] == pytest.approx(sd, abs=1e-10)


def test_signed_clay(other):
    rows = other(
        "select clay_variability, clay_difference_frac from fct_control_factor"
        " join fct_soil_texture using (gridcell_id)"
    )
    assert (rows["clay_variability"] == rows["clay_difference_frac"]).all()


def test_precipitation_anomalies(other):
    raw = other("from fct_daily_precipitation").pivot(
        on="product", index=["gridcell_id", "obs_date"], values="precipitation_mm"
    )
    skill = dict(other("select gridcell_id, precipitation_skill from fct_control_factor").rows())
    cell = raw["gridcell_id"][0]
    part = raw.filter(gridcell_id=cell).sort("obs_date")
    k = np.arange(part.height)
    away = np.abs(k[:, None] - k[None, :])
    near = np.minimum(away, 365 - away) <= 15
    anomalies = []
    for product in ("l4", "cgdpa"):
        x = part[product].cast(pl.Float64).to_numpy()
        mean = np.array([x[n & np.isfinite(x)].mean() for n in near])
        anomalies.append(x - mean)
    ok = np.isfinite(anomalies).all(axis=0)
    r = spearmanr(anomalies[0][ok], anomalies[1][ok])[0]
    assert skill[cell] == pytest.approx(r, abs=2e-4)  # anomalies may tie in the last bit


def test_block_length_by_rule(other):
    rows = other("select * from fct_skill_gain where status = 'ok'")
    assert rows["block_length_days"].n_unique() > 3
    assert (rows["block_length_days"] <= rows["n_days"] // 4).all()
    assert (rows["is_significant"] == rows["is_significant_iid"]).all()
