"""The cache of numbers that follow from the tables of the probes: used where nothing has changed, and nowhere else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.analysis import kept_numbers
from bench.analysis import run as reading
from bench.analysis.run import Run, read_exponents, read_reaches, read_runs
from bench.records.record import Record
from bench.records.write import amend
from tests.conftest import ROOT

PUBLISHED = ROOT / "results" / "demo" / "runs" / "adding_problem" / "gru"


def numbers(root: Path) -> tuple[list[Any], list[str]]:
    runs, _ = read_runs(root)
    damaged = [*read_reaches(runs), *read_exponents(runs)]
    return [(run.reach, run.exponents) for run in runs], [str(error) for error in damaged]


def test_numbers_are_kept_until_something_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept_numbers, "SETTLED_NANOSECONDS", 0)
    monkeypatch.setattr(kept_numbers, "LEAST_NEW", 1)
    root = tmp_path / "runs"
    shutil.copytree(PUBLISHED, root)
    folders = sorted(root.iterdir())
    opened: list[Path] = []
    read_probe = reading.read_probe

    def counted(folder: Path, *rest: Any) -> Any:
        opened.append(folder)
        return read_probe(folder, *rest)

    monkeypatch.setattr(reading, "read_probe", counted)
    first, damaged = numbers(root)
    assert all(reach.end.reach > 0 and exponents.end < 0.1 for reach, exponents in first)
    assert not damaged
    assert len(opened) == 2 * len(folders) == 6
    assert numbers(root) == (first, [])
    assert len(opened) == 6
    # A file with the same size, inode and time, which only the time of its change tells from what it was before.
    flow = folders[0] / "flow.parquet"
    before = flow.stat()
    flow.write_bytes(bytes(before.st_size))
    os.utime(flow, ns=(before.st_atime_ns, before.st_mtime_ns))
    _, damaged = numbers(root)
    assert (len(opened), len(damaged)) == (7, 1)
    assert str(flow) in damaged[0]
    shutil.copy(PUBLISHED / folders[0].name / "flow.parquet", flow)
    # What the record says of a run counts as well: one that was not completed has no trained network.
    run = read_runs(root)[0][1]
    amend(run.folder, Record(**{**vars(run.record), "status": "interrupted"}))
    changed, _ = numbers(root)
    assert (changed[0], changed[2]) == (first[0], first[2])
    assert (changed[1][0].start, changed[1][0].end, changed[1][1].end) == (first[1][0].start, None, None)
    # A damaged cache is none.
    kept = sorted((tmp_path / "cache" / "rnn-bench").iterdir())
    assert [path.name.partition(".")[2] for path in kept] == ["activity.parquet.numbers", "flow.parquet.numbers"]
    for path in kept:
        held = bytearray(path.read_bytes())
        held[-1] ^= 1
        path.write_bytes(held)
    opened.clear()
    assert (numbers(root), len(opened)) == ((changed, []), 6)
    assert (numbers(root), len(opened)) == ((changed, []), 6)


def test_a_table_that_was_only_just_written_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept_numbers, "LEAST_NEW", 1)
    shutil.copytree(PUBLISHED, tmp_path / "runs", copy_function=shutil.copy)
    numbers(tmp_path / "runs")
    assert not (tmp_path / "cache").exists()


def test_runs_share_settings_that_are_equal():
    runs, _ = read_runs(PUBLISHED)
    one, other = runs[:2]
    assert (one.seed, one.record.config["seed"]) != (other.seed, other.record.config["seed"])
    assert one.record.config["task"] is other.record.config["task"]
    assert (one.settings is other.settings, one.stratum is other.stratum) == (True, True)
    changed = {**one.record.config, "model": {"hidden_size": 3}}
    fresh = Run(Record(**{**vars(one.record), "config": changed}), one.folder)
    assert (fresh.settings["model.hidden_size"], one.settings["model.hidden_size"]) == (3, 64)


def test_another_process_makes_the_same_of_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "runs"
    shutil.copytree(PUBLISHED, root)
    whole, _ = numbers(root)
    last = sorted(root.iterdir())[-1]
    (last / "flow.parquet").write_bytes(b"")
    alone = numbers(root)
    read: list[Path] = []
    read_probe = reading.read_probe
    monkeypatch.setattr(
        reading, "read_probe", lambda folder, *rest: (read.append(folder), read_probe(folder, *rest))[1]
    )
    monkeypatch.setattr(reading, "MANY", 3)
    monkeypatch.setattr(reading, "is_of_use", lambda: True)
    found, damaged = numbers(root)
    assert (found, damaged) == alone
    assert found[:2] == whole[:2]
    assert damaged[0].startswith(f"{last / 'flow.parquet'}: not readable")
    assert [path.name for path in read] == 2 * [path.name for path in sorted(root.iterdir())[:2]]
