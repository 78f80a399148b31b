"""``bench tune``: rounds of trials, drawn from the journal and made as ordinary runs; then the best on fresh seeds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from bench.config.checks import check_writable
from bench.config.command import grid_of, jobs_of
from bench.config.compose import runs_of
from bench.config.explain import ConfigError
from bench.config.hydra_app import Composer
from bench.config.run_spec import RunSpec
from bench.config.tune import Tune
from bench.records.record import FINAL
from bench.records.write import write_whole
from bench.runs.candidates import Candidate, candidates_of, check_keys
from bench.runs.job import Command
from bench.runs.outcome import Outcome
from bench.runs.preflight import checked, planned, workers_of
from bench.runs.tuning_words import preview, progress, record_of, report, status_of
from bench.sweeps.state import PlannedRun
from bench.tuning.journal import Journal, Study
from bench.tuning.space import read_space
from bench.tuning.trials import TRIALS_FILE, Line, Trial, as_csv, score_of

Make = Callable[[list[RunSpec], tuple[PlannedRun, ...]], Outcome]
"""Makes those of some runs that are not there; the second argument names runs of before, for the plan."""


def tune(make: Make, command: Command, config: DictConfig, loader: ConfigLoader) -> Outcome:
    """Look for the best setting of each cell of an experiment, and run it with the experiment's own seeds.

    Args:
        make: See :data:`Make`.
        command: What the user asks for.
        config: Its composed config.
        loader: Composes the runs.

    Raises:
        ConfigError: What is wrong with the tuning; nothing has been trained or written then.
        LaunchError: The launcher fails.
    """
    tuner = _Tuner(command, config, loader)
    if command.dry_run:
        print(*preview(tuner.candidates, tuner.how, tuner.workers), sep="\n")
        return Outcome(())
    problems: list[str] = []
    trials: dict[Path, RunSpec] = {}
    while wanted := tuner.next():
        made = (spec for each in tuner.candidates for specs in each.made.values() for spec in specs)
        trials |= {spec.folder: spec for spec in made}
        now = {spec.folder for spec in wanted}
        print(progress(tuner.candidates, tuner.how, tuner.workers), flush=True)
        before = planned([spec for folder, spec in trials.items() if folder not in now])
        found = make(checked(iter(wanted), len(wanted)), tuple(before))
        problems += found.problems
        if found.stopped is not None:
            return replace(found, folders=(*trials,))
        if undone := [spec for spec in wanted if status_of(spec) not in (*FINAL, "failed")]:
            # There is not even a failure: somebody has cancelled its job.
            return Outcome((*trials,), (*problems, f"{undone[0].label} has no record; the same command goes on"))
    tuned = {candidate.name: tuner.tuned(candidate) for candidate in tuner.candidates}
    specs = [spec for runs in tuned.values() for spec in runs]
    problems += [f"{name}: no trial has a result" for name, runs in tuned.items() if not runs]
    if specs:
        print(f"the best setting of each cell, with {len(tuner.candidates[0].seeds)} fresh seeds:", flush=True)
        found = make(checked(iter(specs), len(specs)), ())
        if found.stopped is not None:
            return found
        problems += found.problems
    print(*report(tuner.candidates, tuner.how), sep="\n")
    if specs:
        print(f"the table, on fresh seeds: bench table {specs[0].folder.parents[2]}")
    print(f"the trials: {tuner.folder / TRIALS_FILE}; their figures: bench figures {tuner.folder}")
    return Outcome(tuple(spec.folder for spec in specs), tuple(problems))


class _Tuner:
    """A tuning on its way. The journal and the records are all that it knows, so that it goes on where it was.

    Attributes:
        how: How the settings are looked for.
        candidates: What they are looked for.
        folder: Where the trials are.
        workers: Runs at once.
    """

    def __init__(self, command: Command, config: DictConfig, loader: ConfigLoader) -> None:
        self._config, self._loader = config, loader
        self._composer = Composer(config, loader)
        self.how = _how(config)
        jobs = jobs_of(config, loader)
        try:
            space = read_space(self.how.space, command.config_dir, loader.get_group_options("cell"))
        except ValueError as error:
            raise ConfigError(str(error)) from error
        check_keys(space, config, command.overrides)
        self.candidates = candidates_of(jobs, space, self.how, config, self._specs)
        first = self.candidates[0].spec
        if first.rerun == "all":
            raise ConfigError("rerun must be failed or none for bench tune, got all")
        # Settings that all runs of a command share are looked at before the first round.
        checked((each.spec for each in self.candidates), len(self.candidates))
        self.folder = first.folder.parents[2]
        if not command.dry_run:
            check_writable(first.results_dir)
        # What is wrong with a journal is said before anything is written into it.
        for reads_only in (True,) if command.dry_run else (True, False):
            self._open(reads_only=reads_only)
        self.workers = workers_of([each.spec for each in self.candidates for _ in self.how.seeds])

    def next(self) -> list[RunSpec]:
        """Take in what the trials have scored, draw the next ones, and return the runs that these need.

        Whichever process comes first draws the trials of a round; the others find them open, and share their runs.
        """
        wanted: list[RunSpec] = []
        with self._journal.locked():
            for candidate in self.candidates:
                assert candidate.study is not None
                for trial in candidate.open:
                    self._settle(candidate, candidate.study, trial)
                self._fill(candidate, candidate.study)
                for trial in candidate.open:
                    left = [spec for spec in self._runs(candidate, trial) if status_of(spec) not in FINAL]
                    wanted += left[:1] if self.how.prune else left
            write_whole(self.folder / TRIALS_FILE, as_csv([self._line(each) for each in self.candidates]))
        return wanted

    def tuned(self, candidate: Candidate) -> list[RunSpec]:
        """Return the runs of the best setting of a cell, none if no trial has a result."""
        if candidate.best is None:
            return []
        told = {"trials": self.how.trials, "seeds": len(self.how.seeds), "sampler": self.how.sampler}
        words = [*candidate.at(candidate.best.values), "tuning.role=tuned"]
        words += [f"tuning.{key}={value}" for key, value in told.items()]
        return self._specs([[*words, f"seed={seed}"] for seed in candidate.seeds])

    def _settle(self, candidate: Candidate, study: Study, trial: Trial) -> None:
        """End a trial whose runs have ended, or whose first runs are bad enough."""
        scores: list[float] = []
        for spec in self._runs(candidate, trial):
            made = record_of(spec)
            if made is not None and made.status == "failed":
                study.tell(trial.number, "failed", None)
                return
            score = None if made is None else score_of(made, candidate.metric)
            if score is None:
                break
            scores.append(score)
        if not scores:
            return
        mean = sum(scores) / len(scores)
        # Later trials are set beside what is kept of this one.
        is_bad = self.how.prune and study.is_bad(trial.number, scores)
        if len(scores) == len(self.how.seeds):
            study.tell(trial.number, "complete", mean)
        elif is_bad:
            study.tell(trial.number, "pruned", mean)

    def _fill(self, candidate: Candidate, study: Study) -> None:
        """Draw the trials of a round: of the one that was begun, or of the next."""
        count, still = len(study.trials), candidate.open
        begun = (still[0].number if still else count) // self.how.per_round
        for _ in range(count, min((begun + 1) * self.how.per_round, self.how.trials)):
            study.draw(candidate.dimensions, self.how.sampler)

    def _line(self, candidate: Candidate) -> Line:
        spec, task, trials = candidate.spec, candidate.spec.task, tuple(candidate.trials)
        runs = [[each for each in self._runs(candidate, trial) if status_of(each) in FINAL] for trial in trials]
        return Line(
            task=spec.task_name,
            setting=" ".join(spec.row),
            cell=spec.cell_name,
            metric=candidate.metric,
            direction=candidate.direction,
            baseline=task.baselines[candidate.metric],
            sampler=self.how.sampler,
            trials=trials,
            runs=tuple((len(specs), " ".join(each.run_id for each in specs)) for specs in runs),
        )

    def _runs(self, candidate: Candidate, trial: Trial) -> list[RunSpec]:
        """Return the runs of a trial."""
        if trial.number not in candidate.made:
            words = [*candidate.at(trial.values), "tuning.role=trial"]
            candidate.made[trial.number] = self._specs([[*words, f"seed={seed}"] for seed in self.how.seeds])
        return candidate.made[trial.number]

    def _specs(self, jobs: list[list[str]]) -> list[RunSpec]:
        return list(runs_of(self._config, self._loader, jobs, self._composer))

    def _open(self, *, reads_only: bool) -> None:
        try:
            self._journal = Journal(self.folder, reads_only=reads_only)
            with contextlib.nullcontext() if reads_only else self._journal.locked():
                for candidate in self.candidates:
                    settings = candidate.settings(self.how)
                    candidate.study = self._journal.study(candidate.name, candidate.direction, settings)
        except ValueError as error:
            raise ConfigError(str(error)) from error


def _how(config: DictConfig) -> Tune:
    found = grid_of(config).tune
    if found is None:
        raise ConfigError("sweep.tune must be given by the experiment, as in bench tune +experiment=tuning, got none")
    return found
