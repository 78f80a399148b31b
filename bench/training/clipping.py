"""The norm of all gradients together, and clipping by norm or by value."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Float[Tensor, ""]:
    """Compute the Euclidean norm of the gradients of all parameters together."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def clip_gradients(
    parameters: list[nn.Parameter], clip_norm: float | None, clip_value: float | None
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Clip gradients in place, by norm or by value.

    Returns:
        The norm before the clip and the norm after it.
    """
    before = gradient_norm(parameters)
    if clip_norm is not None:
        if before.device.type == "cpu" and clip_norm / (float(before) + 1e-6) >= 1:
            return before, before  # torch would multiply by 1; on a GPU, this check would cost more than that
        torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, before)
    elif clip_value is not None:
        torch.nn.utils.clip_grad_value_(parameters, clip_value)
    else:
        return before, before
    return before, gradient_norm(parameters)
