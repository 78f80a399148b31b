"""The rounds of a search: which runs come next, from what the runs of earlier rounds have solved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from bench.config.explain import ConfigError
from bench.config.run_spec import RunSpec
from bench.config.search import Bracket, Line, Search
from bench.records.read import read_record
from bench.records.record import FINAL, DamagedRecordError


class Rounds:
    """A search on its way. The records are all that it knows, so that it goes on where it was, whatever stopped it.

    Args:
        search: What is searched for.
        jobs: The overrides of each run of the first round.

    Raises:
        ConfigError: A run without a value to begin at.
    """

    def __init__(self, search: Search, jobs: Sequence[list[str]]) -> None:
        self._search = search
        self._jobs = jobs
        try:
            self._starts = {line: start for line, _, start in map(search.split, jobs)}
        except ValueError as error:
            raise ConfigError(str(error).replace("`", "")) from error
        self._tried: dict[Line, dict[int, list[bool]]] = {line: {} for line in self._starts}
        self._names: dict[Line, tuple[str, str]] = {}

    def next(self) -> list[list[str]]:
        """Return the overrides of each run of the next round; none where the search has ended."""
        return [
            self._search.moved(job, value)
            for job in self._jobs
            if (value := self._bracket(self._search.split(job)[0]).next) is not None
        ]

    def add(self, specs: Sequence[RunSpec]) -> bool:
        """Take in what the runs of the next round have solved; return whether all of them have a result."""
        outcomes = [_solved(spec) for spec in specs]
        if None in outcomes:
            return False
        for job, spec, outcome in zip(self.next(), specs, outcomes, strict=True):
            line, key, value = self._search.split(job)
            self._tried[line].setdefault(value, []).append(bool(outcome))
            self._names[line] = f"{spec.task_name} {spec.cell_name}", key.rpartition(".")[2]
        return True

    def report(self) -> Iterator[str]:
        """Return what was found, a line for each task and cell."""
        yield f"longest that at least {self._search.share:.0%} of the seeds solve:"
        for line, tried in self._tried.items():
            found, (name, key) = self._bracket(line), self._names[line]
            ends = [(found.solved, ""), (found.unsolved, "not ")]
            texts = [f"{no}{key}={at} ({sum(tried[at])}/{len(tried[at])})" for at, no in ends if at is not None]
            yield f"  {name}: {', '.join(texts)}"

    def _bracket(self, line: Line) -> Bracket:
        tried = self._tried[line]

        def outcome(value: int) -> bool | None:
            return self._search.enough(sum(tried[value]), len(tried[value])) if value in tried else None

        return self._search.walk(self._starts[line], outcome)


def _solved(spec: RunSpec) -> bool | None:
    """Return whether a run has solved its task; ``None`` if it has no result."""
    with contextlib.suppress(DamagedRecordError):
        made = read_record(spec.folder)
        return made.solved if made.status in FINAL else None
    return None
