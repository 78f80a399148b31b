from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bench.records import provenance, record
from bench.records.read import find_records, read_curves, read_probe, read_record
from bench.records.record import DamagedRecordError
from bench.records.series import probe_table
from bench.records.write import commit, discard, prepare, write_output
from tests.records_made import CURVES, make, write


def test_what_is_written_is_read(tmp_path: Path):
    folder = tmp_path / "runs" / "default" / "adding_problem" / "gru" / "abc"
    write(folder, make())
    assert read_record(folder) == make()
    assert read_curves(folder).to_pydict() == {
        "step": [1, 2, 3],
        "train_loss": [3.0, 2.0, 1.0],
        "eval_mse": [None, 0.5, None],
    }
    assert sorted(path.name for path in folder.iterdir()) == ["curves.parquet", "record.json"]
    assert [path.name for path in folder.parent.iterdir()] == ["abc"]


def test_curves_with_other_bytes_are_refused_or_have_the_same_numbers(tmp_path: Path):
    write(tmp_path / "abc", make())
    path = tmp_path / "abc" / "curves.parquet"
    whole, written = read_curves(tmp_path / "abc"), path.read_bytes()
    refused = 0
    for place in range(0, len(written), 7):
        path.write_bytes(written[:place] + bytes([written[place] ^ 0x55]) + written[place + 1 :])
        try:
            # The names of the columns, at the end of the file, have no checksum.
            assert list(read_curves(tmp_path / "abc").itercolumns()) == list(whole.itercolumns())
        except DamagedRecordError:
            refused += 1
    assert refused > 10


def test_numbers_that_are_not_finite_become_null(tmp_path: Path):
    write(tmp_path / "abc", make(metrics={"eval": {}, "test": {"mse": math.nan, "loss": math.inf}}))
    assert "NaN" not in (tmp_path / "abc" / "record.json").read_text()
    assert read_record(tmp_path / "abc").metrics["test"] == {"mse": None, "loss": None}


def test_a_record_takes_the_place_of_an_older_one(tmp_path: Path):
    folder = tmp_path / "abc"
    write(folder, make(status="failed"))
    (folder / "left over").touch()
    write(folder, make())
    assert read_record(folder).status == "completed"
    assert [path.name for path in tmp_path.iterdir()] == ["abc"]
    assert len(list(folder.iterdir())) == 2


def test_an_unfinished_draft_is_no_record(tmp_path: Path):
    draft = prepare(tmp_path / "abc")
    (draft / "record.json").write_text("{}")
    assert find_records(tmp_path) == []
    discard(draft)
    assert list(tmp_path.iterdir()) == []


def test_the_copy_in_an_offline_run_of_wandb_is_no_record_and_an_experiment_of_a_like_name_is(tmp_path: Path):
    mine = tmp_path / "runs" / "offline-run-lengths" / "adding_problem" / "gru" / "abc"
    for folder in (mine, tmp_path / "wandb" / "offline-run-20260101_000000-abc" / "files" / "record"):
        write(folder, make())
    assert find_records(tmp_path) == [mine]


def test_a_full_disk_leaves_nothing_under_the_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    folder = tmp_path / "abc"
    draft = prepare(folder)
    with pytest.raises(OSError, match="No space left"):
        commit(draft, folder, make(), CURVES, {})
    assert not folder.exists()


def test_newer_schema(tmp_path: Path):
    write(tmp_path / "abc", make())
    path = tmp_path / "abc" / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 2}))
    with pytest.raises(DamagedRecordError, match=r"`schema` must be <= 1 for this version, got 2"):
        read_record(tmp_path / "abc")


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (7, "`config.probe` must be a mapping with enabled, inputs, exponents, got 7"),
        ({"exponents": "many"}, "`config.probe.exponents` must be an integer >= 0 and < 2^63, got 'many'"),
    ],
)
def test_settings_of_probes_are_those_that_readers_know(tmp_path: Path, probe: object, message: str):
    write(tmp_path / "abc", make(config={**make().config, "probe": probe}))
    with pytest.raises(DamagedRecordError, match=re.escape(message)):
        read_record(tmp_path / "abc")


def test_a_lag_that_is_missing_is_damage(tmp_path: Path):
    rows = [[0, 0, "x", 1, 0.5], [0, 0, "x", None, None]]
    pq.write_table(probe_table("flow", "abc", rows), tmp_path / "flow.parquet")
    with pytest.raises(DamagedRecordError, match="`lag` must be there in every row, 1 are missing"):
        read_probe(tmp_path, "flow")


class TestWhatIsBetter:
    def test_a_record_without_directions(self):
        assert make().directions == {"loss": "lower", "mse": "lower", "within_tolerance": "higher"}
        facts = make().task_facts | {"baselines": {"loss": 1.0, "absolute_error": 1.0, "exact": 0.1, "mse": 1.0}}
        found = {"loss": "lower", "absolute_error": "lower", "exact": "higher", "mse": "higher"}
        assert make(task_facts=facts | {"higher_is_better": True}).directions == found

    def test_the_word_of_a_task_counts(self, tmp_path: Path):
        said = {"loss": "lower", "mse": "higher", "regret": "lower"}
        write(tmp_path / "abc", make(task_facts=make().task_facts | {"directions": said}))
        assert read_record(tmp_path / "abc").directions == said

    def test_a_direction_that_is_none(self, tmp_path: Path):
        write(tmp_path / "abc", make(task_facts=make().task_facts | {"directions": {"mse": "up"}}))
        words = "`task_facts.directions` must be a mapping, each value one of higher, lower, got {'mse': 'up'}"
        with pytest.raises(DamagedRecordError, match=words):
            read_record(tmp_path / "abc")

    def test_the_year_of_a_cell(self):
        assert [make(cell=cell).cell_year for cell in ("rnn", "lstm", "gru", "mine")] == [1990, 1997, 2014, None]
        said = [make(model=make().model | {"cell_year": year}).cell_year for year in (2001, None)]
        assert said == [2001, None]


SCIENCE = {"task": {"length": 3}, "seed": 0}


class TestRunId:
    def test_is_a_hash_without_a_clock(self):
        assert record.run_id(SCIENCE, "code") == record.run_id(dict(reversed(SCIENCE.items())), "code")
        assert record.run_id(SCIENCE, "code") == "a04a210bd491"

    def test_changes_with_the_science_and_with_the_code(self):
        ids = {
            record.run_id(SCIENCE, "code"),
            record.run_id(SCIENCE, "other"),
            record.run_id(SCIENCE | {"seed": 1}, "code"),
            record.run_id({"task": {"length": 4}, "seed": 0}, "code"),
        }
        assert len(ids) == 4

    def test_source_hash_is_of_contents(self, tmp_path: Path):
        for name, text in (("a", "1"), ("b", "2"), ("c", "1"), ("d", "3")):
            (tmp_path / name).write_text(text)
        a, b, c, d = (tmp_path / name for name in "abcd")
        assert provenance.source_hash([a, b]) == provenance.source_hash([b, c]) != provenance.source_hash([a, d])


def test_code_version_of_a_checkout(tmp_path: Path):
    own = Path(record.__file__)
    version = provenance.code_version([own], [own, Path(__file__)])
    assert version["sources"] != version["cell"]
    assert version["version"] == "0.1.0"
    assert len(version["sources"]) == 12
    commit, dirty = version["commit"], version["dirty"]
    assert (commit is None and dirty is None) or (len(str(commit)) == 40 and isinstance(dirty, bool))


class TestOutput:
    """A file that somebody names: what stands there is not always one that may be replaced."""

    def test_through_a_link(self, tmp_path: Path):
        (tmp_path / "target").write_text("before")
        for name in ("target", "new"):
            link = tmp_path / f"link-{name}"
            link.symlink_to(name)
            write_output(link, name.encode())
            assert link.is_symlink()
            assert (tmp_path / name).read_text() == name

    def test_into_a_pipe(self, tmp_path: Path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        write_output(pipe, b"a table")
        assert os.read(reader, 100) == b"a table"
        os.close(reader)
        assert pipe.is_fifo()

    def test_to_standard_output_that_is_a_file(self, tmp_path: Path):
        """The shell has it open; another file in its place would get nothing of what follows."""
        file, link = tmp_path / "out", tmp_path / "stdout"
        with file.open("wb") as stream:
            link.symlink_to(f"/proc/self/fd/{stream.fileno()}")
            before = file.stat().st_ino
            write_output(link, b"a table")
        assert (file.read_bytes(), file.stat().st_ino, link.is_symlink()) == (b"a table", before, True)

    def test_a_failure_names_what_was_asked_for(self, tmp_path: Path):
        for place, error in ((tmp_path, IsADirectoryError), (Path("/dev/null/there"), NotADirectoryError)):
            with pytest.raises(error) as raised:
                write_output(place, b"a table")
            assert raised.value.filename in (str(place), str(place.parent))
        assert list(tmp_path.iterdir()) == []

    def test_a_failure_leaves_no_folder(self, tmp_path: Path):
        with pytest.raises(OSError, match="File name too long"):
            write_output(tmp_path / "a" / "b" / ("c" * 300), b"a table")
        assert list(tmp_path.iterdir()) == []
