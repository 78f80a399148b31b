"""What ``bench tune`` says of a tuning: before it begins, on its way, and at its end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from bench.config.run_spec import RunSpec
from bench.config.tune import Tune
from bench.errors import as_override
from bench.records.read import read_record
from bench.records.record import FINAL, DamagedRecordError, Record
from bench.runs import dry_run
from bench.runs.candidates import Candidate
from bench.sweeps.terminal import duration
from bench.tuning.trials import Trial


def record_of(spec: RunSpec) -> Record | None:
    """Return the record of a run, if there is one that can be read."""
    with contextlib.suppress(DamagedRecordError):
        return read_record(spec.folder)
    return None


def status_of(spec: RunSpec) -> str:
    """Return the status of a run's record, an empty text if there is none that can be read."""
    made = record_of(spec)
    return "" if made is None else made.status


def preview(candidates: Sequence[Candidate], tune: Tune, workers: int) -> Iterator[str]:
    """Yield what there is to do, with the time that it will take; nothing is trained or written."""
    seconds, runs = 0.0, 0
    for candidate in candidates:
        ended = _ended(candidate.trials)
        left = (tune.trials - ended) * len(tune.seeds) + len(candidate.seeds)
        runs += left
        if not candidate.spec.elsewhere:
            seconds += left * dry_run.seconds_per_step(candidate.spec) * candidate.spec.training.steps
        over = "; ".join(each.described() for each in candidate.dimensions)
        yield f"{candidate.name}: {ended} of {tune.trials} trials have ended; {over}"
    pruned = " at most, as trials may be pruned" if tune.prune else ""
    steps = " or ".join(f"{each:,}" for each in sorted({each.spec.training.steps for each in candidates}))
    yield (
        f"{len(tune.seeds)} seeds a trial, then {len(candidates[0].seeds)} fresh ones; {steps} steps a run; "
        f"{runs} runs to do{pruned}, {workers} at once"
    )
    if seconds:
        yield f"about {duration(seconds / workers)} (training alone, from a few steps timed here)"


def progress(candidates: Sequence[Candidate], tune: Tune, workers: int) -> str:
    """Return how far the trials are, and for how long they will go on, as far as that is known."""
    runs, seconds = 0, 0.0
    for candidate in candidates:
        specs = (spec for specs in candidate.made.values() for spec in specs)
        records = [made for made in map(record_of, specs) if made is not None and made.status in FINAL]
        walls = [made.time["wall_seconds"] or 0.0 for made in records]
        runs += len(records)
        left = tune.trials * len(tune.seeds) - len(records) + len(candidate.seeds)
        seconds += left * sum(walls) / len(walls) if walls else 0.0
    ended, whole = sum(_ended(each.trials) for each in candidates), len(candidates) * tune.trials
    left = f", about {duration(seconds / workers)} left" if runs else ""
    return f"{ended} of {whole} trials have ended, {tune.trials} for each cell and task{left}"


def report(candidates: Sequence[Candidate], tune: Tune) -> Iterator[str]:
    """Yield what was found, a line for each cell and task."""
    yield (
        f"best of {tune.trials} trials ({candidates[0].metric if tune.score else 'metric'} of the evaluation set, mean "
        f"of {len(tune.seeds)} seeds):"
    )
    for candidate in candidates:
        best = candidate.best
        if best is not None and best.score is not None:
            setting = " ".join(f"{key}={as_override(value)}" for key, value in best.values.items())
            yield f"  {candidate.name}: {best.score:.4g} (trial {best.number}) {setting}"


def _ended(trials: Sequence[Trial]) -> int:
    return sum(trial.state != "open" for trial in trials)
