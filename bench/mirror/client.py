"""W&B's client as this project uses it: quiet, nothing about the person or the machine, and bounded waits."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.mirror.entry import DETAIL_GLOB, Entry
from bench.records.record import DamagedRecordError

if TYPE_CHECKING:
    import wandb
    from wandb.sdk.wandb_run import Run as LiveRun

CONNECT_SECONDS = 10
"""Seconds that the server may take to answer before it counts as out of reach."""
FINISH_SECONDS = 20
"""Seconds that an online run may take at its end to send what is not sent yet."""
PROJECT = "rnn-bench"
"""The project of runs for which nobody names another one."""
HELD = {
    "project": "WANDB_PROJECT",
    "entity": "WANDB_ENTITY",
    "name": "WANDB_NAME",
    "group": "WANDB_RUN_GROUP",
    "tags": "WANDB_TAGS",
    "notes": "WANDB_NOTES",
}
"""W&B's own variables that hold where the key of ``logger`` is null."""
NOT_HELD = {
    "WANDB_MODE": "what the command says decides",
    "WANDB_DISABLED": "logger=none switches W&B off",
    "WANDB_RUN_ID": "the id of a run is that of its record",
    "WANDB_RESUME": "a run that goes on is written anew",
    "WANDB_RESUME_FROM": "a run that goes on is written anew",
    "WANDB_FORK_FROM": "a run that goes on is written anew",
    "WANDB_JOB_TYPE": "the job type is the task",
    "WANDB_DIR": "results_dir decides",
}
"""W&B's own variables that do not hold, each with what stands in their place."""
AGENT = "WANDB_SWEEP_ID"
"""Is set where an agent of a W&B sweep has started this process; then the agent chooses the id of the run."""

NO_ANSWER = ("did not respond in time", "timed out")
"""Words by which W&B says that its server does not answer; the rest of that text speaks of its own inside."""

ADVICE = " Consider increasing the init_timeout| For further information visit"
"""Begins advice about a setting that is ours, or a link to the pages of a library, as an expression."""


class MirrorError(RuntimeError):
    """W&B cannot be used as asked, in one line."""


@dataclass(frozen=True)
class Target:
    """Where runs go.

    Attributes:
        mode: ``offline`` (files that ``wandb sync`` uploads) or ``online``.
        project: W&B project.
        entity: W&B user or team; ``None`` stands for that of the key.
    """

    mode: Literal["offline", "online"]
    project: str
    entity: str | None

    @property
    def place(self) -> str:
        """The project as W&B names it."""
        return f"{self.entity}/{self.project}" if self.entity else self.project

    def mark(self, digest: str) -> str:
        """Return what the files of an offline run bear: which record they were made of, and where they go."""
        return f"{digest} {self.place}"


def asked_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is asked of W&B: each setting, or W&B's own variable where the setting is null.

    Args:
        settings: The section ``logger`` of a config.
    """
    found: dict[str, Any] = {}
    for key, variable in HELD.items():
        value = settings.get(key)
        if value is None and os.environ.get(variable):
            value = os.environ[variable]
            value = value.split(",") if key == "tags" else value
        found[key] = value
    return found


def said_of_variables(settings: Mapping[str, Any]) -> list[str]:
    """Return a line for each of W&B's own variables that is set and does not hold.

    Args:
        settings: The section ``logger`` of a config.
    """
    lines = []
    for name, why in NOT_HELD.items():
        value = os.environ.get(name)
        holds = (name == "WANDB_MODE" and value == settings.get("mode")) or (
            name == "WANDB_RUN_ID" and os.environ.get(AGENT)
        )
        if value and not holds:
            lines.append(f"{name} is set and not used: {why}")
    for key, variable in HELD.items():
        if settings.get(key) is not None and os.environ.get(variable):
            lines.append(f"{variable} is set and not used: logger.{key} is {settings[key]!r}")
    return lines


def target_of(mode: str, asked: Mapping[str, Any]) -> Target:
    """Return where runs go, from :func:`asked_of`."""
    assert mode in ("offline", "online")
    return Target(mode, asked.get("project") or PROJECT, asked.get("entity"))


def check(entity: str | None) -> str:
    """Make sure that W&B's server answers, takes the key, and knows the entity; return the entity that runs go to.

    Args:
        entity: A user or a team; ``None`` stands for that of the key.

    Raises:
        MirrorError: There is no key, or the server does not answer, does not take the key, or does not let it write
            for the entity.
    """
    with described("be reached"), _refused_key():
        viewer = api().viewer
        own = [name for name in dict.fromkeys((viewer.entity, viewer.username, *viewer.teams)) if name]
    # The key of an administrator opens all teams of a server.
    if entity is not None and entity not in own and not viewer.admin:
        raise MirrorError(f"W&B's entity must be one of {', '.join(own)} for this key, got {entity!r}")
    return entity or own[0]


@contextlib.contextmanager
def _refused_key() -> Iterator[None]:
    """Say in our words that there is no key, or a wrong one; W&B's are the same where the server does not answer."""
    import wandb
    from wandb.errors import AuthenticationError, UsageError

    try:
        yield
    except UsageError as error:
        raise MirrorError("W&B has no key (`wandb login` stores one)") from error
    except AuthenticationError as error:
        if any(words in str(error) for words in NO_ANSWER):
            raise
        url = wandb.setup().settings.base_url
        raise MirrorError(f"{url} does not take the key (`wandb login --relogin` stores another one)") from error


def api() -> wandb.Api:
    """Return what asks the server for what is there."""
    import wandb

    return wandb.Api(timeout=CONNECT_SECONDS)


def check_names(entry: Entry, target: Target) -> None:
    """Make sure that W&B takes the names of a run.

    Raises:
        MirrorError: It does not, for example a tag of more than 64 characters.
    """
    import wandb

    if target.entity is not None and not re.fullmatch(r"[\w.-]+", target.entity, re.ASCII):
        raise MirrorError(f"W&B's entity must be letters, digits, -, . and _, got {target.entity!r}")
    with described("take these names"):
        wandb.Settings(
            run_id=entry.id, run_name=entry.name, run_group=entry.group, run_tags=entry.tags, run_notes=entry.notes,
            project=target.project, entity=target.entity,
        )  # fmt: skip


@contextlib.contextmanager
def started(
    entry: Entry, config: Mapping[str, Any], directions: Mapping[str, str], target: Target, folder: Path
) -> Iterator[LiveRun]:
    """Begin a run as :func:`start` does, and end it as a crashed one if what fills it fails.

    Raises:
        MirrorError: W&B does not take the run, or what fills it.
        DamagedRecordError: A record cannot be read.
        OSError: The folder cannot be written to.
    """
    live = start(entry, config, directions, target, folder)
    try:
        with described("take a run"):
            yield live
    except BaseException:
        with contextlib.suppress(Exception), _unheard_log():
            live.finish(exit_code=1)
        raise


def start(
    entry: Entry, config: Mapping[str, Any], directions: Mapping[str, str], target: Target, folder: Path
) -> LiveRun:
    """Begin a run of W&B from its row 0, whatever is there under its id.

    Args:
        entry: Its names.
        config: Its config.
        directions: See :func:`bench.mirror.entry.directions_of`.
        target: Where it goes.
        folder: The folder in which W&B keeps its files, in a folder ``wandb`` of their own.

    Raises:
        MirrorError: The server cannot be reached or refuses the run.
        OSError: The folder cannot be written to.
    """
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    with described("start a run"), _undone_if_it_fails():
        run = wandb.init(
            id=entry.id,
            name=entry.name,
            group=entry.group,
            job_type=entry.job_type,
            tags=list(entry.tags),
            notes=entry.notes,
            config=dict(config),
            project=target.project,
            entity=target.entity,
            dir=folder,
            # Runs of this process do not know of each other.
            reinit="create_new",
            settings=settings(target.mode),
        )
    run.define_metric("step", hidden=True)
    run.define_metric("*", step_metric="step")
    for name, best in directions.items():
        run.define_metric(name, step_metric="step", summary=f"{best},last")
    run.define_metric(DETAIL_GLOB, step_metric="step", hidden=True)
    return run


@contextlib.contextmanager
def _undone_if_it_fails() -> Iterator[None]:
    """Let W&B's process forget a run that has not started: its id would be in use, and the next start would fail."""
    import wandb

    try:
        yield
    except Exception:
        if wandb.run is not None:
            raise  # The user has a run of their own in this process, as in a notebook.
        wandb.teardown()
        # A worker has that process from the one that has started it, and cannot end it.
        os.environ.pop("WANDB_SERVICE", None)
        raise


def settings(mode: Literal["offline", "online"]) -> wandb.Settings:
    """Return W&B's settings: no words of its own, nothing about the person or the machine, bounded waits.

    W&B writes into what it is given, so that each run has settings of its own.
    """
    import wandb

    return wandb.Settings(
        mode=mode,
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        host="hidden",
        program="bench",
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
        init_timeout=CONNECT_SECONDS,
        login_timeout=CONNECT_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
    )


def finish(live: LiveRun, exit_code: int) -> None:
    """End a run, once all is sent.

    Raises:
        MirrorError: The server has not taken all of it in :data:`FINISH_SECONDS`.
    """
    with described("take the end of a run"):
        live.finish(exit_code=exit_code)


@contextlib.contextmanager
def _without_variables() -> Iterator[None]:
    """Hide W&B's own variables that do not hold while W&B reads its variables, which it does once a process."""
    hidden = {name: os.environ.pop(name) for name in NOT_HELD if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextlib.contextmanager
def _unheard_log() -> Iterator[None]:
    """Say nothing where W&B cannot write its log, as on a full disk: that takes 20 lines for each of its own."""
    before = logging.raiseExceptions
    logging.raiseExceptions = False
    try:
        yield
    finally:
        logging.raiseExceptions = before


@contextlib.contextmanager
def described(doing: str) -> Iterator[None]:
    """Turn what W&B raises into one line.

    Args:
        doing: What W&B could not do.

    Raises:
        MirrorError: Anything that W&B has raised.
        DamagedRecordError: A record that could not be read meanwhile.
    """
    import wandb

    try:
        with _unheard_log():
            # Otherwise it greets the user when it first looks at the key, and looks at none if WANDB_MODE is offline.
            with _without_variables():
                wandb.setup(settings("online"))
            yield
    except (MirrorError, DamagedRecordError):
        raise
    # It raises its own errors, those of pydantic, of its workspaces, and plain ones.
    except Exception as error:
        said = re.split(ADVICE, " ".join(str(error).split()))[0] or type(error).__name__
        if any(words in str(error) for words in NO_ANSWER):
            said = f"no answer from {wandb.setup().settings.base_url}"
        raise MirrorError(textwrap.shorten(f"W&B could not {doing}: {said}", 300, placeholder=" ...")) from error
