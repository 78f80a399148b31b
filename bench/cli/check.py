"""``bench check``: from its words to a cell, and from what is found to one screen and an exit code."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.common import fail
from bench.errors import WIDTH
from bench.training.settings import available_cores
from bench.training.waiting import SharedCores

if TYPE_CHECKING:
    from bench.config.run_spec import RunSpec

HELP = """usage: bench check cell=NAME [KEY=VALUE ...] [--config-dir DIR]

Whether a cell keeps the contract: state, finite numbers, repeatability, batches, order of time, gradients; which engine
it gets and why, milliseconds of a training step beside the GRU's, parameters. Takes the words of `bench run`; writes
nothing. The exit code is 0 if the cell keeps the contract, 1 if it does not, 2 if the command is wrong.

  bench check --config-dir ./mine cell=mine
  bench check cell=foreign cell.module=torch.nn.GRUCell task.length=600
"""


def check_command(arguments: list[str], cores: SharedCores) -> int:
    """Check the cell that the words after ``bench check`` describe; the exit code."""
    if not arguments or "-h" in arguments or "--help" in arguments:
        print(HELP, end="")
        return 0
    from bench.config import hydra_app
    from bench.config.explain import ConfigError
    from bench.runs.own_modules import own_modules

    said = cores.sleep_if_shared(available_cores())
    parsed = hydra_app.parse(arguments)
    if parsed.multirun or parsed.cfg or parsed.info:
        return fail("check", "takes overrides and --config-dir alone, no other flag")
    folder = str(Path(parsed.config_dir).expanduser()) if parsed.config_dir is not None else None
    with own_modules(str(Path(folder).absolute()) if folder is not None else None):
        try:
            spec, reference = _specs(parsed.overrides, folder)
        except ConfigError as error:
            return fail("check", str(error))
        if said is not None:
            print(f"bench check: {said}", file=sys.stderr)
        return _report(spec, reference)


def _specs(overrides: list[str], folder: str | None) -> tuple[RunSpec, RunSpec]:
    """Return the run that the words describe, and the same with a GRU.

    Raises:
        ConfigError: There is not one such run.
    """
    from bench.config.compose import compose_runs
    from bench.config.explain import ConfigError

    specs = compose_runs(overrides, config_dir=folder)
    if len(specs) != 1:
        raise ConfigError(f"a check must be of one cell, got the {len(specs)} runs of a sweep")
    others = [word for word in overrides if word.lstrip("+~").partition("=")[0].partition(".")[0] != "cell"]
    (reference,) = compose_runs([*others, "cell=gru", "model.engine=auto"], config_dir=folder)
    return specs[0], reference


def _report(spec: RunSpec, reference: RunSpec) -> int:
    from bench.runs.cell_check import check_cell

    print(f"{spec.cell_name} on {spec.task_name}, {spec.network.hidden_size} units, seed {spec.seed}", flush=True)
    failed = 0
    for finding in check_cell(spec, reference):
        failed += finding.passed is False
        mark = {True: "ok", False: "FAILS", None: ""}[finding.passed]
        print(textwrap.fill(f"{mark:7}{finding.name:12}{finding.text}", WIDTH, subsequent_indent=19 * " "), flush=True)
    print("The cell keeps the contract." if not failed else f"The cell breaks the contract in {failed} of its parts.")
    return int(bool(failed))
