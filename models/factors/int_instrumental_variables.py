"""Correlation of the candidate's latent heat with the unknown truth, by its own and the benchmark's past."""

import json

import polars as pl

from analysis.instrumental_variables import (
    double_instrumental_variable,
    single_instrumental_variable,
)
from skillhouse.by_cell import by_cell


def model(dbt, session):
    dbt.config(materialized="table")
    study = json.loads(dbt.config.get("study"))
    rules = study["rules"]
    block_days = rules["block_days"]
    options = {
        "min_pairs": rules["min_pairs"],
        "members": rules["members"],
        "block_days": 30 if block_days == "auto" else block_days,
        "level": rules["level"],
        "seed": study["seed"],
    }

    def instruments(cells):
        return pl.concat(
            [
                *(
                    double_instrumental_variable(cells, lag_days=lag, **options)
                    for lag in (1, 2, 3)
                ),
                single_instrumental_variable(cells, lag_days=rules["ivd_lag_days"], **options),
            ]
        )

    return by_cell(dbt.ref("int_instrumental_variables_input"), instruments)
