"""Skill of each product against the stations on the days both are valid."""

import json

import polars as pl

from analysis.skill import product_skill
from skillhouse.by_cell import by_cell


def model(dbt, session):
    dbt.config(materialized="table")
    study = json.loads(dbt.config.get("study"))
    rules = study["rules"]
    keys = ["gridcell_id", "grid_row", "grid_col", "layer", "obs_date"]

    def skill(cells):
        series = [
            cells.select(
                pl.lit(study["roles"][role]).alias("product"),
                *keys,
                "insitu_m3m3",
                pl.col(f"{role}_m3m3").alias("product_m3m3"),
                "insitu_anomaly_m3m3",
                pl.col(f"{role}_anomaly_m3m3").alias("product_anomaly_m3m3"),
            )
            for role in ("baseline", "candidate")
        ]
        return product_skill(
            pl.concat(series),
            min_pairs=rules["min_pairs"],
            level=rules["level"],
            members=rules["members"],
            block_days=rules["block_days"],
            seed=study["seed"],
        )

    return by_cell(dbt.ref("int_skill_input"), skill)
