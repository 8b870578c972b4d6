"""Rank correlation of the candidate's daily precipitation with each reference, at lags of -1, 0 and 1 day."""

import json
from functools import partial

from analysis.rank_correlation import correlate_groups
from skillhouse.by_cell import by_cell


def model(dbt, session):
    dbt.config(materialized="table")
    rules = json.loads(dbt.config.get("study"))["rules"]
    correlate = partial(
        correlate_groups,
        keys=["reference", "lag_days", "gridcell_id"],
        x="candidate",
        y="reference_value",
        method="spearman",
        min_pairs=rules["min_pairs"],
    )
    return by_cell(dbt.ref("int_precipitation_skill_input"), correlate)
