"""The test server, where no command of ours asks it: what W&B's own client makes of its answers."""

from __future__ import annotations

import subprocess
import sys

from tests.wandb_server import WandbServer

SCRIPT = """
import wandb
api = wandb.Api()
print([project.name for project in api.projects("tester")], [project.name for project in api.projects("team")])
print(api.create_custom_chart(entity="team", name="reach", display_name="Reach", spec_type="vega2", access="private",
                              spec={"mark": "line"}))
"""


def test_projects_and_presets_of_charts(server: WandbServer, environment: dict[str, str]):
    for entity, project in (("tester", "one"), ("team", "two")):
        server.upsert_project({"entityName": entity, "name": project})
    words = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == "['one'] ['two']\nteam/reach\n", done.stderr
    assert server.charts == {"team/reach": {"mark": "line"}}
    assert server.problems == []
