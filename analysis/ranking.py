"""Does another choice of data or method rank the factors alike?"""

from __future__ import annotations

import polars as pl
from scipy.stats import kendalltau

from analysis.schema import Schema, check_columns

TOP = 3

RANKING_INPUT: Schema = {
    "variant": "text",
    "target": "text",
    "layer": "text",
    "factor": "text",
    "importance_pct": "number",
}
RANKING_OUTPUT = {
    "variant": pl.String,
    "target": pl.String,
    "layer": pl.String,
    "kendall_tau_with_base": pl.Float64,
    "top_three": pl.String,
    "is_same_top_three": pl.Boolean,
    "n_factors": pl.Int64,
    "status": pl.String,
}


def compare_rankings(frame: pl.DataFrame | pl.LazyFrame, *, base: str = "base") -> pl.DataFrame:
    """Kendall's tau of each variant's importances with the base's, and the three largest.

    tau_b = (concordant - discordant pairs) / sqrt((pairs - ties in one) (pairs - ties in other))

    Args:
        frame: one row per variant x target x layer x factor (`RANKING_INPUT`); importances may be
            null where a model could not be made.
        base: the variant compared with.
    Returns:
        One row per variant x target x layer (`RANKING_OUTPUT`); `top_three` from the largest, equal
        ones by name, joined by ", "; `is_same_top_three` compares the sets; n_factors are those
        with an importance in both. Status `ok`, `no_ranking` (no importance at all), `no_base`
        (none to compare with) or `undefined` (fewer than 2 factors, or all equal: tau is null).
    Raises:
        ValueError: a column is missing or of the wrong kind, or a factor repeats in a model.

    Source: Kendall 1945, doi:10.1093/biomet/33.3.239 (tau with ties).

    >>> found = compare_rankings(pl.DataFrame({
    ...     "variant": ["base"] * 4 + ["pearson"] * 4, "target": "delta_r", "layer": "ssm",
    ...     "factor": ["rain", "clay", "lai", "h"] * 2,
    ...     "importance_pct": [40.0, 30, 20, 10, 30, 40, 20, 10],
    ... }))
    >>> found.select(pl.col("kendall_tau_with_base").round(3), "top_three").row(1)
    (0.667, 'clay, rain, lai')
    """
    checked = check_columns(frame, RANKING_INPUT)
    keys = ["variant", "target", "layer"]
    repeated = checked.group_by(*keys, "factor").len().filter(pl.col("len") > 1)
    if repeated.height:
        found = repeated.sort(*keys, "factor").row(0, named=True)
        where = ", ".join(f"{name} {found[name]}" for name in [*keys, "factor"])
        raise ValueError(f"column factor: found {found['len']} rows for {where}, expected one")
    models = {
        key: dict(rows.drop_nulls().select("factor", "importance_pct").iter_rows())
        for key, rows in checked.group_by(keys)
    }
    compared = []
    for key in sorted(models):
        own, other = models[key], models.get((base, *key[1:]), {})
        common = sorted(own.keys() & other.keys())
        row = dict(zip(keys, key, strict=True)) | {"n_factors": len(common), "status": "ok"}
        row["top_three"] = ", ".join(_largest(own)) or None
        if not own or not other:
            row["status"] = "no_base" if own else "no_ranking"
        else:
            row["is_same_top_three"] = set(_largest(own)) == set(_largest(other))
            pair = [[values[name] for name in common] for values in (own, other)]
            if len(common) < 2 or any(min(values) == max(values) for values in pair):
                row["status"] = "undefined"
            else:
                row["kendall_tau_with_base"] = float(kendalltau(*pair).statistic)
        compared.append(row)
    return pl.DataFrame(compared, schema=RANKING_OUTPUT)


def _largest(importance: dict[str, float]) -> list[str]:
    return sorted(importance, key=lambda name: (-importance[name], name))[:TOP]
