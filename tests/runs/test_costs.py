"""What a network costs besides its time, as the record has it and as tables show it."""

from __future__ import annotations

import pytest

import bench as package
from bench.analysis.table import Spec
from bench.report.tables.render import render
from tests import broken_cells
from tests.conftest import DATA, Bench, spec_of, specs_of

INPUTS, UNITS = 2, 4
"""Sizes of the network of a tiny run on the adding problem."""

MULTIPLICATIONS = {
    ("cell=rnn",): UNITS * (INPUTS + UNITS),
    # f * c, i * g and o * tanh(c').
    ("cell=lstm",): 4 * UNITS * (INPUTS + UNITS) + 3 * UNITS,
    # r * (U h), (1 - z) * n and z * h.
    ("cell=gru",): 3 * UNITS * (INPUTS + UNITS) + 3 * UNITS,
    ("cell=rnn", "model.layers=2"): UNITS * (INPUTS + UNITS) + UNITS * (UNITS + UNITS),
    ("cell=rnn", "model.bidirectional=true"): 2 * UNITS * (INPUTS + UNITS),
}


def test_multiply_adds_are_those_of_the_equations(bench: Bench):
    for words, count in MULTIPLICATIONS.items():
        assert bench.one(*words).model["multiply_adds"] == count, words
    # A readout at every step counts, with the layers before it; tokens are vectors with a place for each.
    words = ("task=character_model", *DATA["character_model"], "cell=rnn", "model.head=[3]")
    tokens = spec_of(*words).task.input_size
    last = UNITS * (tokens + UNITS)
    every = last + UNITS * 3 + 3 * tokens
    for readout, count in (("last", last), ("every", every)):
        assert bench.one(*words, f"task.readout={readout}").model["multiply_adds"] == count


@pytest.mark.parametrize("engine", ["stepwise", "native", "fused"])
def test_memory_is_that_of_weights_and_of_what_is_kept_for_the_way_back(bench: Bench, engine: str):
    found = {
        size: bench.one("cell=lstm", f"model.engine={engine}", f"data.batch_size={size}", "task.length=20")
        for size in (16, 32, 48)
    }
    weights = 4 * found[16].model["parameters"]
    # Adam has two numbers for each weight, and counts the steps of each of six tensors.
    fixed = 4 * weights + 6 * 4
    assert 0 < fixed < found[16].model["memory_bytes"]
    kept = {size: made.model["memory_bytes"] - fixed for size, made in found.items()}
    # oneDNN's workspace grows in pages.
    rounding = 0.05 if engine == "fused" else 0
    assert kept[48] - kept[32] == pytest.approx(kept[32] - kept[16], rel=rounding, abs=0), "it grows with the batch"
    # At least what the cell state and the four blocks are at each step.
    assert kept[16] >= 4 * 20 * 16 * 5 * UNITS
    pieces = bench.one("cell=lstm", f"model.engine={engine}", "data.batch_size=32", "data.microbatch_size=16",
                       "task.length=20")  # fmt: skip
    assert pieces.model["memory_bytes"] == found[16].model["memory_bytes"]


def test_a_cell_that_cannot_be_counted_says_so_and_loses_no_run(bench: Bench):
    made = bench.one(f"cell._target_={broken_cells.__name__}.Failing", "model.engine=stepwise")
    assert made.status == "completed"
    assert made.model["multiply_adds"] is None
    assert made.model["costs_unknown"] == "multiply_adds: RuntimeError: one is none"
    assert made.model["memory_bytes"] > 0


def test_equal_parameters_are_those_of_the_lstm_of_equal_size():
    """A budget in the experiment is what its LSTM has at the size that all cells have in the row before."""
    specs = specs_of("+experiment=cost", "cell=lstm", "seed=0")
    sizes = [(spec.network.hidden_size, spec.network.settings.parameter_budget) for spec in specs]
    assert [size for size, _ in sizes[::2]] == [size for size, _ in sizes[1::2]] == [50, 50, 64, 32, 128]
    counts = [sum(shape.numel() for name, shape in spec.network.shapes().items() if name != "start") for spec in specs]
    assert counts[::2] == counts[1::2] == [budget for _, budget in sizes[1::2]]
    assert [budget for _, budget in sizes[::2]] == 5 * [None]


def test_tables_and_frames_show_costs(bench: Bench):
    made = bench.one("cell=lstm")
    bench.one("task=digits", "cell=lstm")
    runs = package.load(bench.results)
    names = ("hidden_size", "parameters", "multiply_adds", "memory_megabytes", "mse", "accuracy")
    text = render(list(runs), "csv", Spec(rows=("task",), metrics=names))
    lines = {(line.split(",")[0], line.split(",")[3]) for line in text.splitlines()}
    assert ("adding_problem", "mse") in lines
    assert ("adding_problem", "accuracy") not in lines, "a score of another task"
    assert f"{made.model['memory_bytes'] / 1e6!r}" in text
    shown = render(list(runs.where(task="adding_problem")), "markdown", Spec(metrics=names[:4]))
    assert f"{MULTIPLICATIONS['cell=lstm',]:,}" in shown
    assert "Multiply-adds: multiplications of one time step" in shown
    frame = runs.frame().set_index("task")
    assert frame.loc["adding_problem", "multiply_adds"] == made.model["multiply_adds"]
    assert frame.loc["adding_problem", "memory_megabytes"] == made.model["memory_bytes"] / 1e6
