"""The completion of ``bench`` in real shells, and what the words of ``bench run`` may go on with."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.completion import COMMANDS
from bench.config.hydra_app import candidates
from tests.conftest import ROOT, Bench, assert_one_line, options, wait_for

SHELLS = {
    "bash": (["bash", "--norc", "-i"], 'eval "$(bench run -sc install=bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -Uz compinit; compinit -u; eval "$(bench run -sc install=zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "bench run -sc install=fish | source"),
}
ON_ITS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Becomes the shell, as a program of its own: Python between fork and exec may wait forever for a lock of a thread."""


@pytest.mark.parametrize("shell", SHELLS)
def test_a_tab_in_a_real_shell(tmp_path: Path, shell: str):
    words, install = SHELLS[shell]
    if shutil.which(words[0]) is None:
        pytest.skip(f"{shell} is not installed here")
    # Asked for candidates, this is the real command; else it keeps the words that it was called with.
    command, called = tmp_path / "bench", tmp_path / "called"
    command.write_text(
        f'#!/bin/sh\n[ "$2" = -sc ] && exec {sys.executable} -m bench "$@"\n[ "$1" != "" ] && echo "$@" >> {called}\n'
    )
    command.chmod(0o755)
    home = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    main, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ON_ITS_TERMINAL, *words],
        cwd=tmp_path, env=home, stdin=end, stdout=end, stderr=end, start_new_session=True,
    )  # fmt: skip
    try:
        os.write(main, f"{install}\r".encode())
        for line in ("bench tab\t--no", "bench run task=copy_mem\t cell=l\t +exp\thori\t"):
            told = called.stat().st_size if called.exists() else 0
            os.write(main, f"{line}\r".encode())
            wait_for(lambda told=told: called.exists() and called.stat().st_size > told)
    finally:
        process.kill()
        process.wait()
        os.close(main)
        os.close(end)
    assert called.read_text().splitlines() == ["table --no", "run task=copy_memory cell=lstm +experiment=horizon"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("bench cell=", [f"cell={name}" for name in options("cell")]),
        ("bench -m cell=rnn,lstm  +experiment=ho", ["+experiment=hochreiter1997", "+experiment=horizon"]),
        ("bench cell=lstm cell.p", ["cell.peepholes="]),
        ("bench t", ["task.", "task=", "trainer.", "trainer=", "training.", "tuning."]),
    ],
)
def test_what_words_may_go_on_with(line: str, found: list[str]):
    assert candidates(line) == found


def test_cells_of_ones_own_are_among_them(tmp_path: Path):
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "mine.yaml").write_text("_target_: mine.Mine\n")
    assert candidates(f"bench --config-dir {tmp_path} cell=m") == ["cell=mine"]


def test_the_commands_are_those_that_there_are(bench: Bench):
    shown = bench.call("--help").out
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("    ") and line[4] != " "] == [*COMMANDS]


def test_a_shell_that_is_not_known(bench: Bench):
    message = "-sc must be install, uninstall or query with one of bash, zsh, fish, got 'install=tcsh'"
    assert_one_line(bench.call("run", "-sc", "install=tcsh"), "run", message)
