"""A small twin study, built once through the command line, and copies of it to damage."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
import yaml

from ingest.reader import PROJECT_ROOT

MINI = {
    "study": "mini",
    "title": "a small twin for tests",
    "period": {"start": "2017-01-01", "end": "2017-08-31"},
    "twin": {
        "seed": 3,
        "n_cells": 14,
        "n_stations": 24,
        "window_size": 16,
        "spin_up_days": 60,
        "n_members": 8,
    },
    "rules": {"spatial_block_km": 36, "members": 200},
}


@dataclass(frozen=True)
class Home:
    """A folder that holds a study file and everything generated from it."""

    path: Path

    @property
    def study_file(self) -> Path:
        return self.path / "mini.yml"

    @property
    def data(self) -> Path:
        return self.path / "data" / "mini"

    @property
    def warehouse(self) -> Path:
        return self.data / "warehouse.duckdb"

    def edit(self, change) -> None:
        """Apply a function to the study's content."""
        content = yaml.safe_load(self.study_file.read_text())
        change(content)
        self.study_file.write_text(yaml.safe_dump(content))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "skillhouse", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        environment = {k: v for k, v in os.environ.items() if k != "SKILLHOUSE_PARENT"}
        return environment | {"SKILLHOUSE_STATE": str(self.path)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=PROJECT_ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def build(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("build", "--study", str(self.study_file), "--workers", "2", *arguments)

    def ask(self, query: str) -> list[tuple]:
        with duckdb.connect(str(self.warehouse), read_only=True) as connection:
            return connection.execute(query).fetchall()

    def copy(self, path: Path) -> "Home":
        shutil.copytree(self.path, path, dirs_exist_ok=True)
        return Home(path)


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Home:
    """The mini study, built; tests only read it."""
    home = Home(tmp_path_factory.mktemp("built"))
    content = yaml.safe_load((PROJECT_ROOT / "studies" / "twin.yml").read_text())
    home.study_file.write_text(yaml.safe_dump(content | MINI))
    done = home.build("--unit-tests")
    assert done.returncode == 0, done.stdout + done.stderr
    (home.path / "stdout.txt").write_text(done.stdout)
    return home


@pytest.fixture
def home(built, tmp_path) -> Home:
    """A copy of the built study that a test may damage."""
    return built.copy(tmp_path / "home")


@dataclass(frozen=True)
class Default(Home):
    """The default study, built whole."""

    @property
    def data(self) -> Path:
        return self.path / "data" / "twin"

    @property
    def warehouse(self) -> Path:
        return self.path / "warehouse.duckdb"


@pytest.fixture(scope="session")
def twin(tmp_path_factory) -> Default:
    """The default study as `make build` makes it, in a folder of its own.

    SKILLHOUSE_TEST_TWIN names the root of a finished build to test instead, to save its minutes.
    """
    if ready := os.environ.get("SKILLHOUSE_TEST_TWIN"):
        return Default(Path(ready))
    home = Default(tmp_path_factory.mktemp("twin"))
    done = home.run("build")
    assert done.returncode == 0, done.stdout + done.stderr
    (home.path / "stdout.txt").write_text(done.stdout)
    return home
