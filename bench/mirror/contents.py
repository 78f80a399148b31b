"""What a run in W&B is filled with: its history, the curve over lag as a table and a chart, its summary, its record."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.analysis.gradient_reach import flow_curve, looks
from bench.analysis.run import Run
from bench.mirror.entry import DIGEST, digest_of, summary_of
from bench.mirror.history import Histogram, Row
from bench.records.record import CURVES_FILE, RECORD_FILE
from bench.records.series import PROBES, probe_file

if TYPE_CHECKING:
    from wandb.sdk.wandb_run import Run as LiveRun

CURVE, CHART = "flow/curve", "flow/chart"
"""The table of the gradient over lag, and the chart of it before and after the training."""
CURVE_COLUMNS = ("step", "layer", "measure", "lag", "value", "cell")
"""Columns of the table; ``measure`` is ``x`` for the gradient with respect to the input, or a part of the state."""


def log_row(live: LiveRun, step: int, row: Row) -> None:
    """Add one row to the history of a run; rows of one step become one."""
    live.log({**{name: _as_logged(value) for name, value in row.items()}, "step": step}, step=step)


def _as_logged(value: float | Histogram) -> Any:
    if not isinstance(value, Histogram):
        return value
    import wandb

    bars = len(value.shares)
    # W&B takes the edges of the bars as well, one more than there are bars.
    return wandb.Histogram(np_histogram=(np.array(value.shares), np.arange(bars + 1) / bars))


def log_history(live: LiveRun, rows: Iterable[tuple[int, Row]]) -> None:
    """Add the whole history of a run, see :func:`bench.mirror.history.history`."""
    for step, row in rows:
        log_row(live, step, row)


def complete(live: LiveRun, run: Run, staging: Path | None) -> None:
    """Add to a run what its record has beside the history: the curve over lag, the summary, and the record itself.

    Args:
        live: The run in W&B.
        run: The run.
        staging: The folder for W&B's copies of what is uploaded as artifacts, which must stay until it is; ``None`` for
            an offline run, which has files instead, see :func:`as_files`.

    Raises:
        DamagedRecordError: The probes cannot be read.
        OSError: The record cannot be copied.
    """
    last = run.record.steps
    media = _curve(run)
    if staging is None:
        as_files(live, media, last)
        _log(live, media, last)
        copies = Path(live.dir) / "record"
        copies.mkdir()
        for path in _files(run):
            shutil.copyfile(path, copies / path.name)
        live.save(str(copies / "*"), base_path=live.dir, policy="now")
    else:
        with staged_in(staging):
            _log(live, media, last)
            live.log_artifact(_artifact(run))
    live.summary.update(_finite(summary_of(run)))
    live.summary.update({DIGEST: digest_of(run.folder)})


def _log(live: LiveRun, media: Mapping[str, Any], step: int) -> None:
    if media:
        live.log({**media, "step": step}, step=step)


def as_files(live: LiveRun, media: Mapping[str, Any], step: int) -> None:
    """Make each table among what is to be logged a file of the run alone, and no artifact.

    W&B names the files of artifacts by their absolute paths. ``wandb sync`` uploads these paths, which tell the user's
    name, and finds nothing there once the run has been copied to another machine. Files of the run are named by their
    place in its folder.

    Args:
        live: The run in W&B.
        media: What is to be logged, by its key.
        step: The step at which it is to be logged.
    """
    import wandb
    from wandb.plot.custom_chart import CustomChart

    for key, value in media.items():
        if isinstance(value, CustomChart):
            value.set_key(key)
            value.table.bind_to_run(live, value.spec.table_key, step)
        elif isinstance(value, wandb.Table):
            value.bind_to_run(live, key, step)


@contextlib.contextmanager
def staged_in(folder: Path) -> Iterator[None]:
    """Let W&B keep its copies of what is uploaded in a folder, not in the user's home; it takes a variable alone."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = str(folder.absolute())
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]
        else:
            os.environ["WANDB_DATA_DIR"] = before


def _curve(run: Run) -> dict[str, Any]:
    """Return the table of the gradient over lag, and its chart; nothing where it was not measured."""
    flow = run.flow
    if flow.num_rows == 0:
        return {}
    import wandb

    columns = [flow[name].to_pylist() for name in ("step", "layer", "state", "lag", "value")]
    rows: list[Any] = [[*row, run.cell] for row in zip(*columns, strict=True)]
    # W&B takes 0.1 ms a row to find out the types, which are those of the first row.
    table = wandb.Table(columns=list(CURVE_COLUMNS), data=rows[:1])
    table.data += rows[1:]
    found: dict[str, Any] = {CURVE: table}
    steps = dict(zip(("untrained", "trained"), looks(flow, run.record), strict=True))
    curves = {name: flow_curve(flow, step) for name, step in steps.items() if step is not None}
    if curves:
        found[CHART] = wandb.plot.line_series(
            xs=[lags for lags, _ in curves.values()],
            ys=[[math.log10(norm) if norm > 0 else None for norm in norms] for _, norms in curves.values()],
            keys=list(curves),
            title="log10 of the gradient's norm at the input, over lag",
            xname="lag",
        )
    return found


def _finite(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in summary.items()}  # fmt: skip


def _files(run: Run) -> list[Path]:
    paths = [run.folder / name for name in (RECORD_FILE, CURVES_FILE, *map(probe_file, PROBES))]
    return [path for path in paths if path.exists()]


def _artifact(run: Run) -> Any:
    """Return the record as an artifact: its files as they are."""
    import wandb

    artifact = wandb.Artifact(f"record-{run.run_id}", type="record")
    for path in _files(run):
        # W&B uploads the path of its copy, which tells less than that of the record.
        artifact.add_file(str(path), name=path.name)
    return artifact
