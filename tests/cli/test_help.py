"""What ``bench table --help`` lists is what there is."""

from __future__ import annotations

import re

from bench.analysis import metrics
from bench.analysis.run import Run
from bench.analysis.table import NOTES, WIDTHS
from bench.cli import common
from bench.report.tables.render import FORMS
from tests.conftest import TINY, Bench, cells, options, spec_of


def test_metrics_statistics_and_keys(bench: Bench):
    """Every task and every cell of ours, and every setting of a record that was just made."""
    outcome = bench.call("table", "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert max(map(len, outcome.out.splitlines())) <= 80
    listed = set(re.findall(r"[\w.]+", outcome.out.partition("metrics, for --metric")[2]))
    assert listed >= {*metrics.EVERY_RUN, *metrics.STATISTICS}
    tasks = [spec_of(*TINY, f"task={name}").task for name in options("task")]
    assert listed >= {score for task in tasks for score in task.baselines}
    made = bench.one()
    assert listed >= set(Run(made, bench.folder(made)).settings)
    for group, name in [("cell", name) for name in cells()] + [("task", name) for name in options("task")]:
        config = spec_of(*TINY, f"{group}={name}").config[group]
        assert listed >= {f"{group}.{key}" for key in config if not key.startswith("_") and key != "init"}


def test_choices_of_flags_are_those_of_what_they_choose():
    assert (common.FORMATS, common.NOTES, common.WIDTHS) == (FORMS, NOTES, WIDTHS)
