"""The ``bench`` command. Each subcommand imports what it needs, so that help and tables start at once."""

from __future__ import annotations

import argparse
import codecs
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

from bench import __version__
from bench.cli.check import check_command
from bench.cli.common import (
    FIGURES,
    FORMATS,
    NOTES,
    PAGE,
    RUNS,
    WIDTHS,
    add_names,
    key_and_values,
    listed_names,
)
from bench.cli.completion import COMMANDS
from bench.cli.dashboard import dashboard_command
from bench.cli.figures import figures_command, pictures
from bench.cli.gates import add_gates
from bench.cli.listing import ListedHelp
from bench.cli.one_line import OneLineParser
from bench.cli.page import page_command
from bench.cli.publish import publish_command
from bench.cli.push import push_command
from bench.cli.replay import replay_command
from bench.cli.report import PLACES, report_command
from bench.cli.runs import runs_command
from bench.cli.status import status_command
from bench.cli.table import table_command
from bench.cli.trained import generate_command, predict_command
from bench.cli.tune import tune_command
from bench.errors import one_of, shown
from bench.training.waiting import SharedCores

PLAIN = {"∞": "inf", "†": "*", "‡": "**", "§": "***"}
"""What stands for characters of ours where a terminal has none of them; a question mark stands for all others."""

LEAST_MEMORY = {
    **dict.fromkeys(("run", "tune", "replay", "predict", "generate", "gates"), 2_000_000),
    "table": 1_000_000,
}
"""Address space in kB that the libraries of a command take; all others need no more than ``table``."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    from bench.sweeps import signals
    from bench.sweeps.output import Output

    codecs.register_error("plain", _in_plain_characters)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # as after `bench status >&-`
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")
    words = sys.argv[1:] if arguments is None else arguments
    with Output() as output:
        code = 0
        try:
            _check_memory(words)
            code = _main(words)
        except KeyboardInterrupt:
            print(f"bench {words[0]}: interrupted", file=sys.stderr)
            code = signals.exit_code("SIGINT")
        except BrokenPipeError:
            # The reader has seen enough, as in `bench status | head`.
            output.discard()
        except OSError as error:
            # A name that is too long for a file, a folder that may not be entered, a disk that fails.
            print(f"bench {words[0]}: {error.strerror or error}: {shown(error.filename)}", file=sys.stderr)
            code = 2
        except (MemoryError, ImportError) as error:
            # A library that finds no room says that it cannot be imported.
            reason = " ".join(str(error).split()) or "there is too little memory"
            print(f"bench {words[0]}: {reason}", file=sys.stderr)
            code = 2
    if output.error is not None:
        print(f"bench {words[0]}: what it printed could not be written: {output.error.strerror}", file=sys.stderr)
    sys.exit(code or int(output.error is not None))


def _check_memory(words: list[str]) -> None:
    """Refuse a limit of memory in which the libraries of a command cannot even be loaded, some of which end it then.

    Raises:
        MemoryError: There is such a limit.
    """
    if not words or words[0].startswith("-") or {"-h", "--help"} & set(words):
        return
    try:
        import resource
    except ImportError:
        return  # Windows has no such limits.
    least = LEAST_MEMORY.get(words[0], min(LEAST_MEMORY.values()))
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= limit < least << 10:
        raise MemoryError(f"the limit of memory (ulimit -v) must be at least {least} kB, got {limit >> 10}")


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    """Return what is written for characters that the encoding of a stream does not have."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(PLAIN.get(each, "?") for each in error.object[error.start : error.end]), error.end


def _main(arguments: list[str]) -> int:
    if arguments[:1] == ["run"]:
        # Everything behind it is Hydra's.
        cores = SharedCores()
        from bench.cli.run import run_command

        return run_command(arguments[1:], cores)
    if arguments[:1] == ["check"]:
        return check_command(arguments[1:], SharedCores())
    if arguments[:1] == ["tune"]:
        return tune_command(arguments[1:], SharedCores())
    parser = _parser()
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        parser.error(f"COMMAND must be {one_of(arguments[0], COMMANDS)}")
    parsed = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = parsed.command
    return command(parsed)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="bench",
        description="Which recurrent cell carries information over how long a delay, and at what cost?",
    )
    parser.add_argument("--version", action="version", version=f"rnn-bench {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("run", help="train a cell on a task, or a sweep of them (bench run --help)", add_help=False)
    commands.add_parser("check", help="whether a cell keeps the contract, and what it costs", add_help=False)
    commands.add_parser("tune", help="the best setting of each cell, by equal trials, on fresh seeds", add_help=False)
    table = commands.add_parser("table", help="print the table of a folder of records", add_help=False)
    table.add_argument("-h", "--help", action=ListedHelp)
    table.add_argument("folder", nargs="?", type=Path, default=RUNS, metavar="DIR", help=f"default: {RUNS}")
    table.add_argument(
        "--spec", metavar="NAME|FILE", help="a table of conf/table/, or a YAML of yours; flags win over it"
    )
    table.add_argument(
        "--where", action="append", type=key_and_values, metavar="KEY=VALUES", help="only runs with these values"
    )
    table.add_argument("--rows", type=listed_names, metavar="KEYS", help="settings that make a row, as in task.length")
    table.add_argument(
        "--columns", type=listed_names, metavar="KEYS", help="settings that make a column (default: cell)"
    )
    table.add_argument(
        "--metric", type=listed_names, metavar="NAMES", help="one: a matrix; several: a block for each row"
    )
    table.add_argument("--statistic", metavar="NAME", help="median, iqm; survival for steps_to_solve")
    table.add_argument("--mixed", action="store_true", help="runs of different protocols may stand together, marked")
    table.add_argument("--published", action="store_true", help="published claims beside ours, with a verdict")
    table.add_argument("--compare", action="store_true", help="tests between the columns")
    table.add_argument("--format", choices=FORMATS, default="terminal")
    table.add_argument("--output", type=Path, metavar="FILE", help="write to a file instead of the terminal")
    add_names(table)
    table.add_argument(
        "--caption", metavar="TEXT", help="in place of ours, as it is typed: LaTeX in LaTeX; '' for none"
    )
    table.add_argument("--notes", choices=NOTES, help="below the table, as a threeparttable of LaTeX, or none")
    latex = table.add_argument_group("for --format latex")
    latex.add_argument("--label", metavar="LABEL", help="what \\ref refers to the table by")
    latex.add_argument(
        "--width", type=int, choices=WIDTHS, help="columns of a two-column page to fill (default: a page of one)"
    )
    latex.add_argument("--standalone", action="store_true", help="a whole document, which compiles by itself")
    table.set_defaults(command=table_command)
    report = commands.add_parser(
        "report",
        help="fill a page's tables and figures anew from records, in place",
        epilog=PLACES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    report.add_argument("page", nargs="?", type=Path, default=PAGE, metavar="FILE", help=f"default: {PAGE}")
    report.set_defaults(command=report_command)
    figures = commands.add_parser(
        "figures", help="draw the figures of a folder of records, as PDF and PNG, with their data as CSV"
    )
    figures.add_argument("folder", nargs="?", type=Path, default=RUNS, metavar="DIR", help=f"default: {RUNS}")
    figures.add_argument("--output", type=Path, metavar="FOLDER", help=f"default: DIR/figures, {FIGURES} without DIR")
    figures.add_argument(
        "--where", action="append", type=key_and_values, metavar="KEY=VALUES", help="only runs with these values"
    )
    figures.add_argument("--cells", type=listed_names, metavar="NAMES", help="only these cells")
    figures.add_argument("--tasks", type=listed_names, metavar="NAMES", help="only these tasks")
    figures.add_argument(
        "--format", type=pictures, default=("pdf", "png"), metavar="FORMS", help="of pdf, png, svg (default: pdf,png)"
    )
    figures.add_argument(
        "--width", type=int, choices=WIDTHS, help="columns of a two-column page to fill, 3.4 or 6.8 inches"
    )
    add_names(figures)
    figures.set_defaults(command=figures_command)
    page = commands.add_parser("page", help="one HTML file of records, to walk through in a browser, offline")
    page.add_argument("folders", nargs="*", type=Path, default=[RUNS], metavar="DIR", help=f"default: {RUNS}")
    page.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="default: DIR/page.html; results/page.html without DIR"
    )
    page.add_argument(
        "--where", action="append", type=key_and_values, metavar="KEY=VALUES", help="only runs with these values"
    )
    page.add_argument("--title", metavar="TEXT", help="default: the names of the experiments")
    page.set_defaults(command=page_command)
    status = commands.add_parser("status", help="how far the planned runs are, and what is wrong")
    status.add_argument("what", nargs="?", default="results", metavar="EXPERIMENT|DIR", help="default: results")
    status.add_argument(
        "--watch", nargs="?", type=float, const=2.0, metavar="SECONDS", help="show it again until all is done"
    )
    status.add_argument("--repair", action="store_true", help="set damaged records aside, so that they are made again")
    status.set_defaults(command=status_command)
    runs = commands.add_parser("runs", help="one line a run, its fields parted by tabs, for grep and cut")
    runs.add_argument("folder", nargs="?", type=Path, default=RUNS, metavar="DIR", help=f"default: {RUNS}")
    runs.set_defaults(command=runs_command)
    replay = commands.add_parser("replay", help="make a run again from its record, and compare every number")
    replay.add_argument("run", metavar="RUN", help="the folder of a record, or a run id below results")
    replay.add_argument("--trust", action="append", default=[], metavar="NAME", help="a class or module of your own")
    replay.add_argument("--config-dir", metavar="DIR", help="where your own modules are")
    replay.add_argument(
        "--tolerance", type=float, default=1e-3, help="relative, where versions or machine differ (default: 0.001)"
    )
    replay.set_defaults(command=replay_command)
    publish = commands.add_parser("publish", help="small copies of finished runs, for a repository")
    publish.add_argument("folder", type=Path, metavar="RUNS", help="a folder of records")
    publish.add_argument("destination", type=Path, metavar="DEST", help="where the copies go, at the same places")
    publish.add_argument(
        "--every",
        type=int,
        metavar="N",
        help="keep each N-th step of the curves, besides evaluations, the first and the last (default: 200 rows)",
    )
    publish.add_argument(
        "--weights", action="store_true", help="copy the weights beside a record, too (default: they are left out)"
    )
    publish.add_argument("--force", action="store_true", help="replace other records of the same runs")
    publish.set_defaults(command=publish_command)
    predict = commands.add_parser("predict", help="what a trained network makes of new inputs, as CSV")
    predict.add_argument("run", metavar="RUN", help="the folder of a record with weights, or a run id below results")
    predict.add_argument("file", metavar="FILE", help="in the form that the task reads; labels are not needed")
    predict.add_argument("--output", type=Path, metavar="FILE", help="write to a file instead of the terminal")
    predict.set_defaults(command=predict_command)
    generate = commands.add_parser("generate", help="let a trained model of characters write a text on")
    generate.add_argument("run", metavar="RUN", help="the folder of a record with weights, or a run id below results")
    generate.add_argument("--prompt", required=True, metavar="TEXT", help="what the text begins with")
    generate.add_argument("--length", type=int, default=400, metavar="N", help="characters to write (default: 400)")
    generate.add_argument(
        "--temperature", type=float, default=1.0, metavar="T",
        help="below 1 likelier characters, above 1 rarer ones, 0 the likeliest alone (default: 1)",
    )  # fmt: skip
    generate.add_argument("--seed", type=int, default=0, metavar="S", help="of the draws (default: 0)")
    generate.set_defaults(command=generate_command)
    gates = add_gates(commands)
    for each in (predict, generate, gates):
        each.add_argument("--trust", action="append", default=[], metavar="NAME", help="a class or module of your own")
        each.add_argument("--config-dir", metavar="DIR", help="where your own modules are")
    push = commands.add_parser(
        "push", help="bring finished records to W&B, each as one clean run; twice changes nothing"
    )
    push.add_argument("folder", nargs="?", type=Path, default=RUNS, metavar="DIR", help=f"default: {RUNS}")
    push.add_argument("--offline", action="store_true", help="as files beside the records, which `wandb sync` uploads")
    push.add_argument("--project", metavar="NAME", help="default: that of the run, WANDB_PROJECT, or rnn-bench")
    push.add_argument(
        "--entity", metavar="NAME", help="user or team; default: that of the run, WANDB_ENTITY, or the key's"
    )
    push.set_defaults(command=push_command)
    dashboard = commands.add_parser("dashboard", help="the W&B workspace that compares runs, as JSON or saved")
    dashboard.add_argument("folder", nargs="?", type=Path, default=RUNS, metavar="DIR", help=f"default: {RUNS}")
    dashboard.add_argument("--task", metavar="NAME", help="only this task, grouped by cell")
    dashboard.add_argument("--output", type=Path, metavar="FILE", help="a file for the JSON instead of the terminal")
    dashboard.add_argument("--online", action="store_true", help="save it in W&B, in place of the one that is there")
    dashboard.add_argument("--project", metavar="NAME", help="default: WANDB_PROJECT, or rnn-bench")
    dashboard.add_argument("--entity", metavar="NAME", help="user or team; default: WANDB_ENTITY, or that of the key")
    dashboard.set_defaults(command=dashboard_command)
    return parser
