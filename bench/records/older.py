"""What records of earlier versions do not say, from what is known of the tasks, cells and settings that there were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Direction = Literal["higher", "lower"]

LOWER = ("loss", "mse", "absolute_error")
"""The scores that were errors and losses; all others were shares of what is right."""
YEARS = {"rnn": 1990, "lstm": 1997, "gru": 2014}
"""The year in which each cell was published, by the name of the cell."""

LATER: Mapping[str, Mapping[str, Any]] = {
    "bench.cells.gru.GRUCell": {"reset": "after", "initial_state": "zeros"},
    "bench.cells.init.Initialization": {"spectral_radius": None},
    "bench.cells.lstm.LSTMCell": {"chrono_range": 1.5, "peepholes": False, "initial_state": "zeros"},
    "bench.cells.rnn.RNNCell": {"initial_state": "zeros"},
    "torch.optim.SGD": {"nesterov": False},
}
"""Settings that classes got later, by ``_target_``, with the value under which they compute what they did before.

A record that lacks such a setting has this value, and a run with this value keeps the id that it had without.
"""


SECTIONS: Mapping[str, Mapping[str, Any]] = {
    "data": {"microbatch_size": None, "test_scales": None, "bucketing": False, "carry_state": False},
    "model": {
        "embedding": None,
        "head": [],
        "head_activation": "relu",
        "input_dropout": 0.0,
        "readout_dropout": 0.0,
        "bidirectional": False,
        "loss_engine": "torch",
    },
    "probe": {"inputs": False, "exponents": 0, "gate_bins": 0},
    "training": {
        "max_epochs": None,
        "patience": None,
        "tested_weights": "last",
        "schedule": "constant",
        "warm_up_steps": 0,
        "decay_every": None,
        "decay": None,
        "keep_weights": False,
        "keep_predictions": False,
    },
}
"""The same for the sections of a config that name no class."""

EVERY_STEP = ("tasks.copy_memory.CopyMemory", "tasks.character_model.CharacterModel")
"""The tasks whose readout and loss are computed in one pass since there is ``model.loss_engine``."""


def has_loss_in_two_passes(task: Mapping[str, Any], model: Mapping[str, Any]) -> bool:
    """Return whether a run was made in another way than ``model.loss_engine=auto`` asks for now, by its record.

    Args:
        task: The task's node of its config.
        model: What the record says of its model.
    """
    if "loss_engine" in model or model.get("engine") not in ("native", "generated"):
        return False
    return task.get("_target_") in EVERY_STEP and task.get("readout", "every") == "every"


def complete(config: dict[str, Any]) -> None:
    """Add to a record's config, as read from its file, the settings that came later."""
    for name, node in config.items():
        if isinstance(node, dict):
            _add_later(name, node)


def as_before(section: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section of a config, with what is below it, without the settings that came later and change nothing."""
    later = _later(section, node)
    kept = {key: value for key, value in node.items() if key not in later or later[key] != value}
    return {key: as_before("", value) if isinstance(value, Mapping) else value for key, value in kept.items()}


def _add_later(section: str, node: dict[str, Any]) -> None:
    for value in node.values():
        # Many records are read at once, and to ask for a Mapping takes twenty times as long.
        if isinstance(value, dict):
            _add_later("", value)
    for key, value in _later(section, node).items():
        node.setdefault(key, value)


def _later(section: str, node: Mapping[str, Any]) -> Mapping[str, Any]:
    return SECTIONS.get(section) or LATER.get(str(node.get("_target_")), {})


def directions_of(task_facts: Mapping[str, Any]) -> dict[str, Direction]:
    """Return whether a higher or a lower value of each score of a task is the better one."""
    found: dict[str, Direction] = {name: "lower" if name in LOWER else "higher" for name in task_facts["baselines"]}
    found[task_facts["metric"]] = "higher" if task_facts["higher_is_better"] else "lower"
    return found
