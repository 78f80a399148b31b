"""``bench table``."""

from __future__ import annotations

import argparse

from bench.cli.common import complain, fail, merged, names_given


def table_command(parsed: argparse.Namespace) -> int:
    """Print or write the table of a folder of records; the exit code."""
    from bench.analysis.run import read_exponents, read_reaches, read_runs
    from bench.analysis.table import Spec, check_typed, read_spec
    from bench.records.write import write_output
    from bench.report.tables.render import render

    if (wrong := _of_another_form(parsed)) is not None:
        return fail("table", wrong)
    runs, damaged = read_runs(parsed.folder)
    if not runs and not damaged:
        return fail("table", f"DIR must hold records, found none below {str(parsed.folder)!r}")
    if runs:
        try:
            check_typed(runs, merged(parsed.where or ()))
            spec = read_spec(parsed.spec) if parsed.spec else Spec()
            spec = spec.with_flags(
                where=merged(parsed.where) if parsed.where else None,
                rows=parsed.rows,
                columns=parsed.columns,
                metrics=parsed.metric,
                statistic=parsed.statistic,
                mixed=parsed.mixed,
                published=parsed.published,
                compare=parsed.compare,
                names=spec.names.joined(names_given(parsed)),
                caption=parsed.caption,
                label=parsed.label,
                notes=parsed.notes,
                width=parsed.width,
            )
            damaged += read_reaches(runs) if spec.shows_reach else []
            damaged += read_exponents(runs) if spec.shows_exponents else []
            text = render(runs, parsed.format, spec, standalone=parsed.standalone)
        except ValueError as error:
            return fail("table", str(error).replace("`", ""))
        if parsed.output is None:
            print(text, end="")
        else:
            try:
                write_output(parsed.output, text.encode("utf-8"))
            except OSError as error:
                return fail("table", f"--output must be a file that can be written, {error}")
    return complain("table", damaged)


def _of_another_form(parsed: argparse.Namespace) -> str | None:
    """Return what is wrong with flags that mean nothing for the format."""
    asked = {
        "--label": parsed.label is not None,
        "--width": parsed.width is not None,
        "--standalone": parsed.standalone,
        "--notes threeparttable": parsed.notes == "threeparttable",
    }
    for flag, is_set in asked.items():
        if is_set and parsed.format != "latex":
            return f"{flag} must come with --format latex, got --format {parsed.format}"
    if parsed.caption is not None and parsed.format == "csv":
        return "--caption must come with another format than csv, which has no place for it"
    return None
