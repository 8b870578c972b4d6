"""Random forests of every model, reusing those whose inputs, settings and code have not changed."""

import json
import os
from pathlib import Path

import polars as pl

from analysis.random_forest import attribute


def model(dbt, session):
    dbt.config(materialized="table")
    study = json.loads(dbt.config.get("study"))
    rules = study["rules"]
    factors = dbt.ref("dim_factor").pl()
    earlier = Path(dbt.config.get("reuse")) / "forest.parquet"
    return attribute(
        dbt.ref("int_forest_input").pl(),
        features=factors.sort("factor_order")["factor"].to_list(),
        headline_runs=rules["forest_runs"],
        runs=rules["forest_runs_beside"],
        folds=rules["forest_folds"],
        spatial_block_km=rules["spatial_block_km"],
        trees=rules["forest_trees"],
        max_features=rules["forest_max_features"],
        min_samples_leaf=rules["forest_min_leaf"],
        seed=study["seed"],
        workers=os.cpu_count() or 1,
        earlier=pl.read_parquet(earlier) if earlier.exists() else None,
    )
