"""The readout and the mean cross entropy behind it in one pass of C++, on the CPU; see ``native/cross_entropy.h``.

Where every step is answered, torch computes the outputs of all steps, their softmax, and the gradients of both one
after the other, each through the whole memory. On copy memory that takes longer than the recurrence of an RNN.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from bench.engines.native import build

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

LossEngine = Literal["torch", "native"]
LOSS_ENGINES: tuple[LossEngine, ...] = get_args(LossEngine)


def cross_entropy(
    hidden: Float[Tensor, "time batch hidden"],
    weight: Float[Tensor, "classes hidden"],
    bias: Float[Tensor, " classes"],
    targets: Int[Tensor, "time batch"],
    scored: Bool[Tensor, "time batch"],
) -> Float[Tensor, ""]:
    """Compute the cross entropy in nats of a linear readout, averaged over the scored positions.

    On the CPU, in float32 or float64, without second derivatives. The gradients are computed in the same pass, where
    gradients are on.

    Args:
        hidden: What is read out.
        weight: The weights of the readout.
        bias: Its bias.
        targets: The right class of each position, from 0 to ``classes`` - 1.
        scored: The positions that count, at least one.

    Raises:
        NativeUnavailableError: The kernels are not available on this machine.
        IndexError: A target is no class.
    """
    build.load()
    wanted = torch.is_grad_enabled() and any(each.requires_grad for each in (hidden, weight, bias))
    return _CrossEntropy.apply(hidden, weight, bias, targets, scored, wanted)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scored: Tensor, wanted: bool
    ) -> Tensor:
        loss, *gradients = torch.ops.rnn_bench.cross_entropy(hidden, weight, bias, targets, scored, wanted)
        if wanted:
            ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides the names
        ctx: Any, factor: Tensor
    ) -> tuple[Tensor | None, ...]:
        found = ctx.saved_tensors
        # The factor is 1 wherever the loss is that of a whole batch; to multiply by it would take as long as the pass.
        if factor.item() != 1.0:
            found = [factor * each for each in found]
        return *(each if asked else None for each, asked in zip(found, ctx.needs_input_grad, strict=False)), *[None] * 3
