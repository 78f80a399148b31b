"""``bench publish``: copies are small enough for a repository, and every step can still be checked."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib import pyplot as plt

from bench.analysis.run import Run
from bench.records import publish, record, thinning
from bench.records.read import check_record, find_records, read_curves, read_probe, read_record
from bench.records.series import CLOCKS, PROBES, curves_table
from bench.report.figures.clipping import gradient_norms
from tests.conftest import Bench, Outcome

LONG = ("task.length=4", "training.max_steps=900", "training.eval_every=90", "probe=flow", "probe.every=300")
EVERY = "--every=4"
"""A tiny run has 6 steps and is evaluated after steps 3 and 6; of these, the option keeps 1, 3, 4 and 6."""


def published(bench: Bench, *overrides: str, every: str = EVERY) -> tuple[Path, Path]:
    """Return the folders of a run and of its copy."""
    folder = bench.folder(bench.ready(*overrides))
    outcome = to_paper(bench, every)
    assert (outcome.code, outcome.err) == (0, "")
    return folder, paper(bench) / folder.relative_to(bench.results / "runs")


def paper(bench: Bench) -> Path:
    return bench.results.with_name("paper") / "runs"


def to_paper(bench: Bench, *options: str) -> Outcome:
    return bench.call("publish", str(bench.results / "runs"), str(paper(bench)), *options)


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def rewrite(folder: Path, table: pa.Table, **metadata: str) -> None:
    """Write curves as another Parquet writer would, with some metadata changed."""
    before = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    pq.write_table(table.replace_schema_metadata(before | metadata), folder / record.CURVES_FILE)


def change(folder: Path, **changes: Any) -> None:
    path = folder / record.RECORD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def with_value(curves: pa.Table, name: str, row: int, factor: float) -> pa.Table:
    values = curves[name].to_pylist()
    values[row] *= factor
    return curves.set_column(curves.column_names.index(name), name, pa.array(values, curves[name].type))


def test_a_copy_does_not_say_where_it_was_made(bench: Bench):
    folder, copy = published(bench)
    made, copied = read_record(folder), read_record(copy)
    assert made.config["results_dir"] != "results"
    assert made.config["results_dir"] not in (copy / record.RECORD_FILE).read_text()
    assert copied.config == {**made.config, "results_dir": "results"}
    assert copied.command == " ".join(word for word in made.command.split() if not word.startswith("results_dir="))
    assert dataclasses.replace(copied, config=made.config, command=made.command) == made
    assert "already" in to_paper(bench, EVERY).out


@pytest.mark.parametrize(
    ("place", "said"), [("here/mine", "mine"), ("else where/mine", "mine"), ("here/a/mine", "a/mine")]
)
def test_a_copy_says_where_own_modules_are_from_here(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, said: str
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = bench.folder(bench.ready())
    change(folder, command=f"bench run '--config-dir={tmp_path / place}' cell=gru seed=0")
    assert f"bench run --config-dir={said} cell=gru seed=0" in publish.published_record(folder).decode()
    change(
        folder,
        command="bench run --config-dir=mine cell=gru",
        config={**read_record(folder).config} | {"results_dir": "results"},
    )
    assert publish.published_record(folder) == (folder / record.RECORD_FILE).read_bytes()


class TestThin:
    def curves(self, length: int, evaluated: int) -> pa.Table:
        rows = [{"step": step, "mse": 1 / step} for step in range(evaluated, length + 1, evaluated)]
        return curves_table({"train_loss": list(np.linspace(1, 2, length))}, rows)

    @pytest.mark.parametrize(
        ("length", "evaluated", "every", "rows"),
        [
            (20000, 500, 125, 161),
            (20000, 50, 20000, 401),
            (199, 10, 1, 199),
            (200, 10, 1, 200),
            (201, 10, 2, 102),
            (1, 1, 1, 1),
        ],
    )
    def test_as_many_rows_as_there_is_room_for(self, length: int, evaluated: int, every: int, rows: int):
        curves = self.curves(length, evaluated)
        assert thinning.default_every(curves) == every
        assert thinning.thin(curves, every).num_rows == rows

    def test_evaluations_each_nth_step_and_both_ends(self):
        assert thinning.thin(self.curves(20, 7), 6)["step"].to_pylist() == [1, 6, 7, 12, 14, 18, 20]

    def test_the_digest_is_of_values_in_whatever_encoding(self, tmp_path: Path):
        table = pa.table({"a": pa.array([1.0, math.nan, None], pa.float32()), "b": pa.array([1, 2, None], pa.int32())})
        digest = thinning.digest(table)
        a = b'["a", "float", 3]' + bytes([0b11000000]) + struct.pack("<3f", 1, math.nan, 0)
        b = b'["b", "int32", 3]' + bytes([0b11000000]) + struct.pack("<3i", 1, 2, 0)
        assert digest == hashlib.sha256(a + b).hexdigest()
        assert thinning.digest(table.select(["b", "a"])) == digest
        assert thinning.digest(pa.concat_tables([table.slice(0, 1), table.slice(1)])) == digest
        pq.write_table(table, tmp_path / "zipped", compression="gzip")
        pq.write_table(table, tmp_path / "pages", use_dictionary=False, data_page_size=8)
        for name in ("zipped", "pages"):
            assert thinning.digest(pq.read_table(tmp_path / name)) == digest
        nans = [np.array([bits], np.uint32).view(np.float32) for bits in (0x7FC00000, 0xFFC00001)]
        assert len({thinning.digest(pa.table({"a": nan})) for nan in nans}) == 1

    @pytest.mark.parametrize(
        "other",
        [
            {"a": pa.array([1.0, 2.0], pa.float64())},
            {"b": pa.array([1.0, 2.0], pa.float32())},
            {"a": pa.array([2.0, 1.0], pa.float32())},
            {"a": pa.array([1.0, None], pa.float32())},
            {"a": pa.array([1.0, 2.0, 0.0], pa.float32())},
            {"a": pa.array([1.0, np.nextafter(np.float32(2), np.float32(3))], pa.float32())},
        ],
        ids=["type", "name", "order", "null", "row", "last bit"],
    )
    def test_whatever_is_different_changes_the_digest(self, other: dict[str, pa.Array]):
        one = pa.table({"a": pa.array([1.0, 2.0], pa.float32())})
        assert thinning.digest(one) != thinning.digest(pa.table(other))
        assert thinning.digest(one) == thinning.digest(pa.table({**other, "a": one["a"]}), without=other.keys() - {"a"})

    def test_times_are_not_in_it(self):
        rows = [{"step": 2, "mse": 0.5, "train_seconds": 1.0}, {"step": 4, "mse": 0.5, "train_seconds": 2.0}]
        curves = [curves_table({"train_loss": [1.0] * 4}, each) for each in (rows, rows[:1])]
        one, other = (thinning.digest(each.drop("eval_mse"), CLOCKS) for each in curves)
        assert one == other


class TestCopies:
    def test_small_and_whole(self, bench: Bench):
        made = bench.ready(*LONG)
        source = bench.folder(made)
        outcome = to_paper(bench)
        assert outcome.code == 0
        target = paper(bench) / source.relative_to(bench.results / "runs")
        copied = check_record(target)
        assert dataclasses.replace(copied, config=made.config, command=made.command) == check_record(source) == made
        whole, kept = read_curves(source), read_curves(target)
        steps = kept["step"].to_pylist()
        assert len(steps) <= thinning.MOST_ROWS
        assert {1, 90, 180, 900} <= set(steps)
        assert kept.equals(whole.filter(pa.array(np.isin(whole["step"].to_numpy(), steps))))
        said = thinning.thinning_of(kept.schema)
        assert said is not None
        assert steps == sorted({1, *range(90, 901, 90), *range(said.every, 901, said.every)})
        assert (said.rows, said.kept, said.sha256) == (900, len(steps), thinning.digest(whole, CLOCKS))
        for name in PROBES:
            assert read_probe(target, name).equals(read_probe(source, name))
        sizes = {path.name: (path.stat().st_size, (target / path.name).stat().st_size) for path in source.iterdir()}
        assert all(after <= before for before, after in sizes.values())
        assert sizes[record.CURVES_FILE][1] < sizes[record.CURVES_FILE][0] / 3
        assert sizes["flow.parquet"][1] < sizes["flow.parquet"][0]
        before, after = map(sum, zip(*sizes.values(), strict=True))
        assert outcome.out == f"1 record copied: {before / 1e6:.2f} MB became {after / 1e6:.2f} MB\n"

    def test_only_records_with_a_result_and_only_their_files(self, bench: Bench):
        folder = bench.folder(bench.ready("seed=1", "logger=csv"))
        failed = bench.folder(bench.ready("seed=2"))
        change(failed, status="failed")
        for name in (".abc.claim", ".abc.checkpoint", f".{folder.name}.damaged-1/record.json"):
            (folder.parent / name).parent.mkdir(exist_ok=True)
            (folder.parent / name).write_text("{}")
        assert (folder / "metrics.csv").exists()
        outcome = to_paper(bench)
        assert outcome.code == 0
        assert outcome.out.startswith("1 record copied, 1 without a result left out: ")
        target = folder.relative_to(bench.results / "runs")
        assert list(contents(paper(bench))) == [str(target / name) for name in ("curves.parquet", "record.json")]
        assert sorted(path.name for path in (paper(bench) / target.parent).iterdir()) == [folder.name]

    def test_few_steps_stay_all(self, bench: Bench):
        source, target = published(bench, every="--every=1")
        assert thinning.thinning_of(read_curves(target).schema) is None
        assert read_curves(target).equals(read_curves(source))

    def test_a_second_time_nothing_is_written(self, bench: Bench):
        published(bench, "probe=flow", "cell=lstm")
        before = contents(paper(bench))
        outcome = to_paper(bench, EVERY)
        assert (outcome.code, outcome.out, outcome.err) == (0, "0 records copied, 1 there already\n", "")
        assert contents(paper(bench)) == before

    def test_equal_is_what_has_equal_values(self, bench: Bench):
        _, target = published(bench)
        rewrite(target, read_curves(target))
        assert to_paper(bench, EVERY).out == "0 records copied, 1 there already\n"

    def test_a_copy_of_a_copy(self, bench: Bench):
        published(bench)
        again = paper(bench).with_name("again")
        assert bench.call("publish", str(paper(bench)), str(again)).code == 0
        one, other = contents(paper(bench)), contents(again)
        assert {name: text for name, (text, _) in one.items()} == {name: text for name, (text, _) in other.items()}

    def test_what_a_killed_copy_left_goes(self, bench: Bench):
        _, target = published(bench)
        draft = target.with_name(f".{target.name}.77.tmp")
        draft.mkdir()
        target.rename(target.with_name(f".{target.name}.77.old"))
        assert to_paper(bench, EVERY).out == "0 records copied, 1 there already\n"
        assert [path.name for path in target.parent.iterdir()] == [target.name]

    def test_a_full_disk_leaves_nothing(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        folder = bench.folder(bench.ready())
        monkeypatch.setattr(publish, "write_whole", full)
        outcome = to_paper(bench)
        assert outcome.code == 2
        assert outcome.err.startswith("bench publish: DEST must be a folder that can be written to, ")
        assert list((paper(bench) / folder.relative_to(bench.results / "runs")).parent.iterdir()) == []


class TestRefusals:
    @pytest.mark.parametrize("name", ["record.json", "curves.parquet", "activity.parquet", "damage"])
    def test_another_record_is_not_written_over(self, bench: Bench, name: str):
        bench.ready("seed=1")
        _, target = published(bench, "probe=flow")
        if name == "record.json":
            change(target, reason="another")
        elif name == "curves.parquet":
            rewrite(target, with_value(read_curves(target), "train_loss", 1, 1.001))
        elif name == "damage":
            (target / "curves.parquet").write_bytes(b"PAR1")
        else:
            table = read_probe(target, "activity")
            pq.write_table(table.slice(1), target / name)
        bench.ready("seed=2")
        before = contents(paper(bench))
        outcome = to_paper(bench, EVERY)
        odd = "it is damaged" if name == "damage" else f"its {name} differs"
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err == (
            f"bench publish: DEST must not hold other records of these runs without --force, got {target} ({odd})\n"
        )
        assert contents(paper(bench)) == before, "not even the new one"
        outcome = to_paper(bench, EVERY, "--force")
        assert outcome.code == 0
        assert outcome.out.startswith("2 records copied, 1 there already: ")
        assert to_paper(bench, EVERY).out == "0 records copied, 3 there already\n"
        assert [path.name for path in target.parent.iterdir() if path.name.startswith(".")] == []

    def test_another_thinning_is_another_record(self, bench: Bench):
        _, target = published(bench)
        assert to_paper(bench, "--every=2").err.endswith(f"got {target} (its curves.parquet differs)\n")

    def test_what_is_no_record_stays_even_with_force(self, bench: Bench):
        folder = bench.folder(bench.ready())
        target = paper(bench) / folder.relative_to(bench.results / "runs")
        target.mkdir(parents=True)
        (target / "notes").write_text("mine")
        for force in ([], ["--force"]):
            outcome = to_paper(bench, *force)
            assert outcome.code == 2
            assert outcome.err.endswith(f"got {target} (it is no record)\n")
        assert [path.name for path in target.iterdir()] == ["notes"]

    @pytest.mark.parametrize("place", [".", "copies", "default/adding_problem"])
    def test_never_among_the_runs(self, bench: Bench, place: str):
        bench.ready()
        runs = bench.results / "runs"
        before = contents(runs)
        outcome = bench.call("publish", str(runs), str(runs / place), "--every=4", "--force")
        assert outcome.code == 2
        assert outcome.err == f"bench publish: DEST must be outside of {runs}, got {runs / place}\n"
        assert contents(runs) == before

    def test_what_cannot_be_published(self, bench: Bench, tmp_path: Path):
        empty, target = str(tmp_path), str(paper(bench))
        message = f"bench publish: RUNS must hold folders of records, found none below {empty!r}\n"
        assert (bench.call("publish", empty, target).code, bench.call("publish", empty, target).err) == (2, message)
        folder = bench.folder(bench.ready())
        outcome = bench.call("publish", str(folder), target)
        assert (outcome.code, outcome.out) == (2, "")
        assert (
            outcome.err == f"bench publish: RUNS must hold folders of records, there is only one, in {str(folder)!r}\n"
        )
        outcome = to_paper(bench, "--every=0")
        assert (outcome.code, outcome.err) == (2, "bench publish: --every must be a number of steps >= 1, got 0\n")
        paper(bench).parent.write_text("a file")
        outcome = to_paper(bench)
        assert outcome.code == 2
        assert outcome.err.startswith("bench publish: DEST must be a folder that can be written to, ")
        assert len(outcome.err.splitlines()) == 1

    def test_damaged_records_are_named_and_the_others_copied(self, bench: Bench):
        folders = [bench.folder(bench.ready(f"seed={seed}", "probe=flow")) for seed in (1, 2, 3, 4)]
        (folders[0] / "record.json").write_text("{")
        whole = (folders[1] / "curves.parquet").read_bytes()
        (folders[1] / "curves.parquet").write_bytes(whole[:100] + bytes(200) + whole[300:])
        (folders[2] / "flow.parquet").unlink()
        outcome = to_paper(bench)
        assert outcome.code == 1
        assert outcome.out.startswith("1 record copied: ")
        assert sorted(line.partition(": not ")[0] for line in outcome.err.splitlines()) == sorted(
            f"bench publish: {folder / name}"
            for folder, name in zip(folders, ("record.json", "curves.parquet", "flow.parquet"), strict=False)
        )
        assert [folder.name for folder in find_records(paper(bench))] == [folders[3].name]


class TestReaders:
    def test_the_table_is_the_same(self, bench: Bench):
        bench.run("-m", "cell=rnn,lstm", "seed=0,1", "probe=flow", "task.length=9")
        assert to_paper(bench, EVERY).code == 0
        for format in ("terminal", "csv"):
            one, other = (
                bench.call("table", str(where), f"--format={format}") for where in (bench.results, paper(bench))
            )
            assert one == other
            assert one.code == 0

    def test_status_counts_it_as_done_and_run_finds_it(self, bench: Bench):
        published(bench)
        outcome = bench.call("status", str(paper(bench)))
        assert outcome.code == 0
        assert outcome.out.splitlines()[1].split()[:3] == ["default", "1", "1"]
        before = contents(paper(bench))
        assert dataclasses.replace(bench, results=paper(bench).parent).run().code == 0
        after = contents(paper(bench))
        assert {name: after[name] for name in before} == before

    def test_figures_draw_the_steps_that_are_kept(self, bench: Bench):
        source, target = published(bench, *LONG, every="--every=10")
        outcome = bench.call("figures", str(paper(bench)))
        assert (outcome.code, outcome.err) == (0, "")
        assert "learning_curves.pdf" in outcome.out
        made = read_record(target)
        drawn = []
        for folder in (source, target):
            figure = gradient_norms([Run(made, folder)])
            assert figure is not None
            (axes,) = [axes for axes in figure.axes if axes.get_title()]
            lines = [np.asarray(line.get_xydata()) for line in axes.get_lines()]
            drawn.append((lines, [text.get_text() for text in axes.texts]))
            plt.close(figure)
        (whole, said), (kept, said_kept) = drawn
        assert [len(line) for line in kept] == [len(line) for line in whole] == [60, 60]
        assert said[0].endswith("% of steps clipped")
        assert said_kept[0].endswith("% of kept steps clipped")
        curves = read_curves(target).to_pydict()
        third = [v for s, v in zip(curves["step"], curves["grad_norm"], strict=True) if 30 < s <= 45]
        assert kept[0][2].tolist() == [37.5, float(np.median(third))]

    def test_few_kept_steps_make_a_line_without_gaps(self, bench: Bench):
        _, target = published(bench, *LONG, every="--every=900")
        figure = gradient_norms([Run(read_record(target), target)])
        assert figure is not None
        (line, _) = figure.axes[0].get_lines()
        assert len(np.asarray(line.get_xdata())) == 11, "the first step, and ten evaluations"
        assert np.isfinite(np.asarray(line.get_ydata(), float)).all()
        plt.close(figure)


class TestReplay:
    def test_equal_bit_for_bit(self, bench: Bench):
        _, target = published(bench, "cell=lstm", "task=copy_memory", "task.delay=3", "probe=flow")
        outcome = bench.call("replay", str(target))
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out == (
            "equal, bit for bit: 6 steps of 7 curves (4 by value, the rest by digest), 8 final metrics, "
            "162 values of probes\n"
        )

    def test_a_diverged_run(self, bench: Bench):
        explode = ("cell=rnn", "cell.nonlinearity=relu", "optimizer=sgd", "optimizer.lr=3", "optimizer.momentum=0",
                   "training.clip_norm=null", "task.length=30", "training.max_steps=20")  # fmt: skip
        _, target = published(bench, *explode, every="--every=20")
        made = read_record(target)
        assert made.status == "diverged"
        said = f"equal, bit for bit: {made.steps} steps of "
        kept = read_curves(target)
        assert kept.num_rows < made.steps
        assert not math.isfinite(kept["train_loss"].to_pylist()[-1])
        outcome = bench.call("replay", str(target))
        assert outcome.out.startswith(said)
        assert f"({kept.num_rows} by value, the rest by digest)" in outcome.out

    def test_one_digit_of_a_kept_step_is_found(self, bench: Bench):
        source, target = published(bench)
        old = read_curves(source)["train_loss"].to_pylist()[3]
        rewrite(target, with_value(read_curves(target), "train_loss", 2, 1 + 1e-6))
        outcome = bench.call("replay", str(target))
        new = read_curves(target)["train_loss"].to_pylist()[2]
        assert (outcome.code, outcome.out) == (1, f"different: step 4, train_loss: {new} in the record, {old} now\n")

    def test_a_changed_digest_is_found(self, bench: Bench):
        source, target = published(bench)
        rewrite(target, read_curves(target), sha256="0" * 64)
        outcome = bench.call("replay", str(target))
        digest = thinning.digest(read_curves(source), CLOCKS)
        assert (outcome.code, outcome.out) == (
            1,
            f"different: digest of 6 steps: '{'0' * 64}' in the record, '{digest}' now\n",
        )

    def test_one_digit_of_a_step_that_was_left_out_is_found(self, bench: Bench):
        source, target = published(bench)
        pq.write_table(with_value(read_curves(source), "grad_norm", 1, 1 + 1e-6), source / "curves.parquet")
        assert to_paper(bench, EVERY, "--force").code == 0
        outcome = bench.call("replay", str(target))
        assert outcome.code == 1
        assert outcome.out.startswith("different: digest of 6 steps: ")

    def test_other_surroundings_compare_what_is_kept(self, bench: Bench):
        _, target = published(bench)
        made = read_record(target)
        change(target, libraries=made.libraries | {"torch": "2.6.0"})
        rewrite(target, with_value(read_curves(target), "train_loss", 2, 1.0005), sha256="0" * 64)
        outcome = bench.call("replay", str(target))
        assert outcome.code == 0
        assert outcome.out.startswith(
            "equal within a relative difference of 0.001: 6 steps of 6 curves (4 by value, the record keeps no others),"
        )
        assert bench.call("replay", str(target), "--tolerance=1e-5").out.startswith("different: step 4, train_loss")

    def test_a_run_that_ends_elsewhere_is_told_so(self, bench: Bench):
        _, target = published(bench)
        made = read_record(target)
        change(target, steps=5)
        curves = read_curves(target)
        keys = {"rows": "5", "kept": "4"}
        steps = pa.array([1, 3, 4, 5], pa.int32())
        rewrite(target, with_value(curves, "train_loss", 0, 1.0).set_column(0, "step", steps), **keys)
        outcome = bench.call("replay", str(target))
        assert (outcome.code, outcome.out) == (1, f"different: steps: 5 in the record, {made.steps} now\n")


class TestDamage:
    @pytest.mark.parametrize("row", [0, 1, 2, 3])
    def test_a_missing_row(self, bench: Bench, row: int):
        _, target = published(bench)
        curves = read_curves(target)
        fewer = pa.concat_tables([curves.slice(0, row), curves.slice(row + 1)])
        rewrite(target, fewer)
        message = f"{target / 'curves.parquet'}: must have the 4 rows kept of 6 steps, has 3"
        for command in ("replay", "status", "figures"):
            outcome = bench.call(command, str(target if command == "replay" else paper(bench)))
            assert outcome.code != 0
            assert outcome.err.splitlines()[0] == f"bench {command}: {message}"
        rewrite(target, fewer, kept="3")
        outcome = bench.call("replay", str(target))
        step = [1, 3, 4, 6][row]
        if step in (1, 6):
            assert outcome.code == 2
            assert "`step` must increase from 1 to 6, got " in outcome.err
        else:
            assert (outcome.code, outcome.out) == (
                1,
                f"different: row of step {step}: 'missing' in the record, 'there' now\n",
            )

    @pytest.mark.parametrize(
        ("metadata", "message"),
        [
            ({"rows": "7"}, "must have a row for each of 6 steps, has 7"),
            ({"rows": "many"}, "`metadata.rows` must be an integer >= 1, got 'many'"),
            ({"every": "0"}, "`metadata.every` must be an integer >= 1, got '0'"),
            ({"sha256": "abc"}, "`metadata.sha256` must be 64 hexadecimal digits, got 'abc'"),
            ({"kept": "5"}, "must have the 5 rows kept of 6 steps, has 4"),
        ],
    )
    def test_metadata_that_says_something_else(self, bench: Bench, metadata: dict[str, str], message: str):
        _, target = published(bench)
        rewrite(target, read_curves(target), **metadata)
        outcome = bench.call("replay", str(target))
        assert (outcome.code, outcome.err) == (2, f"bench replay: {target / 'curves.parquet'}: {message}\n")

    def test_without_metadata_steps_are_missing(self, bench: Bench):
        _, target = published(bench)
        pq.write_table(read_curves(target).replace_schema_metadata(None), target / "curves.parquet")
        with pytest.raises(record.DamagedRecordError, match="must have a row for each of 6 steps, has 4"):
            check_record(target)

    def test_steps_that_are_no_steps(self, bench: Bench):
        _, target = published(bench)
        curves = read_curves(target)
        for steps in ([1, 4, 3, 6], [1, 3, None, 6], [1.0, 3.0, 4.0, 6.0]):
            rewrite(target, curves.set_column(0, "step", pa.array(steps)))
            with pytest.raises(record.DamagedRecordError, match=r"curves\.parquet: `step` must "):
                read_curves(target)


def test_the_smallest_file_is_taken():
    table = pa.table({"a": pa.array([1.0], pa.float64())})
    assert publish.smallest(table, [b"x"]) == b"x"
    assert pq.read_table(pa.BufferReader(publish.smallest(table, []))).equals(table)
