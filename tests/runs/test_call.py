"""``bench.run``: from Python what ``bench run`` is on the command line."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import bench
from bench.runs import launch
from tests.conftest import TINY


def surroundings() -> list[Any]:
    """What a call must leave as it was."""
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    return [list(sys.argv), list(sys.path), dict(os.environ), list(warnings.filters), handlers]


def test_a_sweep_is_made_and_returned(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = (*TINY, f"results_dir={tmp_path}", "probe=flow", "probe.lags=[0,3]", "launcher=serial")
    with pytest.raises(bench.ConfigError):
        bench.run(*words, "task=nothing")
    before = surroundings()
    runs = bench.run("-m", *words, "seed=4,7")
    assert surroundings() == before
    assert "0 of 2 runs are there already, 2 to do" in capsys.readouterr().out
    assert [(run.seed, run.status) for run in runs] == [(4, "completed"), (7, "completed")]
    assert runs.frame()["run"].tolist() == [run.folder.name for run in runs]
    assert runs.frame()["steps"].tolist() == [6, 6]
    assert sorted(runs.flow()["lag"].unique()) == [0, 3]


def test_what_the_process_has_set_of_torch_changes_no_number_and_stays(tmp_path: Path):
    words = (*TINY, "cell=gru", "task.length=9")
    expected = bench.run(*words, f"results_dir={tmp_path / 'plain'}").frame()["test.mse"].tolist()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.inference_mode(), torch.autocast("cpu"):
            found = bench.run(*words, f"results_dir={tmp_path / 'strange'}").frame()
            assert torch.is_inference_mode_enabled()
        assert (torch.get_default_dtype(), torch.get_default_device().type) == (torch.float64, "meta")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert found["test.mse"].tolist() == expected


def test_calls_from_two_threads_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made: dict[int, bench.Runs] = {}
    inside: list[str] = []
    plain = launch.run

    def watched(*words: Any, **more: Any) -> Any:
        inside.append("in")
        try:
            return plain(*words, **more)
        finally:
            inside.append("out")

    monkeypatch.setattr(launch, "run", watched)

    def call(seed: int) -> None:
        made[seed] = bench.run(*TINY, f"results_dir={tmp_path}", f"seed={seed}")

    threads = [threading.Thread(target=call, args=(seed,)) for seed in (1, 2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {seed: [run.status for run in runs] for seed, runs in made.items()} == {1: ["completed"], 2: ["completed"]}
    assert inside == ["in", "out", "in", "out"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cel=lstm"], "cel is no setting, did you mean cell?"),
        (
            ["cell=lstmm"],
            "cell must be one of foreign, gru, irnn, lstm, rnn, got 'lstmm', did you mean lstm? "
            "(--config-dir adds yours)",
        ),
        (["cell=rnn,gru"], "cell must be one value, or a sweep with -m (--multirun), got rnn,gru"),
        (["--help"], "an override must have the form key=value, or be -m, got '--help'"),
    ],
)
def test_a_wrong_word_is_the_line_of_the_command(tmp_path: Path, words: list[str], message: str):
    with pytest.raises(bench.ConfigError) as said:
        bench.run(*TINY, f"results_dir={tmp_path}", *words)
    assert str(said.value) == message
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_stops_the_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    outcome = launch.Outcome(folders=(), problems=("gru seed=0 has no result",), stopped="SIGTERM")
    monkeypatch.setattr(launch, "run", lambda *_, **__: outcome)
    with pytest.raises(KeyboardInterrupt, match=r"^stopped by SIGTERM; the same call goes on from here$"):
        bench.run("cell=gru")
    assert capsys.readouterr().err == "gru seed=0 has no result\n"
