"""``bench table``: flags, files, and what a terminal can show."""

from __future__ import annotations

import dataclasses
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.main import main
from tests.conftest import ROOT, Bench
from tests.records_made import CONFIG, SWEEP, changed, run, write


@pytest.fixture
def written(bench: Bench) -> Bench:
    """Made-up records, as files."""
    for made in (each.record for each in SWEEP):
        made = dataclasses.replace(made, run_id=f"{made.task}{made.cell}{made.seed}")
        write(bench.results / "runs" / "default" / made.task / made.cell / made.run_id, made)
    return bench


def test_no_torch_in_the_process(bench: Bench, tmp_path: Path):
    bench.ready("probe=flow", "task.length=9")
    script = (
        "import sys\nfrom bench.cli.main import main\n"
        "for arguments in (['--version'], ['table', sys.argv[1]], ['runs', sys.argv[1]], ['figures', sys.argv[1]]):\n"
        "    try: main(arguments)\n    except SystemExit as stop: assert stop.code == 0\n"
        "    loaded = {'torch', 'lightning', 'hydra', 'omegaconf', 'wandb', 'torchmetrics'} & set(sys.modules)\n"
        "    assert not loaded, (arguments, loaded)\n"
    )
    words = [sys.executable, "-c", script, str(bench.results)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_terminal_that_lacks_characters(monkeypatch: pytest.MonkeyPatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1", write_through=True))
    with pytest.raises(SystemExit) as stopped:
        main(["table", str(ROOT / "results" / "demo")])
    assert stopped.value.code == 0
    assert "[1200, inf]" in written.getvalue().decode("latin-1")


def test_to_a_file(bench: Bench, tmp_path: Path):
    bench.ready()
    output = tmp_path / "table.md"
    outcome = bench.call("table", str(bench.results), "--format=markdown", f"--output={output}")
    assert (outcome.code, outcome.out) == (0, "")
    assert output.read_text() == bench.call("table", str(bench.results), "--format=markdown").out


class TestCommandLine:
    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            ("--rows=task.lenth", "got 'task.lenth', did you mean task.length?"),
            ("--columns=cel", "columns must name one of task, cell, "),
            ("--columns=cel", "got 'cel', did you mean cell?"),
            ("--where=tsk=a", "got 'tsk', did you mean task?"),
            ("--where=cell=elman", "where must have for cell one of "),
            ("--where=cell=gru,lstmm", ", got 'lstmm', did you mean lstm?"),
            ("--where=cell=gru --where=task.delay=1", "where must have for task.delay one of "),
            ("--metric=mes", "got 'mes', did you mean mse?"),
            ("--metric=mes --statistic=survival", "got 'mes', did you mean mse?"),
            ("--statistic=medain", "statistic must be one of median, iqm, share, survival, got 'medain', did you mean "
                                   "median?"),
            ("--metric=mse --statistic=survival", "statistic of mse must be one of median, iqm, got 'survival'"),
            ("--spec=horizn", "got 'horizn', did you mean horizon?"),
            ("--spec=horizon", "where must leave at least one run, got experiment=horizon"),
            ("--rows=task", "mixed must be given where runs of one place differ in "),
            ("--published", "published must have runs of a paper's protocol, as of +experiment=arjovsky2016, got none"),
            ("--metric=parameters --compare", "metric must be one that is better higher or lower to be compared, got "
                                              "'parameters'"),
        ],
    )  # fmt: skip
    def test_what_means_nothing(self, written: Bench, tmp_path: Path, flags: str, message: str):
        output = tmp_path / "table.txt"
        if flags == "--rows=task":
            config = changed(CONFIG, task={"length": 7})
            write(written.results / "runs" / "x", run("rnn", 7, 0.1, run_id="x", config=config).record)
        outcome = written.call("table", str(written.results), *flags.split(), f"--output={output}")
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
        assert outcome.err.startswith("bench table: ")
        assert message in outcome.err
        assert not output.exists()

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            ("--label=a", "--label must come with --format latex, got --format terminal"),
            ("--width=1 --format=html", "--width must come with --format latex, got --format html"),
            ("--standalone", "--standalone must come with --format latex, got --format terminal"),
            ("--notes=threeparttable", "--notes threeparttable must come with --format latex, got --format terminal"),
            ("--caption=a --format=csv", "--caption must come with another format than csv"),
            (
                "--name=lstn=L",
                "name must be that of a cell, task, metric or key of these runs, got 'lstn', did you mean",
            ),
            ("--names=nothing.yaml", "names must be a file that can be read, got 'nothing.yaml'"),
            ("--label=a{ --format=latex", "label must have letters, digits and any of : . / + _ - alone, got 'a{'"),
            ("--width=1 --published --format=latex", "width must be 2 columns where published claims follow"),
        ],
    )
    def test_what_means_nothing_in_a_paper(self, written: Bench, tmp_path: Path, flags: str, message: str):
        outcome = written.call("table", str(written.results), *flags.split(), f"--output={tmp_path / 'table.txt'}")
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
        assert outcome.err.startswith(f"bench table: {message}")
        assert not (tmp_path / "table.txt").exists()

    @pytest.mark.parametrize("flag", ["--name=lstm", "--name==L", "--name=lstm= ", "--width=3", "--notes=above"])
    def test_flags_of_another_form(self, written: Bench, flag: str):
        outcome = written.call("table", str(written.results), "--format=latex", flag)
        assert (outcome.code, outcome.out) == (2, "")
        assert f"argument {flag.partition('=')[0]}: " in outcome.err

    def test_names_from_a_file_from_a_spec_and_one_by_one(self, written: Bench, tmp_path: Path):
        names, spec = tmp_path / "names.yaml", tmp_path / "spec.yaml"
        names.write_text("cells: {lstm: L2, gru: G2}\n")
        spec.write_text("metrics: [mse]\nnames: {cells: {lstm: L1, gru: G1, rnn: R1}}\n")
        flags = (f"--spec={spec}", f"--names={names}", "--name=gru=G3", "--name=adding_problem=Adding it")
        outcome = written.call("table", str(written.results), *flags)
        assert outcome.code == 0, outcome.err
        assert re.search(r"^task +R1 +L2$", outcome.out, re.M)
        assert re.search(r"^task +G3$", outcome.out, re.M)
        assert re.search(r"^Adding it +0.170", outcome.out, re.M)

    def test_a_document_with_caption_and_label(self, written: Bench):
        flags = ("--caption=A $x$.", "--label=tab:x", "--width=1", "--notes=none", "--standalone")
        text = written.call("table", str(written.results), "--format=latex", *flags).out
        assert text.startswith("\\documentclass[twocolumn]{article}\n")
        assert text.endswith("\\end{document}\n")
        assert "\\caption{A $x$.}\\label{tab:x}" in text

    @pytest.mark.parametrize("flag", ["--rows=", "--metric=,", "--where=cell", "--where=cell="])
    def test_flags_without_a_value(self, written: Bench, flag: str):
        outcome = written.call("table", str(written.results), flag)
        assert (outcome.code, outcome.out) == (2, "")
        assert "must " in outcome.err

    def test_rows_columns_where_metric_and_statistic(self, written: Bench):
        flags = "--where task=copy_memory --where cell=gru,lstm --rows task.delay --metric recall --statistic iqm"
        outcome = written.call("table", str(written.results), *flags.split())
        assert outcome.code == 0, outcome.err
        assert re.search(r"^task +lstm +gru$", outcome.out, re.M)
        assert re.search(r"^copy_memory +0\.225 +\*0\.325$", outcome.out, re.M)
        assert "Recall. Protocol: default" in outcome.out
        assert "Interquartile mean over seeds" in outcome.out

    def test_flags_win_over_the_file(self, written: Bench, tmp_path: Path):
        path = tmp_path / "mine.yaml"
        path.write_text("title: Mine\nwhere: {task: adding_problem}\nmetrics: [mse]\n")
        plain = written.call("table", str(written.results), f"--spec={path}").out
        assert "Mine: MSE." in plain
        other = written.call("table", str(written.results), f"--spec={path}", "--metric=solved", "--where=cell=gru").out
        assert "Mine: solved." in other
        assert re.search(r"^task +gru$", other, re.M)

    @pytest.mark.parametrize(
        "flags", ["", "--metric=mse,loss", "--metric=loss --rows=task.length,task.delay", "--compare"]
    )
    def test_the_terminal_has_80_columns(self, written: Bench, flags: str):
        outcome = written.call("table", str(written.results), *flags.split())
        assert outcome.code == 0, outcome.err
        assert max(map(len, outcome.out.splitlines())) <= 80
        assert "b: bench run -m task=copy_memory cell=rnn,lstm,gru 'seed=range(0,6)'" in outcome.out
