"""What ``bench table --help`` lists: metrics, statistics and keys. It is put together when it is asked for."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

from bench.errors import WIDTH

SCORES = (
    "loss", "mse", "within_tolerance", "absolute_error", "recall", "exact", "accuracy", "accuracy_all", "auroc",
    "macro_f1", "bits", "mase", "mae", "rmse",
)  # fmt: skip
"""The scores of our tasks. A task knows its own, but comes with torch, for which a help does not wait."""
SECTIONS = ("model", "optimizer", "data", "training")
"""Sections of a config whose settings are keys; those of the task and the cell are, too."""
ALONE = ("task", "cell", "experiment", "budget", "optimizer", "precision", "device", "code", "cell.code")
PROCESS = ("threads", "flush_subnormals", "deterministic", "tf32")


class ListedHelp(argparse.Action):
    """The help, with all names that the flags take below it."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(
            option_strings, dest, nargs=0, default=argparse.SUPPRESS,
            help="show this, with all metrics, statistics and keys, and exit",
        )  # fmt: skip

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print it and exit."""
        parser.print_help()
        print(f"\n{listed()}")
        parser.exit()


def listed() -> str:
    """Return all metrics, statistics and keys, in lines of 80 characters."""
    from bench.analysis import metrics

    return "\n".join([
        "metrics, for --metric and --name:",
        *_words("every run", (metrics.SOLVED, metrics.STEPS, *metrics.COSTS, metrics.SPEED)),
        *_words("probes", metrics.PROBED),
        *_words("scores", (*SCORES, "and those of your tasks; mse@2 is that at twice the delay (data.test_scales)")),
        "",
        "statistics, for --statistic:",
        *(line for name, text in metrics.STATISTICS.items() for line in _words(name, (text,))),
        *(line for name, its in metrics.OF.items() for line in _words(f"{name}:", its, len(metrics.STEPS) + 1)),
        *_words("all others:", metrics.OTHERS, len(metrics.STEPS) + 1),
        "",
        "keys, for --where, --rows, --columns and --name:",
        *_words("", ALONE),
        *(line for section, keys in _keys().items() for line in _words(section, keys)),
    ])  # fmt: skip


def _words(name: str, words: Sequence[str], width: int = 10) -> Iterator[str]:
    for number, line in enumerate(textwrap.wrap(", ".join(words), WIDTH - width - 3, break_on_hyphens=False)):
        yield f"  {name if number == 0 else '':<{width}} {line}"


def _keys() -> dict[str, list[str]]:
    """Return the keys of our configs by section, those of all options of a group together."""
    import yaml

    from bench.analysis.hyperparameters import flat

    conf = resources.files("conf")
    whole = yaml.safe_load((conf / "config.yaml").read_text(encoding="utf-8"))
    found = {"task": {}, "cell": {}, **{section: flat(whole.get(section) or {}) for section in SECTIONS}}
    for group in ("task", "cell", "optimizer"):
        for file in sorted((conf / group).iterdir(), key=lambda each: each.name):
            if file.name.endswith(".yaml"):
                found[group] |= flat(yaml.safe_load(file.read_text(encoding="utf-8")))
    keys = {section: [f"{section}.{key}" for key in settings] for section, settings in found.items()}
    return {**keys, "runtime": [f"runtime.{key}" for key in PROCESS]}
