"""``bench report``."""

from __future__ import annotations

import argparse

from bench.cli.common import fail


def report_command(parsed: argparse.Namespace) -> int:
    """Fill a page from its records; the exit code."""
    from bench.report.page import fill_page

    try:
        for path in fill_page(parsed.page):
            print(path)
    except OSError as error:
        return fail("report", f"FILE and the folder of its records must be readable and writable ({error})")
    except ValueError as error:
        return fail("report", str(error).replace("`", ""))
    return 0
