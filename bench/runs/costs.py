"""What a trained network costs besides its time: multiplications of a time step, and memory of a training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bench.cells import Cell
from bench.config.run_spec import RunSpec
from bench.training import rng
from bench.training.data import TrainingStream, pieces
from bench.training.loop import TrainingModule
from bench.training.model import SequenceModel

_ELEMENTWISE = (
    torch.ops.aten.mul, torch.ops.aten.mul_, torch.ops.aten.addcmul, torch.ops.aten.addcmul_, torch.ops.aten.lerp,
)  # fmt: skip
"""Operations that multiply element by element, once for each element of what they return."""


def costs_of(spec: RunSpec, module: TrainingModule) -> dict[str, int | str | None]:
    """Return what the network of a completed run costs, for its record.

    ``multiply_adds`` is that of :func:`multiply_adds`, ``memory_bytes`` that of :func:`memory_bytes`. A cell of the
    user's may not let itself be looked at in this way. A number that cannot be had is then ``None``, and
    ``costs_unknown`` says why.
    """
    found: dict[str, int | str | None] = {}
    for name, measure in (("multiply_adds", multiply_adds), ("memory_bytes", memory_bytes)):
        try:
            found[name] = measure(spec, module)
        except Exception as error:  # noqa: BLE001 - what a run costs is not worth its loss
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            found |= {name: None, "costs_unknown": f"{name}: {reason}"}
    return found


@torch.no_grad()
def multiply_adds(spec: RunSpec, module: TrainingModule) -> int:
    """Count the multiplications of one more time step of one sequence, forward, as the cell's own equations have them.

    Those in products of matrices, each with the addition that follows, and those of vectors element by element.
    Additions and activations alone are not counted. The readout counts where every step is read out.
    """
    model: SequenceModel = module.model
    with torch.autocast(spec.device.type, enabled=False), _Multiplications() as seen:
        for cell in (*model.cells, *model.backward_cells):
            assert isinstance(cell, Cell)
            below = torch.zeros(1, 1, cell.input_size, device=spec.device)
            cell.step(cell.project(below)[0], cell.initial_state(1))
        if model.readout == "every":
            wide = model.head[0].in_features if len(model.head) else model.readout_layer.in_features
            model.read(torch.zeros(1, 1, int(str(wide)), device=spec.device))
    return seen.count


def memory_bytes(spec: RunSpec, module: TrainingModule) -> int | None:
    """Measure the bytes of all tensors that a training step holds at the end of its way forward.

    These are the weights, their gradients, the state of the optimiser, and what is kept for the way back: on the first
    training batch of the run, or its first piece, each piece of memory once. With the ``compiled`` engine this is not
    measured.
    """
    model: SequenceModel = module.model
    if model.engine == "compiled":
        return None
    weights = _Storages()
    for weight in model.parameters():
        weights.add(weight)
    kept = _Storages(weights)
    batch = next(iter(TrainingStream(spec.task, spec.data, spec.seed, spec.device)))
    if spec.data.microbatch_size is not None:
        batch = pieces(batch, spec.data.microbatch_size)[0]
    dropout = rng.generator("dropout", spec.seed, 0, spec.device) if model.drops else None
    mixed = torch.autocast(spec.device.type, torch.bfloat16, enabled=spec.precision == "bf16-mixed")
    with torch.enable_grad(), mixed, saved_tensors_hooks(kept.add, lambda tensor: tensor):
        model.loss(spec.task, batch, dropout)
    trained = sum(weight.numel() * weight.element_size() for weight in model.parameters() if weight.requires_grad)
    return weights.bytes + trained + kept.bytes + _state_bytes(module)


def _state_bytes(module: nn.Module) -> int:
    """Return the bytes of the optimiser's state."""
    optimizer: Any = module.optimizers(use_pl_optimizer=False)  # type: ignore[operator]
    parts = (value for state in optimizer.state.values() for value in state.values())
    return sum(value.numel() * value.element_size() for value in parts if isinstance(value, Tensor))


class _Storages:
    """Pieces of memory that tensors lie in, each counted once, besides those that another one has."""

    def __init__(self, besides: _Storages | None = None) -> None:
        self.sizes: dict[int, int] = {}
        self._tensors: list[Tensor] = []
        self._besides: Mapping[int, int] = besides.sizes if besides is not None else {}

    @property
    def bytes(self) -> int:
        """Bytes of all of them."""
        return sum(self.sizes.values())

    def add(self, tensor: Tensor) -> Tensor:
        """Count the memory of a tensor, and return the tensor."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._besides:
            self.sizes[storage.data_ptr()] = storage.nbytes()
            self._tensors.append(tensor.detach())  # Otherwise another tensor could get its place.
        return tensor


class _Multiplications(TorchDispatchMode):
    """Counts multiplications, while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation, and count its multiplications."""
        found, packet = func(*args, **(kwargs or {})), func._overloadpacket
        if packet in flop_registry:
            self.count += flop_registry[packet](*args, **(kwargs or {}), out_val=found) // 2
        elif packet in _ELEMENTWISE:
            self.count += found.numel()
        return found
