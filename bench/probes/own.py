"""Gradient flow of a module of your own, without Hydra or Lightning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from bench.probes.flow import INPUT, as_nodes, gradient_norms, resolve_lags


def gradient_flow(
    module: nn.Module,
    inputs: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    step: Callable[[Tensor, Any], Any] | None = None,
    state: Tensor | tuple[Tensor, ...] | None = None,
    answer: int | None = None,
    lags: Sequence[int] | Literal["log", "all"] = "log",
    names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Measure how far the gradient of a loss travels back through a recurrent module of your own, for example::

        cell = torch.nn.LSTMCell(2, 64)
        readout = torch.nn.Linear(64, 1)
        frame = gradient_flow(
            cell,
            inputs,                                                      # (time, batch, 2)
            lambda hidden: (readout(hidden[-1])[:, 0] - targets) ** 2,   # a loss for each sequence
            state=(torch.zeros(32, 64), torch.zeros(32, 64)),
        )
        bench.report.figures.gradient_flow.plot_flow(frame)

    The module runs step by step. The function changes neither ``grad`` nor ``requires_grad`` of the module's
    parameters. Some fused operations, such as CUDA's ``LSTMCell``, return all parts of the state side by side. The
    gradient of a part then lacks what reaches it by way of h at the same step; the gradient of h is whole.

    Args:
        module: The recurrent module.
        inputs: ``(time, batch, input)``, or another tensor that has time first and that the step understands.
        loss: Function from the hidden states of all steps, ``(time, batch, hidden)``, to one loss for each sequence,
            ``(batch,)``. A single number is taken for the mean of these. For a delayed answer the loss should be that
            of the answer alone, because losses of other steps hide what has vanished.
        step: ``(input at one step, state) -> state``; by default the module's own method ``step`` if it has one, else
            the call of the module.
        state: The state before the first step: one tensor ``(batch, hidden)``, or a tuple of them with the hidden state
            first. The default is what the module's ``initial_state(batch)`` returns, if it has that method.
        answer: The step, counted from 0, of the first answer, which has lag 0; by default the last step.
        lags: Different steps back from the answer, each >= 0 and <= ``answer``; or ``"log"`` for up to 64 at equal
            ratios, or ``"all"``.
        names: Names of the parts of the state; by default ``h``, ``c``, then ``state 3`` and so on.

    Returns:
        A frame with a row for each lag of the input, as the state ``x``, if its numbers are real, and then of each part
        of the state. Its columns are ``state``, ``lag`` and ``value``, which is the root mean square over the batch of
        the Euclidean norm of the gradient, each sequence with the gradient of its own loss.

    Raises:
        TypeError: The state is not a tensor or a tuple of tensors with the batch first, or the module runs whole
            sequences.
        ValueError: A number is out of range, there is no initial state, or the loss has another shape.
    """
    if step is None and isinstance(module, nn.RNNBase):
        name = type(module).__name__
        raise TypeError(f"`module` must advance by one step, got {name}, which runs whole sequences: give {name}Cell")
    length = len(inputs)
    if length == 0:
        raise ValueError("`inputs` must have at least one step, got 0")
    answer = length - 1 if answer is None else answer
    if not 0 <= answer < length:
        raise ValueError(f"`answer` must be >= 0 and <= {length - 1}, the last step, got {answer}")
    probed = resolve_lags(lags, answer)
    advance = step or getattr(module, "step", None) or module
    given = _initial_state(module, inputs) if state is None else state
    alone = isinstance(given, Tensor)
    first, batch = answer - probed[-1], inputs.shape[1]
    with torch.inference_mode(False), torch.enable_grad():
        current = _parts(given, batch)
        hidden, kept = [], {}
        real = inputs.is_floating_point()
        # Every step of the input is a node of its own, from the first one that is probed on.
        steps = [value.clone().requires_grad_(index >= first and real) for index, value in enumerate(inputs.detach())]
        for index, value in enumerate(steps):
            before = as_nodes(current) if index >= first else current
            current = _parts(advance(value, before[0] if alone else before), batch)
            current = as_nodes(current, before) if index >= first else current
            hidden.append(current[0])
            kept[index] = current
        losses = loss(torch.stack(hidden))
        total = _total(losses, batch)
        shown = [(steps[answer - lag], *kept[answer - lag]) if real else kept[answer - lag] for lag in probed]
        norms = gradient_norms(total, [part for parts in shown for part in parts])
    names = [*([INPUT] if real else []), *_names(names, len(current))]
    rows = [(name, lag) for lag in probed for name in names]
    frame = pd.DataFrame({"state": [name for name, _ in rows], "lag": [lag for _, lag in rows], "value": norms})
    frame["state"] = pd.Categorical(frame["state"], categories=list(names), ordered=True)
    return frame.sort_values(["state", "lag"], ignore_index=True).astype({"state": str})


def _initial_state(module: nn.Module, inputs: Tensor) -> Any:
    make = getattr(module, "initial_state", None)
    if make is None:
        raise ValueError(f"`state` must be given for {type(module).__name__}, which has no initial_state, got None")
    return make(inputs.shape[1])


def _parts(state: Any, batch: int) -> tuple[Tensor, ...]:
    """Return a state as a tuple of tensors."""
    parts = (state,) if isinstance(state, Tensor) else state
    if not isinstance(parts, tuple | list) or not parts or not all(isinstance(part, Tensor) for part in parts):
        got = f"a {type(state).__name__}"
        if isinstance(parts, tuple | list) and parts:
            got += f" of {', '.join(type(part).__name__ for part in parts)}"
        raise TypeError(f"`state` must be a tensor or a tuple of tensors, got {got}")
    for part in parts:
        if not (part.is_floating_point() or part.is_complex()) or part.ndim < 2 or part.shape[0] != batch:
            shape = f"{tuple(part.shape)} of {part.dtype}"
            raise TypeError(f"`state` must be real or complex tensors (batch, hidden) with batch {batch}, got {shape}")
    return tuple(parts)


def _total(losses: Any, batch: int) -> Tensor:
    if not isinstance(losses, Tensor) or losses.shape not in ((), (batch,)):
        got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(f"`loss` must return a tensor of shape ({batch},), one value a sequence, or (), got {got}")
    if not losses.requires_grad:
        raise ValueError("`loss` must depend on the hidden states, got one that has no gradient")
    return losses * batch if losses.ndim == 0 else losses.sum()


def _names(names: Sequence[str] | None, parts: int) -> list[str]:
    if names is None:
        return ["h", "c", *(f"state {number}" for number in range(3, parts + 1))][:parts]
    if len(names) != parts:
        raise ValueError(f"`names` must be {parts}, one for each part of the state, got {len(names)}")
    if len({INPUT, *names}) <= parts:
        raise ValueError(f"`names` must be different from each other and from {INPUT}, the input, got {list(names)}")
    return list(names)
