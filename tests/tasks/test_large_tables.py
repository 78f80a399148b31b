"""Tables that are too large for memory: the same numbers from arrays on disk, made once."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tasks import mapped
from tasks.data_set import SPLITS
from tasks.forecast import Forecast
from tasks.mapped import Standardised
from tasks.sequence_classification import SequenceClassification
from tasks.text_classification import TextClassification
from tasks.texts import Tokens
from tests.conftest import Bench
from tests.data_made import TABLE, all_of, content, make


@pytest.fixture(autouse=True)
def pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece of a table has a few rows."""
    monkeypatch.setenv(mapped.FOLDER, str(tmp_path / "data"))
    monkeypatch.setattr(mapped, "PORTION", 500)


def stored(tmp_path: Path) -> set[Path]:
    folder = tmp_path / "data"
    return set(folder.iterdir()) if folder.exists() else set()


def both(monkeypatch: pytest.MonkeyPatch, task: str, **settings: Any) -> list[Any]:
    """The task of a file in memory, and the same of one that counts as large."""
    found = []
    for limit in (1 << 40, 1):
        monkeypatch.setattr(mapped, "MAPPED_FROM", limit)
        found.append(make(task, **settings))
    return found


def assert_equal(small: Any, large: Any) -> None:
    assert large.fingerprint == small.fingerprint
    assert large.kept == small.kept
    for split in SPLITS:
        assert content(all_of(large, split)) == content(all_of(small, split))
    assert large.baselines == pytest.approx(small.baselines, rel=1e-6)


def read(task: Any, source: Any) -> Any:
    """New inputs, as ``bench predict`` reads them."""
    return task.encoder(task.kept).read(source)


def series(rows: int) -> pd.DataFrame:
    dice = np.random.default_rng(0)
    walk = 100 + dice.normal(size=rows).cumsum()
    return pd.DataFrame({"day": [f"day {n}" for n in range(rows)], "y": walk.round(3), "n": dice.integers(0, 9, rows),
                         "constant": 2.0})  # fmt: skip


class TestSeries:
    SETTINGS: dict[str, Any] = {"target": "y", "window": 6, "horizon": 2, "season": 3}  # noqa: RUF012

    @pytest.mark.parametrize("columns", [[], ["n", "constant"], ["y"]], ids=str)
    @pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
    def test_it_has_the_numbers_of_one_in_memory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, columns: list[str]
    ):
        table = series(700)
        (table.to_csv if name == "a.csv" else table.to_parquet)(tmp_path / name, index=False)
        small, large = both(monkeypatch, "forecast", file=str(tmp_path / name), columns=columns, **self.SETTINGS)
        assert isinstance(large, Forecast)
        assert (type(small.values), type(large.values)) == (np.ndarray, np.memmap)
        assert (small.on_disk, large.on_disk) == (False, True)
        assert large.values.tolist() == table["y"].tolist()
        assert_equal(small, large)
        for reference, scores in small.references.items():
            assert large.references[reference] == pytest.approx(scores, rel=1e-4), reference
        told = [task.told(3, torch.ones(1, 5, 2), torch.ones(1, 5, 2)) for task in (small, large)]
        assert {key: each.tolist() for key, each in told[0].items()} == {
            key: each.tolist() for key, each in told[1].items()
        }
        # New inputs: the last window of a file that is read in pieces.
        found = [read(task, source) for task, source in ((small, table), (large, str(tmp_path / name)))]
        assert torch.equal(*(each.sequences.padded(np.array([0]))[0] for each in found))
        assert found[1].about["last"] == table["y"].iloc[-1]

    def test_the_autoregression_is_scikit_learns(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        series(700).to_csv(tmp_path / "a.csv")
        found = []
        for portion in (500, 1 << 20):
            monkeypatch.setattr(mapped, "PORTION", portion)
            task = make("forecast", file=str(tmp_path / "a.csv"), **self.SETTINGS)
            found.append(task.references["linear autoregression"])
        assert found[0] == pytest.approx(found[1], rel=1e-5)

    def test_it_is_converted_once_and_anew_after_a_change(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(mapped, "MAPPED_FROM", 1)
        path = tmp_path / "a.csv"
        series(300).to_csv(path)
        settings = {"file": str(path), "columns": ["n"], **self.SETTINGS}
        make("forecast", **settings)
        first = stored(tmp_path)
        assert sorted(np.load(each).shape for each in first) == [(300, 1), (300, 1)]
        before = {each: each.stat().st_mtime_ns for each in first}
        make("forecast", **settings | {"window": 9})
        assert {each: each.stat().st_mtime_ns for each in stored(tmp_path)} == before
        series(301).to_csv(path)
        assert len(make("forecast", **settings).values) == 301  # type: ignore[attr-defined]
        assert [np.load(each).shape for each in stored(tmp_path) - first] == [(301, 1), (301, 1)]

    @pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
    def test_a_row_is_named_by_its_number_and_nothing_is_left(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ):
        monkeypatch.setattr(mapped, "MAPPED_FROM", 1)
        table = series(300)
        table.loc[297, "y"] = np.nan
        (table.to_csv if name == "a.csv" else table.to_parquet)(tmp_path / name)
        for arguments in ({}, {"columns": ["n"]}):
            with pytest.raises(
                ValueError, match=r"^`target` must have a finite number in every row, and y of row 298 has nan$"
            ):
                make("forecast", file=str(tmp_path / name), **self.SETTINGS, **arguments)
        assert stored(tmp_path) == set()
        (tmp_path / "data").rmdir()
        (tmp_path / "data").write_text("")
        with pytest.raises(
            ValueError, match=r"^`file` is converted once into the folder that RNN_BENCH_DATA names, which must"
        ):
            make("forecast", file=str(tmp_path / name), **self.SETTINGS)

    def test_rows_with_more_values_than_names_are_not_let_pass(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(mapped, "MAPPED_FROM", 1)
        (tmp_path / "a.csv").write_text("y\n" + "1\n" * 400 + "1,2\n")
        with pytest.raises(ValueError, match=r"must be a CSV or Parquet table, got .* in line 402, saw 2"):
            make("forecast", file=str(tmp_path / "a.csv"), **self.SETTINGS)

    def test_memory_does_not_grow_with_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(mapped, "MAPPED_FROM", 1)
        monkeypatch.setattr(mapped, "PORTION", 1 << 14)
        most = {}
        for rows in (1 << 14, 1 << 16):
            path = tmp_path / f"{rows}.parquet"
            series(1 << 13)[["y", "n"]].sample(rows, replace=True, random_state=0).to_parquet(path)
            tracemalloc.start()
            task = make("forecast", file=str(path), columns=["n"], **self.SETTINGS)
            task.tested = 20
            assert task.fingerprint
            assert len(task.references) == 2
            task.take("train", torch.arange(8))
            most[rows] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert most[1 << 16] < 16 * (1 << 16) / 2, "half of what the numbers take"


class TestSequences:
    SETTINGS: dict[str, Any] = {"step": "step"}  # noqa: RUF012

    @pytest.mark.parametrize("step", ["step", None])
    @pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
    def test_it_has_the_numbers_of_one_in_memory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: str | None
    ):
        table = pd.read_csv(TABLE)
        (table.to_csv if name == "a.csv" else table.to_parquet)(tmp_path / name, index=False)
        settings = {"file": str(tmp_path / name), "step": step, "columns": ["x", "y"]}
        small, large = both(monkeypatch, "sequence_classification", **settings)
        assert isinstance(large, SequenceClassification)
        assert isinstance(small.sequences.steps, np.ndarray)
        steps = large.sequences.steps
        assert isinstance(steps, Standardised)
        assert isinstance(steps.values, np.memmap)
        assert_equal(small, large)
        assert large.references == small.references
        assert large.classes == small.classes
        found = [read(task, source) for task, source in ((small, table), (large, str(tmp_path / name)))]
        assert torch.equal(*(each.sequences.padded(np.arange(9))[0] for each in found))
        assert found[1].about["sequence"].tolist() == found[0].about["sequence"].tolist()
        assert isinstance(found[1].sequences.steps, Standardised)

    @pytest.mark.parametrize("kind", ["numbers", "texts", "fractions"])
    @pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
    def test_names_are_what_all_of_the_column_says(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
    ):
        """The first pieces of a column of texts or fractions have whole numbers alone."""
        last: Any = {"numbers": 60, "texts": "x", "fractions": 60.5}[kind]
        rows = [
            (last if n == 60 else n, n % 7 + s, [1, 0, last][2 if n > 57 else n % 2])
            for n in range(61)
            for s in range(4)
        ]
        table = pd.DataFrame(rows, columns=["sequence", "x", "label"])
        if name == "a.csv":
            table.to_csv(tmp_path / name, index=False)
        else:
            table.astype(dict.fromkeys(("sequence", "label"), str) if kind == "texts" else {}).to_parquet(
                tmp_path / name
            )
        small, large = both(monkeypatch, "sequence_classification", file=str(tmp_path / name), step=None)
        assert isinstance(large.sequences.steps, Standardised)
        assert_equal(small, large)
        assert (
            set(large.classes)
            == {"numbers": {"0", "1", "60"}, "texts": {"0", "1", "x"}, "fractions": {"0.0", "1.0", "60.5"}}[kind]
        )
        with pytest.raises(ValueError, match=r"null or >= 4, the steps of '0(.0)?', got 3"):
            make("sequence_classification", file=str(tmp_path / name), step=None, max_length=3)

    def test_numbers_that_are_written_in_two_ways_are_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        rows = [
            (f"{n:0{1 + s // 2}}", s, n % 5 * s, "01" if n % 2 and s < 2 else n % 2)
            for n in range(30)
            for s in range(4)
        ]
        pd.DataFrame(rows, columns=["sequence", "step", "x", "label"]).to_csv(tmp_path / "a.csv", index=False)
        small, large = both(monkeypatch, "sequence_classification", file=str(tmp_path / "a.csv"))
        assert isinstance(large.sequences.steps, Standardised)
        assert len(large.sequences) == 30
        assert_equal(small, large)

    @pytest.mark.parametrize("how", ["rows", "steps", "far apart"])
    def test_a_table_that_is_not_in_order_is_read_whole(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
    ):
        table = pd.read_csv(TABLE)
        order = np.arange(len(table))
        if how == "rows":
            order = np.random.default_rng(0).permutation(order)
        elif how == "steps":
            order[3:5] = (4, 3)
        else:
            order = np.append(order[1:], 0)
        table.iloc[order].to_csv(tmp_path / "a.csv", index=False)
        small, large = both(monkeypatch, "sequence_classification", file=str(tmp_path / "a.csv"))
        assert isinstance(large.sequences.steps, np.ndarray)
        assert_equal(small, large)
        assert stored(tmp_path) == set()

    @pytest.mark.parametrize(
        ("column", "value", "message"),
        [
            ("label", None, "`label` must have a value in every row, and row 202 has none"),
            ("sequence", None, "`sequence` must have a value in every row, and row 202 has none"),
            ("step", None, "`step` must have a value in every row, and row 202 has none"),
            ("y", "much", "`columns` must have a finite number in every row, and y of row 202 has 'much'"),
            ("label", "else", "`label` must be the same in all rows of a sequence, and that of 's32' changes"),
            ("step", 99, "`step` must go up by 1 within a sequence, and that of 's32' goes from 0 to 2"),
        ],
    )
    def test_what_is_wrong_in_a_later_piece(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, value: Any, message: str
    ):
        monkeypatch.setattr(mapped, "MAPPED_FROM", 1)
        table = pd.read_csv(TABLE, dtype=object)
        table.loc[201, column] = value
        table.to_csv(tmp_path / "a.csv", index=False)
        with pytest.raises(ValueError, match=f"^{message}$"):
            make("sequence_classification", file=str(tmp_path / "a.csv"))
        assert stored(tmp_path) == set()

    def test_memory_does_not_grow_with_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(mapped, "MAPPED_FROM", 1)
        monkeypatch.setattr(mapped, "PORTION", 1 << 14)
        most = {}
        for steps in (1 << 7, 1 << 11):
            values = np.random.default_rng(0).normal(size=(40 * steps, 2)).astype(np.float32)
            table = pd.DataFrame(values, columns=["x", "y"])
            table["sequence"], table["label"] = np.repeat(np.arange(40), steps), np.repeat(np.arange(40) % 2, steps)
            table.to_parquet(tmp_path / f"{steps}.parquet")
            del values, table
            tracemalloc.start()
            task = make("sequence_classification", file=str(tmp_path / f"{steps}.parquet"), step=None)
            assert task.fingerprint
            assert len(task.references) == 1
            most[steps] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert most[1 << 11] < 40 * 16 * (1 << 11) / 2, "half of what the numbers take"


def reviews(rows: int) -> pd.DataFrame:
    dice, words = np.random.default_rng(0), [f"word{n}" for n in range(40)]
    texts = [" ".join(dice.choice(words, dice.integers(1, 9))) + (", Fine!" if n % 3 else "") for n in range(rows)]
    return pd.DataFrame(
        {"text": ["42", "True", *texts[2:]], "label": np.arange(rows) % 3 > 0, "stars": np.arange(rows) % 5}
    )


class TestTexts:
    @pytest.mark.parametrize("label", ["label", "stars"])
    @pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
    def test_it_has_the_numbers_of_one_in_memory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, label: str
    ):
        table = reviews(200)
        (table.to_csv if name == "a.csv" else table.to_parquet)(tmp_path / name, index=False)
        settings = {"file": str(tmp_path / name), "label": label, "least_count": 3}
        small, large = both(monkeypatch, "text_classification", **settings)
        assert isinstance(large, TextClassification)
        assert isinstance(small.sequences.steps, np.ndarray)
        steps = large.sequences.steps
        assert isinstance(steps, Tokens)
        assert isinstance(steps.points, np.memmap)
        assert_equal(small, large)
        assert (large.words, large.classes) == (small.words, small.classes)
        assert large.references == small.references
        found = [read(task, source) for task, source in ((small, table), (large, str(tmp_path / name)))]
        assert torch.equal(*(each.sequences.padded(np.arange(200))[0] for each in found))
        assert found[1].about["row"].tolist() == list(range(1, 201))

    def test_texts_that_are_all_numbers_are_read_whole(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        rows = "".join(f"0{n % 7},{'ab'[n % 2]}\n" for n in range(100))
        (tmp_path / "a.csv").write_text(f"text,label\n{rows}")
        small, large = both(monkeypatch, "text_classification", file=str(tmp_path / "a.csv"))
        assert set(large.words) == {"", *"0123456"}
        assert_equal(small, large)
        assert stored(tmp_path) == set()
        found = read(large, str(tmp_path / "a.csv")).sequences.padded(np.arange(9))[0]
        assert torch.equal(found, read(small, pd.read_csv(tmp_path / "a.csv")).sequences.padded(np.arange(9))[0])

    def test_what_is_wrong_in_a_later_piece(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(mapped, "MAPPED_FROM", 1)
        path, table = tmp_path / "a.csv", reviews(200).astype(object)
        for column, value, message in (
            ("text", "\t", "`text` must have a word in every row, and row 151 has none"),
            ("text", None, "`text` must have a value in every row, and row 151 has none"),
            ("label", None, "`label` must have a value in every row, and row 151 has none"),
            ("text", "a " * 50, "`max_length` must be null or >= 50, the words of row 151, got 20"),
        ):
            wrong = table.copy()
            wrong.loc[150, column] = value
            wrong.to_csv(path, index=False)
            with pytest.raises(ValueError, match=f"^{message}$"):
                make("text_classification", file=str(path), max_length=20)
        assert {each.suffix for each in stored(tmp_path)} == {".npy", ".parquet"}, "of the last one alone"
        assert len(stored(tmp_path)) == 3

    def test_memory_does_not_grow_with_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """Of the same number of texts, whose words are more."""
        monkeypatch.setattr(mapped, "MAPPED_FROM", 1)
        monkeypatch.setattr(mapped, "PORTION", 1 << 12)
        most = {}
        for times in (20, 200):
            table = reviews(120)
            table["text"] = (table["text"] + " ") * times
            table.to_csv(tmp_path / "a.csv")
            tracemalloc.start()
            task = make("text_classification", file=str(tmp_path / "a.csv"))
            assert task.fingerprint
            most[times] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert most[200] < 2 * most[20], most


@pytest.mark.parametrize("task", ["series", "sequence_classification", "text_classification"])
def test_a_run_is_the_same_run(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str):
    words = {
        "series": ("task=series", f"task.file={tmp_path / 'a.csv'}", "task.target=y", "task.columns=[n]"),
        "sequence_classification": ("task=sequence_classification", f"task.file={TABLE}", "task.step=step"),
        "text_classification": ("task=text_classification",),
    }[task]
    monkeypatch.setattr(mapped, "PORTION", 1 << 15)
    series(500).to_csv(tmp_path / "a.csv")
    made = []
    for limit, place in ((1 << 40, "small"), (1, "large")):
        monkeypatch.setattr(mapped, "MAPPED_FROM", limit)
        made.append(bench.beside(place).one(*words))
    assert len(stored(tmp_path)) == (3 if task == "text_classification" else 2)
    assert made[0].run_id == made[1].run_id
    assert made[0].metrics == made[1].metrics
    for one, other in zip(*(each.task_facts["references"].values() for each in made), strict=True):
        assert one == pytest.approx(other, rel=1e-4)
