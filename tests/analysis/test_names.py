"""What cells, tasks, metrics and settings are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.analysis.grouping import arrange, arrange_by
from bench.analysis.names import Names, names_of, read_names
from tests.records_made import CONFIG, SWEEP, changed, run


def test_columns_rows_and_settings_have_their_names_in_the_order_of_their_own():
    names = Names(cells={"rnn": "Z", "lstm": "A"}, tasks={"copy_memory": "A copy"}, keys={"task.delay": "D"})
    rows, columns = arrange(SWEEP, names.resolved(SWEEP))
    assert columns == ["Z", "A", "gru"]
    assert [row.label for row in rows] == ["adding_problem, length=100", "A copy, D=10"]
    rows, columns = arrange_by(SWEEP, ("task.delay",), ("cell", "optimizer.lr"), mixed=False, names=names)
    assert columns == ["Z lr=0.01", "A lr=0.01", "gru lr=0.01"]
    assert [row.settings for row in rows] == [(), ("D=10",)]


def test_a_setting_of_a_cell_in_its_column():
    lstms = [run("lstm", 0, 0.1, config=changed(CONFIG, cell={"forget_bias": bias})) for bias in (1.0, 5.0)]
    names = Names(loose={"lstm": "LSTM", "cell.forget_bias": "b"}).resolved(lstms)
    assert arrange(lstms, names)[1] == ["LSTM b=1", "LSTM b=5"]


def test_metrics():
    names = Names(metrics={"mse": "error"})
    assert [names.metric(name) for name in ("mse", "mse@2", "loss", "steps_to_solve")] == [
        "error", "error at 2x", "loss", "steps to solve",
    ]  # fmt: skip


def test_later_names_win_and_loose_ones_find_their_kind():
    first = Names(cells={"lstm": "one", "gru": "G"}, loose={"rnn": "R"})
    joined = first.joined(Names(cells={"lstm": "two"}, loose={"mse": "error", "task.length": "T"}))
    found = joined.resolved(SWEEP)
    assert found == Names({"lstm": "two", "gru": "G", "rnn": "R"}, {}, {"mse": "error"}, {"task.length": "T"})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (Names(cells={"lstn": "L"}), "`names.cells` must be of one of rnn, lstm, gru, got 'lstn', did you mean lstm?"),
        (Names(tasks={"lstm": "L"}), "`names.tasks` must be of one of adding_problem, copy_memory, got 'lstm'"),
        (Names(metrics={"recal": "L"}), "got 'recal', did you mean recall?"),
        (Names(keys={"length": "L"}), "got 'length', did you mean task.length?"),
        (
            Names(loose={"lstn": "L"}),
            "`name` must be that of a cell, task, metric or key of these runs, got 'lstn', did you mean lstm?",
        ),
        (Names(loose={"lstm": "gru"}), "`names.cells` must tell lstm and gru apart, got 'gru' for both"),
        (Names(metrics={"mse": "loss"}), "`names.metrics` must tell mse and loss apart, got 'loss' for both"),
        (Names(keys={"task.length": "n", "task.delay": "n"}), "must tell task.length and task.delay apart"),
    ],
)
def test_names_of_nothing_and_names_of_two_things(names: Names, message: str):
    with pytest.raises(ValueError, match=r"^`name") as raised:
        names.resolved(SWEEP)
    assert message in str(raised.value)


def test_a_file(tmp_path: Path):
    path = tmp_path / "names.yaml"
    path.write_text("cells: {lstm: LSTM}\nkeys: {task.length: T}\n")
    assert read_names(path) == Names(cells={"lstm": "LSTM"}, keys={"task.length": "T"})
    path.write_text("")
    assert read_names(path) == Names()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cels: {}", "`names` must have the keys cells, tasks, metrics, keys alone, got 'cels', did you mean cells?"),
        ("cells: {lstm: 3}", "`names.cells` must be a mapping, each value a text, got"),
        ("cells: {lstm: ' '}", "`names.cells.lstm` must be a text of one line, got ' '"),
        ('metrics: {mse: "a\\nb"}', "`names.metrics.mse` must be a text of one line, got"),
        ("[a]", "`names` must be a mapping with cells, tasks, metrics, keys, got"),
        ("a: [", "`names` must be YAML, got"),
    ],
)
def test_a_file_of_another_form(tmp_path: Path, text: str, message: str):
    path = tmp_path / "names.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"^`names") as raised:
        read_names(path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(ValueError, match="`names` must be a file that can be read, got"):
        read_names(tmp_path / "nothing.yaml")
    assert names_of(None) == Names()
