"""What a W&B server knows, and its answers, for ``tests/wandb_server.py``.

It keeps what it is sent, and behaves like W&B where a test can tell: a run that starts anew under an old id takes the
old run's place, one that resumes is continued, a wrong key is refused.
"""

from __future__ import annotations

import base64
import itertools
import json
import math
import random
import secrets
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

KEY = "0123456789abcdef" * 2 + "01234567"
"""The one API key that the server takes."""

WHEN = "2026-01-01T00:00:00"
"""The time at which everything happens."""

MESSAGES: Mapping[int, str] = {401: "user is not logged in", 403: "permission denied", 404: "not found"}
"""What W&B says with a status."""

Variables = Mapping[str, Any]


@dataclass
class StoredRun:
    """A run, by its id, as the server knows it.

    Attributes:
        times_started: How often a process has started it or resumed it.
        rows: The rows of its history by their place.
        config: Its settings, without those that ``wandb`` adds for itself, which :attr:`internal_config` has.
        files: What it has uploaded, media too, by path.
        artifacts: The files of each artifact, by ``name/type``.
    """

    name: str
    project: str
    entity: str
    display_name: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)
    notes: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    internal_config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    exit_code: int | None = None
    times_started: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    sweep: str | None = None
    artifacts: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def storage_id(self) -> str:
        """The id by which W&B's database knows it."""
        return base64.b64encode(f"Run:v1:{self.name}:{self.project}:{self.entity}".encode()).decode()

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows in order."""
        return [self.rows[place] for place in sorted(self.rows)]

    @property
    def state(self) -> str:
        """One of W&B's words for the state of a run."""
        return "running" if self.exit_code is None else "failed" if self.exit_code else "finished"

    def node(self) -> dict[str, Any]:
        """Return it as a node of the graph."""
        history = self.history
        config = {key: {"value": value} for key, value in (self.config | self.internal_config).items()}
        keys = {key: {"typeCounts": [{"type": "number", "count": 1}]} for row in history for key in row}
        last = max((row.get("_step", -1) for row in history), default=-1)
        return {
            "id": self.storage_id, "name": self.name, "displayName": self.display_name or self.name,
            "projectId": "1", "project": _project(self.entity, self.project), "sweepName": self.sweep,
            "state": self.state, "config": json.dumps(config), "summaryMetrics": json.dumps(self.summary),
            "systemMetrics": "{}", "group": self.group, "jobType": self.job_type, "tags": self.tags,
            "notes": self.notes, "description": None, "commit": None, "readOnly": False, "createdAt": WHEN,
            "heartbeatAt": WHEN, "user": {"name": "tester", "username": "tester"}, "exitcode": self.exit_code,
            "historyLineCount": len(self.rows), "logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]",
            "historyTail": json.dumps([json.dumps(row) for row in history[-1:]]),
            "historyKeys": {"lastStep": last, "sets": [], "keys": keys},
            "wandbConfig": json.dumps({"t": self.internal_config.get("_wandb", {}).get("t", {})}),
            "history": [json.dumps(row) for row in history], "events": [], "shouldStop": False,
            "failed": bool(self.exit_code), "stopped": False, "running": self.exit_code is None,
            "parquetHistory": {"parquetUrls": [], "liveData": history},
        }  # fmt: skip


@dataclass
class StoredView:
    """A saved view of a workspace."""

    id: str
    name: str
    display_name: str
    project: str
    entity: str
    type: str
    spec: dict[str, Any]


@dataclass
class StoredSweep:
    """A sweep.

    Attributes:
        points: The settings that no agent has yet.
        runs: The settings of each run that an agent has been told to start.
    """

    name: str
    project: str
    entity: str
    text: str
    state: str = "PENDING"
    points: Iterator[dict[str, Any]] = field(default_factory=lambda: iter(()))
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """What the YAML file says."""
        return yaml.safe_load(self.text)


@dataclass
class _Artifact:
    name: str
    type: str
    run: str
    digest: str
    committed: bool = False
    files: dict[str, bytes] = field(default_factory=dict)


class RefusedError(Exception):
    """A request that W&B refuses, with a status and a message."""

    def __init__(self, status: int, message: str | None = None) -> None:
        self.status = status
        super().__init__(message or MESSAGES.get(status, "injected"))


class Backend:
    """What the server keeps, and its answers to the operations of GraphQL.

    Attributes:
        url: The address of the server.
        entities: The user, who has the key, and the teams that they belong to.
        runs: The runs by id.
        views: The views by id.
        sweeps: The sweeps by their short id.
        charts: The presets of custom charts by ``entity/name``.
        problems: What it could not answer, by its own fault; a test that trusts it finds none.
    """

    def __init__(self) -> None:
        self.url = ""
        self.entities: tuple[str, ...] = ("tester", "team")
        self.runs: dict[str, StoredRun] = {}
        self.views: dict[str, StoredView] = {}
        self.sweeps: dict[str, StoredSweep] = {}
        self.charts: dict[str, dict[str, Any]] = {}
        self.problems: list[str] = []
        self._projects: set[tuple[str, str]] = set()
        self._artifacts: dict[str, _Artifact] = {}
        self._agents: dict[str, str] = {}
        self._resuming: set[str] = set()

    def answer(self, operation: str, given: Variables) -> dict[str, Any]:
        """Answer an operation with as much as any client asks for; none minds what it has not asked for."""
        if operation not in OPERATIONS:
            self.problems.append(operation)
            raise RefusedError(400, f"the test server does not know {operation}")
        try:
            return OPERATIONS[operation](self, given)
        except (LookupError, TypeError, ValueError) as error:
            self.problems.append(f"{operation} {dict(given)}: {error!r}")
            raise RefusedError(400, self.problems[-1]) from error

    def _open_project(self, given: Variables, operation: str) -> tuple[str, str]:
        entity = given.get("entity") or given.get("entityName") or self.entities[0]
        if entity not in self.entities:
            raise RefusedError(404, f"entity {entity} not found during {operation}")
        project = given.get("project") or given.get("projectName") or given.get("name") or "uncategorized"
        self._projects.add((entity, project))
        return entity, project

    # Runs

    def upsert_run(self, given: Variables) -> dict[str, Any]:
        """Start a run, or change it."""
        entity, project = self._open_project({**given, "name": None}, "upsertBucket")
        known = {run.storage_id: run for run in self.runs.values()}
        name = given.get("name") or known[given["id"]].name
        new = name not in self.runs
        # A process that resumes has asked for the run before; one that has the run names it by its storage id, or
        # sends the settings alone.
        resumes = name in self._resuming
        self._resuming.discard(name)
        starts = resumes or new or (given.get("id") is None and given.get("program") is not None)
        if new or (starts and not resumes):
            before = 0 if new else self.runs[name].times_started
            self.runs[name] = StoredRun(name, project, entity, times_started=before)
        run = self.runs[name]
        if starts:
            run.times_started += 1
            run.exit_code = None
        for ours, theirs in {
            "display_name": "displayName", "group": "groupName", "job_type": "jobType", "tags": "tags",
            "notes": "notes", "sweep": "sweep",
        }.items():  # fmt: skip
            if given.get(theirs) is not None:
                setattr(run, ours, given[theirs])
        if given.get("config"):
            config = {key: item["value"] for key, item in json.loads(given["config"]).items()}
            run.internal_config = {"_wandb": config.pop("_wandb", {})}
            run.config = config
        if given.get("summaryMetrics"):
            run.summary = json.loads(given["summaryMetrics"])
        return {"upsertBucket": {"bucket": run.node(), "inserted": new}}

    def resume_status(self, given: Variables) -> dict[str, Any]:
        """Say how far a run is, to a process that may resume it."""
        self._resuming.add(given["name"])
        run = self.runs.get(given["name"])
        project = _project(given.get("entity") or self.entities[0], given.get("project") or "uncategorized")
        return {"model": project | {"bucket": run and run.node()}}

    def stream(self, name: str, sent: Variables) -> None:
        """Take rows of the history, and the end of the run."""
        run = self.runs.get(name)
        if run is None:
            raise RefusedError(404)
        for file, chunk in (sent.get("files") or {}).items():
            if file == "wandb-history.jsonl":
                rows = enumerate(chunk["content"], start=chunk["offset"])
                run.rows.update((place, json.loads(line)) for place, line in rows)
            elif file == "wandb-summary.json":
                run.summary = json.loads(chunk["content"][-1])
        if sent.get("complete"):
            run.exit_code = sent.get("exitcode")

    def create_files(self, given: Variables) -> dict[str, Any]:
        """Say where the files of a run go."""
        files = [{"name": name, "uploadUrl": self._place("runs", given["run"], name)} for name in given["files"]]
        return {"createRunFiles": {"runID": self.runs[given["run"]].storage_id, "uploadHeaders": [], "files": files}}

    def find_run(self, given: Variables) -> dict[str, Any]:
        """Read one run."""
        run = self.runs.get(given.get("run") or given.get("runName") or given["name"])
        found = self._find_project(given)
        if found is None or run is None or (run.entity, run.project) != (found["entityName"], found["name"]):
            return {"project": found and found | {"run": None}}
        node = run.node()
        if "minStep" in given:
            steps = range(given["minStep"], given["maxStep"])
            node["history"] = [json.dumps(row) for row in run.history if row.get("_step") in steps]
        specs = [given["spec"]] if "spec" in given else given.get("specs", ())
        node["sampledHistory"] = [_sample(run, json.loads(spec)) for spec in specs]
        return {"project": found | {"run": node}}

    def find_runs(self, given: Variables) -> dict[str, Any]:
        """Read all runs of a project that its filters let through."""
        found = self._find_project(given)
        if found is None:
            return {"project": None}
        wanted = json.loads(given.get("filters") or "{}")
        place = (found["entityName"], found["name"])
        nodes = [r.node() for r in self.runs.values() if (r.entity, r.project) == place and _matches(r, wanted)]
        return {"project": found | {"runs": _edges(nodes), "runCount": len(nodes)}}

    def _find_project(self, given: Variables) -> dict[str, Any] | None:
        entity = given.get("entity") or given.get("entityName") or self.entities[0]
        project = given.get("project") or given.get("projectName") or given.get("name") or ""
        return _project(entity, project) if (entity, project) in self._projects else None

    # Views

    def upsert_view(self, given: Variables) -> dict[str, Any]:
        """Save a view: over the one of this id or name, if there is one."""
        entity, project = self._open_project({**given, "name": None}, "upsertView")
        name = given.get("name") or f"nw-{secrets.token_hex(6)}-v"
        place = (entity, project, name)
        old = [v for v in self.views.values() if (v.entity, v.project, v.name) == place]
        if given.get("id"):
            old = [v for v in self.views.values() if v.id == given["id"]]
            if not old:
                raise RefusedError(404)
        spec = json.loads(given.get("spec") or "{}")
        shown = given.get("displayName") or name
        number = old[0].id if old else base64.b64encode(f"View:{len(self.views) + 1}".encode()).decode()
        self.views[number] = StoredView(number, name, shown, project, entity, given.get("type") or "", spec)
        node = _view_node(self.views[number])
        return {"upsertView": {"view": node, "inserted": not old}}

    def find_view(self, given: Variables) -> dict[str, Any]:
        """Read the view of a name."""
        found = self._find_project(given)
        if found is None:
            return {"project": None}
        place = (found["entityName"], found["name"], given.get("viewName"))
        views = [_view_node(v) for v in self.views.values() if (v.entity, v.project, v.name) == place]
        return {"project": found | {"allViews": _edges(views)}}

    # Artifacts

    def create_artifact(self, given: Variables) -> dict[str, Any]:
        """Begin a version of an artifact; one that has the content of another is that one."""
        wanted = given["input"]
        name, kind = wanted["artifactCollectionName"], wanted["artifactTypeName"]
        same = [
            number
            for number, old in self._artifacts.items()
            if (old.name, old.type, old.digest) == (name, kind, wanted["digest"]) and old.committed
        ]
        number = same[0] if same else base64.b64encode(f"Artifact:{len(self._artifacts) + 1}".encode()).decode()
        if not same:
            self._artifacts[number] = _Artifact(name, kind, wanted["runName"], wanted["digest"])
        elif wanted["runName"] in self.runs:
            self.runs[wanted["runName"]].artifacts[f"{name}/{kind}"] = self._artifacts[number].files
        latest = {"latestArtifact": {"id": number} if same else None}
        state = "COMMITTED" if same else "PENDING"
        return {"createArtifact": {"artifact": {"id": number, "state": state, "artifactSequence": latest}}}

    def create_manifest(self, given: Variables) -> dict[str, Any]:
        """Say where the manifest of an artifact goes."""
        number = given.get("artifactID") or given["artifactManifestID"]
        file = {"id": number, "uploadUrl": self._place("manifests", number, "manifest"), "uploadHeaders": []}
        manifest = {"artifactManifest": {"id": number, "file": file}}
        return {"createArtifactManifest": manifest, "updateArtifactManifest": manifest}

    def create_artifact_files(self, given: Variables) -> dict[str, Any]:
        """Say where the files of an artifact go."""
        nodes = []
        for file in given["input"]["artifactFiles"]:
            number, name = file["artifactID"], file["name"]
            nodes.append({
                "storagePath": f"{number}/{name}", "uploadUrl": self._place("artifacts", number, name),
                "uploadHeaders": [], "uploadMultipartUrls": None, "artifact": {"id": number},
            })  # fmt: skip
        return {"createArtifactFiles": {"files": _edges(nodes)}}

    def commit_artifact(self, given: Variables) -> dict[str, Any]:
        """End a version of an artifact: from now on its run has it."""
        done = self._artifacts[given["artifactID"]]
        done.committed = True
        if done.run in self.runs:
            self.runs[done.run].artifacts[f"{done.name}/{done.type}"] = done.files
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": done.digest}}}

    def find_artifact(self, given: Variables) -> dict[str, Any]:
        """Read an artifact by its id."""
        done = self._artifacts[given["id"]]
        run = self.runs[done.run]
        collection = {
            "__typename": "ArtifactSequence", "id": f"collection-{done.name}", "name": done.name,
            "project": _project(run.entity, run.project),
        }  # fmt: skip
        return {
            "artifact": {
                "__typename": "Artifact", "id": given["id"], "artifactSequence": collection, "versionIndex": 0,
                "artifactType": {"name": done.type}, "description": None, "metadata": "{}", "tags": [],
                "ttlDurationSeconds": -1, "ttlIsInherited": True, "historyStep": None,
                "state": "COMMITTED" if done.committed else "PENDING", "digest": done.digest, "commitHash": None,
                "size": sum(map(len, done.files.values())), "fileCount": len(done.files), "createdAt": WHEN,
                "updatedAt": None, "aliases": [],
            }
        }  # fmt: skip

    def find_artifact_type(self, given: Variables) -> dict[str, Any]:
        """Read the type that the artifacts of a name have."""
        name = given["name"].partition(":")[0]
        types = [done.type for done in self._artifacts.values() if done.name == name and done.committed]
        found = self._find_project(given)
        kept = {"artifactType": {"name": types[-1]}} if types else None
        return {"project": found and found | {"artifact": kept}}

    def _place(self, kind: str, owner: str, name: str) -> str:
        return f"{self.url}/storage/{kind}/{urllib.parse.quote(owner, safe='')}/{urllib.parse.quote(name)}"

    def upload(self, kind: str, owner: str, name: str, content: bytes) -> None:
        """Take a file of a run or of an artifact."""
        owners: Mapping[str, StoredRun | _Artifact] = self.runs if kind == "runs" else self._artifacts
        if owner not in owners:
            raise RefusedError(404)
        if kind != "manifests":
            owners[owner].files[name] = content

    # Sweeps

    def upsert_sweep(self, given: Variables) -> dict[str, Any]:
        """Create a sweep, or change its state."""
        entity, project = self._open_project(given, "upsertSweep")
        known = {_sweep_id(each): each for each in self.sweeps.values()}
        sweep = known.get(given.get("id") or "")
        if sweep is None:
            sweep = StoredSweep(secrets.token_hex(4), project, entity, given["config"])
            sweep.points = _points(sweep.config)
            self.sweeps[sweep.name] = sweep
        elif given.get("config"):
            sweep.text = given["config"]
        sweep.state = given.get("state") or sweep.state
        return {"upsertSweep": {"sweep": self._sweep_node(sweep), "configValidationWarnings": []}}

    def find_sweep(self, given: Variables) -> dict[str, Any]:
        """Read a sweep."""
        found = self._find_project(given)
        sweep = self.sweeps.get(given.get("sweep") or given["name"])
        if found is None or sweep is None or (sweep.entity, sweep.project) != (found["entityName"], found["name"]):
            return {"project": found and found | {"sweep": None}}
        return {"project": found | {"sweep": self._sweep_node(sweep)}}

    def _sweep_node(self, sweep: StoredSweep) -> dict[str, Any]:
        runs = [run.node() | {"sampledHistory": []} for run in self.runs.values() if run.sweep == sweep.name]
        return {
            "__typename": "Sweep", "id": _sweep_id(sweep), "name": sweep.name, "state": sweep.state,
            "displayName": sweep.config.get("name"), "method": sweep.config["method"], "config": sweep.text,
            "description": sweep.config.get("description"), "bestLoss": None, "createdAt": WHEN, "updatedAt": WHEN,
            "heartbeatAt": WHEN, "earlyStopJobRunning": False, "controller": None, "scheduler": None,
            "controllerRunName": None, "runCount": len(runs), "runCountExpected": None, "runs": _edges(runs),
            "project": _project(sweep.entity, sweep.project),
        }  # fmt: skip

    def create_agent(self, given: Variables) -> dict[str, Any]:
        """Register an agent of a sweep."""
        if given["sweep"] not in self.sweeps:
            raise RefusedError(404)
        agent = f"agent-{len(self._agents) + 1}"
        self._agents[agent] = given["sweep"]
        return {"createAgent": {"agent": {"id": agent}}}

    def heartbeat(self, given: Variables) -> dict[str, Any]:
        """Tell an agent what to do next: the grid in order, one run at a time, and then to exit."""
        if given["id"] not in self._agents:
            raise RefusedError(404)
        sweep = self.sweeps[self._agents[given["id"]]]
        going = json.loads(given.get("runState") or "{}")
        commands: list[dict[str, Any]] = []
        if sweep.state == "CANCELED":
            commands = [{"type": "stop", "run_id": run} for run in going]
        elif not going and sweep.state in ("PENDING", "RUNNING"):
            point = next(sweep.points, None)
            sweep.state = "FINISHED" if point is None else "RUNNING"
            if point is not None:
                run = secrets.token_hex(4)
                sweep.runs[run] = point
                settings = {key: {"value": value} for key, value in point.items()}
                commands = [{"type": "run", "run_id": run, "program": sweep.config.get("program"), "args": settings}]
        if not going and sweep.state in ("CANCELED", "FINISHED"):
            commands = [{"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": given["id"]}, "commands": json.dumps(commands)}}

    # The rest

    def viewer(self, given: Variables) -> dict[str, Any]:
        """Say whose key it is."""
        user, *teams = self.entities
        return {
            "viewer": {
                "id": "VXNlcjox", "name": user, "username": user, "email": f"{user}@example.com", "entity": user,
                "admin": False, "flags": "{}", "deletedAt": None, "apiKeys": _edges([]),
                "defaultEntity": {"id": "1", "name": user}, "teams": _edges([{"name": team} for team in teams]),
            }
        }  # fmt: skip

    def server_info(self, given: Variables) -> dict[str, Any]:
        """Say what the server can do: nothing beyond the least."""
        versions = {"cliVersionInfo": {"max_cli_version": "99.0.0"}, "latestLocalVersionInfo": None}
        return {"serverInfo": {"features": [], **versions}}

    def upsert_project(self, given: Variables) -> dict[str, Any]:
        """Create a project."""
        project = _project(*self._open_project(given, "upsertModel"))
        return {"upsertModel": {"project": project, "model": project, "inserted": True}}

    def find_projects(self, given: Variables) -> dict[str, Any]:
        """List the projects of an entity."""
        names = sorted(name for entity, name in self._projects if entity == given["entity"])
        more = {"__typename": "Project", "createdAt": WHEN, "isBenchmark": False, "user": None}
        nodes = [{**_project(given["entity"], name), **more} for name in names]
        last = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": last, **_edges(nodes)}}

    def create_chart(self, given: Variables) -> dict[str, Any]:
        """Keep the preset of a custom chart, by the name that panels know it by."""
        if given["entity"] not in self.entities:
            raise RefusedError(404, f"entity {given['entity']} not found during createCustomChart")
        name = f"{given['entity']}/{given['chartName']}"
        self.charts[name] = json.loads(given["spec"])
        return {"createCustomChart": {"chart": {"id": name}}}


OPERATIONS: Mapping[str, Callable[[Backend, Variables], dict[str, Any]]] = {
    "UpsertBucket": Backend.upsert_run,
    "RunResumeStatus": Backend.resume_status,
    "CreateRunFiles": Backend.create_files,
    "MarkRunFilesUploaded": lambda backend, given: {"markRunFilesUploaded": {"success": True}},
    **dict.fromkeys(("Run", "RunState", "QueryRunInfo", "RunFullHistory", "RunSampledHistory"), Backend.find_run),
    **dict.fromkeys(("HistoryPage", "SampledHistoryPage", "RunParquetHistory", "RunHistoryKeys"), Backend.find_run),
    "Runs": Backend.find_runs,
    "View": Backend.find_view,
    **dict.fromkeys(("UpsertView2", "upsertView"), Backend.upsert_view),
    "CreateArtifact": Backend.create_artifact,
    **dict.fromkeys(("CreateArtifactManifest", "UpdateArtifactManifest"), Backend.create_manifest),
    "CreateArtifactFiles": Backend.create_artifact_files,
    "CommitArtifact": Backend.commit_artifact,
    "ArtifactByID": Backend.find_artifact,
    "ArtifactType": Backend.find_artifact_type,
    "UpsertSweep": Backend.upsert_sweep,
    **dict.fromkeys(("GetSweep", "SweepWithRuns", "GetSweepState", "SweepConfig"), Backend.find_sweep),
    "CreateAgent": Backend.create_agent,
    "Heartbeat": Backend.heartbeat,
    **dict.fromkeys(("Viewer", "GetViewer", "GetDefaultEntity"), Backend.viewer),
    "ServerFeaturesQuery": Backend.server_info,
    "OrganizationCoreWeaveOrganizationID": lambda backend, given: {"entity": {"organization": None}},
    "UpsertModel": Backend.upsert_project,
    "GetProjects": Backend.find_projects,
    "CreateCustomChart": Backend.create_chart,
}


def _project(entity: str, project: str) -> dict[str, Any]:
    owner = {"id": "1", "name": entity}
    return {"id": "1", "internalId": "1", "name": project, "entityName": entity, "entity": owner, "readOnly": False}


def _edges(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    edges = [{"node": node, "cursor": str(place)} for place, node in enumerate(nodes)]
    return {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}


def _view_node(view: StoredView) -> dict[str, Any]:
    shown = {"displayName": view.display_name, "description": "", "spec": json.dumps(view.spec)}
    return {"id": view.id, "name": view.name, "type": view.type, **shown}


def _sweep_id(sweep: StoredSweep) -> str:
    return base64.b64encode(f"Sweep:v1:{sweep.name}:{sweep.project}:{sweep.entity}".encode()).decode()


def _sample(run: StoredRun, spec: dict[str, Any]) -> list[dict[str, Any]]:
    keys = spec.get("keys") or []
    return [{key: row[key] for key in keys} for row in run.history if all(key in row for key in keys)]


def _matches(run: StoredRun, wanted: Mapping[str, Any]) -> bool:
    """Return whether a run has what is wanted, in that part of MongoDB's language that asks for equality."""
    for key, value in wanted.items():
        if key in ("$and", "$or"):
            if not (all if key == "$and" else any)(_matches(run, each) for each in value):
                return False
            continue
        at: Any = run.node() | {"config": run.config, "summary_metrics": run.summary}
        at |= {"sweep": run.sweep, "display_name": run.display_name}
        for word in key.split("."):
            at = at.get(word) if isinstance(at, dict) else None
        choices = value.get("$in") if isinstance(value, dict) else [value]
        if choices is None:
            raise RefusedError(400, f"the test server knows no filter {value}")
        if not any(choice in at if isinstance(at, list) else choice == at for choice in choices):
            return False
    return True


def _points(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the settings that a sweep tries: the grid in order, or draws without end."""
    choices = {
        key: [given["value"]] if "value" in given else given.get("values")
        for key, given in sorted(config["parameters"].items())
    }
    if config["method"] == "grid":
        combined = itertools.product(*(values or () for values in choices.values()))
        points = (dict(zip(choices, values, strict=True)) for values in combined)
    else:
        draws = random.Random(0)
        points = (
            {
                key: draws.choice(values) if values else _draw(config["parameters"][key], draws)
                for key, values in choices.items()
            }
            for _ in itertools.count()
        )
    return itertools.islice(points, config.get("run_cap"))


def _draw(given: Mapping[str, Any], draws: random.Random) -> float:
    low, high = given["min"], given["max"]
    if given.get("distribution") == "log_uniform_values":
        return math.exp(draws.uniform(math.log(low), math.log(high)))
    return draws.randint(low, high) if isinstance(low, int) and isinstance(high, int) else draws.uniform(low, high)
