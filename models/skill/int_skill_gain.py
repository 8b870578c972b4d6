"""Skill gain of the candidate over the baseline, cell by cell, with paired bootstrap intervals."""

import json

from analysis.skill import skill_gain


def model(dbt, session):
    dbt.config(materialized="table")
    study = json.loads(dbt.config.get("study"))
    rules = study["rules"]
    return skill_gain(
        dbt.ref("int_skill_input").pl(),
        min_pairs=rules["min_pairs"],
        members=rules["members"],
        block_days=rules["block_days"],
        level=rules["level"],
        seed=study["seed"],
    )
