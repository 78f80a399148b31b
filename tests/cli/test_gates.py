"""``bench gates``: gates and states of a trained cell over a sequence, as pictures and as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bench.analysis.unit_traces import UnitTraces, units_of
from bench.report.figures.gates import gates
from bench.runs.trained import load_model
from bench.training.data import SequenceData
from tasks.data_set import DataSet
from tests.conftest import DATA, TINY, Bench, assert_one_line, documented_cell, spec_of

KEEP = "training.keep_weights=true"


def drawn(bench: Bench, tmp_path: Path, folder: Path, *words: str) -> pd.DataFrame:
    """The data of the figure that a command line draws."""
    outcome = bench.call("gates", str(folder), *words, f"--output={tmp_path / 'found'}", "--format=png")
    assert (outcome.code, outcome.err) == (0, "")
    picture, data = map(Path, outcome.out.split())
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stem == data.stem
    return pd.read_csv(data, keep_default_na=False)


def panel(found: pd.DataFrame, name: str) -> np.ndarray:
    """The values of one panel, ``(time, row)``."""
    return found[found["panel"] == name].pivot(index="step", columns="number", values="value").to_numpy()


def test_the_gates_of_an_lstm_are_those_of_its_equations(bench: Bench, tmp_path: Path):
    words = ("task=text_classification", *DATA["text_classification"], "cell=lstm", KEEP)
    folder = bench.folder(bench.ready(*words))
    found = drawn(bench, tmp_path, folder, "--sequence=3", "--units=2,0")
    assert list(dict.fromkeys(found["panel"])) == [
        "input gate", "forget gate", "candidate", "output gate", "state c", "state h",
    ]  # fmt: skip
    task, model = spec_of(*TINY, *words).task, load_model(folder)
    assert isinstance(task, DataSet)
    assert model.encoder is not None
    tokens = task.take("test", torch.tensor([3])).inputs
    assert found[found["panel"] == "state h"]["token"].tolist() == 2 * [
        model.encoder.tokens[token] for token in tokens[:, 0].tolist()
    ]
    # By hand: what stood before each step, and the four blocks made of it.
    cell, vectors = model.network.layers[0], model.network.embed(tokens)[:, 0]
    kernel = torch.nn.LSTM(cell.input_size, 4)
    kernel.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    with torch.no_grad():
        h = kernel(vectors)[0]
        before = torch.cat((torch.zeros(1, 4), h[:-1]))
        rows = vectors @ cell.weight_ih.T + before @ cell.weight_hh.T + cell.bias_ih + cell.bias_hh
        blocks = rows.unflatten(1, (4, 4)).sigmoid()[:, :, [0, 2]]
        candidate = rows[:, 8:12].tanh()[:, [0, 2]]
    np.testing.assert_allclose(panel(found, "state h"), h[:, [0, 2]], atol=1e-6)
    np.testing.assert_allclose(panel(found, "candidate"), candidate, atol=1e-6)
    for number, name in ((0, "input gate"), (1, "forget gate"), (3, "output gate")):
        np.testing.assert_allclose(panel(found, name), blocks[:, number], atol=1e-6)
    assert list(dict.fromkeys(found["number"])) == [2, 0], "in the order in which they are asked for"


def test_sequences_of_a_generator_are_those_of_the_test_set(bench: Bench, tmp_path: Path):
    words = ("task=adding_problem", "task.length=20", "data.eval_batch_size=3", KEEP)
    made = bench.ready(*words)
    spec = spec_of(*TINY, *words)
    batches = [*SequenceData(spec.task, spec.data, made.seed, torch.device("cpu")).test_dataloader()]
    found = drawn(bench, tmp_path, bench.folder(made), "--sequence=7", "--units=all")
    np.testing.assert_allclose(panel(found, "network input"), batches[2].inputs[:, 1], rtol=1e-6)
    assert panel(found, "update gate").shape == (20, 4)


def test_a_cell_without_gates_and_one_of_the_users(bench: Bench, tmp_path: Path):
    found = drawn(bench, tmp_path, bench.folder(bench.ready("cell=rnn", KEEP)), "--width=1")
    assert list(dict.fromkeys(found["panel"])) == ["network input", "state h"]
    mine = documented_cell(tmp_path / "mine")
    bench.run(f"--config-dir={mine}", "cell=mine", KEEP, "model.layers=2", "results_dir=" + str(tmp_path / "own"))
    (folder,) = (tmp_path / "own" / "runs" / "default" / "adding_problem" / "mine").glob("[!.]*")
    outcome = bench.call("gates", str(folder), f"--output={tmp_path}", f"--config-dir={mine}")
    assert_one_line(outcome, "gates", "config.cell._target_ must be a Cell class of bench.cells, or named by --trust")
    words = ("--trust=leaky_gate.LeakyGate", f"--config-dir={mine}", "--layer=1")
    found = drawn(bench, tmp_path, folder, *words)
    assert "gate" in " ".join(found["panel"].unique())


def test_a_sequence_of_a_file(bench: Bench, tmp_path: Path):
    folder = bench.folder(bench.ready("task=character_model", *DATA["character_model"], KEEP))
    window = load_model(folder).record.config["task"]["window"]
    text = ("the gate opens\n" * 20)[: 2 * window + 5]
    (tmp_path / "new.txt").write_text(text)
    for number in (0, 1):
        found = drawn(bench, tmp_path, folder, str(tmp_path / "new.txt"), f"--sequence={number}", "--units=0")
        shown = text[number * window : (number + 1) * window].replace("\n", "\\n")
        assert "".join(found[found["panel"] == "state h"]["token"]) == shown
    outcome = bench.call("gates", str(folder), str(tmp_path / "new.txt"), "--sequence=3", f"--output={tmp_path}")
    assert_one_line(outcome, "gates", f"--sequence must be < 3, the sequences of '{tmp_path / 'new.txt'}', got 3")


BAD = [
    (["--sequence=-1"], "--sequence must be >= 0, got -1"),
    (["--sequence=8"], "--sequence must be < 8, the sequences of the run's test set, got 8"),
    (["--layer=2"], "--layer must be from 1 to 1, got 2"),
    (["--units=4"], "--units must be from 0 to 3, got 4"),
    (["--units=1,1"], "--units must have each unit once, got 1 twice"),
    (["--units=varying:0"], "--units must be all, varying:N with N >= 1, or numbers as in 0,3,17, got 'varying:0'"),
    (["new.csv"], "FILE must not be given for a run of adding_problem, which reads no new inputs"),
]


def test_bad_words(bench: Bench, tmp_path: Path):
    folder = bench.folder(bench.ready("cell=rnn", KEEP))
    for words, message in BAD:
        assert_one_line(bench.call("gates", str(folder), *words, f"--output={tmp_path}"), "gates", message)
    (tmp_path / "file").write_text("")
    outcome = bench.call("gates", str(folder), f"--output={tmp_path / 'file' / 'x'}")
    assert_one_line(outcome, "gates", "--output must be a folder that can be written to, ")
    assert_one_line(bench.call("gates", str(bench.folder(bench.ready()))), "gates", f"{bench.results}/runs/default/")
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".png", ".csv")] == []
    # The data of a run is not what it was.
    table = tmp_path / "mine.csv"
    table.write_text("value\n" + "\n".join(map(str, np.arange(200.0) ** 0.5)))
    words = (f"task.file={table}", "task.target=value", "task.window=5", "task.season=1", "model.bidirectional=true")
    made = bench.one("task=series", *words, KEEP)
    message = "RUN must be of a network that reads forwards alone (model.bidirectional=false)"
    assert_one_line(bench.call("gates", str(bench.folder(made))), "gates", message)
    made = bench.one("task=series", *words[:-1], KEEP)
    table.write_text(table.read_text() + "\n15")
    assert_one_line(bench.call("gates", str(bench.folder(made))), "gates", "the data of the run must be what it was, ")
    table.unlink()
    assert_one_line(bench.call("gates", str(bench.folder(made))), "gates", "the record's task can no longer be made: ")


def traces(**changes: Any) -> UnitTraces:
    values = np.linspace(-1, 1, 15).reshape(3, 5) * np.array([1, 3, 2, 5, 4])
    settings: dict[str, Any] = {
        "name": "n", "title": "t", "inputs": None, "tokens": ("a", " ", "\x1b"), "blocks": {}, "gates": (),
        "states": {"h": values, "z": values * 1j},
    }  # fmt: skip
    return UnitTraces(**settings | changes)


@pytest.mark.parametrize(("asked", "units"), [("varying:2", [3, 4]), ("varying:9", [3, 4, 1, 2, 0]), ("4,0", [4, 0])])
def test_the_rule_by_which_units_are_chosen(asked: str, units: list[int]):
    assert units_of(traces(), asked) == units


def test_tokens_below_the_steps():
    figure = gates(traces(), [0, 1])
    lowest = next(axes for axes in figure.axes if axes.get_ylabel() == "state\nh")
    assert [label.get_text() for label in lowest.get_xticklabels()] == ["a", "␣", "\\x1b"]
    # Complex states are shown by their size.
    assert figure.axes[0].get_ylabel() == "state\n|z|"
    assert min(row["value"] for row in figure.data if row["panel"] == "state |z|") > 0
    many = gates(traces(tokens=300 * ("word",), states={"h": np.zeros((300, 5))}), [0])
    assert many.axes[0].get_xlabel() == "step"
