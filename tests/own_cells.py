"""Cells as users write them: published ones, and some that generated code cannot take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from bench.cells import Cell
from tests.cells_made import Linear


class MGU(Cell):
    """The minimal gated unit of Zhou et al. (2016): a product of a gated state after another product."""

    blocks = ("forget", "new")

    def activate(self, projected: Any, state: Any) -> Any:
        (h,), size = state, self.hidden_size
        f, n = self.split(projected)
        forget = torch.sigmoid(f + F.linear(h, self.weight_hh[:size], self.bias_hh[:size]))
        return {
            "forget": forget,
            "new": torch.tanh(n + F.linear(forget * h, self.weight_hh[size:], self.bias_hh[size:])),
        }

    def update(self, values: Any, state: Any) -> Any:
        return ((1 - values["forget"]) * state[0] + values["forget"] * values["new"],)


class Janet(Cell):
    """The forget gate alone, van der Westhuizen & Lasenby (2018)."""

    blocks = ("forget", "new")

    def activate(self, projected: Any, state: Any) -> Any:
        f, n = self.split(projected + self.recur(state[0]))
        return {"forget": torch.sigmoid(f), "new": torch.tanh(n)}

    def update(self, values: Any, state: Any) -> Any:
        return (values["forget"] * state[0] + (1 - values["forget"]) * values["new"],)


class Peephole(Cell):
    """An LSTM whose gates see c, Gers & Schmidhuber (2000); its output gate sees the new one."""

    blocks = ("input", "forget", "new", "output")
    states = ("h", "c")

    def __init__(self, *sizes: int, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        self.peep = nn.Parameter(torch.linspace(-1, 1, 3 * self.hidden_size).view(3, -1))

    def activate(self, projected: Any, state: Any) -> Any:
        h, c = state
        i, f, g, o = self.split(projected + self.recur(h))
        i, f, g = torch.sigmoid(i + self.peep[0] * c), torch.sigmoid(f + self.peep[1] * c), torch.tanh(g)
        return {"input": i, "forget": f, "new": g, "output": torch.sigmoid(o + self.peep[2] * (f * c + i * g))}

    def update(self, values: Any, state: Any) -> Any:
        c = values["forget"] * state[1] + values["input"] * values["new"]
        return values["output"] * torch.tanh(c), c


class UGRNN(Cell):
    """The update gate alone, Collins et al. (2017)."""

    blocks = ("gate", "new")

    def activate(self, projected: Any, state: Any) -> Any:
        gate, new = self.split(projected + self.recur(state[0]))
        return {"gate": torch.sigmoid(gate), "new": torch.tanh(new)}

    def update(self, values: Any, state: Any) -> Any:
        return (torch.lerp(values["new"], state[0], values["gate"]),)


class IndRNN(Cell):
    """One recurrent weight a unit, Li et al. (2018): no product with the state at all."""

    blocks = ("new",)
    weights = ("weight_ih", "bias_ih")

    def __init__(self, *sizes: int, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        self.own = nn.Parameter(torch.linspace(-1, 1, self.hidden_size))

    def activate(self, projected: Any, state: Any) -> Any:
        return {"new": torch.relu(projected + self.own * state[0])}

    def update(self, values: Any, state: Any) -> Any:
        return (values["new"],)


class CoRNN(Cell):
    """Coupled oscillators, Rusch & Mishra (2021): two parts of the state, each in a product."""

    blocks = ("force",)
    states = ("h", "z")

    def __init__(self, *sizes: int, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        self.of_speed = nn.Linear(self.hidden_size, self.hidden_size, bias=False)

    def activate(self, projected: Any, state: Any) -> Any:
        return {"force": torch.tanh(projected + self.recur(state[0]) + self.of_speed(state[1]))}

    def update(self, values: Any, state: Any) -> Any:
        h, z = state
        z = z + 0.05 * (values["force"] - 2.7 * h - 4.7 * z)
        return h + 0.05 * z, z


class Antisymmetric(Cell):
    """AntisymmetricRNN, Chang et al. (2019): its matrix is computed from another."""

    blocks = ("new",)
    weights = ("weight_ih", "weight_hh", "bias_ih")

    def activate(self, projected: Any, state: Any) -> Any:
        turn = self.weight_hh - self.weight_hh.t() - 0.01 * torch.eye(self.hidden_size, dtype=projected.dtype)
        return {"new": torch.tanh(projected + state[0] @ turn)}

    def update(self, values: Any, state: Any) -> Any:
        return (state[0] + 0.1 * values["new"],)


class NormLSTM(Cell):
    """An LSTM with layer normalisation, Ba et al. (2016): means and variances over the width."""

    blocks = ("input", "forget", "new", "output")
    states = ("h", "c")

    def __init__(self, *sizes: int, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        self.norm = nn.LayerNorm(4 * self.hidden_size)
        self.norm_c = nn.LayerNorm(self.hidden_size)

    def activate(self, projected: Any, state: Any) -> Any:
        i, f, g, o = self.split(self.norm(projected + self.recur(state[0])))
        values = (torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o))
        return dict(zip(self.blocks, values, strict=True))

    def update(self, values: Any, state: Any) -> Any:
        c = values["forget"] * state[1] + values["input"] * values["new"]
        return values["output"] * torch.tanh(self.norm_c(c)), c


class Attention(Cell):
    """A softmax over the units, the state of the step before, and pieces of a state put together anew."""

    blocks = ("share", "new")
    states = ("h", "before")

    def activate(self, projected: Any, state: Any) -> Any:
        share, new = self.split(projected + self.recur(torch.cat([state[1][:, 1:], state[0][:, :1]], 1)))
        return {"share": torch.softmax(share, -1), "new": F.silu(new).clamp(-2, 2)}

    def update(self, values: Any, state: Any) -> Any:
        return torch.where(values["share"] > 0.1, values["new"], 0.5 * state[0]), state[0]


PUBLISHED: tuple[Callable[..., Cell], ...] = (
    MGU, Janet, Peephole, UGRNN, IndRNN, CoRNN, Antisymmetric, NormLSTM, Attention,
)  # fmt: skip


class Changed(Linear):
    """A cell with h' = x + W h, changed by those below."""

    def change(self, new: Any, state: Any) -> Any:
        """Return what becomes of the new state."""
        return new

    def activate(self, projected: Any, state: Any) -> Any:
        return {"new": self.change(super().activate(projected, state)["new"], state)}


class Noisy(Changed):
    """It draws numbers."""

    def change(self, new: Any, state: Any) -> Any:
        return new + torch.rand_like(new)


class Branching(Changed):
    """It asks what the numbers are."""

    def change(self, new: Any, state: Any) -> Any:
        return new if new.sum() > 0 else -new


class Squared(Changed):
    """It has a matrix for each sequence."""

    def change(self, new: Any, state: Any) -> Any:
        return (new.unsqueeze(2) * state[0].unsqueeze(1)).sum(2)


class Turned(Changed):
    """It needs an operation that generated code does not have."""

    def change(self, new: Any, state: Any) -> Any:
        return new.flip(-1)


class Counting(Changed):
    """It changes its equations with the step."""

    def change(self, new: Any, state: Any) -> Any:
        self.count = getattr(self, "count", 0) + 1
        return new if self.count < 20 else 0.5 * new


class Moody(Changed):
    """It computes something else in evaluation."""

    def change(self, new: Any, state: Any) -> Any:
        return new if self.training else 0.5 * new


class Keeping(Changed):
    """It writes into a tensor of its own."""

    def __init__(self, *sizes: int, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        self.register_buffer("seen", torch.zeros(1))

    def change(self, new: Any, state: Any) -> Any:
        self.seen.add_(1)  # type: ignore[operator]
        return new * self.seen


class Mean(Changed):
    """It lets the sequences of a batch see each other."""

    def change(self, new: Any, state: Any) -> Any:
        return new - new.mean(0, keepdim=True)
