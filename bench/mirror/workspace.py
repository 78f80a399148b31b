"""The dashboard of runs in W&B: a workspace made of what records hold, as JSON, or saved under one name."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from bench.mirror.client import MirrorError, api, described
from bench.mirror.overview import JOB_TYPE
from bench.mirror.panels import MOST_RUNS, id_of, sections_of
from bench.mirror.task_facts import TaskFacts, counting

NAME = "rnn-bench"
"""What the dashboard is called."""
TASK, CELL = "task_name", "cell_name"
"""The settings by which runs are grouped; see :func:`bench.mirror.entry.config_of`."""
VIEWS = """
query View($entityName: String, $name: String, $viewType: String, $viewName: String) {
  project(name: $name, entityName: $entityName) {
    allViews(viewType: $viewType, viewName: $viewName) { edges { node { id } } }
  }
}
"""
"""Asks for the ids of the views of a name."""


def workspace(
    entity: str,
    project: str,
    runs_facts: Mapping[str, TaskFacts],
    colours: Mapping[str, str],
    task: str | None = None,
    name: str = NAME,
    figures: Sequence[str] = (),
) -> Any:
    """Make the dashboard.

    Runs are grouped by task and cell, or by cell alone where one task is chosen. Panels show the median of a group and
    its range, in the colour of the cell.

    Args:
        entity: User or team.
        project: Project of W&B.
        runs_facts: What the runs show; see :func:`facts_of`.
        colours: The colour of each cell as ``#rrggbb``.
        task: The one task that is shown; ``None`` for all.
        name: What the dashboard is called.
        figures: Names of the figures of an experiment.

    Returns:
        A ``wandb_workspaces.workspaces.Workspace``. The same arguments make the same one, with all its ids.
    """
    ws, wr = _library()
    shown = runs_facts if task is None else {task: runs_facts[task]}
    ends = ["status", "solved", "steps_to_solve", *(f"test/{each}" for each in counting(shown)), "parameters"]
    # The summary run belongs to the experiment, and so to each of its tasks.
    chosen = ws.Or(ws.Config(TASK) == task, ws.Metric("JobType") == JOB_TYPE) if task is not None else ""
    made = ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=sections_of(wr, ws, shown, figures),
        settings=ws.WorkspaceSettings(x_axis="step", max_runs=MOST_RUNS),
        runset_settings=ws.RunsetSettings(
            filters=chosen,
            groupby=[ws.Config(key) for key in ([TASK, CELL] if task is None else [CELL])],
            order=[ws.Ordering(ws.Config(key), ascending=True) for key in (TASK, CELL, "seed")],
            group_colors={
                ws.GroupPath(*([each, cell] if task is None else [cell])): colours[cell]
                for each, facts in shown.items()
                for cell in facts.cells
            },
            pinned_columns=[f"summary:{key}" for key in ends],
        ),
    )
    made._internal_name = internal_name(name)
    made._internal_runset_id = id_of(name)
    return made


def internal_name(name: str) -> str:
    """Return the name by which W&B finds a view, in the form of those that W&B makes up."""
    return f"nw-{re.sub('[^a-z0-9]', '', name.lower())}-v"


def as_json(workspace: Any) -> str:
    """Return a workspace as JSON, as W&B keeps it, with a line end.

    Raises:
        MirrorError: The library reads something else from it than what was written.
    """
    from wandb_workspaces.workspaces.internal import WorkspaceViewspec

    form: dict[str, Any] = {"by_alias": True, "exclude_none": True, "indent": 1}
    text = workspace._to_model().spec.model_dump_json(**form)
    if WorkspaceViewspec.model_validate_json(text).model_dump_json(**form) != text:
        raise MirrorError("the installed wandb-workspaces does not read the dashboard as it writes it")
    return text + "\n"


def save(workspace: Any) -> str:
    """Save a workspace under its name, in the place of the one that is there, and return its address.

    Raises:
        MirrorError: There is no such project, or W&B is out of reach.
    """
    from wandb_workspaces._graphql import execute_graphql

    wanted = {
        "entityName": workspace.entity,
        "name": workspace.project,
        "viewType": "project-view",
        "viewName": workspace._internal_name,
    }
    with described("save the dashboard"), contextlib.redirect_stderr(io.StringIO()):
        there = execute_graphql(api(), VIEWS, wanted).get("project")
        if there is None:
            place = f"{workspace.entity}/{workspace.project}"
            raise MirrorError(f"--project must be a project of W&B that the key may see, got {place}")
        views = there["allViews"]["edges"]
        workspace._internal_id = views[0]["node"]["id"] if views else ""
        return workspace.save().url


def _library() -> tuple[Any, Any]:
    """Return the modules of workspaces and of panels; they warn of the way in which they use pydantic."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wandb_workspaces.reports.v2 as panels
        import wandb_workspaces.workspaces as workspaces
    return workspaces, panels
