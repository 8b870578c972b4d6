"""What the report needs from a published warehouse, read once through ibis expressions."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import ibis
import polars as pl
from ibis import _

from ingest.reader import BadInput

LAYERS = {"ssm": "surface", "rzsm": "root zone"}
_MOST_NAMES = 6
_SPELLED = {"lai": "LAI", "tb": "Tb", "sd": "SD"}
_SUPERSCRIPT = str.maketrans("123", "¹²³")


@dataclass(frozen=True)
class Findings:
    """The tables of one study, as small polars frames; daily series stay in the file."""

    path: Path
    build: dict
    study: dict[str, str]
    products: dict[str, str]  # baseline, candidate → key in the study file
    titles: dict[str, str]  # product → title
    cells: pl.DataFrame
    stations: pl.DataFrame
    factors: pl.DataFrame
    tables: dict[str, pl.DataFrame]

    @property
    def period(self) -> tuple[dt.date, dt.date]:
        """First and last day of the study."""
        return tuple(dt.date.fromisoformat(self.study[f"period.{k}"]) for k in ("start", "end"))

    @property
    def headline(self) -> str:
        """Resampling that decides which cells count as significant: iid or block."""
        return self.study["rules.headline_interval"]

    def may_be_passed_on(self, product: str) -> bool:
        """Whether the study file lets this product's values leave the house."""
        section = "insitu" if product == "insitu" else f"products.{product}"
        return self.study.get(f"{section}.source.redistribute") == "True"

    def summary(self, layer: str) -> dict | None:
        """Row of fct_skill_summary for all cells of a layer; None where there is none."""
        rows = self.tables["fct_skill_summary"].filter(layer=layer, stratum="all").to_dicts()
        return rows[0] if rows else None


def read_findings(warehouse: Path) -> Findings:
    """Read a published warehouse, without keeping it open.

    Args:
        warehouse: path of the published file.
    Returns:
        its findings.
    Raises:
        BadInput: there is no such file, or no cell in it.
    """
    if not warehouse.exists():
        raise BadInput(
            "no warehouse",
            file=warehouse,
            remedy="build the study first: make build STUDY=<name>",
            reason="no_warehouse",
        )
    con = ibis.duckdb.connect(warehouse, read_only=True)
    try:
        if not con.table("dim_gridcell").count().execute():
            status = con.table("dim_station").select("status").to_polars()["status"]
            raise BadInput(
                f"no cell, so nothing to report; stations: {counted(status) or 'none'}",
                file=warehouse,
                remedy="fct_ledger says what was left out and why: make sql STUDY=<name>",
                reason="no_cell",
            )
        return _read(con, warehouse)
    finally:
        con.disconnect()


def _read(con, path: Path) -> Findings:
    whole = (
        "fct_skill_summary fct_forest_importance fct_forest_cross_validation fct_factor_group"
        " fct_factor_anova fct_robustness fct_sensitivity fct_paper_check fct_ledger fct_time_lag"
        " fct_precipitation_lag"
    ).split()
    tables = {name: con.table(name) for name in whole}
    null = con.table("fct_forest_null")
    tables["fct_forest_null"] = null.filter(
        (_.kind == "shuffled_target") & (_.measure == "r") & (_.status == "ok")
    )
    coverage = con.table("fct_coverage")
    tables["fct_coverage"] = coverage.group_by("product", "layer").agg(
        n_cells=(_.n_days_anomaly > 0).sum(),
        median_days=_.n_days_anomaly.median(),
        first_date=_.first_date.min(),
        last_date=_.last_date.max(),
        n_days_period=_.n_days_period.max(),
    )
    products = con.table("dim_product").filter(_.quantity == "soil_moisture")
    products = products.order_by("product").to_polars()
    roles = {r["role"]: r["product"] for r in products.to_dicts()}
    tables["coupling"] = (
        con.table("fct_vertical_coupling")
        .filter(_.status == "ok")
        .group_by("product")
        .agg(n_cells=_.count(), n_negative=(_.coupling < 0).sum())
    )
    study = con.table("meta_study").select("key", "value").to_polars()
    factors = con.table("dim_factor").order_by("factor_order").to_polars()
    return Findings(
        path=path,
        build=con.table("meta_build").to_polars().to_dicts()[0],
        study=dict(study.iter_rows()),
        products={role: roles[role] for role in ("baseline", "candidate")},
        titles={r["product"]: r["source"] for r in products.to_dicts()},
        cells=_cells(con, roles, factors["factor"].to_list()),
        stations=con.table("dim_station")
        .group_by("status")
        .agg(n=_.count())
        .order_by("status")
        .to_polars(),
        factors=factors,
        tables={name: table.order_by(table.columns).to_polars() for name, table in tables.items()},
    )


def _cells(con, roles: dict[str, str], factors: list[str]) -> pl.DataFrame:
    """One row per cell: place, stations, skill and gain of both layers, factors and every status."""
    cells = (
        con.table("dim_gridcell")
        .select("gridcell_id", "latitude", "longitude", "n_stations", "representativeness_frac")
        .order_by("gridcell_id")
        .to_polars()
    )
    used = con.table("dim_station").filter(_.status == "ok").order_by("station_id")
    names = used.select("gridcell_id", "station_id").to_polars()
    names = names.group_by("gridcell_id", maintain_order=True).agg(stations=pl.col("station_id"))
    cells = cells.join(names, on="gridcell_id", how="left").with_columns(
        pl.col("stations").map_elements(listed, return_dtype=pl.String)
    )
    gain, skill = con.table("fct_skill_gain"), con.table("fct_skill")
    for layer in LAYERS:
        columns = {
            "status": _.status,
            "n_days": _.n_days,
            "r_baseline": _.r_baseline,
            "r_candidate": _.r_candidate,
            "delta_r": _.delta_r,
            "iid_low": _.delta_r_iid_ci_lower,
            "iid_high": _.delta_r_iid_ci_upper,
            "iid_significant": _.is_significant_iid,
            "iid_q": _.q_iid,
            "block_low": _.delta_r_block_ci_lower,
            "block_high": _.delta_r_block_ci_upper,
            "block_significant": _.is_significant_block,
            "block_q": _.q_block,
        }
        rows = gain.filter(_.layer == layer).select(
            "gridcell_id", **{f"{layer}_{name}": column for name, column in columns.items()}
        )
        cells = cells.join(rows.to_polars(), on="gridcell_id", how="left")
        for role in ("baseline", "candidate"):
            own = skill.filter(
                (_.product == roles[role]) & (_.layer == layer) & (_.metric == "spearman")
            ).select("gridcell_id", own=_.value, **{f"{layer}_{role}_status": _.status})
            column = f"{layer}_r_{role}"
            cells = (
                cells.join(own.to_polars(), on="gridcell_id", how="left")
                .with_columns(pl.coalesce(column, "own").alias(column))
                .drop("own")
            )
    values = con.table("fct_control_factor").select("gridcell_id", *factors).to_polars()
    status = con.table("fct_factor_status").select("gridcell_id", "factor", "status").to_polars()
    status = status.pivot(on="factor", index="gridcell_id", values="status")
    status = status.rename({f: f"{f}_status" for f in factors})
    return cells.join(values, on="gridcell_id", how="left").join(
        status, on="gridcell_id", how="left"
    )


def listed(names: list[str]) -> str:
    """Names of stations in one line, no more than a tooltip has room for.

    >>> listed(["A/one", "A/two"]), listed([f"s{i}" for i in range(9)])
    ('A/one, A/two', 's0, s1, s2, s3, s4, s5 and 3 more')
    """
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def factor_label(factor: str) -> str:
    """Name of a factor for people, from its column.

    >>> factor_label("tb_innovation_sd_k"), factor_label("lai_mean")
    ('Tb innovation SD', 'LAI mean')
    """
    words = factor.removesuffix("_k").split("_")
    return " ".join(_SPELLED.get(word, word) for word in words)


def unit_label(unit: str) -> str:
    """Unit for people; a dash where the quantity has none.

    >>> unit_label("m2 m-2"), unit_label("K"), unit_label("1")
    ('m²/m²', 'K', '–')
    """
    if unit == "1":
        return "–"
    parts = ["/" + part.replace("-", "") if "-" in part else " " + part for part in unit.split()]
    return "".join(parts).strip().translate(_SUPERSCRIPT).replace("¹", "")


def in_words(name: str) -> str:
    """A status, switch or stratum as words.

    >>> in_words("baseline_no_layer")
    'baseline no layer'
    """
    return name.replace("_", " ")


def counted(statuses: pl.Series) -> str:
    """Statuses of cells in words with their number, the most frequent first.

    >>> counted(pl.Series("status", ["no_source", "ok", "no_source"]))
    'no source (2), ok (1)'
    """
    counts = statuses.fill_null("unknown").value_counts(name="n")
    rows = counts.sort("n", counts.columns[0], descending=[True, False]).iter_rows()
    return ", ".join(f"{in_words(status)} ({n:,})" for status, n in rows)
