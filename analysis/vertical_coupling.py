"""How strongly surface and root-zone soil moisture move together."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl

from analysis.rank_correlation import rank_correlation_kernel
from analysis.schema import check_columns, sorted_groups

AlphaDefinition = Literal["ssm_over_rzsm", "rzsm_over_ssm"]


def coupling_strength(r: float, alpha: float) -> float:
    """Coupling from a rank correlation and a ratio of standard deviations.

    CP = 1 - sqrt((r - 1)^2 + (alpha - 1)^2);   1 for identical series, negative once alpha > 2

    Source: Qiu et al. 2021, doi:10.5194/hess-25-1569-2021, after the Kling-Gupta efficiency of
    Gupta et al. 2009, doi:10.1016/j.jhydrol.2009.08.003. Never clipped.

    >>> round(coupling_strength(0.955882, 1.802776), 6)
    0.196013
    """
    return float(1 - np.sqrt((r - 1) ** 2 + (alpha - 1) ** 2))


def vertical_coupling(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    keys: list[str],
    min_days: int,
    ssm: str = "ssm_anomaly_m3m3",
    rzsm: str = "rzsm_anomaly_m3m3",
    alpha_definition: AlphaDefinition = "ssm_over_rzsm",
) -> pl.DataFrame:
    """Coupling of two soil-moisture anomalies in every group, on rows where both are valid.

    r = Spearman(ssm, rzsm),   alpha = std(ssm) / std(rzsm),   coupling as in `coupling_strength`

    Args:
        frame: `keys` (text), one row per key and day with anomalies `ssm` and `rzsm` (m3 m-3, nulls
            allowed). Rows outside the common days of the products compared must be absent or null.
        keys: columns that name a group, product and gridcell_id.
        min_days: fewer valid days give null and `too_few_days`.
        ssm, rzsm: names of the two columns.
        alpha_definition: `ssm_over_rzsm` as published, or the inverse ratio.
    Returns:
        One row per group, sorted by `keys`: keys, `r`, `alpha`, `coupling`, `n_days`, `status`
        (`ok`, `too_few_days`, `zero_variance`).
    Raises:
        ValueError: a column is missing or of the wrong kind, or an option is not allowed.

    Source: Qiu et al. 2021, doi:10.5194/hess-25-1569-2021.

    >>> days = pl.DataFrame({
    ...     "product": ["insitu"] * 6, "ssm_anomaly_m3m3": [0.1, 0.3, 0.2, 0.5, 0.4, 0.2],
    ...     "rzsm_anomaly_m3m3": [0.2, 0.3, 0.25, 0.4, 0.35, 0.2],
    ... })
    >>> found = vertical_coupling(days, keys=["product"], min_days=5)
    >>> found.select(pl.col("r", "alpha", "coupling").round(6), "n_days", "status").row(0)
    (0.955882, 1.802776, 0.196013, 6, 'ok')
    """
    if alpha_definition not in ("ssm_over_rzsm", "rzsm_over_ssm"):
        raise ValueError(
            f"alpha_definition: found {alpha_definition!r}, expected 'ssm_over_rzsm' or "
            "'rzsm_over_ssm'"
        )
    if min_days < 2:
        raise ValueError(f"min_days: found {min_days}, expected 2 or more")
    schema = {**dict.fromkeys(keys, "text"), ssm: "number", rzsm: "number"}
    groups = sorted_groups(check_columns(frame, schema), keys=keys)
    surface, rootzone = groups.column(ssm), groups.column(rzsm)
    r, alpha, coupling = (np.full(len(groups), np.nan) for _ in range(3))
    n_days = np.zeros(len(groups), dtype=np.int64)
    status = np.full(len(groups), "ok", dtype=object)
    for g in range(len(groups)):
        x = surface[groups.offsets[g] : groups.offsets[g + 1]]
        y = rootzone[groups.offsets[g] : groups.offsets[g + 1]]
        both = np.isfinite(x) & np.isfinite(y)
        x, y = x[both], y[both]
        n_days[g] = x.size
        if x.size < min_days:
            status[g] = "too_few_days"
            continue
        rank_r = rank_correlation_kernel(x, y)
        if np.isnan(rank_r):
            status[g] = "zero_variance"
            continue
        ratio = x.std() / y.std()
        r[g], alpha[g] = rank_r, ratio if alpha_definition == "ssm_over_rzsm" else 1 / ratio
        coupling[g] = coupling_strength(r[g], alpha[g])
    return groups.keys.with_columns(
        pl.Series("r", r).fill_nan(None),
        pl.Series("alpha", alpha).fill_nan(None),
        pl.Series("coupling", coupling).fill_nan(None),
        pl.Series("n_days", n_days),
        pl.Series("status", status.tolist(), dtype=pl.String),
    )
