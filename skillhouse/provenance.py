"""What a warehouse is made from: settings, raw files, code and packages, each as a hash or a version."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import polars as pl

from ingest.lake import Lake
from ingest.reader import PROJECT_ROOT
from ingest.study import Study

_CODE = ("analysis", "ingest", "macros", "models", "skillhouse", "tests/data")
_PACKAGES = (
    "dbt-core",
    "dbt-duckdb",
    "duckdb",
    "h5py",
    "numba",
    "numpy",
    "polars",
    "pyarrow",
    "scikit-learn",
    "scipy",
)


def input_hash(study: Study) -> str:
    """Hash of what the lake was read from: every raw file's path, content hash and status.

    Size and modification time stand for the content of a source with `hash: none`.
    """
    inputs = []
    with Lake(study.folder / "lake") as lake:
        for source in study.sources():
            files = lake.manifest(source).select(
                "source_file",
                pl.coalesce("sha256", pl.format("{} {}", "size_bytes", "modified_ns")),
                "status",
            )
            inputs.append([source, sorted(files.rows(), key=str)])
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def build_id(study: Study, sensitivity: str = "") -> str:
    """Identity of a build, 16 digits: builds with the same one have the same values in every table.

    Args:
        study: the study, its lake up to date.
        sensitivity: path of the results of `make sensitivity` that the build shows, or empty.
    """
    parts = [
        study.hash,
        input_hash(study),
        code_hash(),
        platform.python_version(),
        package_versions(),
        hashlib.sha256(Path(sensitivity).read_bytes()).hexdigest() if sensitivity else "",
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def code_hash() -> str:
    """Hash of every source file that can change a result."""
    digest = hashlib.sha256()
    for folder in _CODE:
        for path in sorted((PROJECT_ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".sql", ".yml", ".md"}:
                digest.update(str(path.relative_to(PROJECT_ROOT)).encode() + b"\0")
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def git_commit() -> str:
    """Commit of the checkout, with `+` when files differ from it; empty outside a checkout."""
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout.strip()


def package_versions() -> dict[str, str]:
    """Versions of the packages that compute."""
    return {name: version(name) for name in _PACKAGES}
