"""The steps that measure a whole study, on the small one."""

import json
import subprocess
import sys

import pytest

from benchmarks.dbt_steps import nodes_of, steps_of
from benchmarks.process_tree import Watched
from ingest.reader import PROJECT_ROOT


def test_nodes_of_a_real_build(built):
    target = built.path / ".build" / "mini" / "target"
    nodes = {node.name: node for node in nodes_of(target)}
    models = {node.folder for node in nodes.values() if node.kind == "model"}
    assert models == {"staging", "soil_moisture", "skill", "factors", "attribution", "meta"}
    assert {node.kind for node in nodes.values()} >= {"model", "test"}
    assert nodes["int_skill_gain"].folder == "skill"
    results = json.loads((target / "run_results.json").read_text())
    steps = steps_of(list(nodes_of(target)), Watched(seconds=1, code=0, lines=[], samples=[]))
    total = sum(step.models_s + step.tests_s for step in steps.values())
    timed = [r for r in results["results"] if r["unique_id"].startswith(("model.", "test."))]
    assert total == pytest.approx(sum(r["execution_time"] for r in timed))
    gain = nodes["int_skill_gain"]
    assert gain.end - gain.start == pytest.approx(gain.seconds, abs=1)


def test_steps_keep_their_figures(home, tmp_path):
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks.paper_scale", "--study", str(home.study_file)]
    command += ["--results", str(results)]
    page = (PROJECT_ROOT / "docs" / "benchmarks.md").read_text()
    for step in ("queries", "unchanged"):
        done = subprocess.run(
            [*command, "--steps", step],
            cwd=PROJECT_ROOT,
            env=home.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    found = {record["name"]: record for record in json.loads(results.read_text())["records"]}
    assert list(found) == ["queries_median", "queries_slowest", "build_unchanged"]
    cells, days = home.ask("select count(distinct gridcell_id), 243 from fct_daily_anomaly")[0]
    for record in found.values():
        assert (record["cells"], record["days"]) == (cells, days)
        assert 50 < record["peak_rss_mb"] < 4000 and 0 < record["seconds"] < 100
    assert found["queries_slowest"]["seconds"] >= found["queries_median"]["seconds"]
    assert (PROJECT_ROOT / "docs" / "benchmarks.md").read_text() == page


def test_a_day_that_is_not_there_is_explained(home):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.paper_scale", "--steps", "one_day"]
        + ["--study", str(home.study_file), "--results", str(home.path / "results.json")],
        cwd=PROJECT_ROOT,
        env=home.environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2
    assert "--without-last-day" in done.stderr and "Traceback" not in done.stderr
