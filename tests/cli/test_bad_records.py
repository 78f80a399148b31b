"""Records, folders and limits that a command cannot work with: one line, an exit code other than 0, and no file."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.cli import common
from bench.config import memory
from bench.config.experiments import names
from bench.records import record
from tests.conftest import Bench, assert_one_line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("status {there} --watch=0", "--watch must be a number of seconds > 0, got 0.0"),
        ("status {there} --watch=nan", "--watch must be a number of seconds > 0, got nan"),
        ("status {there}/nothing", "EXPERIMENT|DIR must be a folder that is there, or one of {names}, got "),
        ("status {there}", "EXPERIMENT|DIR must hold runs, found none below "),
        ("replay {there}", "{there}/record.json: not a readable record"),
        (
            "replay {there}/nothing",
            "RUN must be the folder of a record, or a run id below results, found 0 records of ",
        ),
        ("replay {there} --tolerance=-1", "--tolerance must be a number >= 0, got -1.0"),
        ("replay {there} --tolerance=nan", "--tolerance must be a number >= 0, got nan"),
    ],
)
def test_status_and_replay(bench: Bench, tmp_path: Path, arguments: str, message: str):
    there = tmp_path / "there"
    there.mkdir()
    words = arguments.format(there=there).split()
    assert_one_line(bench.call(*words), words[0], message.format(there=there, names=", ".join(names())))
    assert list(there.iterdir()) == []


@pytest.mark.parametrize("command", ["table", "figures"])
class TestReadingRecords:
    def test_a_folder_that_is_not_there(self, bench: Bench, command: str):
        outcome = bench.call(command, str(bench.results))
        assert_one_line(outcome, command, f"DIR must hold records, found none below '{bench.results}'")
        assert not bench.results.exists()

    def test_a_folder_without_a_record(self, bench: Bench, command: str):
        bench.results.mkdir()
        outcome = bench.call(command, str(bench.results))
        assert_one_line(outcome, command, "DIR must hold records, found none below")
        assert list(bench.results.iterdir()) == []

    def test_only_damaged_records(self, bench: Bench, command: str):
        folder = bench.results / "runs" / "x"
        folder.mkdir(parents=True)
        (folder / record.RECORD_FILE).write_text("{")
        outcome = bench.call(command, str(bench.results))
        assert_one_line(outcome, command, f"{folder / record.RECORD_FILE}: not a readable record")

    def test_an_output_that_cannot_be_written(self, bench: Bench, command: str):
        bench.ready()
        outcome = bench.call(command, str(bench.results), "--output=/dev/null/there")
        assert_one_line(outcome, command, "--output must be a")

    def test_an_output_in_the_folder_of_a_run(self, bench: Bench, command: str):
        bench.ready()
        (file,) = bench.results.rglob(record.RECORD_FILE)
        before = sorted(file.parent.iterdir()), file.read_bytes()
        outcome = bench.call(command, str(bench.results), f"--output={file if command == 'table' else file.parent}")
        assert_one_line(outcome, command, "--output must be a")
        assert "it is in the folder of a run: " in outcome.err
        assert (sorted(file.parent.iterdir()), file.read_bytes()) == before

    def test_an_unknown_metric(self, bench: Bench, command: str):
        bench.ready()
        (file,) = bench.results.rglob(record.RECORD_FILE)
        made = json.loads(file.read_bytes())
        made["task_facts"]["metric"] = "mae"
        file.write_text(json.dumps(made))
        outcome = bench.call(command, str(bench.results))
        assert_one_line(outcome, command, f"{file}: `task_facts.metric` must be one of ")


def nested(levels: int) -> object:
    """Return lists in each other."""
    return [nested(levels - 1)] if levels else []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b"", "not a readable record"),
        (b'{"schema": 1, "ru', "not a readable record"),
        (b"\xff\xfe\x00", "not a readable record"),
        (b"[]", "must be a mapping with schema, run_id, "),
        (b'{"schema": NaN}', "not a readable record"),
        (b"[" * 100_000, "not a readable record"),
        (b'{"schema": 1}', "`run_id` must be letters, digits, -, . and _, and is not there"),
        (b'{"schema": 99}', "`schema` must be <= 1 for this version, got 99"),
        ({"seed": "x"}, "`seed` must be an integer >= 0 and < 2^63, got 'x'"),
        ({"seed": True}, "`seed` must be an integer >= 0 and < 2^63, got true"),
        ({"steps": None}, "`steps` must be an integer >= 0 and < 2^63, got null"),
        ({"steps": int("9" * 400)}, "`steps` must be an integer >= 0 and < 2^63, got 999"),
        ({"steps_to_solve": "x"}, "`steps_to_solve` must be an integer >= 0 and < 2^63 or null, got 'x'"),
        ({"steps_to_solve": 10**12}, "`steps_to_solve` must be null or at most the steps of the run (6), got 100000"),
        ({"command": "bench run 'x"}, '`command` must be words as a shell reads them, got "bench run \'x"'),
        ({"config": nested(900)}, "must have at most 50 levels, got more"),
        (
            {"time": {"wall_seconds": 1, "steps_per_second": 1, "milliseconds_per_step": "x"}},
            "`time.milliseconds_per_step` must be a number or null",
        ),
        (
            {"metrics": {"eval": {}, "test": None}},
            "`metrics.test` must be a mapping, each value a number or null, got null",
        ),
        (
            {"status": "complete"},
            "`status` must be one of completed, diverged, failed, interrupted, got 'complete', did you mean completed?",
        ),
        ({"metrics": None}, "`metrics` must be a mapping with eval, test, got null"),
        ({"config": {}}, "`config.task` must be a mapping, and is not there"),
        ({"task_facts": {"metric": 3}}, "`task_facts.metric` must be a text, got 3"),
        ({"sed": 1}, "must have the keys schema, run_id, "),
    ],
    ids=str,
)
def test_a_damaged_record_is_named_and_the_rest_is_shown(bench: Bench, damage: bytes | dict[str, object], message: str):
    bench.ready("seed=1")
    path = bench.folder(bench.ready("seed=2")) / record.RECORD_FILE
    if isinstance(damage, dict):
        path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    else:
        path.write_bytes(damage)
    outcome = bench.call("table", str(bench.results))
    assert outcome.code == 1
    assert outcome.err.startswith(f"bench table: {path}: {message}"), outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert "adding_problem" in outcome.out


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_record_that_is_another_kind_of_file(bench: Bench, make: Callable[[Path], object]):
    path = bench.folder(bench.ready()) / record.RECORD_FILE
    path.unlink()
    make(path)
    outcome = bench.call("runs", str(bench.results))
    assert (outcome.code, outcome.err) == (
        1, f"bench runs: {path}: not a readable record ({path} is no regular file)\n"
    )  # fmt: skip


def test_characters_that_steer_a_terminal_are_shown_as_what_stands_for_them(bench: Bench):
    path = bench.folder(bench.ready()) / record.RECORD_FILE
    data = json.loads(path.read_text())
    data["device"]["name"] = "CPU\x1b[2J\u202eabc\r\n"
    data["metrics"]["test"] = {"mse": 0.5, "\u202ex": 1.0}
    data["config"]["task"]["markers"] = "\x9b31mhalves"
    path.write_text(json.dumps(data))
    for form in common.FORMATS:
        outcome = bench.call("table", str(bench.results), "--format", form)
        assert outcome.code == 0
        assert [each for each in outcome.out if not each.isprintable() and each != "\n"] == []
        assert r"CPU\x1b[2J\u202eabc\r\n" in outcome.out.replace(r"\textbackslash{}", "\\"), form


def test_a_limit_of_memory_in_which_nothing_can_be_loaded(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("resource.getrlimit", lambda _: (300_000 << 10, -1))
    for command, least in (("run", 2_000_000), ("status", 1_000_000)):
        wanted = f"the limit of memory (ulimit -v) must be at least {least} kB, got 300000"
        assert_one_line(bench.call(command), command, wanted)
    assert bench.call("run", "--help").code == 0


def test_the_memory_that_there_is_respects_limits(monkeypatch: pytest.MonkeyPatch):
    whole = memory.available(torch.device("cpu"))
    assert 0 < whole <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr("resource.getrlimit", lambda _: (whole // 2, -1))
    assert memory.available(torch.device("cpu")) == whole // 2


@pytest.mark.parametrize("command", ["status", "replay", "table --spec"])
def test_a_name_that_is_too_long_for_a_file(bench: Bench, command: str):
    bench.ready()
    words = command.split()
    if len(words) > 1:
        words.insert(1, str(bench.results))
    assert_one_line(bench.call(*words, "a" * 256), words[0], f"File name too long: '{'a' * 99}")


class TestAFolderThatCannotBeWrittenTo:
    """Where all is there, or is only listed, nothing has to be written."""

    def test_what_is_there_is_found_and_what_is_not_is_refused(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        bench.run("-m", "seed=1,2")
        monkeypatch.setattr("bench.config.checks.os.access", lambda *_: False)

        def refuse(*_: object) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        monkeypatch.setattr("bench.sweeps.state.SweepPlan.write", refuse)
        assert bench.run("seed=1").out.startswith("adding_problem gru seed=1: already there, ")
        assert bench.run("-m", "seed=1,2").out == "2 of 2 runs are there already, 0 to do\n"
        plan = bench.run("-m", "seed=1,2,3", "--plan").out
        assert "3 runs, 2 there already, 1 to do" in plan
        assert plan.splitlines()[-1].startswith("about 0.37 GiB of memory for the largest run, of ")
        message = f"results_dir must be writable, got '{bench.results}', where {bench.results} is not"
        assert_one_line(bench.run("-m", "seed=1,2,3"), "run", message)


def test_the_figures_name_what_is_damaged_and_draw_the_rest(bench: Bench):
    folders = [bench.folder(bench.ready(f"seed={seed}")) for seed in (1, 2, 3, 4)]
    (folders[0] / record.CURVES_FILE).unlink()
    (folders[1] / record.CURVES_FILE).write_bytes(b"PAR1 not really")
    (folders[2] / record.RECORD_FILE).write_bytes(b"")
    outcome = bench.call("figures", str(bench.results))
    assert outcome.code == 1
    assert "learning_curves.pdf" in outcome.out
    lines = sorted(outcome.err.splitlines())
    assert [line.partition(": not ")[0] for line in lines] == sorted(
        f"bench figures: {folder / name}"
        for folder, name in zip(folders, (record.CURVES_FILE, record.CURVES_FILE, record.RECORD_FILE), strict=False)
    )
