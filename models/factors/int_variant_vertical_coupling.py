"""Vertical coupling with in situ from representative stations."""

import json

from analysis.vertical_coupling import vertical_coupling
from skillhouse.by_cell import by_cell


def model(dbt, session):
    dbt.config(materialized="table")
    rules = json.loads(dbt.config.get("study"))["rules"]

    def coupling(cells):
        return vertical_coupling(
            cells.sort("product", "gridcell_id", "obs_date"),
            keys=["product", "gridcell_id"],
            min_days=rules["min_pairs"],
            alpha_definition=rules["cp_alpha"],
        )

    return by_cell(dbt.ref("int_variant_vertical_coupling_input"), coupling)
