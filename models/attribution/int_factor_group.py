"""Box statistics of skill and gain in groups of cells by each factor."""

import json

from analysis.group_tests import EXCLUSION_RULES, factor_groups


def model(dbt, session):
    dbt.config(materialized="table")
    study = json.loads(dbt.config.get("study"))
    rules = study["rules"]
    coupling = {"absolute": "magnitude", "signed": "low"}[rules["box_coupling"]]
    return factor_groups(
        dbt.ref("int_factor_test_input").pl(),
        groups=rules["box_groups"],
        binning=rules["box_bins"],
        drop_frac=rules["box_drop"],
        rules={**EXCLUSION_RULES, "coupling_error": coupling},
    )
