"""The gradient of each weight and bias before and after the clip, and how much an update moves it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


def norms(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the Euclidean norm of each tensor, in double precision; the function waits once for the device."""
    if not tensors:
        return {}
    values = torch.stack([torch.linalg.vector_norm(tensor.detach().double()) for tensor in tensors.values()])
    return dict(zip(tensors, values.tolist(), strict=True))


def gradients(named: Iterable[tuple[str, nn.Parameter]]) -> dict[str, Tensor]:
    """Return the gradients of the parameters that have one, by the parameter's name."""
    return {name: parameter.grad for name, parameter in named if parameter.grad is not None}


def update_ratios(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, float | None]:
    """Return the norm of each update over the norm before it; ``None`` where that was 0, as it may be for a bias."""
    moved = norms({name: after[name] - value for name, value in before.items()})
    held = norms(before)
    return {name: moved[name] / held[name] if held[name] > 0 else None for name in before}
