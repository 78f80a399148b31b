"""``bench gates``: what a trained cell does while it reads a sequence."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench.cli.common import FIGURES, WIDTHS, fail
from bench.cli.figures import pictures
from bench.cli.trained import in_flags

UNITS = "varying:12"
"""The units that are shown if nothing else is said."""


def add_gates(commands: Any) -> argparse.ArgumentParser:
    """Add the command; return its parser."""
    gates = commands.add_parser(
        "gates", help="draw gates and states of a trained cell over a sequence, with their data"
    )
    gates.add_argument("run", metavar="RUN", help="the folder of a record with weights, or a run id below results")
    gates.add_argument("file", nargs="?", metavar="FILE", help="as for predict; default: the test set of the run")
    gates.add_argument(
        "--sequence", type=int, default=0, metavar="K",
        help="which one, from 0; of a text, the one that begins K windows of the training behind its beginning",
    )  # fmt: skip
    gates.add_argument(
        "--units", default=UNITS, metavar="UNITS",
        help="all; numbers from 0, as in 3,17; or varying:N, the N whose hidden state has the largest standard "
        f"deviation over the sequence (default: {UNITS})",
    )  # fmt: skip
    gates.add_argument("--layer", type=int, metavar="N", help="from 1 at the input (default: the highest)")
    gates.add_argument("--output", type=Path, default=FIGURES, metavar="FOLDER", help=f"default: {FIGURES}")
    gates.add_argument(
        "--format", type=pictures, default=("pdf", "png"), metavar="FORMS", help="of pdf, png, svg (default: pdf,png)"
    )
    gates.add_argument("--width", type=int, choices=WIDTHS, help="columns of a two-column page to fill")
    gates.set_defaults(command=gates_command)
    return gates


def gates_command(parsed: argparse.Namespace) -> int:
    """Draw the gates of a run's network over one sequence; the exit code."""
    import matplotlib
    from matplotlib import pyplot as plt

    from bench.analysis.unit_traces import units_of
    from bench.records.write import write_output
    from bench.report.figures.drawing import Sheet
    from bench.report.figures.gates import gates
    from bench.report.figures.style import STYLE
    from bench.runs.gates import traces_of

    try:
        traces = traces_of(
            parsed.run, parsed.file, parsed.sequence, parsed.layer, trust=parsed.trust, config_dir=parsed.config_dir
        )
        units = units_of(traces, parsed.units)
        matplotlib.use("Agg")
        with plt.style.context(STYLE):
            figure = gates(traces, units, Sheet(parsed.width))
            for form in (*parsed.format, "csv"):
                path = parsed.output / f"{traces.name}.{form}"
                write_output(path, figure.to_bytes(form))
                print(path)
    except ValueError as error:
        return fail("gates", in_flags(error))
    except OSError as error:
        return fail("gates", f"--output must be a folder that can be written to, {error}")
    return 0
