"""Keeps the tables of docs/benchmarks.md equal to the results files."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

from benchmarks.record import RESULTS, markdown_table
from ingest.reader import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "benchmarks.md"
_BLOCK = re.compile(r"(<!-- results of (\S+\.json) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, results: Path = RESULTS) -> str:
    """The page's text with each block of results written anew from its file."""
    return _BLOCK.sub(lambda m: m[1] + "\n" + _table(results / m[2]) + "\n\n" + m[3], text)


def update_page(page: Path = PAGE) -> None:
    """Write the tables into the page."""
    page.write_text(filled(page.read_text()))


def _table(path: Path) -> str:
    if not path.exists():
        return f"Nothing measured yet: `benchmarks/results/{path.name}` does not exist."
    content = json.loads(path.read_text())
    machine = content["machine"]
    told = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    measured_on = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB of memory,"
        f" {machine['system']}; {told}."
    )
    return f"{textwrap.fill(measured_on, 110)}\n\n{markdown_table(content['records'])}"
