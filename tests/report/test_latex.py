"""Tables for a paper: captions, labels, notes, widths and names, and that LaTeX takes them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.analysis.names import Names
from bench.analysis.run import Run, read_exponents, read_reaches, read_runs
from bench.analysis.table import Spec, read_spec, spec_names
from bench.report.tables.render import FORMS, render
from tests.conftest import ROOT, Bench
from tests.records_made import CONFIG, SWEEP, changed, csv_of, run

NAMES = Names(
    cells={"lstm": r"L & S_T$M"},
    tasks={"adding_problem": "Adding"},
    metrics={"mse": "error"},
    keys={"task.length": "T"},
)


def rows_of(text: str) -> list[list[str]]:
    """Return the entries of all rows of a tabular."""
    return [line.removesuffix(r" \tabularnewline").split(" & ") for line in text.splitlines()
            if line.endswith(r"\tabularnewline")]  # fmt: skip


class TestNames:
    @pytest.mark.parametrize(
        ("form", "name"),
        [
            ("terminal", "L & S_T$M"),
            ("markdown", "L & S_T$M"),
            ("latex", r"L \& S\_T\$M"),
            ("html", "L &amp; S_T$M"),
            ("csv", "L & S_T$M"),
        ],
    )
    def test_in_all_forms(self, form: str, name: str):
        text = render(SWEEP, form, Spec(names=NAMES))
        assert name in text
        assert "Adding" in text
        assert "T=100" in text
        assert "error" in text
        commands = re.sub(r".*(bench|cell=).*", "", text)
        assert "lstm" not in commands
        assert "MSE" not in text

    def test_in_notes_and_tests(self):
        uneven = [run("gru", seed, 0.1, config=changed(CONFIG, training={"max_steps": 5})) for seed in range(6)]
        runs = [*uneven, *(run("lstm", seed, 0.2) for seed in range(6))]
        names = Names(cells={"lstm": "LSTM"}, metrics={"mse": "error"}, keys={"training.max_steps": "budget"})
        text = " ".join(render(runs, "terminal", Spec(rows=("task",), names=names, compare=True)).split())
        assert "budget differs between columns: LSTM 3000, gru 5." in text
        assert "on the signed ranks of error," in text
        assert "LSTM / gru" in text
        alone = " ".join(render(SWEEP, "terminal", Spec(metrics=("mse",), names=NAMES)).split())
        assert "Error. Protocol: default" in alone

    def test_a_metric_of_a_csv(self):
        assert ("gru", "error") in csv_of([run("gru", 0, 0.1)], Spec(names=Names(metrics={"mse": "error"})))


class TestCaption:
    @pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "html"])
    def test_it_is_written_as_it_is_typed_and_ours_becomes_a_note(self, form: str):
        typed = r"A \emph{b}: 5\,\%, $x_1$."
        text = " ".join(render(SWEEP, form, Spec(caption=typed)).split())
        assert typed in text
        assert text.index(typed) < text.index("Protocol: default, at most 3,000 steps. Run on a processor")
        assert text.count("Protocol: default") == 1

    @pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "html"])
    def test_none(self, form: str):
        text = render(SWEEP, form, Spec(caption="", notes="none"))
        assert r"\caption" not in text
        assert "Protocol" not in text
        assert form != "terminal" or text.endswith("\n")

    def test_a_label_is_that_of_the_first_table(self):
        text = render(SWEEP, "latex", Spec(caption="C.", label="tab:a_1", compare=True))
        assert text.count(r"\caption{C.}\label{tab:a_1}") == text.count(r"\label") == 1
        assert text.count(r"\caption") == 2

    def test_parts_of_one_table_have_one_number(self):
        many = [run(f"a_cell_{i}", seed, 0.1) for i in range(20) for seed in range(3)]
        text = render(many, "latex", Spec(label="tab:many"))
        parts = text.count(r"\begin{table}")
        assert parts > 1
        assert text.count(r"\label{tab:many}") == 1
        assert text.count("\\addtocounter{table}{-1}\n\\caption{(continued)}") == parts - 1
        assert r"\caption" not in render(many, "latex", Spec(caption=""))


class TestNotes:
    def test_none_in_any_form(self):
        for form in ("terminal", "markdown", "latex", "html"):
            text = render(SWEEP, form, Spec(notes="none", compare=True))
            for gone in ("bench run", "[a]", "Wilson", "Paired sign-flip"):
                assert gone not in text
            assert "Protocol: default" in text
        assert "Wilson" in render(SWEEP, "terminal", Spec())

    def test_threeparttable(self):
        runs = [run(cell, seed, 0.1) for cell in ("rnn", "gru") for seed in range(3)]
        text = render(runs, "latex", Spec(metrics=("mse", "solved"), notes="threeparttable"))
        assert text.startswith("% needs \\usepackage{booktabs} \\usepackage{threeparttable}\n")
        assert r"\textit{adding\_problem, length=100\tnote{a}}" in text
        items = re.findall(r"^\\item\[(.*?)\] (.*)$", text, re.M)
        assert [mark for mark, _ in items] == ["", "a", "a", "a"]
        assert items[1][1] == r"An interval of 3 runs covers their median with 75 \%."
        assert items[-1][1].startswith(r"\texttt{bench run -m task=adding\_problem")
        assert text.index(r"\end{tabular}") < text.index(r"\begin{tablenotes}") < text.index(r"\end{threeparttable}")
        matrix = render(runs, "latex", Spec(metrics=("mse",), notes="threeparttable"))
        assert r"{\scriptsize length=100\tnote{a}}" in matrix


class TestWidth:
    def test_one_column_has_the_baseline_below_its_metric(self):
        text = render(SWEEP, "latex", Spec(metrics=("mse", "solved"), width=1))
        assert r"\begin{table}" in text
        rows = rows_of(text)
        assert rows[0] == ["", "rnn", "lstm", "gru"]
        assert [row[0] for row in rows[1:5]][1:3] == ["MSE", r"{\scriptsize baseline 0.167}"]
        assert text.index(r"\resizebox{\ifdim\width>\linewidth") < text.index(r"\begin{tabular}")

    def test_two_columns_have_intervals_beside_their_numbers(self):
        text = render(SWEEP, "latex", Spec(width=2))
        assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == 1
        assert ["MSE", "0.167", r"0.170 {\scriptsize [0.16, 0.19]}"] in [row[:3] for row in rows_of(text)]

    def test_claims_are_too_wide_for_one(self):
        with pytest.raises(ValueError, match="`width` must be 2 columns where published claims follow"):
            Spec(width=1, published=True)


def test_hyphens_of_a_command_stay_two():
    command = "bench run --config-dir=mine seed=0"
    assert r"\texttt{bench run -{}-config-dir=mine seed=0}" in render([run("gru", 0, 0.1, command=command)], "latex")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"notes": "above"}, "`notes` must be one of below, threeparttable, none, got 'above'"),
        ({"width": 3}, "`width` must be 1 or 2 columns, got 3"),
        ({"label": "a b"}, "`label` must have letters, digits and any of : . / + _ - alone, got 'a b'"),
        ({"label": "a}"}, "`label` must have letters"),
        ({"label": ""}, "`label` must have letters"),
        ({"label": "a", "caption": ""}, "`label` must have a caption to refer to, got 'a' with an empty one"),
    ],
)
def test_what_means_nothing(changes: dict[str, object], message: str):
    with pytest.raises(ValueError, match=r"^`") as raised:
        Spec(**changes)  # type: ignore[arg-type]
    assert message in str(raised.value)


def test_a_spec_from_a_yaml(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("names: {cells: {lstm: LSTM}}\ncaption: C.\nlabel: tab:a\nnotes: none\nwidth: 2\n")
    assert read_spec(str(path)) == Spec(
        names=Names(cells={"lstm": "LSTM"}), caption="C.", label="tab:a", notes="none", width=2
    )
    for text, message in (
        ("width: '1'", "`width` must be 1 or 2 columns, got '1'"),
        ("width: true", "`width` must be 1 or 2 columns, got true"),
        ("names: {cels: {}}", "got 'cels', did you mean cells?"),
        ("caption: 3", "`caption` must be a text, got 3"),
        ("notes: no notes", "`notes` must be one of"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"^`") as raised:
            read_spec(str(path))
        assert message in str(raised.value)


needs_latex = pytest.mark.skipif(
    shutil.which("kpsewhich") is None
    or not subprocess.run(["kpsewhich", "threeparttable.sty"], capture_output=True, check=False).stdout,
    reason="no LaTeX with threeparttable here",
)


def compiled(folder: Path, name: str, document: str | None = None) -> str:
    """Compile a document twice, and return what LaTeX says is wrong with it."""
    if document is not None:
        (folder / f"{name}.tex").write_text(document)
    words = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", f"{name}.tex"]
    said = ""
    for _ in range(2):
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stdout[-1500:]
        said = done.stdout
    return "\n".join(re.findall(r"Overfull .hbox .*|.*Float too large.*|.*[Uu]ndefined.*|.*multiply.*", said))


@pytest.fixture(scope="module")
def committed() -> Sequence[Run]:
    runs, _ = read_runs(ROOT / "results")
    assert (read_reaches(runs), read_exponents(runs)) == ([], [])
    return runs


@needs_latex
@pytest.mark.long_run
class TestCompiled:
    @pytest.mark.parametrize("notes", ["below", "threeparttable", "none"])
    @pytest.mark.parametrize("width", [1, 2])
    def test_tables_of_ours_fit_their_columns(self, committed: Sequence[Run], tmp_path: Path, width: int, notes: str):
        """What does not fit is told by its table."""
        wrong, made = {}, 0
        head = r"\documentclass[twocolumn]{article}\usepackage{booktabs,graphicx,threeparttable}\begin{document}"
        for name in spec_names():
            try:
                spec = read_spec(name)
                flags = {"width": width, "notes": notes, "label": f"tab:{name}", "names": Names(loose={"lstm": "L&_"})}
                body = render(committed, "latex", spec.with_flags(**flags))
            except ValueError:
                continue  # There are no runs of it.
            made += 1
            text = f"{head}\n{body}Table~\\ref{{tab:{name}}}\n\\end{{document}}"
            if said := compiled(tmp_path, name, text):
                wrong[name] = said
        assert made >= 12
        assert wrong == {}

    @pytest.mark.parametrize("cells", [1, 5, 14])
    @pytest.mark.parametrize("width", [None, 1, 2])
    def test_a_document_of_its_own(self, tmp_path: Path, cells: int, width: int | None):
        many = [*SWEEP, *(run(f"a_rather_{i}", seed, 0.1) for i in range(cells) for seed in range(3))]
        for notes in ("below", "threeparttable", "none"):
            spec = Spec(width=width, notes=notes, label="tab:a", names=Names(cells={"gru": r"\^~{}#%$&_|<>"}))
            assert compiled(tmp_path, f"a{notes}", render(many, "latex", spec, standalone=True)) == ""

    def test_the_article_of_the_documentation(self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        page = (ROOT / "docs" / "paper.md").read_text()
        monkeypatch.chdir(tmp_path)
        (tmp_path / "results").symlink_to(ROOT / "results")
        for name in ("names.yaml", "article.tex"):
            (found,) = re.findall(rf"^`{re.escape(name)}`:\n\n```\w+\n(.*?)```", page, re.M | re.S)
            (tmp_path / name).write_text(found)
        (commands,) = re.findall(r"```sh\n(.*?)```", page, re.S)
        for line in commands.splitlines():
            outcome = bench.call(*shlex.split(line)[1:])
            assert (outcome.code, outcome.err) == (0, ""), line
        assert compiled(tmp_path, "article") == ""
        for name in ("adding", "all"):
            assert str(Path.home()) not in (tmp_path / f"{name}.tex").read_text()


def test_every_form_takes_every_wish():
    spec = Spec(names=NAMES, caption="C.", label="a", notes="threeparttable", width=2)
    assert all(render(SWEEP, form, spec) for form in FORMS)
