"""Bad input, interruption and concurrency through the command line."""

import os
import random
import shutil
import signal
import subprocess
import time

import duckdb
import pytest

from ingest.reader import PROJECT_ROOT


def published(home) -> tuple[int, int]:
    stat = home.warehouse.stat()
    return stat.st_ino, stat.st_mtime_ns


def refused(home) -> dict[str, str]:
    return dict(
        home.ask("select source_file, reason from meta_input_file where status = 'refused'")
    )


def granules(home, product: str, pattern: str) -> list:
    return sorted((home.data / "raw" / product).rglob(pattern))


def test_damaged_granules_are_counted_not_half_loaded(built, home):
    files = granules(home, "l4", "*_20170301T*.h5")
    files[0].write_bytes(files[0].read_bytes()[:2000])  # truncated
    files[1].write_bytes(b"")  # empty
    files[2].unlink()  # missing
    duplicate = files[3].with_name(files[3].name.replace("_001.h5", "_002.h5"))
    shutil.copy(files[4], duplicate)  # a higher counter wins
    done = home.build()
    assert done.returncode == 0, done.stderr
    assert "l4: 3 files read" in done.stdout or "l4: 4 files read" in done.stdout
    assert sorted(refused(home).values()) == ["damaged_file", "empty_file"] or set(
        refused(home).values()
    ) == {"damaged_file"}
    assert len(refused(home)) == 2
    assert home.ask(
        "select reason from meta_input_file where source_file like '%20170301T%' and status = 'superseded'"
    ) == [("superseded",)]
    days = home.ask(
        "select distinct n_obs_ssm, ssm_m3m3 is null from fct_daily_soil_moisture"
        " where product = 'l4' and obs_date = '2017-03-01'"
    )
    assert days == [(5, True)]  # 5 of 8 values: below the minimum, count kept
    assert built.ask(
        "select distinct n_obs_ssm from fct_daily_soil_moisture where product = 'l4'"
        " and obs_date = '2017-03-01'"
    ) == [(8,)]


def test_fatal_when_the_study_says_so(home):
    before = published(home)
    home.edit(lambda s: s["products"]["l4"]["source"].update(on_bad_file="fail"))
    granules(home, "l4", "*_20170301T0130*.h5")[0].write_bytes(b"nonsense")
    done = home.build()
    assert done.returncode == 2
    assert "20170301T013000" in done.stderr and "Traceback" not in done.stderr
    assert published(home) == before


def test_broken_line_refuses_the_file(home):
    path = home.data / "raw" / "stations" / "soil_moisture_201704.csv"
    lines = path.read_text().splitlines()
    lines[500] = lines[500].rsplit(",", 3)[0]
    path.write_text("\n".join(lines) + "\n")
    done = home.build()
    assert done.returncode == 0, done.stderr
    (message,) = home.ask("select message from meta_input_file where status = 'refused'")[0]
    assert "soil_moisture_201704.csv" in message and "501" in message
    assert "refused: 1 files of insitu" in done.stdout


def test_readings_in_two_files_are_counted(home):
    """24 equal and 24 unequal hours of one station in a second file: once, and not at all."""
    folder = home.data / "raw" / "stations"
    lines = (folder / "soil_moisture_201702.csv").read_text().splitlines()
    names = lines[0].split(",")
    values = [names.index(n) for n in names if n.startswith("VWC")]
    flags = [names.index(n) for n in names if n.startswith("Q_")]
    good = [
        row
        for row in (line.split(",") for line in lines[1:])
        if all(row[i] == "0" for i in flags) and all(0 < float(row[i]) < 60 for i in values)
    ]
    station = good[0][0]
    good = [row for row in good if row[0] == station]
    times = [tuple(row[1:5]) for row in good]
    chosen = [row for row, t in zip(good, times, strict=True) if times.count(t) == 1][:48]
    for row in chosen[24:]:
        for i in values:
            row[i] = "33.33"
    (folder / "soil_moisture_201702b.csv").write_text(
        "\n".join([lines[0], *(",".join(row) for row in chosen)]) + "\n"
    )
    done = home.build()
    assert done.returncode == 0, done.stdout + done.stderr
    counted = dict(home.ask("select reason, n from fct_ledger where stage = 'combine_insitu'"))
    assert counted["duplicate_identical"] == 24 * len(values)
    assert counted["duplicate_conflict"] == 24 * 2 * len(values)


def test_unusable_state_folder_is_one_clear_message(home):
    command = home.command("build", "--study", str(home.study_file))
    done = subprocess.run(
        command, cwd=PROJECT_ROOT, capture_output=True, text=True,
        env=home.environment | {"SKILLHOUSE_STATE": str(home.study_file)},
    )  # fmt: skip
    assert done.returncode == 2 and "mini.yml" in done.stderr and "Traceback" not in done.stderr


def test_unknown_column_names_file_key_and_remedy(home):
    before = published(home)
    for path in (home.data / "raw" / "stations").glob("soil_moisture_*.csv"):
        head, _, rest = path.read_text().partition("\n")
        path.write_text(head.replace("Q_40_50cm", "Q_last") + "\n" + rest)
    done = home.build()
    assert done.returncode == 2
    assert "Q_last" in done.stderr or "Q_40_50cm" in done.stderr
    assert "insitu.source" in done.stderr and "Traceback" not in done.stderr
    assert published(home) == before


def test_a_station_that_the_list_does_not_name_is_counted(home):
    listed = home.data / "raw" / "stations" / "station_list.csv"
    lines = listed.read_text().splitlines()
    listed.write_text("\n".join(lines[:1] + lines[2:]) + "\n")
    left = lines[1].split(",")[0]
    done = home.build()
    assert done.returncode == 0, done.stderr
    assert home.ask(f"select status, gridcell_id from dim_station where station_id = '{left}'") == [
        ("no_coordinates", None)
    ]
    assert home.ask(
        "select n from fct_ledger where stage = 'match_station' and reason = 'no_coordinates'"
    ) == [(1,)]


def test_percent_declared_as_fraction_stops_the_stations(home):
    home.edit(lambda s: s["insitu"]["source"].update(unit="m3 m-3"))
    done = home.build()
    assert done.returncode == 0, done.stderr
    statuses = dict(home.ask("select status, count(*) from dim_station group by all"))
    # the twin has one station that reports fractions among those in percent: it alone is right now
    assert statuses == {"unit_mismatch": 23, "ok": 1}
    assert home.ask("select count(*) from fct_skill_gain") == [(2,)]
    assert "unit_mismatch" in done.stdout


def test_two_products_without_common_days(home):
    for path in granules(home, "l4", "*_2017010*T*.h5") + granules(
        home, "l4", "*_20170[2-8]*T*.h5"
    ):
        path.unlink()
    for path in granules(home, "open_loop", "*_201701*T*.h5"):
        path.unlink()
    done = home.build()
    assert done.returncode == 0, done.stderr
    statuses = {s for (s,) in home.ask("select distinct status from fct_skill_gain")}
    assert statuses <= {"no_common_days", "too_few_days", "candidate_no_product_data"}
    assert "No cell has enough common days" in done.stdout


def test_failed_build_keeps_the_published_warehouse(home):
    before = published(home)
    for product in ("l4", "open_loop"):
        shutil.rmtree(home.data / "raw" / product)
    done = home.build()
    assert done.returncode == 2
    assert (
        "products.l4.source.path" in done.stderr and "products.open_loop.source.path" in done.stderr
    )
    assert published(home) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.update(colour="red"), ["colour", "unknown key"]),
        (
            lambda s: s["insitu"]["source"].update(timezone="Asia/Peking"),
            ["timezone", "Asia/Peking"],
        ),
        (lambda s: s["rules"].update(block_days=0), ["block_days", "auto"]),
        (lambda s: s["products"]["l4"].update(role="baseline"), ["baseline", "candidate"]),
        (
            lambda s: s.update(period={"start": "2018-01-01", "end": "2017-01-01"}),
            ["period", "before"],
        ),
        (lambda s: s["insitu"]["source"].update(unit="mm"), ["unit", "percent"]),
        (lambda s: s.clear(), ["empty", "twin.yml"]),
    ],
)
def test_bad_study_is_one_clear_message(home, change, words):
    before = published(home)
    home.edit(change)
    done = home.build()
    assert done.returncode == 2
    assert all(word in done.stderr for word in [*words, "mini.yml"]), done.stderr
    assert "Traceback" not in done.stderr
    assert published(home) == before


def test_check_lists_files_without_building(home):
    done = home.run("check", "--study", str(home.study_file))
    assert done.returncode == 0 and "l4: 1,944 files" in done.stdout
    done = home.run("check", "--study", "nothing_of_that_name")
    assert done.returncode == 2 and "twin" in done.stderr


def test_china_without_data_lists_every_missing_source(home):
    done = home.run("build", "--study", "china")
    assert done.returncode == 2
    for word in (
        "insitu.source.path",
        "products.open_loop.source.path",
        "products.l4.source.path",
        "NSIDC",
        "CHINA_DATA",
    ):
        assert word in done.stderr


def test_a_second_build_is_refused_while_one_runs(home):
    command = home.command("build", "--fresh", "--study", str(home.study_file))
    first = subprocess.Popen(
        command, cwd=PROJECT_ROOT, env=home.environment, stdout=subprocess.DEVNULL
    )
    lock = home.path / ".build" / "mini" / "lock"
    try:
        while lock.read_text() != str(first.pid):
            assert first.poll() is None
            time.sleep(0.02)
        second = home.build()
        assert second.returncode == 2 and str(first.pid) in second.stderr
        # readers of the published file are not in the way, nor is the build in theirs
        with duckdb.connect(str(home.warehouse), read_only=True) as reader:
            assert first.wait(timeout=300) == 0
            assert reader.execute("select count(*) from fct_skill_gain").fetchone()[0] > 0
    finally:
        first.kill()


@pytest.mark.slow
def test_kill_at_any_moment_then_build(built, tmp_path):
    """kill -9 during generation, ingest, models or publishing: the next build completes and is equal."""
    home = type(built)(tmp_path / "killed")
    home.path.mkdir()
    shutil.copy(built.study_file, home.study_file)
    chance = random.Random(5)
    command = home.command("build", "--study", str(home.study_file), "--workers", "2")
    for wait in [1.5, 5, 9, 12, 16, chance.uniform(3, 20)]:
        process = subprocess.Popen(
            command, cwd=PROJECT_ROOT, env=home.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done = home.build()
    assert done.returncode == 0, done.stderr
    same = home.run("diff", str(built.warehouse), str(home.warehouse))
    # raw files are written anew here, so only their times may differ
    assert same.returncode == 0, same.stdout


def test_killing_make_leaves_no_build_behind(home):
    """kill -9 of make alone: the build it started ends too, even when still starting up."""
    script = (
        f"SKILLHOUSE_PARENT=$PPID exec {' '.join(home.command('build', '--fresh', '--study'))}"
        f" {home.study_file}"
    )
    for wait in (0.05, 3):
        # the middle process stands for make; it runs the recipe's shell as make does
        parent = subprocess.Popen(
            ["bash", "-c", "sh -c \"$0\" & echo $!; wait", script],
            cwd=PROJECT_ROOT, env=home.environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        child = int(parent.stdout.readline())
        time.sleep(wait)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        for _ in range(200):
            if not os.path.exists(f"/proc/{child}"):
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"build {child} outlived make")
    assert home.build().returncode == 0
