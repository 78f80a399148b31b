"""A cell made up for tests."""

from __future__ import annotations

from typing import Any

import torch

from bench.cells import Cell


class Leak(Cell):
    """A cell without a kernel."""

    blocks = ("new",)

    def activate(self, projected: Any, state: Any) -> Any:
        return {"new": torch.tanh(projected + self.recur(state[0]))}

    def update(self, values: Any, state: Any) -> Any:
        return (0.9 * state[0] + 0.1 * values["new"],)
