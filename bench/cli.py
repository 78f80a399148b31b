"""The ``bench`` command. Each subcommand imports what it needs, so that help and tables start at once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import __version__
from bench.names import nearest

RUNS, FIGURES = Path("results", "runs"), Path("results", "figures")
"""Where runs and figures are if nothing else is said."""
PAGE = Path("results", "README.md")
"""The page of results that is made of records."""
FORMATS = ("terminal", "markdown", "latex", "html", "csv")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    try:
        sys.exit(_main(sys.argv[1:] if arguments is None else arguments))
    except BrokenPipeError:
        # The reader has seen enough, as in `bench status | head`.
        from bench.monitor import close_quietly

        close_quietly()
        sys.exit(0)


def _main(arguments: list[str]) -> int:
    if arguments[:1] == ["run"]:
        # Everything behind it is Hydra's.
        from bench.run import main as run

        return run(arguments[1:])
    parsed = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = parsed.command
    return command(parsed)


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
    table.add_argument(
        "--spec", metavar="NAME|FILE", help="a table of conf/table/, or a YAML of yours; flags win over it"
    )
    table.add_argument("--where", action="append", type=_pair, metavar="KEY=VALUES", help="only runs with these values")
    table.add_argument("--rows", type=_names, metavar="KEYS", help="settings that make a row, as in task.length")
    table.add_argument("--columns", type=_names, metavar="KEYS", help="settings that make a column (default: cell)")
    table.add_argument("--metric", type=_names, metavar="NAMES", help="one: a matrix; several: a block for each row")
    table.add_argument("--statistic", metavar="NAME", help="median, iqm; survival for steps_to_solve")
    table.add_argument("--mixed", action="store_true", help="runs of different protocols may stand together, marked")
    table.add_argument("--published", action="store_true", help="published claims beside ours, with a verdict")
    table.add_argument("--compare", action="store_true", help="tests between the columns")
    table.add_argument("--format", choices=FORMATS, default="terminal")
    table.add_argument("--output", type=Path, metavar="FILE", help="write to a file instead of the terminal")
    table.set_defaults(command=_table)
    report = commands.add_parser("report", help="fill a page's tables and figures anew from records, in place")
    report.add_argument("page", nargs="?", type=Path, default=PAGE, metavar="FILE", help=f"default: {PAGE}")
    report.set_defaults(command=_report)
    figures = commands.add_parser("figures", help="draw the figures of a folder of records, as PDF and PNG")
    figures.add_argument("folder", nargs="?", type=Path, default=RUNS, metavar="DIR", help=f"default: {RUNS}")
    figures.add_argument("--output", type=Path, metavar="FOLDER", help=f"default: DIR/figures, {FIGURES} without DIR")
    figures.set_defaults(command=_figures)
    status = commands.add_parser("status", help="how far the planned runs are, and what is wrong")
    status.add_argument("what", nargs="?", default="results", metavar="EXPERIMENT|DIR", help="default: results")
    status.add_argument(
        "--watch", nargs="?", type=float, const=2.0, metavar="SECONDS", help="show it again until all is done"
    )
    status.add_argument("--repair", action="store_true", help="set damaged records aside, so that they are made again")
    status.set_defaults(command=_status)
    replay = commands.add_parser("replay", help="make a run again from its record, and compare every number")
    replay.add_argument("run", metavar="RUN", help="the folder of a record, or a run id below results")
    replay.add_argument("--trust", action="append", default=[], metavar="NAME", help="a class or module of your own")
    replay.add_argument("--config-dir", metavar="DIR", help="where your own modules are")
    replay.add_argument(
        "--tolerance", type=float, default=1e-3, help="relative, where versions or machine differ (default: 0.001)"
    )
    replay.set_defaults(command=_replay)
    publish = commands.add_parser("publish", help="small copies of finished runs, for a repository")
    publish.add_argument("folder", type=Path, metavar="RUNS", help="a folder of records")
    publish.add_argument("destination", type=Path, metavar="DEST", help="where the copies go, at the same places")
    publish.add_argument(
        "--every",
        type=int,
        metavar="N",
        help="keep each N-th step of the curves, besides evaluations, the first and the last (default: 200 rows)",
    )
    publish.add_argument("--force", action="store_true", help="replace other records of the same runs")
    publish.set_defaults(command=_publish)
    return parser


def _status(parsed: argparse.Namespace) -> int:
    from bench import status

    if parsed.watch is not None and not 0 < parsed.watch < float("inf"):
        return _fail("status", f"--watch must be a number of seconds > 0, got {parsed.watch}")
    folder = Path(parsed.what)
    if not folder.is_dir() and (RUNS / parsed.what).is_dir():
        folder = RUNS / parsed.what
    if not folder.is_dir():
        return _status_of_new(parsed.what)
    if parsed.repair:
        try:
            for line in status.repair(status.Place(folder)):
                print(line)
        except OSError as error:
            return _fail("status", f"DIR must be writable for --repair ({error})")
    if not status.Place(folder).runs():
        return _fail("status", f"EXPERIMENT|DIR must hold runs, found none below {parsed.what!r}")
    if parsed.watch is not None:
        try:
            looks = status.watch(lambda: status.Place(folder), parsed.watch)
        except KeyboardInterrupt:
            return 0
    else:
        text, looks = status.show(status.Place(folder))
        print(text, end="")
    return _complain("status", [look.damage for look in looks if look.damage is not None])


def _status_of_new(name: str) -> int:
    """An experiment of which nothing is there yet."""
    from bench.experiments import names, size

    if name not in names():
        allowed = f"a folder that is there, or one of {', '.join(names())}"
        return _fail("status", f"EXPERIMENT|DIR must be {allowed}, got {name!r}{nearest(name, names())}")
    print(f"{name}: {size(name)} runs planned, none begun; bench run +experiment={name}")
    return 0


def _replay(parsed: argparse.Namespace) -> int:
    from bench import record

    folder = Path(parsed.run)
    if not folder.is_dir():
        found = [each for each in record.find_records(Path("results")) if each.name == parsed.run]
        if len(found) != 1:
            there = f"found {len(found)} records of {parsed.run!r}"
            return _fail("replay", f"RUN must be the folder of a record, or a run id below results, {there}")
        folder = found[0]
    if not 0 <= parsed.tolerance < float("inf"):
        return _fail("replay", f"--tolerance must be a number >= 0, got {parsed.tolerance}")
    from bench.replay import main as replay

    return replay(folder, parsed.trust, parsed.config_dir, parsed.tolerance)


def _publish(parsed: argparse.Namespace) -> int:
    from bench import record
    from bench.publish import RefusedError, publish_all

    if parsed.every is not None and parsed.every < 1:
        return _fail("publish", f"--every must be a number of steps >= 1, got {parsed.every}")
    found = record.find_records(parsed.folder)
    if not found or found == [parsed.folder]:
        there = "found none below" if not found else "there is only one, in"
        return _fail("publish", f"RUNS must hold folders of records, {there} {str(parsed.folder)!r}")
    try:
        published = publish_all(parsed.folder, parsed.destination, parsed.every, force=parsed.force)
    except RefusedError as error:
        return _fail("publish", str(error))
    except OSError as error:
        return _fail("publish", f"DEST must be a folder that can be written to, {error}")
    print(published)
    return _complain("publish", published.damaged)


def _names(text: str) -> tuple[str, ...]:
    found = tuple(name for name in text.split(",") if name)
    if not found:
        raise argparse.ArgumentTypeError(f"must name at least one, got {text!r}")
    return found


def _pair(text: str) -> tuple[str, tuple[str, ...]]:
    key, is_set, values = text.partition("=")
    if not is_set:
        raise argparse.ArgumentTypeError(f"must have the form KEY=VALUE,VALUE, got {text!r}")
    return key, _names(values)


def _merged(pairs: Sequence[tuple[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    """The values of each key, of one given twice those of both."""
    found: dict[str, tuple[str, ...]] = {}
    for key, values in pairs:
        found[key] = (*found.get(key, ()), *values)
    return found


def _table(parsed: argparse.Namespace) -> int:
    from bench import record, table_spec, tables
    from bench.measured import read_journeys

    records, damaged = record.read_all(parsed.folder)
    journeys, damaged_flows = read_journeys(parsed.folder)
    damaged += damaged_flows
    if not records and not damaged:
        return _fail("table", f"DIR must hold records, found none below {str(parsed.folder)!r}")
    if records:
        try:
            spec = (table_spec.read(parsed.spec) if parsed.spec else table_spec.Spec()).with_flags(
                where=_merged(parsed.where) if parsed.where else None,
                rows=parsed.rows,
                columns=parsed.columns,
                metrics=parsed.metric,
                statistic=parsed.statistic,
                mixed=parsed.mixed,
                published=parsed.published,
                compare=parsed.compare,
            )
            text = tables.render(records, parsed.format, journeys, spec)
        except ValueError as error:
            return _fail("table", str(error).replace("`", ""))
        if parsed.output is None:
            print(text, end="")
        else:
            try:
                parsed.output.write_text(text, encoding="utf-8")
            except OSError as error:
                return _fail("table", f"--output must be a file that can be written, {error}")
    return _complain("table", damaged)


def _report(parsed: argparse.Namespace) -> int:
    from bench import report

    try:
        for path in report.make(parsed.page):
            print(path)
    except OSError as error:
        return _fail("report", f"FILE and the folder of its records must be readable and writable ({error})")
    except ValueError as error:
        return _fail("report", str(error).replace("`", ""))
    return 0


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
