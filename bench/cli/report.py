"""``bench report``."""

from __future__ import annotations

import argparse

from bench.cli.common import fail

PLACES = """places of a page that are filled, each up to the next <!-- end -->:
  <!-- records: FOLDER -->         where its records are, from the page; once, without an end
  <!-- table: NAME -->             a table of conf/table/ or of a YAML beside the page;
                                   writes tables/NAME.tex and .csv beside the records' folder
  <!-- table: NAME terminal -->    the same as a terminal shows it; writes nothing else
  <!-- claims -->                  the published claims that the records speak to;
                                   writes tables/claims.tex and .csv
  <!-- figure: survival NAME -->   the share of seeds that have solved it, for the runs of
                                   that table; writes figures/survival_NAME.png and .pdf
  <!-- figure: reach NAME -->      the reach of their gradients over the delay
  <!-- figure: learning_curves NAME -->   their metric on the evaluation set over steps
  <!-- figure: overfitting NAME -->       their loss of training beside that of evaluation
  <!-- figure: confusion NAME -->         which class they take for which, where predictions are kept
  <!-- figure: forecasts NAME -->         their forecasts beside what came, where predictions are kept
  <!-- figure: expected_best FILE -->    what a search is expected to find, from the trials.csv of bench tune
  <!-- figure: slices FILE -->           the score of each of its trials over each key
"""


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
