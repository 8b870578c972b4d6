"""The door of every statistic: columns, kinds, repeated days, changing cells."""

import datetime as dt

import polars as pl
import pytest

from analysis.schema import check_columns, sorted_groups

DAY = dt.date(2017, 1, 1)
SCHEMA = {"cell": "text", "row": "integer", "day": "date", "x": "number", "good": "boolean"}


def frame(**changes):
    base = {"cell": ["a"], "row": [1], "day": [DAY], "x": [0.5], "good": [True]}
    return pl.DataFrame(base | changes)


def test_accepts_float32_categories_lazy_frames_and_drops_other_columns():
    given = frame(other=[1]).with_columns(
        pl.col("x").cast(pl.Float32), pl.col("cell").cast(pl.Categorical)
    )
    found = check_columns(given.lazy(), SCHEMA)
    assert found.schema == {
        "cell": pl.String,
        "row": pl.Int64,
        "day": pl.Date,
        "x": pl.Float64,
        "good": pl.Boolean,
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": ["0.5"]}, ["column x", "found String", "expected numbers"]),
        ({"row": [1.5]}, ["column row", "found Float64", "expected whole numbers"]),
        ({"day": [dt.datetime(2017, 1, 1)]}, ["column day", "found Datetime", "expected dates"]),
        ({"good": [1]}, ["column good", "found Int64", "expected booleans"]),
        ({"cell": pl.Series([None], dtype=pl.String)}, ["column cell", "1 nulls", "expected none"]),
    ],
)
def test_says_column_found_and_expected(changes, words):
    with pytest.raises(ValueError) as caught:
        check_columns(frame(**changes), SCHEMA)
    assert all(word in str(caught.value) for word in words)


def test_names_a_missing_column():
    with pytest.raises(ValueError, match="column x: missing, expected numbers; found columns cell"):
        check_columns(frame().drop("x"), SCHEMA)


def test_nan_and_infinity_become_null():
    given = pl.DataFrame({"x": [1.0, float("nan"), float("inf"), None]})
    assert check_columns(given, {"x": "number"})["x"].to_list() == [1.0, None, None, None]


def test_groups_are_sorted_and_found():
    given = pl.DataFrame(
        {"cell": ["b", "a", "a"], "day": [2, 2, 1], "row": [7, 3, 3], "x": [30.0, 20.0, 10.0]}
    )
    groups = sorted_groups(given, keys=["cell"], order="day", carry=("row",))
    assert groups.keys.rows() == [("a", 3), ("b", 7)]
    assert groups.offsets.tolist() == [0, 2, 3]
    assert groups.column("x").tolist() == [10.0, 20.0, 30.0]


def test_a_repeated_day_is_refused():
    given = pl.DataFrame({"cell": ["a", "b", "a"], "day": [1, 1, 1]})
    with pytest.raises(ValueError, match="column day: found two rows for cell a, day 1"):
        sorted_groups(given, keys=["cell"], order="day")


def test_a_cell_with_two_places_is_refused():
    given = pl.DataFrame({"cell": ["a", "a"], "day": [1, 2], "row": [3, 4]})
    with pytest.raises(ValueError, match="column row: found several values for cell a"):
        sorted_groups(given, keys=["cell"], order="day", carry=("row",))


def test_an_empty_frame_has_no_groups():
    given = pl.DataFrame(schema={"cell": pl.String, "x": pl.Float64})
    assert len(sorted_groups(given, keys=["cell"])) == 0
