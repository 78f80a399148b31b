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
        self._jobs = list(map(list, dict.fromkeys(map(tuple, jobs))))
        self._starts: dict[Line, int] = {}
        for job in self._jobs:
            try:
                line, key, start = search.split(job)
            except ValueError as error:
                raise ConfigError(str(error).replace("`", "")) from error
            if self._starts.setdefault(line, start) != start:
                both = f"{self._starts[line]},{start}"
                raise ConfigError(f"{key} must be one value, at which the search begins, got {both}")
        self._tried: dict[Line, dict[int, list[bool]]] = {line: {} for line in self._starts}
        self._stuck: set[Line] = set()
        self._names: dict[Line, tuple[str, str]] = {}

    def next(self) -> list[list[str]]:
        """Return the overrides of each run of the next round; none where the search has ended."""
        return [
            self._search.moved(job, value)
            for job in self._jobs
            if (line := self._search.split(job)[0]) not in self._stuck
            and (value := self._bracket(line).next) is not None
        ]

    @staticmethod
    def are_there(specs: Sequence[RunSpec]) -> bool:
        """Return whether all runs of a round have a result."""
        return None not in map(_solved, specs)

    def add(self, specs: Sequence[RunSpec]) -> None:
        """Take in what the runs of the next round have solved; a line of which a run has no result goes no further."""
        found: dict[Line, dict[int, list[bool | None]]] = {}
        for job, spec in zip(self.next(), specs, strict=True):
            line, key, value = self._search.split(job)
            found.setdefault(line, {}).setdefault(value, []).append(_solved(spec))
            others = [text for text in line if self._tells(text)]
            self._names[line] = " ".join((spec.task_name, spec.cell_name, *others)), key.rpartition(".")[2]
        for line, by_value in found.items():
            for value, outcomes in by_value.items():
                if None in outcomes:
                    self._stuck.add(line)
                else:
                    self._tried[line][value] = [bool(outcome) for outcome in outcomes]

    def report(self) -> Iterator[str]:
        """Return what was found, a line for each task and cell."""
        yield f"longest that at least {self._search.share:.0%} of the seeds solve:"
        for line, tried in self._tried.items():
            found, (name, key) = self._bracket(line), self._names[line]
            ends = [(found.solved, ""), (found.unsolved, "not ")]
            texts = [f"{no}{key}={at} ({sum(tried[at])}/{len(tried[at])})" for at, no in ends if at is not None]
            texts += [f"ended at {key}={found.next}, where a run has no result"] * (line in self._stuck)
            yield f"  {name}: {', '.join(texts)}"

    def _tells(self, override: str) -> bool:
        """Return whether an override tells lines apart that task and cell do not."""
        name = override.partition("=")[0]
        return name not in ("task", "cell") and any(
            override not in line and any(text.startswith(f"{name}=") for text in line) for line in self._starts
        )

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
