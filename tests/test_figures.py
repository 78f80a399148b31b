from __future__ import annotations

from pathlib import Path

from matplotlib import pyplot as plt

from bench import figures, record
from tests.conftest import Bench


def test_one_panel_a_task_one_line_a_seed(bench: Bench):
    bench.run("-m", "cell=rnn,gru", "task=copy_memory,adding_problem", "seed=0,1")
    records = bench.records()
    folders = record.find_records(bench.results)
    curves = {record.read_record(folder).run_id: record.read_curves(folder) for folder in folders}
    figure = figures.learning_curves(records, curves)
    panels = figure.axes
    assert [axes.get_title() for axes in panels] == ["adding_problem, length=100", "copy_memory, delay=10"]
    assert panels[0].get_yscale() == "log"
    assert panels[1].get_ylim() == (0, 1.02)
    for axes, metric in zip(panels, ("mse", "recall"), strict=True):
        assert axes.get_xlabel() == "training step"
        assert axes.get_ylabel() == f"{metric}, evaluation set"
        *lines, baseline = axes.get_lines()
        assert len(lines) == 4
        assert baseline.get_label() == "without memory"
        drawn = [(list(line.get_xdata()), [float(y) for y in line.get_ydata()]) for line in lines]  # type: ignore[arg-type]
        task = axes.get_title().partition(",")[0]
        for made in (made for made in records if made.task == task):
            table = curves[made.run_id].to_pydict()
            points = [(s, v) for s, v in zip(table["step"], table[f"eval_{metric}"], strict=True) if v is not None]
            assert ([s for s, _ in points], [v for _, v in points]) in drawn
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["rnn", "gru", "without memory"]
    plt.close(figure)


def test_pdf_and_png_are_written(bench: Bench, tmp_path: Path):
    bench.one()
    outcome = bench.call("figures", str(bench.results), f"--output={tmp_path / 'pictures'}")
    assert outcome.code == 0
    assert outcome.out.splitlines() == [str(tmp_path / "pictures" / f"learning_curves{s}") for s in (".pdf", ".png")]
    assert (tmp_path / "pictures" / "learning_curves.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "pictures" / "learning_curves.png").read_bytes().startswith(b"\x89PNG")
    assert bench.call("figures", str(bench.results)).out.startswith(str(bench.results / "figures"))


def test_the_same_records_give_the_same_pdf(bench: Bench, tmp_path: Path):
    bench.one()
    for name in ("one", "two"):
        bench.call("figures", str(bench.results), f"--output={tmp_path / name}")
    one, two = ((tmp_path / name / "learning_curves.pdf").read_bytes() for name in ("one", "two"))
    assert one == two
