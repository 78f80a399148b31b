"""``bench runs`` prints one line a run, with fields that ``cut`` can take apart."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Bench


def test_one_line_a_run(bench: Bench):
    made = bench.ready("task.length=9")
    outcome = bench.call("runs", str(bench.results))
    header, *lines = (line.split("\t") for line in outcome.out.splitlines())
    assert (outcome.code, outcome.err, len(lines)) == (0, "", 1)
    row = dict(zip(header, lines[0], strict=True))
    assert (row["run"], row["status"], row["task"], row["cell"]) == (made.run_id, made.status, made.task, made.cell)
    assert (row["steps"], row["steps_to_solve"]) == ("6", "-")
    assert (row["metric"], row["test"]) == ("mse", str(made.metrics["test"]["mse"]))
    assert Path(row["folder"]) == bench.folder(made)


def test_what_cannot_be_read_is_named(bench: Bench):
    made = bench.ready("task.length=9")
    (bench.folder(made) / "record.json").write_text("{")
    outcome = bench.call("runs", str(bench.results))
    assert (outcome.code, outcome.out.count("\n")) == (1, 1)
    assert "not a readable record" in outcome.err
    outcome = bench.call("runs", "nowhere")
    assert (outcome.code, outcome.err) == (2, "bench runs: DIR must hold records, found none below 'nowhere'\n")
