"""Skill gain of the candidate over the baseline, cell by cell, with paired bootstrap intervals."""

import json

from analysis.skill import skill_gain, with_q_values
from skillhouse.by_cell import by_cell


def model(dbt, session):
    dbt.config(materialized="table")
    study = json.loads(dbt.config.get("study"))
    rules = study["rules"]

    def gain(cells):
        return skill_gain(
            cells,
            min_pairs=rules["min_pairs"],
            members=rules["members"],
            block_days=rules["block_days"],
            level=rules["level"],
            seed=study["seed"],
        )

    return with_q_values(by_cell(dbt.ref("int_skill_input"), gain))
