"""Skill gain of the variants that change it: Pearson correlation, representative stations."""

import json

import polars as pl

from analysis.skill import skill_gain


def model(dbt, session):
    dbt.config(materialized="table")
    study = json.loads(dbt.config.get("study"))
    rules = study["rules"]
    options = {
        "min_pairs": rules["min_pairs"],
        "members": rules["members"],
        "block_days": rules["block_days"],
        "level": rules["level"],
        "seed": study["seed"],
    }
    variants = {
        "pearson": skill_gain(dbt.ref("int_skill_input").pl(), method="pearson", **options),
        "representative_stations": skill_gain(dbt.ref("int_variant_skill_input").pl(), **options),
    }
    return pl.concat(
        frame.select(pl.lit(name).alias("variant"), pl.all()) for name, frame in variants.items()
    )
