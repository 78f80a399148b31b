"""What each task on a data set computes."""

from __future__ import annotations

import itertools
import math
import shutil
import sys
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from sklearn.datasets import load_digits

from bench.training.rng import generator
from docs import sentiment_grammar
from tasks.character_model import CharacterModel
from tasks.data_set import SPLITS
from tasks.digits import IDX_FILES, Digits
from tasks.forecast import Forecast
from tasks.mapped import FOLDER
from tasks.ngrams import NGram
from tasks.sequence_classification import SequenceClassification
from tasks.text_classification import TextClassification
from tasks.texts import Tokens
from tests.conftest import ROOT, TINY, spec_of
from tests.data_made import TABLE, all_of, content, make, mnist


class TestClassification:
    @pytest.mark.parametrize("target", ["digit", "parity"])
    def test_scores_against_sklearn(self, target: str):
        task = make("digits", target=target)
        batch = all_of(task, "test")
        outputs = 2 * torch.randn(1, task.size("test"), task.output_size, generator=generator("probe", 0))
        truth = batch.targets[0].numpy()
        logits = outputs[0]
        chances = torch.cat((1 - logits.sigmoid(), logits.sigmoid()), 1) if target == "parity" else logits.softmax(-1)
        found = {name: float(each.mean()) for name, each in task.scores(outputs, batch).items()}
        found |= task.set_scores(outputs, batch.targets)
        guessed = chances.argmax(1).numpy()
        area = sklearn_metrics.roc_auc_score(
            truth, chances[:, 1] if target == "parity" else chances.double() / chances.double().sum(1, keepdim=True),
            multi_class="ovr",
        )  # fmt: skip
        assert found == pytest.approx({
            "loss": sklearn_metrics.log_loss(truth, chances.double() / chances.double().sum(1, keepdim=True)),
            "accuracy": (guessed == truth).mean(),
            "auroc": area,
            "macro_f1": sklearn_metrics.f1_score(truth, guessed, average="macro"),
        }, rel=1e-5)  # fmt: skip

    def test_the_baseline_knows_the_frequencies_alone(self):
        task = make("digits")
        assert isinstance(task, Digits)
        frequencies = np.bincount(task.labels[task.splits["train"]]) / task.size("train")
        truth = task.labels[task.splits["test"]]
        assert task.baselines["accuracy"] == pytest.approx((truth == frequencies.argmax()).mean())
        assert task.baselines["loss"] == pytest.approx(-np.log(frequencies[truth]).mean())
        assert task.baselines["auroc"] == pytest.approx(0.5)

    def test_what_knows_no_order_falls_short_where_order_counts(self):
        linear = make("text_classification").references["linear on the mean input"]["accuracy"]
        assert 0.5 < linear < 0.8, "the grammar turns words round"
        assert 0.5 < make("digits").references["linear on the mean input"]["accuracy"] < 0.6, "the mean of the rows"

    def test_every_class_has_its_share_of_every_split(self):
        task = make("digits")
        assert isinstance(task, Digits)
        for split, share in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
            counts = np.bincount(task.labels[task.splits[split]])  # type: ignore[index]
            assert counts == pytest.approx(share * np.bincount(task.labels), abs=1)
        everywhere = np.concatenate(list(task.splits.values()))
        assert sorted(everywhere.tolist()) == list(range(1797))

    def test_the_sentences_that_come_with_the_package_are_the_grammars(self):
        assert (ROOT / "tasks" / "files" / "sentiment.csv").read_text(encoding="utf-8") == sentiment_grammar.table()

    def test_words(self, tmp_path: Path):
        (tmp_path / "a.csv").write_text("text,label\n" + "".join(f'"It\'s good, x{n}.",{n % 2}\n' for n in range(20)))
        task = make("text_classification", file=str(tmp_path / "a.csv"), test=0.3, validation=0.2, least_count=2)
        assert isinstance(task, TextClassification)
        assert task.words == ("", ",", ".", "good", "it's")
        assert content(task.take("test", torch.tensor([0])))[0][:-1] == (4, 3, 1, 0, 2)

    def test_columns_are_standardised_by_the_training_split(self):
        task = make("sequence_classification")
        assert isinstance(task, SequenceClassification)
        steps = np.concatenate([task.sequences[number] for number in task.splits["train"].tolist()])
        assert steps.mean(0) == pytest.approx([0, 0], abs=1e-6)
        assert steps.std(0) == pytest.approx([1, 1], abs=1e-6)
        table = pd.read_csv(TABLE)
        assert task.sequences.lengths.tolist() == table.groupby("sequence", sort=False).size().tolist()


class TestDigits:
    def test_orders_show_the_same_pixels(self):
        rows, pixels, permuted = (
            make("digits", order=order).take("test", torch.arange(3)) for order in ("rows", "pixels", "permuted")
        )
        assert (rows.inputs.shape, pixels.inputs.shape) == ((8, 3, 8), (64, 3, 1))
        assert torch.equal(rows.inputs[2, 1], pixels.inputs[16:24, 1, 0])
        assert not torch.equal(pixels.inputs, permuted.inputs)
        assert torch.equal(pixels.inputs.sort(0).values, permuted.inputs.sort(0).values)
        task = make("digits")
        assert isinstance(task, Digits)
        images = load_digits().images[task.splits["test"][:3]] / 16  # type: ignore[attr-defined]
        assert rows.inputs.movedim(0, 1).numpy() == pytest.approx(images)

    @pytest.mark.parametrize("packed", [True, False])
    def test_mnist_from_its_files(self, tmp_path: Path, packed: bool):
        images = mnist(tmp_path / "MNIST" / "raw", packed=packed)
        task = make("digits", images="mnist", folder=str(tmp_path), test=None)
        assert [task.size(split) for split in SPLITS] == [180, 20, 30]
        batch = all_of(task, "test")
        assert batch.inputs.shape == (28, 30, 28)
        assert batch.inputs.movedim(0, 1).numpy() == pytest.approx(images["test"] / 255)
        assert batch.targets[0].tolist() == [number % 10 for number in range(30)]
        trained = {
            row.tobytes()
            for split in ("train", "validation")
            for row in all_of(task, split).inputs.movedim(0, 1).numpy()
        }
        assert trained == {(image / 255).astype(np.float32).tobytes() for image in images["train"]}

    def test_another_place_is_the_same_run_and_other_pixels_are_not(self, tmp_path: Path):
        words = (*TINY, "task=digits", "task.images=mnist", "task.test=null")
        for name, seed in (("one", 0), ("two", 0), ("other", 1)):
            mnist(tmp_path / name, seed=seed)
        ids = [spec_of(*words, f"task.folder={tmp_path / name}").run_id for name in ("one", "two", "other")]
        assert ids[0] == ids[1] != ids[2]
        assert spec_of(*TINY, "task=digits").run_id not in ids

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda folder: shutil.rmtree(folder), "must have train-images-idx3-ubyte and the other files of MNIST, got"),
            (lambda folder: (folder / IDX_FILES["test"][1]).unlink(), "which lacks t10k-labels-idx1-ubyte"),
            (lambda folder: (folder / IDX_FILES["train"][0]).write_bytes(b"\0\0\x08\x03"), "an IDX file of 3 dimensions"),
            (lambda folder: shutil.copy(folder / IDX_FILES["test"][1], folder / IDX_FILES["train"][1]), "as many labels"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_with_the_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], Any], message: str
    ):
        monkeypatch.setenv(FOLDER, str(tmp_path / "data"))
        mnist(tmp_path / "raw")
        damage(tmp_path / "raw")
        with pytest.raises(ValueError, match=message):
            make("digits", images="mnist", folder=str(tmp_path), test=None)
        assert not (tmp_path / "data").exists()

    def test_files_are_fetched_into_the_folder_for_data_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        asked: list[str] = []

        def fetch(root: str, download: bool) -> None:
            asked.append(root)
            mnist(Path(root) / "MNIST" / "raw")

        monkeypatch.setenv(FOLDER, str(tmp_path / "data"))
        monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
        monkeypatch.setitem(sys.modules, "torchvision.datasets", types.SimpleNamespace(MNIST=fetch))  # type: ignore[arg-type]
        for _ in range(2):
            made = make("digits", images="mnist", folder=str(tmp_path / "another's"), test=None)
            assert made.size("test") == 30
        assert asked == [str(tmp_path / "data" / "mnist")], "once"
        assert not (tmp_path / "another's").exists()


def tokens(*numbers: int) -> Tokens:
    return Tokens(np.array(numbers), np.arange(max(numbers) + 1))


class TestCharacters:
    def test_windows_and_what_follows_them(self, tmp_path: Path):
        text = "abcdefghij" * 30
        (tmp_path / "a.txt").write_text(text + "!")
        task = make("character_model", file=str(tmp_path / "a.txt"), window=4, stride=5, validation=0.1, test=0.1)
        assert isinstance(task, CharacterModel)
        assert task.characters == ("", *"abcdefghij")
        batch = task.take("train", torch.tensor([1, 0]))
        assert [content(batch)[0], content(batch)[1]] == [(6, 7, 8, 9, 10), (1, 2, 3, 4, 5)]
        assert task.parts["test"][-1:] == [0], "a character that the training part does not have"
        every = make("character_model", file=str(tmp_path / "a.txt"), window=4, readout="every", solved_bits=1.0)
        assert every.take("train", torch.tensor([0])).targets[:, 0].tolist() == [2, 3, 4, 5]

    def test_the_baseline_is_that_of_the_frequencies(self):
        task = make("character_model")
        assert isinstance(task, CharacterModel)
        counts = Counter(task.parts["train"][:].tolist())
        total = counts.total() + task.output_size
        asked = all_of(task, "test").targets[-1].tolist()
        nats = -sum(math.log((counts[each] + 1) / total) for each in asked) / len(asked)
        assert task.baselines["loss"] == pytest.approx(nats)
        assert task.baselines["bits"] == pytest.approx(nats / math.log(2))

    def test_n_grams(self):
        """By hand: after a, b came twice and c once, in the text a b a b a c."""
        found = NGram(tokens(0, 1, 0, 1, 0, 2), 2, 4)
        unigram = (np.array([3, 2, 1, 0]) + 3 / 4) / 9
        assert found.probabilities(()) == pytest.approx(unigram)
        assert found.probabilities((0,)) == pytest.approx((np.array([0, 2, 1, 0]) + 2 * unigram) / 5)
        assert found.probabilities((3,)) == pytest.approx(unigram), "never seen"
        longer = NGram(tokens(0, 1, 0, 1, 0, 2), 3, 4)
        for context in itertools.product(range(4), repeat=2):
            assert longer.probabilities(context).sum() == pytest.approx(1)
            assert longer.probabilities(context, 2) == pytest.approx(found.probabilities(context))

    def test_more_context_helps(self):
        bits = [scores["bits"] for scores in make("character_model").references.values()]
        assert bits == sorted(bits, reverse=True)
        assert bits[0] < make("character_model").baselines["bits"]

    def test_the_text_of_every_machine(self):
        task = CharacterModel(
            file="python", window=40, stride=3, readout="last", validation=0.05, test=0.05, solved_bits=2.5
        )
        assert sum(map(len, task.parts.values())) > 400_000


class TestForecast:
    def test_windows_are_relative_to_their_last_value(self):
        task = make("forecast")
        assert isinstance(task, Forecast)
        series = pd.read_csv(ROOT / "tasks" / "files" / "co2.csv").ppm.to_numpy()
        steps = np.diff(series[: round(len(series) * 0.65)])
        assert task.scale == pytest.approx(steps.std())
        batch = task.take("train", torch.tensor([3]))
        assert batch.inputs[:, 0, 0].numpy() == pytest.approx((series[3:27] - series[26]) / steps.std(), rel=1e-5)
        assert batch.targets[0, 0].numpy() == pytest.approx((series[27:39] - series[26]) / steps.std(), rel=1e-5)
        last = all_of(task, "test").targets[0, -1].numpy() * task.scale + series[-13]
        assert last == pytest.approx(series[-12:], rel=1e-6)

    def test_no_part_forecasts_what_another_one_does(self):
        task = make("forecast")
        assert isinstance(task, Forecast)
        ends = [(first[0], first[-1] + task.horizon) for first in task.firsts.values()]
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(ends))

    def test_the_seasonal_forecast_has_a_mase_near_one_and_the_scores_are_right(self):
        task = make("forecast", horizon=3)
        assert isinstance(task, Forecast)
        series, first = task.values, np.array(task.firsts["test"])
        error = np.abs(series[first[:, None] + np.arange(3)] - series[first[:, None] + np.arange(3) - 12])
        found = task.references["one season before"]
        assert found["mae"] == pytest.approx(error.mean(), rel=1e-4)
        assert found["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-4)
        trained = series[: task.firsts["validation"][0]]
        assert found["mase"] == pytest.approx(error.mean() / np.abs(trained[12:] - trained[:-12]).mean(), rel=1e-4)
        assert task.baselines["mae"] == pytest.approx(
            np.abs(series[first[:, None] + np.arange(3)] - series[first - 1][:, None]).mean(), rel=1e-4
        )
        assert task.references["linear autoregression"]["mase"] < 0.5 < found["mase"]

    def test_further_columns_and_a_file_of_ones_own(self, tmp_path: Path):
        table = pd.DataFrame({"y": np.sin(np.arange(200.0)), "z": np.arange(200.0)})
        for name, write in (("a.csv", table.to_csv), ("a.parquet", table.to_parquet)):
            write(tmp_path / name, index=False)
            task = make("forecast", file=str(tmp_path / name), target="y", columns=["z"])
            assert task.take("train", torch.tensor([0])).inputs.shape == (24, 1, 2)
            assert task.input_size == 2
