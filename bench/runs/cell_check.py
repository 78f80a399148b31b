"""``bench check``: whether a cell keeps the contract, what it runs on, and what it costs, for its author to read."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from bench.cells import Cell
from bench.config.network import make_cell, model_on_meta
from bench.config.run_spec import RunSpec
from bench.engines import Choice, stepwise
from bench.errors import is_stop
from bench.runs.one_step import updates
from bench.training import process, rng
from bench.training.model import hidden_size_for_budget, parameter_count

STEPS, BATCH = 30, 5
"""Size of the sequences by which the contract is checked."""
SMALL = (4, 2, 3)
"""Steps, sequences and units for which derivatives are taken by differences: two forward passes for each number."""
TOLERANCE = 1e-10
"""Largest difference in float64 that counts as rounding, in units of the largest number."""
MOST_TIMES, MOST_SECONDS = 15, 8.0
"""Number of timed training steps, fewer if they take longer than this together."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: What was looked at.
        passed: Whether the cell keeps this part of the contract; ``None`` for what is only told.
        text: What was found.
    """

    name: str
    passed: bool | None
    text: str


class _BrokenError(Exception):
    """The cell breaks the contract; the text says how."""


def check_cell(spec: RunSpec, reference: RunSpec) -> Iterator[Finding]:
    """Look at the cell of a run, one finding after the other.

    Args:
        spec: The run.
        reference: The same run with a GRU, whose cost the cell's is compared with.
    """
    process.set_up(spec.runtime)
    checks: dict[str, Callable[[RunSpec], str]] = {
        "state": _state, "finite": _finite, "repeatable": _repeatable, "batch": _batch, "past": _past,
        "gradients": _gradients,
    }  # fmt: skip
    repeatable = True
    for name, check in checks.items():
        if not repeatable:
            yield Finding(name, None, "not looked at, as the cell is not repeatable")
            continue
        finding = _looked_at(name, partial(_in_double, check, spec))
        repeatable = name != "repeatable" or finding.passed is True
        yield finding
    engine = spec.network.engine
    yield Finding("engine", None, engine.note or engine.engine)
    yield replace(_looked_at("speed", partial(_speed, spec, reference)), passed=None)
    yield replace(_looked_at("parameters", partial(_parameters, spec, reference)), passed=None)


def _in_double(check: Callable[[RunSpec], str], spec: RunSpec) -> str:
    """Check in float64, also what a step makes by itself."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return check(spec)
    finally:
        torch.set_default_dtype(before)


def _looked_at(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except _BrokenError as error:
        return Finding(name, False, str(error))
    except BaseException as error:
        # The equations of a cell can raise anything; some end the process.
        if is_stop(error):
            raise
        return Finding(name, False, f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])


def _cell(spec: RunSpec, hidden_size: int | None = None, seed: int | None = None) -> Cell:
    """Return the cell of the first layer with its initial values, in float64 on the CPU."""
    cell = make_cell(spec.config["cell"], spec.network.input_size, hidden_size or spec.network.hidden_size)
    cell.reset_parameters(rng.generator("init", spec.seed if seed is None else seed), spec.task.delay)
    return cell.double()


def _inputs(spec: RunSpec, steps: int = STEPS, batch: int = BATCH) -> Tensor:
    size = (steps, batch, spec.network.input_size)
    return torch.randn(size, generator=rng.generator("probe", spec.seed), dtype=torch.double)


def _state(spec: RunSpec) -> str:
    cell = _cell(spec)
    for batch in (1, BATCH):
        inputs, before = _inputs(spec, batch=batch), cell.initial_state(batch)
        values = cell.activate(cell.project(inputs)[0], before)
        after = cell.update(values, before)
        if lost := [name for name in cell.blocks if name not in values]:
            raise _BrokenError(f"`activate` must return every block, and lacks {', '.join(lost)}")
        found, wanted = ([(tuple(part.shape), part.dtype) for part in each] for each in (after, before))
        if found != wanted:
            raise _BrokenError(f"a step must keep shapes and types of the state, {wanted}, and returned {found}")
        for name in cell.gates:
            if not 0 <= float(values[name].detach().min()) <= float(values[name].detach().max()) <= 1:
                raise _BrokenError(f"the gate {name} must be in [0, 1], and is not")
    parts = ", ".join(f"{name} of {part.shape[1]}" for name, part in zip(cell.states, before, strict=True))
    return f"{parts}; {'gates ' + ', '.join(cell.gates) if cell.gates else 'no gates named'}"


@torch.no_grad()
def _finite(spec: RunSpec) -> str:
    hidden, _ = stepwise.unroll(_cell(spec), _inputs(spec, steps=spec.task.length))
    wrong = (~hidden.isfinite()).flatten(1).any(1).nonzero()
    if len(wrong):
        raise _BrokenError(f"h is no finite number after step {int(wrong[0]) + 1} of standard normal inputs")
    return f"h within {float(hidden.abs().max()):.2g} over {spec.task.length} steps of standard normal inputs"


@torch.no_grad()
def _batch(spec: RunSpec) -> str:
    cell, inputs = _cell(spec), _inputs(spec)
    together, _ = stepwise.unroll(cell, inputs)
    alone = torch.cat([stepwise.unroll(cell, inputs[:, i : i + 1])[0] for i in range(BATCH)], 1)
    if (error := _difference(alone, together)) > TOLERANCE:
        raise _BrokenError(f"a sequence in a batch of {BATCH} differs by {error:.0e} from the same one alone")
    return "a sequence has the same states alone and in a batch"


@torch.no_grad()
def _past(spec: RunSpec) -> str:
    cell, inputs, half = _cell(spec), _inputs(spec), STEPS // 2
    changed = torch.cat([inputs[:half], -inputs[half:]])
    one, other = (stepwise.unroll(cell, each)[0][:half] for each in (inputs, changed))
    if (error := _difference(one, other)) > TOLERANCE:
        raise _BrokenError(f"states of the first half change by {error:.0e} with the inputs of the second")
    return "a state does not depend on later inputs"


@torch.no_grad()
def _repeatable(spec: RunSpec) -> str:
    inputs = _inputs(spec)
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        cell = _cell(spec)
        if not torch.equal(before, torch.get_rng_state()):
            raise _BrokenError("its initial values must be drawn from the generator that `reset_parameters` is given")
        for name, value in _cell(spec).state_dict().items():
            if not _same(value, cell.state_dict()[name]):
                raise _BrokenError(f"`{name}` starts at other values the second time under the same seed")
        passes = []
        for seed in (0, 1, 0):
            torch.manual_seed(seed)
            passes.append(stepwise.unroll(cell, inputs)[0])
        if not _same(passes[0], passes[1]):
            same = _same(passes[0], passes[2])
            raise _BrokenError(
                "its steps draw random numbers, so that no run can be repeated" if same
                else "a second pass differs from the first: its step keeps something besides the state"
            )  # fmt: skip
    other = _cell(spec, seed=spec.seed + 1).state_dict()
    fixed = all(torch.equal(value, other[name]) for name, value in cell.state_dict().items())
    return f"two passes and two starts are equal bit for bit{'; another seed starts no other' if fixed else ''}"


def _gradients(spec: RunSpec) -> str:
    steps, batch, hidden_size = SMALL
    try:
        cell = _cell(spec, hidden_size)
    except ValueError:  # It may want another size, as that of its input.
        hidden_size = spec.network.hidden_size
        cell = _cell(spec)
    inputs = _inputs(spec, steps, batch).requires_grad_()
    state = tuple((part + 0.1).detach().requires_grad_() for part in cell.initial_state(batch))
    named = {name: each for name, each in cell.named_parameters() if each.requires_grad and name != "start"}

    def run(*_: Tensor) -> tuple[Tensor, ...]:
        hidden, end = stepwise.unroll(cell, inputs, state)
        return hidden, *end

    loss = torch.stack([each.square().sum() for each in run()]).sum()
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    without = [name for name, each in zip(named, found, strict=True) if each is None]
    try:
        torch.autograd.gradcheck(run, (inputs, *state, *named.values()))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise _BrokenError(
            f"autograd's are not those by differences, {hidden_size} units, {steps} steps: {reason}"
        ) from error
    unused = f"; none for {', '.join(without)}, which no step reads" if without else ""
    return f"those of autograd are those by differences, {hidden_size} units, {steps} steps{unused}"


def _same(one: Tensor, other: Tensor) -> bool:
    """Return whether all numbers are equal; one that is none is equal to another one that is none."""
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-30))


def _speed(spec: RunSpec, reference: RunSpec) -> str:
    """Time training steps of the cell, of the cell step by step, and of the reference, in turns."""
    own, gru = spec.network.engine.engine, reference.network.engine.engine
    makers = {"own": partial(updates, spec), "gru": partial(updates, reference)}
    if own != "stepwise":
        slow = replace(spec, network=replace(spec.network, engine=Choice("stepwise")))
        makers["stepwise"] = partial(updates, slow)
    found = _medians({name: make() for name, make in makers.items()})
    stepwise_too = f", {found['stepwise']:.1f} step by step" if "stepwise" in found else ""
    size = f"{spec.network.hidden_size} units, {spec.data.batch_size} sequences of {spec.task.length} steps"
    return (
        f"{found['own']:.1f} ms a training step ({own}){stepwise_too}; GRU {found['gru']:.1f} ({gru}), ratio "
        f"{found['own'] / found['gru']:.2f}; {size}, {spec.device.type}"
    )


def _medians(updates: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return the median times in milliseconds of functions that are called in turns, after one call each."""
    times: dict[str, list[float]] = {name: [] for name in updates}
    for update in updates.values():
        update()
    started = time.perf_counter()
    while len(times["own"]) < MOST_TIMES and (len(times["own"]) < 3 or time.perf_counter() - started < MOST_SECONDS):
        for name, update in updates.items():
            begun = time.perf_counter()
            update()
            times[name].append(1000 * (time.perf_counter() - begun))
    return {name: statistics.median(each) for name, each in times.items()}


def _parameters(spec: RunSpec, reference: RunSpec) -> str:
    def count(each: RunSpec, hidden_size: int) -> int:
        return parameter_count(model_on_meta(each.config["cell"], each.task, each.network.settings, hidden_size))

    own, gru = spec.network.hidden_size, reference.network.hidden_size
    budget = count(reference, gru)
    alike = hidden_size_for_budget(partial(count, spec), budget)
    return f"{count(spec, own):,} at {own} units; {alike} units have those of a GRU of {gru}, {budget:,}"
