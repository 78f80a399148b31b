"""The journal of a tuning: Optuna's studies in one file that several processes share, whatever becomes of them.

A study holds the trials of one cell on one task. A trial is drawn in memory and written in one line, so that a process
that is killed leaves it whole or not at all, and every draw is a function of the trial's number and of what the journal
says of the trials before. What writes holds a lock of the operating system, which ends with its process.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import optuna
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from bench.records.older import Direction
from bench.tuning.space import Dimension, Value, rounded
from bench.tuning.trials import State, Trial

JOURNAL_FILE = "journal.log"
SETTINGS = "settings"
"""Name of what a study was made with, among its attributes."""
STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "open",
    TrialState.WAITING: "open",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
LEAST_BEFORE_PRUNING = 5
"""Complete trials of a study before the first can be pruned."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


class _Held:
    """Optuna's own lock, in place of which the journal holds one that ends with its process."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class Journal:
    """The journal of one tuning.

    Args:
        folder: Where it is.
        reads_only: Whether nothing is to be written.

    Raises:
        ValueError: There is a file that is no journal.
        OSError: It cannot be read or written.
    """

    def __init__(self, folder: Path, *, reads_only: bool = False) -> None:
        self.path = folder / JOURNAL_FILE
        self._lock = FileLock(folder / ".journal.lock")
        self._reads_only = reads_only
        self._storage: JournalStorage | None = None
        if reads_only and not self.path.exists():
            return
        with contextlib.nullcontext() if reads_only else self.locked():
            if not reads_only:
                _cut_torn_line(self.path)
            try:
                self._storage = JournalStorage(JournalFileBackend(str(self.path), cast(Any, _Held())))
                self._storage.get_all_studies()
            except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
                raise ValueError(f"{self.path} must be the journal of a tuning, and cannot be read") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the journal, so that no other process draws or tells in the meantime."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock:
            yield

    def study(self, name: str, direction: Direction, settings: Mapping[str, Any]) -> Study | None:
        """Return a study, which is made if there is none and the journal may be written.

        Args:
            name: Its name.
            direction: Which end of its scores is the better one.
            settings: What all its trials share; those of a study that is there must be the same.

        Raises:
            ValueError: They are others; the message names the first that differs.
        """
        there_are = [] if self._storage is None else [each.study_name for each in self._storage.get_all_studies()]
        if self._storage is None or (self._reads_only and name not in there_are):
            return None
        # What is written as JSON is compared as it is read.
        settings = json.loads(json.dumps(settings))
        goal = "maximize" if direction == "higher" else "minimize"
        if name in there_are:  # To create what is there writes a line.
            study = optuna.load_study(study_name=name, storage=self._storage)
        else:
            study = optuna.create_study(study_name=name, storage=self._storage, direction=goal)
        there = study.user_attrs.get(SETTINGS)
        if there is None and not self._reads_only:
            study.set_user_attr(SETTINGS, settings)
        elif isinstance(there, dict) and there != settings:
            key = next(key for key in (*settings, *there) if settings.get(key) != there.get(key))
            was, now = (_told(each.get(key)) for each in (there, settings))
            raise ValueError(
                f"{self.path} must be the journal of this tuning: {name} was searched with {key}={was}, got {now}; "
                f"use another results_dir, or delete {self.path.parent}"
            )
        return Study(study, self._storage, direction)


class Study:
    """The trials of one cell on one task; whoever changes them holds the journal.

    Args:
        study: Optuna's.
        storage: Where Optuna keeps it.
        direction: Which end of the scores is the better one.
    """

    def __init__(self, study: optuna.Study, storage: JournalStorage, direction: Direction) -> None:
        self._study = study
        self._storage = storage
        self._direction = direction

    @property
    def trials(self) -> list[Trial]:
        """All trials in their order."""
        return [_trial(each) for each in self._study.get_trials(deepcopy=False)]

    def draw(self, dimensions: Sequence[Dimension], sampler: str) -> None:
        """Add a trial, which is open.

        Args:
            dimensions: What is drawn, in this order.
            sampler: ``random``, or ``tpe``, which draws more often where trials were good.
        """
        there = self._study.get_trials(deepcopy=False)
        # The number is the seed: cells see the same draws where they have the same dimensions.
        by = (
            optuna.samplers.RandomSampler(seed=len(there))
            if sampler == "random"
            else optuna.samplers.TPESampler(seed=len(there), constant_liar=True)
        )
        memory = optuna.create_study(direction=self._study.direction, sampler=by)
        memory.add_trials(there)
        trial = memory.ask()
        drawn: dict[str, Value] = {}
        for dimension in dimensions:
            if dimension.applies(drawn):
                drawn[dimension.key] = _drawn(trial, dimension)
        made = memory.get_trials(deepcopy=False)[-1]
        self._study.add_trial(
            create_trial(state=TrialState.RUNNING, params=made.params, distributions=made.distributions)
        )

    def is_bad(self, number: int, scores: Sequence[float]) -> bool:
        """Keep the mean of the first seeds of a trial; return whether it is worse than the median of those before.

        Args:
            number: The trial.
            scores: The score of each seed so far, at least one.
        """
        frozen = self._study.get_trials(deepcopy=False)[number]
        of_study = self._storage.get_study_id_from_name(self._study.study_name)
        trial = self._storage.get_trial_id_from_study_id_trial_number(of_study, number)
        for i in range(len(scores)):
            if i not in frozen.intermediate_values:
                self._storage.set_trial_intermediate_value(trial, i, sum(scores[: i + 1]) / (i + 1))
        frozen = self._study.get_trials(deepcopy=False)[number]
        return bool(optuna.pruners.MedianPruner(n_startup_trials=LEAST_BEFORE_PRUNING).prune(self._study, frozen))

    def tell(self, number: int, state: State, score: float | None) -> None:
        """End a trial, unless it has ended.

        Args:
            number: The trial.
            state: ``complete``, ``pruned`` or ``failed``.
            score: Its score; ``None`` for one that failed, and for one that was pruned, which has that of
                :meth:`is_bad`.
        """
        theirs = next(theirs for theirs, ours in STATES.items() if ours == state)
        self._study.tell(number, score, state=theirs, skip_if_finished=True)


def _drawn(trial: optuna.Trial, dimension: Dimension) -> Value:
    if dimension.values:
        return trial.suggest_categorical(dimension.key, dimension.values)
    if dimension.whole:
        return trial.suggest_int(dimension.key, int(dimension.low), int(dimension.high), log=dimension.log)
    return trial.suggest_float(dimension.key, dimension.low, dimension.high, log=dimension.log)


def _trial(frozen: FrozenTrial) -> Trial:
    ranges = optuna.distributions.FloatDistribution
    values = {
        key: rounded(value) if isinstance(frozen.distributions[key], ranges) else value
        for key, value in frozen.params.items()
    }
    return Trial(frozen.number, STATES[frozen.state], values, frozen.value)


def _told(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _cut_torn_line(path: Path) -> None:
    """Remove what a process that was killed has left of its last line."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
