"""Which code and which packages made a warehouse."""

from __future__ import annotations

import hashlib
import subprocess
from importlib.metadata import version

from ingest.reader import PROJECT_ROOT

_CODE = ("analysis", "ingest", "macros", "models", "skillhouse", "tests/data")
_PACKAGES = ("dbt-core", "dbt-duckdb", "duckdb", "h5py", "numba", "numpy", "polars", "pyarrow")


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
