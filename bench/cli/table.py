"""``bench table``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench.cli.common import complain, fail


def listed_names(text: str) -> tuple[str, ...]:
    """Return the names that a comma separates, at least one."""
    found = tuple(name for name in text.split(",") if name)
    if not found:
        raise argparse.ArgumentTypeError(f"must name at least one, got {text!r}")
    return found


def key_and_values(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a key with the values that a comma separates."""
    key, is_set, values = text.partition("=")
    if not is_set:
        raise argparse.ArgumentTypeError(f"must have the form KEY=VALUE,VALUE, got {text!r}")
    return key, listed_names(values)


def _merged(pairs: Sequence[tuple[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    """Return the values of each key, of one given twice those of both."""
    found: dict[str, tuple[str, ...]] = {}
    for key, values in pairs:
        found[key] = (*found.get(key, ()), *values)
    return found


def table_command(parsed: argparse.Namespace) -> int:
    """Print or write the table of a folder of records; the exit code."""
    from bench.analysis.run import read_exponents, read_reaches, read_runs
    from bench.analysis.table import Spec, read_spec
    from bench.records.write import write_whole
    from bench.report.tables.render import render

    runs, damaged = read_runs(parsed.folder)
    if not runs and not damaged:
        return fail("table", f"DIR must hold records, found none below {str(parsed.folder)!r}")
    if runs:
        try:
            spec = (read_spec(parsed.spec) if parsed.spec else Spec()).with_flags(
                where=_merged(parsed.where) if parsed.where else None,
                rows=parsed.rows,
                columns=parsed.columns,
                metrics=parsed.metric,
                statistic=parsed.statistic,
                mixed=parsed.mixed,
                published=parsed.published,
                compare=parsed.compare,
            )
            damaged += read_reaches(runs) if spec.shows_reach else []
            damaged += read_exponents(runs) if spec.shows_exponents else []
            text = render(runs, parsed.format, spec)
        except ValueError as error:
            return fail("table", str(error).replace("`", ""))
        if parsed.output is None:
            print(text, end="")
        else:
            try:
                write_whole(parsed.output, text.encode("utf-8"))
            except OSError as error:
                return fail("table", f"--output must be a file that can be written, {error}")
    return complain("table", damaged)
