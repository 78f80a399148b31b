"""The page docs/lstm_by_hand.md: its numbers are those of its script, and these are those of our cells."""

from __future__ import annotations

import contextlib
import io

import pytest
import torch

from bench.config.network import make_cell
from docs import lstm_by_hand as by_hand
from tests.conftest import ROOT, TINY, spec_of

LSTM_ORDER = "ifgo"


def cell(name: str, w_x: torch.Tensor, w_h: torch.Tensor, b: torch.Tensor):
    made = make_cell(spec_of(*TINY, f"cell={name}").config["cell"], 2, 2)
    with torch.no_grad():
        for weight, values in ((made.weight_ih, w_x), (made.weight_hh, w_h), (made.bias_ih, b), (made.bias_hh, 0 * b)):
            weight.copy_(values)
    return made.double()


@pytest.mark.parametrize("reading", by_hand.READINGS)
def test_a_step_of_the_lstm(reading: str):
    w_x, w_h = (torch.tensor([each[k] for k in LSTM_ORDER]).flatten(0, 1) for each in by_hand.READINGS[reading])
    lstm = cell("lstm", w_x, w_h, torch.tensor([by_hand.B[k] for k in LSTM_ORDER]).flatten())
    h, c, x = (torch.tensor([each], dtype=torch.float64) for each in (by_hand.H, by_hand.C, by_hand.X))
    found = by_hand.lstm_step(*by_hand.READINGS[reading], by_hand.B, by_hand.X, by_hand.H, by_hand.C)
    projected = lstm.project(x.unsqueeze(0))[0]
    values = lstm.activate(projected, (h, c))
    for name, letter in zip(lstm.blocks, LSTM_ORDER, strict=True):
        assert values[name][0].tolist() == pytest.approx(found[letter], rel=1e-6)
    after = lstm.step(projected, (h, c))
    assert [part[0].tolist() for part in after] == [
        pytest.approx(found["h'"], rel=1e-6),
        pytest.approx(found["c'"], rel=1e-6),
    ]


def test_a_step_of_the_rnn():
    w, b = torch.tensor(by_hand.W["f"]), torch.tensor(by_hand.B["f"])
    rnn = cell("rnn", w, w, b)
    x, h = (torch.tensor([each], dtype=torch.float64) for each in (by_hand.X, by_hand.H))
    after = rnn.step(rnn.project(x.unsqueeze(0))[0], (h,))
    expected = by_hand.rnn_step(by_hand.W["f"], by_hand.W["f"], by_hand.B["f"], by_hand.X, by_hand.H)
    assert after[0][0].tolist() == pytest.approx(expected, rel=1e-6)


def test_the_page_shows_what_the_script_prints():
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        by_hand.main()
    assert f"```\n{printed.getvalue().rstrip()}\n```" in (ROOT / "docs" / "lstm_by_hand.md").read_text(encoding="utf-8")
