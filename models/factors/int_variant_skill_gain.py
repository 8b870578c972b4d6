"""Skill gain of the variants that change it: Pearson correlation, representative stations; no bootstrap."""

import json
from functools import partial

import polars as pl

from analysis.skill import skill_gain
from skillhouse.by_cell import by_cell


def model(dbt, session):
    dbt.config(materialized="table")
    study = json.loads(dbt.config.get("study"))
    rules = study["rules"]
    gain = partial(
        skill_gain,
        min_pairs=rules["min_pairs"],
        members=rules["members"],
        block_days=rules["block_days"],
        level=rules["level"],
        seed=study["seed"],
        schemes=(),  # forests rank factors by the gains alone
    )
    variants = {
        "pearson": by_cell(dbt.ref("int_skill_input"), partial(gain, method="pearson")),
        "representative_stations": by_cell(dbt.ref("int_variant_skill_input"), gain),
    }
    return pl.concat(
        frame.select(pl.lit(name).alias("variant"), pl.all()) for name, frame in variants.items()
    )
