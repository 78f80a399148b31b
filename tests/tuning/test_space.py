"""Spaces of ``bench tune``: what is read, what is refused, and the settings that try everything out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.tuning.space import Space, covering, read_space, rounded
from tests.conftest import ROOT, cells, options

CELLS = ["rnn", "lstm", "gru"]
NODE: dict[str, Any] = {
    "every": {
        "optimizer": ["adam", "sgd"],
        "optimizer.lr": {"low": 1e-4, "high": 0.03, "scale": "log"},
        "optimizer.momentum": {"values": [0.0, 0.9], "when": {"optimizer": "sgd"}},
    },
    "cells": {
        "rnn": {"model.hidden_size": {"low": 4, "high": 8, "whole": True}, "optimizer.lr": None},
        "lstm": {"cell.forget_bias": [0.0, "chrono", None]},
    },
}


def space_of(folder: Path, node: Any) -> Space:
    (folder / "space").mkdir(exist_ok=True)
    (folder / "space" / "mine.yaml").write_text(yaml.safe_dump(node, sort_keys=False))
    return read_space("mine", str(folder), CELLS)


def test_a_cell_has_what_every_cell_has_and_its_own(tmp_path: Path):
    space = space_of(tmp_path, NODE)
    described = {cell: [each.described() for each in space.of(cell)] for cell in CELLS}
    every = ["optimizer: adam,sgd", "optimizer.lr: 0.0001..0.03 log", "optimizer.momentum: 0.0,0.9 if optimizer=sgd"]
    assert described == {
        "gru": every,
        "lstm": [*every, "cell.forget_bias: 0.0,chrono,null"],
        "rnn": [every[0], every[2], "model.hidden_size: 4..8 whole"],
    }


def test_every_value_and_end_is_tried_out(tmp_path: Path):
    space = space_of(tmp_path, NODE)
    tried = list(covering(space.of("rnn")))
    assert tried == [
        {"optimizer": "adam", "model.hidden_size": 4},
        {"optimizer": "sgd", "optimizer.momentum": 0.0, "model.hidden_size": 4},
        {"optimizer": "sgd", "optimizer.momentum": 0.0, "model.hidden_size": 4},
        {"optimizer": "sgd", "optimizer.momentum": 0.9, "model.hidden_size": 4},
        {"optimizer": "adam", "model.hidden_size": 8},
    ]
    assert all(isinstance(each["model.hidden_size"], int) for each in tried)


def test_numbers_are_rounded_to_what_a_command_can_show():
    assert [rounded(value) for value in (0.00123456, 12345.6, 2.0)] == [0.001235, 12350.0, 2.0]


@pytest.mark.parametrize("name", options("space"))
def test_the_spaces_of_ours_are_for_cells_of_ours(name: str):
    space = read_space(name, None, cells())
    assert all(len(space.of(cell)) >= 3 for cell in cells())


RANGE = {"low": 1.0, "high": 2.0}
BAD: list[tuple[Any, str]] = [
    ({"every": {"x": {"low": 0.1, "high": 0.01}}},
     "every.x must have a low below its high, both finite, got 0.1 and 0.01"),
    ({"every": {"x": {"low": 1, "high": 1}}}, "every.x must have a low below its high, both finite, got 1 and 1"),
    ({"every": {"x": {"low": 0, "high": 1, "scale": "log"}}}, "every.x.low must be > 0 where scale is log, got 0"),
    ({"every": {"x": {"low": 1}}}, "every.x must have values, or low and high, got low alone"),
    ({"every": {"x": {"values": [1], **RANGE}}}, "every.x must have values, or low and high, got both"),
    ({"every": {"x": {"low": 1.5, "high": 2, "whole": True}}},
     "every.x must have whole ends where whole is true, got 1.5 and 2"),
    ({"every": {"x": []}}, "every.x must have at least one value, each once, got []"),
    ({"every": {"x": [1, 1]}}, "every.x must have at least one value, each once, got [1, 1]"),
    ({"every": {"x": RANGE, "y": {"values": [1], "when": {"x": 1}}}},
     "every.y.when must look at a key above it that has values, got x"),
    ({"every": {"x": ["a", "b"], "y": {"values": [1], "when": {"x": "c"}}}},
     "every.y.when.x must be one of a, b, got 'c'"),
    ({"cells": {"lstn": {"x": [1]}}}, "cells must be of one of rnn, lstm, gru, got 'lstn', did you mean lstm?"),
    ({"always": {"x": [1]}}, "must have the keys every, cells alone, got 'always'"),
    ({"every": {"x": {**RANGE, "scale": "cubic"}}}, "every"),
    ({"every": {"x": 3}}, "every"),
    ([1], "must be"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "message"), BAD)
def test_what_is_refused(tmp_path: Path, node: Any, message: str):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared
        space_of(tmp_path, node)
    text = str(error.value)
    assert text.startswith(f"space mine: {message}"), text
    assert "\n" not in text


def test_a_space_that_is_not_there_and_one_without_keys_for_a_cell(tmp_path: Path):
    with pytest.raises(ValueError, match=r"^sweep\.tune\.space must be a file or one of standard, got 'standrad', did"):
        read_space("standrad", str(tmp_path), CELLS)
    with pytest.raises(ValueError, match=r"^space mine must have at least one key for gru, got none$"):
        space_of(tmp_path, {"cells": {"lstm": {"x": [1]}}}).of("gru")
    path = tmp_path / "other.yaml"
    path.write_text("every: {x: [1]}\n")
    assert read_space(str(path), None, CELLS).of("gru")[0].values == (1,)
    assert (ROOT / "conf" / "space").is_dir()
