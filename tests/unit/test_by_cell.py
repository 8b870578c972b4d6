"""Statistics taken a few cells at a time equal those of all cells at once."""

import datetime as dt

import duckdb
import numpy as np
import polars as pl
import pytest

from analysis.skill import skill_gain, with_q_values
from skillhouse.by_cell import by_cell

OPTIONS = {"min_pairs": 30, "members": 100, "block_days": 5, "level": 0.95, "seed": 3}


@pytest.fixture
def days() -> pl.DataFrame:
    noise = np.random.default_rng(4)
    parts = []
    for number in range(12):
        n = 20 if number == 7 else 60 + number
        truth, strength = noise.normal(size=n), 0.2 * number
        parts.append(
            pl.DataFrame(
                {
                    "obs_date": pl.date_range(
                        dt.date(2017, 1, 1),
                        dt.date(2017, 1, 1) + dt.timedelta(days=n - 1),
                        eager=True,
                    ),
                    "insitu_anomaly_m3m3": truth,
                    "baseline_anomaly_m3m3": truth + 3 * noise.normal(size=n),
                    "candidate_anomaly_m3m3": strength * truth + noise.normal(size=n),
                }
            ).with_columns(
                gridcell_id=pl.lit(f"M09-r{290 + number}-c3174"),
                layer=pl.lit("ssm" if number % 3 else "rzsm"),
                grid_row=290 + number,
                grid_col=3174,
            )
        )
    return pl.concat(parts)


@pytest.mark.parametrize("rows", [1, 130, 1000])
def test_cells_may_come_in_any_portions(days, rows):
    relation = duckdb.sql("from days")
    portions = []

    def gain(cells):
        portions.append(cells["gridcell_id"].unique().to_list())
        return skill_gain(cells, **OPTIONS)

    streamed = with_q_values(by_cell(relation, gain, rows=rows))
    whole = skill_gain(days, **OPTIONS)
    assert streamed.sort("gridcell_id").equals(whole.sort("gridcell_id"))
    assert sorted(cell for part in portions for cell in part) == sorted(
        days["gridcell_id"].unique().to_list()
    )
    assert len(portions) == {1: 12, 130: 8, 1000: 1}[rows]


def test_q_values_need_all_cells(days):
    """The rule would be idle if each portion's own q values were right already."""
    parts = by_cell(duckdb.sql("from days"), lambda cells: skill_gain(cells, **OPTIONS), rows=1)
    assert not parts.equals(with_q_values(parts))


def test_an_empty_table_gives_an_empty_result(days):
    relation = duckdb.sql("from days where false")
    result = with_q_values(by_cell(relation, lambda cells: skill_gain(cells, **OPTIONS)))
    assert result.is_empty() and result.columns == skill_gain(days, **OPTIONS).columns
