"""Sweeps on SLURM, by submitit and by a plain job array: as serial ones, whatever stops them on the way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.records.read import find_records, read_record
from bench.runs.slurm import SECONDS_TO_ANSWER
from tests.cluster.conftest import LONG, Login, owners
from tests.cluster.slurm import Slurm
from tests.conftest import ROOT, TINY, results_of, wait_for

pytestmark = pytest.mark.cluster

SWEEP = ("cell=gru,rnn", "task.length=9")
SLURM = ("launcher=slurm", "launcher.memory_gb=1")


def test_submitit_makes_what_a_serial_sweep_makes_on_both_nodes(
    login: Login, running: Slurm, serial: dict[str, object]
):
    process = login.sweep(*SLURM, *LONG, "runtime.threads=null", "launcher.workers=2")
    wait_for(lambda: len(owners(login.results)) == 2)
    status = login.start("status", str(login.results))
    assert "on second-host" in login.end(status)[1]
    code, out, err = login.end(process)
    assert (code, [line for line in err.splitlines() if " left" not in line]) == (0, [])
    assert out.startswith("0 of 2 runs are there already, 2 to do, 2 at once\n")
    assert results_of(login.results) == serial
    assert [path.name for path in login.results.rglob("*_log.*")] == []


def test_a_stop_stops_the_nodes_and_the_same_command_goes_on(login: Login, running: Slurm, serial: dict[str, object]):
    process = login.sweep(*SLURM, *LONG)
    wait_for(lambda: len(owners(login.results, step=300)) == 2)
    process.send_signal(signal.SIGINT)
    code, _, err = login.end(process, timeout=60)
    assert code == 130
    assert "stopped by SIGINT; the same command goes on from here" in err
    wait_for(lambda: running.ask("squeue", "--noheader") == "")
    made = [read_record(folder) for folder in find_records(login.results)]
    assert [each.status for each in made] == ["interrupted"] * 2
    code, _, err = login.end(login.sweep(*SLURM, *LONG))
    assert code == 0, err
    assert results_of(login.results) == serial


def kill_here(login: Login, running: Slurm) -> str:
    os.kill(owners(login.results)[os.uname().nodename].pid, signal.SIGKILL)
    return r"job \d+_\d ended as FAILED, see .*_log\.err; what is not done goes on$"


def preempt(login: Login, running: Slurm) -> str:
    running.ask("sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")
    return ""


def warn(login: Login, running: Slurm) -> str:
    (array,) = {line.partition("_")[0] for line in running.ask("squeue", "--noheader", "--format=%i").split()}
    running.ask("scancel", "--signal=USR2", array)
    return ""


@pytest.mark.parametrize("happens", [kill_here, preempt, warn], ids=lambda each: each.__name__)
def test_what_happens_on_the_way_changes_no_number(
    login: Login, running: Slurm, serial: dict[str, object], happens: Callable[[Login, Slurm], str]
):
    process = login.sweep(*SLURM, *LONG)
    wait_for(lambda: len(owners(login.results, step=300)) == 2)
    line = happens(login, running)
    code, _, err = login.end(process)
    assert code == 0, err
    assert re.search(line, err, re.MULTILINE)
    assert results_of(login.results) == serial


def test_a_node_that_fails_is_told_and_its_run_goes_on(login: Login, running: Slurm, serial: dict[str, object]):
    process = login.sweep(*SLURM, *LONG)
    wait_for(lambda: len(owners(login.results, step=300)) == 2)
    running.kill_node("n2")
    try:
        code, _, err = login.end(process)
    finally:
        running.return_node("n2")
    assert code == 0, err
    line = r"^bench run: a job was killed and waits to be started again, see .*_log\.err; its run goes on then$"
    assert re.search(line, err, re.MULTILINE), err
    assert results_of(login.results) == serial


def test_the_time_limit_stops_a_run_with_a_checkpoint_and_it_goes_on_in_another_job(
    login: Login, running: Slurm, serial: dict[str, object]
):
    process = login.sweep(*SLURM, *LONG, "launcher.minutes=1", "launcher.warning_seconds=20")
    wait_for(lambda: len(owners(login.results, step=300)) == 2)
    # SLURM looks at limits twice a minute only. A run that is stopped is there then; the warning comes with SIGCONT.
    os.kill(owners(login.results)[os.uname().nodename].pid, signal.SIGSTOP)
    code, _, err = login.end(process)
    assert (code, [line for line in err.splitlines() if " left" not in line]) == (0, [])
    arrays = {path.name.partition("_")[0] for path in login.results.rglob("*_submission.sh")}
    assert len(arrays) > 1, "submitted again"
    assert results_of(login.results) == serial


def test_a_cancelled_job_is_said_and_left_out(login: Login, running: Slurm):
    process = login.sweep(*SLURM, *LONG)
    wait_for(lambda: len(owners(login.results, step=300)) == 2)
    running.ask("scancel", running.ask("squeue", "--noheader", "--format=%i").split()[0])
    code, _, err = login.end(process)
    assert code == 1
    assert re.search(
        r"^bench run: its job \d+_\d was cancelled; the same command goes on from there$", err, re.MULTILINE
    )
    made = sorted(read_record(folder).status for folder in find_records(login.results))
    assert made == ["completed", "interrupted"]


def test_a_scheduler_that_falls_silent_neither_stops_runs_nor_is_waited_for(login: Login, running: Slurm):
    process = login.sweep(*SLURM, *LONG)
    wait_for(lambda: len(owners(login.results)) == 2)
    running.pause()
    try:
        code, _, err = login.end(process, timeout=120)
        assert code == 0, err
        code, out, err = login.end(login.sweep(*SLURM, *LONG, "seed=1"), timeout=3 * SECONDS_TO_ANSWER)
        assert (code, out) == (2, "")
        assert err.startswith("bench run: the scheduler does not answer: ")
    finally:
        running.go_on()


def test_a_node_that_lacks_what_a_run_takes_refuses_it(login: Login, running: Slurm):
    setup = f"launcher.setup=['export CXX=none','export TORCH_EXTENSIONS_DIR={login.results}/extensions']"
    code, *_ = login.end(login.sweep(*SLURM, "cell=gru", "task.length=9", setup))
    assert code == 1
    (made,) = [read_record(folder) for folder in find_records(login.results)]
    assert made.reason is not None
    assert re.match(
        r"model\.engine must be auto, fused, stepwise or compiled here, got 'native': .* \(on ", made.reason
    )


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("launcher.partition=nope", "invalid partition specified: nope"),
        ("launcher.memory_gb=4000", "Requested node configuration is not available"),
        ("launcher.gpus=1", "Invalid generic resource"),
        ("+launcher.additional_parameters.typo=1", "unrecognized option '--typo=1'"),
    ],
)
def test_what_slurm_does_not_have_is_one_line_and_nothing_is_written(login: Login, word: str, said: str):
    trainer = ("trainer=gpu",) if "gpus" in word else ()
    code, out, err = login.end(login.sweep("launcher=slurm", *SWEEP, *trainer, word))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("bench run: launcher must ask for what SLURM has, which says: ")
    assert said in err
    assert not login.results.exists()


def test_the_plain_array_of_the_docs(login: Login, running: Slurm, tmp_path: Path, serial: dict[str, object]):
    text = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
    found = re.search(r"`sweep\.sh`:\n\n```sh\n(.*?)```", text, re.DOTALL)
    assert found is not None
    words = " ".join([*TINY, f"results_dir={login.results}", *LONG])
    script, count = re.subn(r"bench run -m .*", f"python -m bench run -m {words}", found[1])
    assert count == 1
    script = script.replace("--array=0-7", "--array=0-1").replace("python -m", f"{sys.executable} -m")
    (tmp_path / "sweep.sh").write_text(script)
    environment = {**os.environ, **running.environment, "PYTHONPATH": str(ROOT)}
    subprocess.run(["sbatch", "sweep.sh"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    wait_for(lambda: len(owners(login.results, step=300)) == 2)
    (array,) = {line.partition("_")[0] for line in running.ask("squeue", "--noheader", "--format=%i").split()}
    running.ask("scancel", "--signal=USR1", f"{array}_0")
    running.ask("sbatch", "--partition=urgent", "--nodelist=n2", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")
    wait_for(lambda: running.ask("squeue", "--noheader") == "")
    log = "".join(path.read_text() for path in tmp_path.glob("slurm-*.out"))
    assert "stopped by SIGUSR1" in log
    assert "stopped by SIGTERM" in log, "preempted"
    assert log.count("runs are there already") == 4, "both tasks were put back once"
    assert "srun` command" not in log, "Lightning says nothing of SLURM"
    assert results_of(login.results) == serial
