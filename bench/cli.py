"""The ``bench`` command. Each subcommand imports what it needs, so that help and tables start at once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import __version__

RUNS, FIGURES = Path("results", "runs"), Path("results", "figures")
"""Where runs and figures are if nothing else is said."""
FORMATS = ("terminal", "markdown", "csv", "latex")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["run"]:
        # Everything behind it is Hydra's.
        from bench.run import main as run

        sys.exit(run(arguments[1:]))
    parsed = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = parsed.command
    sys.exit(command(parsed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Which recurrent cell carries information over how long a delay, and at what cost?",
    )
    parser.add_argument("--version", action="version", version=f"rnn-bench {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("run", help="train a cell on a task, or a sweep of them (bench run --help)", add_help=False)
    table = commands.add_parser("table", help="print the table of a folder of records")
    table.add_argument("folder", nargs="?", type=Path, default=RUNS, metavar="DIR", help=f"default: {RUNS}")
    table.add_argument("--format", choices=FORMATS, default="terminal")
    table.add_argument("--output", type=Path, metavar="FILE", help="write to a file instead of the terminal")
    table.set_defaults(command=_table)
    figures = commands.add_parser("figures", help="draw the figures of a folder of records, as PDF and PNG")
    figures.add_argument("folder", nargs="?", type=Path, default=RUNS, metavar="DIR", help=f"default: {RUNS}")
    figures.add_argument("--output", type=Path, metavar="FOLDER", help=f"default: DIR/figures, {FIGURES} without DIR")
    figures.set_defaults(command=_figures)
    return parser


def _table(parsed: argparse.Namespace) -> int:
    from bench import record, tables

    records, damaged = record.read_all(parsed.folder)
    if not records and not damaged:
        return _fail("table", f"DIR must hold records, found none below {str(parsed.folder)!r}")
    if records:
        text = tables.render(records, parsed.format)
        if parsed.output is None:
            print(text, end="")
        else:
            try:
                parsed.output.write_text(text, encoding="utf-8")
            except OSError as error:
                return _fail("table", f"--output must be a file that can be written, {error}")
    return _complain("table", damaged)


def _figures(parsed: argparse.Namespace) -> int:
    from bench import figures, record

    folders = record.find_records(parsed.folder)
    if not folders:
        return _fail("figures", f"DIR must hold records, found none below {str(parsed.folder)!r}")
    output = FIGURES if parsed.folder == RUNS else parsed.folder / "figures"
    try:
        written, damaged = figures.draw_all(parsed.folder, parsed.output or output)
    except OSError as error:
        return _fail("figures", f"--output must be a folder that can be written to, {error}")
    for path in written:
        print(path)
    return _complain("figures", damaged)


def _complain(command: str, damaged: Sequence[ValueError]) -> int:
    for error in damaged:
        print(f"bench {command}: {error}", file=sys.stderr)
    return 1 if damaged else 0


def _fail(command: str, message: str) -> int:
    print(f"bench {command}: {message}", file=sys.stderr)
    return 2
