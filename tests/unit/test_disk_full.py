"""A full disk is one clear message, wherever it is met."""

import errno
import subprocess
import sys

import duckdb
import pytest
from polars.exceptions import ComputeError

from ingest.reader import BadInput
from ingest.twin.generate import _wait
from skillhouse import __main__ as command
from skillhouse.dbt_run import _explain

FULL = OSError(errno.ENOSPC, "No space left on device", "/data/twin/lake/part.parquet")


@pytest.mark.parametrize("error", [FULL, duckdb.IOException(str(FULL)), ComputeError(str(FULL))])
def test_the_command_says_what_to_do(error, monkeypatch, capsys):
    def fail(_):
        raise error

    monkeypatch.setattr(command, "_build", fail)
    assert command.main(["build"]) == 2
    said = capsys.readouterr().err
    assert "No space left on device" in said and "SKILLHOUSE_STATE" in said


def test_dbt_failing_to_write_its_log_does_not_hide_it(tmp_path):
    lines = ["--- Logging error ---", f"OSError: {FULL}", *[f"  frame {k}" for k in range(50)]]
    assert _explain(tmp_path, lines) == f"OSError: {FULL}"


@pytest.mark.parametrize("left", [f"Traceback\n  a frame\nOSError: {FULL}\n", ""])
def test_a_writer_of_granules_that_fails(tmp_path, left):
    (tmp_path / "worker-0.log").write_text(left)
    worker = subprocess.Popen([sys.executable, "-c", "exit(1)"], stdout=subprocess.PIPE)
    with pytest.raises(BadInput) as failed:
        _wait([worker], tmp_path, 8, lambda *_: None)
    assert ("No space left" if left else "disk is full") in str(failed.value)
    assert "Traceback" not in str(failed.value)
