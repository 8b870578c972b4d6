"""What of a warehouse may not be passed on: rows that repeat a source marked `redistribute: false`.

Tables of values near the source's own (daily series, brightness temperatures, clay, roughness, land cover) are
guarded. Statistics, factors, and what describes stations and files are results or metadata and stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from ingest.study import Study

#: tables whose column `product` names the source of a row
_BY_PRODUCT = (
    "fct_daily_soil_moisture",
    "fct_daily_anomaly",
    "fct_daily_precipitation",
    "fct_daily_latent_heat",
    "fct_leaf_area_index",
)


@dataclass(frozen=True)
class Restriction:
    """Rows of a table, or the values of one column, that a source's licence holds back."""

    table: str
    source: str
    rows: str  # SQL condition of the rows held back
    what: str  # the same in words
    column: str | None = None  # only this column's values, the rows stay


def restricted_sources(connection: duckdb.DuckDBPyConnection, study: Study) -> dict[str, str]:
    """Source -> licence of every source that the built or the present study marks `redistribute: false`.

    Args:
        connection: an open warehouse of the study.
        study: the study file as it is now; a mark set after the build counts too.
    """
    found = {
        key.split(".")[-3]: licence or ""
        for key, licence in connection.execute(
            "select marked.key, licence.value from meta_study as marked left join meta_study as licence"
            " on licence.key = replace(marked.key, '.redistribute', '.licence')"
            " where marked.key like '%.source.redistribute' and marked.value = 'False'"
            " order by marked.key"
        ).fetchall()
    }
    return found | {
        name: settings.licence
        for name, (_, settings) in study.sources().items()
        if not settings.redistribute
    }


def restrictions(
    connection: duckdb.DuckDBPyConnection, sources: dict[str, str]
) -> list[Restriction]:
    """What each restricted source holds back, table by table.

    Args:
        connection: an open warehouse of the study.
        sources: names of the restricted sources (`restricted_sources`).
    """
    roles = {
        (quantity, role): product
        for product, quantity, role in connection.execute(
            "select product, quantity, role from dim_product"
        ).fetchall()
    }
    makers = {
        "fct_soil_texture": [roles.get(("soil_texture", "benchmark"))],
        "fct_tb_innovation": ["tb_innovation"],
        "fct_daily_roughness": ["land_constants", roles[("soil_moisture", "candidate")]],
    }
    found = []
    for source in sources:
        found += [
            Restriction(table, source, f"product = '{source}'", f"rows of product {source}")
            for table in _BY_PRODUCT
        ]
        found += [
            Restriction(table, source, "true", "rows, which is all")
            for table, by in makers.items()
            if source in by
        ]
        if source == "land_cover":
            found += [
                Restriction(
                    table, source, "igbp_class is not null", "values of igbp_class", "igbp_class"
                )
                for table in ("dim_station", "dim_gridcell")
            ]
    return found
