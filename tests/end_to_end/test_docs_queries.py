"""Every query that the pages print runs on a published warehouse."""

import re

import duckdb
import pytest

from ingest.reader import PROJECT_ROOT
from tests.unit.test_docs import sql_blocks

QUERIES = [
    (name, *block)
    for name in (
        "README.md",
        "docs/attribution.md",
        "docs/factors.md",
        "docs/queries.md",
        "docs/statistics.md",
    )
    for block in sql_blocks(PROJECT_ROOT / name)
]


def test_there_are_queries():
    assert len(QUERIES) >= 40
    assert sum(wants_rows for *_, wants_rows in QUERIES) >= len(QUERIES) - 2


@pytest.mark.parametrize(
    ("page", "heading", "query", "wants_rows"), QUERIES, ids=[f"{q[0]} {q[1]}" for q in QUERIES]
)
def test_query_runs(request, page, heading, query, wants_rows):
    """Those of the README on the default study, whose cells they name."""
    study = request.getfixturevalue("twin" if page == "README.md" else "built")
    with duckdb.connect(str(study.warehouse), read_only=True) as connection:
        for statement in connection.extract_statements(query):
            found = connection.execute(statement)
            if statement.type == duckdb.StatementType.CREATE:  # a pivot first lists its columns
                continue
            assert found.description
            assert found.fetchall() or not wants_rows


def test_recomputation_agrees(built):
    """The query that recomputes a published number really finds it."""
    (query,) = [q for _, heading, q, _ in QUERIES if "Recompute a published" in heading]
    n_cells, difference, days = built.ask(query)[0]
    assert n_cells >= 10 and difference < 1e-12 and days == 0


def test_recomputed_innovations_agree(built):
    (query,) = [q for _, heading, q, _ in QUERIES if "innovations' standard deviation" in heading]
    n_cells, difference = built.ask(query)[0]
    assert n_cells >= 10 and difference < 1e-9


def test_stored_cells_of_stations_agree_with_the_macro(built):
    (query,) = [q for _, heading, q, _ in QUERIES if "Which cell a place" in heading]
    n_stations, n_different = built.ask(query)[0]
    assert n_stations >= 10 and n_different == 0


def test_every_query_is_found_by_its_question():
    """The list at the top of the page has each numbered query once."""
    page = (PROJECT_ROOT / "docs" / "queries.md").read_text()
    listed = re.findall(r"^  - \[(\d+\. .+)\]\(#", page, re.MULTILINE)
    headings = re.findall(r"^## (\d+\. .+)$", page, re.MULTILINE)
    assert sorted(listed) == sorted(headings) and len(headings) >= 37
