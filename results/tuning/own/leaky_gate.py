"""The cell of the README, as a cell of one's own."""

import torch

from bench.cells import Cell


class LeakyGate(Cell):
    """Minimal gated unit without the reset: f = sigmoid(..), n = tanh(..), h' = (1 - f) h + f n."""

    blocks = ("forget", "new")
    gates = ("forget",)

    def activate(self, projected, state):
        """Compute the gate and the new value."""
        forget, new = self.split(projected + self.recur(state[0]))
        return {"forget": torch.sigmoid(forget), "new": torch.tanh(new)}

    def update(self, values, state):
        """Mix the old state and the new value."""
        return ((1 - values["forget"]) * state[0] + values["forget"] * values["new"],)
