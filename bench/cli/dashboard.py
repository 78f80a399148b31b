"""``bench dashboard``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bench.cli.common import complain, fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.analysis.run import Run


def dashboard_command(parsed: argparse.Namespace) -> int:
    """Print, write or save the dashboard of a folder of records; the exit code."""
    from bench.analysis.run import read_runs
    from bench.errors import one_of
    from bench.mirror.client import MirrorError, asked_of, check, target_of
    from bench.mirror.task_facts import facts_of
    from bench.mirror.workspace import as_json, save, workspace
    from bench.records.write import write_output
    from bench.report.figures.draw import FIGURES

    runs, damaged = read_runs(parsed.folder)
    if not runs:
        if damaged:
            return complain("dashboard", damaged)
        return fail("dashboard", f"DIR must hold records, found none below {str(parsed.folder)!r}")
    facts, wrong = facts_of(runs)
    if parsed.task is not None and parsed.task not in facts:
        return fail("dashboard", f"--task must be {one_of(parsed.task, facts)}")
    asked = asked_of({"project": parsed.project, "entity": parsed.entity})
    project = target_of("online" if parsed.online else "offline", asked).project
    try:
        # The JSON has no entity.
        entity = check(asked["entity"]) if parsed.online else ""
        made = workspace(entity, project, facts, colours_of(runs), parsed.task, figures=tuple(FIGURES))
        text = as_json(made)
        if parsed.output is not None:
            write_output(parsed.output, text.encode())
        elif not parsed.online:
            print(text, end="")
        if parsed.online:
            print(save(made))
    except MirrorError as error:
        return fail("dashboard", str(error))
    except OSError as error:
        return fail("dashboard", f"--output must be a file that can be written, {error}")
    return complain("dashboard", [*damaged, *wrong])


def colours_of(runs: Sequence[Run]) -> dict[str, str]:
    """Return the colour of each cell in the figures of these runs, as ``#rrggbb``.

    Where the figures have several lines of one cell, which differ in its settings, it is that of the first.
    """
    from matplotlib import pyplot as plt
    from matplotlib.colors import to_hex

    from bench.analysis.grouping import arrange
    from bench.report.figures.style import STYLE, look

    rows, columns = arrange(runs)
    found: dict[str, str] = {}
    with plt.style.context(STYLE):
        for index, column in enumerate(columns):
            for run in (run for row in rows for run in row.runs.get(column, ())):
                found.setdefault(run.cell, to_hex(look(index)["color"]))
    return found
