"""Shares and means over cells, with intervals from resampling whole blocks of cells."""

import json

from analysis.skill_summary import summarise


def model(dbt, session):
    dbt.config(materialized="table")
    study = json.loads(dbt.config.get("study"))
    return summarise(
        dbt.ref("int_skill_summary_input").pl(),
        spatial_block_km=study["rules"]["spatial_block_km"],
        members=study["rules"]["members"],
        level=study["rules"]["level"],
        seed=study["seed"],
    )
