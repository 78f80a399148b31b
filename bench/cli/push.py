"""``bench push``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.common import complain, fail

if TYPE_CHECKING:
    from bench.analysis.run import Run
    from bench.mirror.client import Target
    from bench.records.record import DamagedRecordError


def push_command(parsed: argparse.Namespace) -> int:
    """Bring finished records to W&B, each as one clean run; the exit code."""
    from bench.analysis.run import read_runs
    from bench.mirror.client import MirrorError

    runs, damaged = read_runs(parsed.folder)
    finished = [run for run in runs if run.has_result]
    if not finished and not damaged:
        there = "found none" if not runs else f"none of {len(runs)} has ended with a result"
        return fail("push", f"DIR must hold finished records, {there} below {str(parsed.folder)!r}")
    pushing = Pushing(parsed)
    for line in pushing.said_of_variables:
        print(f"bench push: {line}", file=sys.stderr)
    code = 0
    try:
        pushing.check(finished)
        pushing.push(finished)
    except (MirrorError, ValueError) as error:
        code = fail("push", str(error).replace("`", ""))
    except OSError as error:
        code = fail("push", f"DIR must be a folder that can be written to, {error}")
    if code and not pushing.begun:
        return code
    left = len(runs) - len(finished)
    print(f"{pushing.told}{f', {left} unfinished left out' if left else ''}")
    if pushing.hint is not None:
        print(pushing.hint)
    return complain("push", [*damaged, *pushing.damaged]) or code


class Pushing:
    """The runs of one command on their way to W&B.

    Args:
        parsed: The command line.
    """

    def __init__(self, parsed: argparse.Namespace) -> None:
        from bench.sweeps.status import ResultsFolder

        self.damaged: list[DamagedRecordError] = []
        self.begun = False
        self._folder: Path = parsed.folder
        # W&B's files lie beside the runs, as those of a run with `logger=wandb` do.
        self._results_dir = ResultsFolder(parsed.folder).results_dir
        self._mode = "offline" if parsed.offline else "online"
        self._flags = {"project": parsed.project, "entity": parsed.entity}
        self._counts: Counter[str] = Counter()
        self._places: dict[str, None] = {}
        self._entities: dict[str | None, str] = {}

    def check(self, runs: Sequence[Run]) -> None:
        """Make sure that W&B takes the names of the runs, and that its server answers.

        Raises:
            MirrorError: It does not.
            ValueError: A name or group that cannot be read.
        """
        from bench.mirror import client
        from bench.mirror.entry import entry_of

        for run in runs:
            client.check_names(entry_of(run.record, self._asked(run)), self._target(run))
        if self._mode == "online":
            for entity in dict.fromkeys(self._asked(run)["entity"] for run in runs):
                self._entities[entity] = client.check(entity)

    def push(self, runs: Sequence[Run]) -> None:
        """Push all runs, and the summary of each experiment; what is damaged is left out.

        Raises:
            MirrorError: W&B does not take a run.
            OSError: The files cannot be written.
        """
        from bench.mirror.push import id_of, push
        from bench.records.record import DamagedRecordError
        from bench.sweeps.bar import ProgressBar
        from bench.sweeps.terminal import duration

        bar, begun, self.begun = ProgressBar(len(runs)), time.monotonic(), True
        ids: set[str] = set()
        groups: dict[tuple[str, Target], list[Run]] = {}
        try:
            for number, run in enumerate(runs):
                if bar.due and number:
                    left = duration((time.monotonic() - begun) / number * (len(runs) - number))
                    bar.show(
                        number, f"{number}/{len(runs)}", f" {left}", f"{number}/{len(runs)} runs, about {left} left"
                    )
                if id_of(run) in ids:
                    # The same run, as in a folder of published records beside the one that it was copied from.
                    self._counts["copies"] += 1
                    continue
                ids.add(id_of(run))
                target = self._target(run)
                self._places[target.place] = None
                try:
                    self._counts[push(run, target, self._asked(run), self._results_dir)] += 1
                    groups.setdefault((run.experiment, target), []).append(run)
                except DamagedRecordError as error:
                    self.damaged.append(error)
        finally:
            bar.close()
        for (experiment, target), members in groups.items():
            if self._is_whole(members[0]):
                self._push_overview(experiment, members, target)

    def _is_whole(self, run: Run) -> bool:
        """Return whether the folder has all of a run's experiment, and not only one of its tasks or cells."""
        return len(run.folder.relative_to(self._folder).parts) >= len(("task", "cell", "run"))

    def _push_overview(self, experiment: str, runs: list[Run], target: Target) -> None:
        """Push table and figures of an experiment, unless they are there."""
        from bench.mirror.overview import Overview, digest_of_all, is_there, push_overview
        from bench.mirror.push import fill
        from bench.report.figures.draw import draw_runs
        from bench.report.tables.shown import table

        digest = digest_of_all(runs)
        if is_there(experiment, digest, target, self._results_dir):
            return
        for run in runs:
            fill(run)
        shown = table(runs, mixed=True)
        with tempfile.TemporaryDirectory() as folder:
            figures = draw_runs(runs, Path(folder), ("png",))
            overview = Overview(experiment, digest, shown.to_csv(), shown.to_html(), figures)
            push_overview(overview, target, self._results_dir)

    def _asked(self, run: Run) -> dict[str, Any]:
        """Return what was asked of a run's place and names when it was made; a flag of this command wins."""
        from bench.mirror import client

        flags = {name: value for name, value in self._flags.items() if value is not None}
        return client.asked_of({**(run.record.config.get("logger") or {}), **flags})

    def _target(self, run: Run) -> Target:
        from bench.mirror import client

        asked = self._asked(run)
        return client.target_of(self._mode, {**asked, "entity": self._entities.get(asked["entity"], asked["entity"])})

    @property
    def told(self) -> str:
        """What has become of the runs, in one line."""
        pushed, there = self._counts["pushed"], self._counts["there"]
        where = ", ".join(self._places)
        copies = f", {self._counts['copies']} copies left out" if self._counts["copies"] else ""
        return (
            f"{pushed} run{'s' if pushed != 1 else ''} pushed to {where} ({self._mode}), {there} there already{copies}"
        )

    @property
    def said_of_variables(self) -> list[str]:
        """A line for each of W&B's own variables that is set and does not hold here."""
        from bench.mirror import client

        return client.said_of_variables({"mode": self._mode, **self._flags})

    @property
    def hint(self) -> str | None:
        """The command that uploads what was pushed; ``None`` if it is uploaded, or nothing was pushed."""
        if self._mode == "online" or not self._counts["pushed"]:
            return None
        return f"upload with: wandb sync {self._results_dir / 'wandb'}/offline-run-*"
