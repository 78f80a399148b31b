"""Tasks on data sets: what all of them promise, what each computes, and what can be wrong with a file."""

from __future__ import annotations

import gzip
import itertools
import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra.utils
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from sklearn import metrics as sklearn_metrics
from sklearn.datasets import load_digits

from bench.cells import Cell
from bench.config.explain import ConfigError
from bench.config.network import make_cell
from bench.training.data import SequenceData, TrainingStream, select, steps_per_epoch
from bench.training.model import Around, Carried, SequenceModel
from bench.training.rng import generator
from bench.training.settings import DataConfig
from docs import sentiment_grammar
from tasks.base import Batch
from tasks.character_model import CharacterModel, NGram
from tasks.data_set import SPLITS, DataSet
from tasks.digits import IDX_FILES, Digits
from tasks.forecast import Forecast
from tasks.sequence_classification import SequenceClassification
from tasks.text_classification import TextClassification
from tests.conftest import DATA, ROOT, TINY, Bench, assert_one_line, composed, spec_of

CPU = torch.device("cpu")
TABLE = ROOT / "tests" / "files" / "sequences.csv"


def make(name: str, **settings: Any) -> DataSet:
    words = dict(word.removeprefix("task.").split("=") for word in DATA[name])
    node = OmegaConf.merge(OmegaConf.load(ROOT / "conf" / "task" / f"{name}.yaml"), words, settings)
    arguments: Any = OmegaConf.to_container(node)
    return hydra.utils.get_class(arguments.pop("_target_"))(**arguments)


@pytest.fixture(params=DATA)
def task(request: pytest.FixtureRequest) -> DataSet:
    return make(request.param)


def config(**changes: Any) -> DataConfig:
    settings: dict[str, Any] = {
        "batch_size": 8, "train_size": None, "eval_size": None, "test_size": None, "eval_batch_size": 16,
    }  # fmt: skip
    return DataConfig(**(settings | changes))


def all_of(task: DataSet, split: Any) -> Batch:
    return task.take(split, torch.arange(task.size(split)))


def content(batch: Batch) -> list[tuple[Any, ...]]:
    """Each sequence of a batch, without its padding, and its target."""
    lengths = batch.lengths.tolist() if batch.lengths is not None else [len(batch.inputs)] * batch.inputs.shape[1]
    return [
        (*batch.inputs[:steps, column].flatten().tolist(), *batch.targets[:, column].flatten().tolist())
        for column, steps in enumerate(lengths)
    ]


class TestContract:
    def test_an_epoch_sees_every_sequence_once_in_an_order_of_its_own(self, task: DataSet):
        size = task.size("train") // 2
        stream = TrainingStream(task, config(train_size=size), seed=3, device=CPU)
        per_epoch = steps_per_epoch(task, config(train_size=size))
        assert per_epoch is not None
        assert per_epoch == math.ceil(size / 8)
        batches = list(itertools.islice(stream, 2 * per_epoch))
        epochs = [
            [each for batch in part for each in content(batch)] for part in (batches[:per_epoch], batches[per_epoch:])
        ]
        whole = content(task.take("train", torch.arange(size)))
        assert Counter(epochs[0]) == Counter(epochs[1]) == Counter(whole)
        assert epochs[0] != epochs[1] != whole
        resumed = TrainingStream(task, config(train_size=size), seed=3, device=CPU, start=per_epoch + 1)
        assert content(next(iter(resumed))) == content(batches[per_epoch + 1])

    def test_evaluation_and_test_see_their_splits_in_order(self, task: DataSet):
        data = SequenceData(task, config(eval_size=20), seed=0, device=CPU)
        seen = [
            [each for batch in part for each in content(batch)]
            for part in (data.val_dataloader(), data.test_dataloader())
        ]
        assert seen[0] == content(all_of(task, "validation"))[:20]
        assert seen[1] == content(all_of(task, "test"))
        assert len(data.test_dataloader()) == math.ceil(task.size("test") / 16)

    def test_the_same_data_has_the_same_fingerprint(self, task: DataSet, request: pytest.FixtureRequest):
        again = make(request.node.callspec.params["task"])
        assert again.fingerprint == task.fingerprint
        for split in SPLITS:
            assert content(all_of(again, split)) == content(all_of(task, split))

    def test_a_sample_is_a_function_of_the_generator_and_has_one_length(self, task: DataSet):
        one, same, other = (task.sample(7, generator("probe", 0, index)) for index in (0, 0, 1))
        assert content(one) == content(same) != content(other)
        lengths = task.lengths("validation")
        assert one.lengths is None
        assert len(one.inputs) == (task.length if lengths is None else int(lengths.median()))
        longer = {row[-len(mine) :] for mine in content(one) for row in content(all_of(task, "validation"))}
        assert set(content(one)) <= longer, "the last steps of sequences of the validation split"

    def test_scores_are_those_of_the_baselines(self, task: DataSet):
        batch = all_of(task, "test")
        outputs = torch.randn(*batch.scored.shape, task.output_size, generator=generator("probe", 0))
        found = task.scores(outputs, batch)
        assert {*found, *task.set_scores(outputs, batch.targets)} == task.baselines.keys() == task.directions.keys()
        assert {task.metric, *task.extra_metrics, "loss"} <= task.baselines.keys()
        torch.testing.assert_close(found["loss"].mean(), task.loss(outputs, batch))
        for scores in task.references.values():
            assert scores.keys() == task.baselines.keys()
        assert not task.solved(task.baselines)

    def test_the_answer_is_scored(self, task: DataSet):
        batch = all_of(task, "validation")
        assert batch.answer.any(0).all()
        assert not (batch.answer & ~batch.scored).any()


class TestPadding:
    @pytest.mark.parametrize("readout", ["last", "mean"])
    @pytest.mark.parametrize(
        ("cell", "engine"), [("lstm", "stepwise"), ("lstm", "native"), ("gru", "generated"), ("lstm", "fused")]
    )
    def test_it_changes_no_number(self, cell: str, engine: str, readout: Any):
        node = spec_of(*TINY, f"cell={cell}").config["cell"]

        def of(inputs: int, units: int) -> Cell:
            return make_cell(node, inputs, units)

        model = SequenceModel(
            of, input_size=2, output_size=1, hidden_size=5, layers=2, dropout=0.0, readout=readout, engine=engine,
            around=Around(head=(4,)),
        )  # fmt: skip
        model.reset_parameters(generator("init", 0), 5, "torch")
        task = make("sequence_classification")
        batch = task.take("train", torch.arange(9))
        assert batch.lengths is not None
        outputs = model(batch.inputs, lengths=batch.lengths)
        outputs.square().sum().backward()
        together = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
        model.zero_grad()
        alone = []
        for number in range(9):
            one = task.take("train", torch.tensor([number]))
            assert one.lengths is None
            alone.append(model(one.inputs))
            alone[-1].square().sum().backward()
        torch.testing.assert_close(outputs, torch.cat(alone, dim=1), rtol=1e-5, atol=1e-6)
        apart = [weight.grad for weight in model.parameters() if weight.grad is not None]
        torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-6)

    def test_bucketing_puts_like_lengths_together(self):
        task = make("text_classification")
        for bucketing in (False, True):
            stream = TrainingStream(task, config(bucketing=bucketing), seed=0, device=CPU)
            batches = list(itertools.islice(stream, steps_per_epoch(task, config())))
            steps = sum(batch.inputs.shape[0] * batch.inputs.shape[1] for batch in batches)
            real = sum(len(sequence) - 1 for batch in batches for sequence in content(batch))
            assert Counter(each for batch in batches for each in content(batch)) == Counter(
                content(all_of(task, "train"))
            )
            assert (steps / real < 1.1) == bucketing

    def test_select_keeps_lengths(self):
        batch = make("sequence_classification").take("train", torch.arange(6))
        assert content(select(batch, torch.tensor([4, 1]))) == [content(batch)[4], content(batch)[1]]


def test_a_token_is_an_input_of_its_own_or_a_learned_vector():
    node = spec_of(*TINY, "cell=gru").config["cell"]
    tokens = torch.randint(6, (7, 3), generator=generator("probe", 0))

    def model(tokens: int | None, embedding: int | None) -> SequenceModel:
        found = SequenceModel(
            lambda inputs, units: make_cell(node, inputs, units), input_size=6, output_size=2, hidden_size=4, layers=1,
            dropout=0.0, readout="every", engine="native", around=Around(tokens=tokens, embedding=embedding),
        )  # fmt: skip
        found.reset_parameters(generator("init", 0), 5, "torch")
        return found

    of_vectors = model(None, None)(F.one_hot(tokens, 6).float())
    torch.testing.assert_close(model(6, None)(tokens), of_vectors, rtol=0, atol=0)
    learned = model(6, 3)
    assert learned.embedding is not None
    vectors = learned.embed(tokens)
    assert torch.equal(vectors[2, 1], learned.embedding[tokens[2, 1]])
    learned(tokens).sum().backward()
    assert learned.embedding.grad is not None
    assert (learned.embedding.grad.abs().sum(1) > 0).tolist() == [token in tokens for token in range(6)]


def small_model(cell: str, **settings: Any) -> SequenceModel:
    node = spec_of(*TINY, f"cell={cell}").config["cell"]
    sizes: dict[str, Any] = {
        "input_size": 2, "output_size": 1, "hidden_size": 5, "layers": 2, "dropout": 0.0, "readout": "last",
        "engine": "native",
    }  # fmt: skip
    found = SequenceModel(lambda inputs, units: make_cell(node, inputs, units), **(sizes | settings))
    found.reset_parameters(generator("init", 0), 5, "torch")
    return found


def test_two_directions_are_torchs():
    model = small_model("lstm", around=Around(bidirectional=True))
    theirs = torch.nn.LSTM(2, 5, num_layers=2, bidirectional=True)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    for end, cells in (("", model.cells), ("_reverse", model.backward_cells)):
        for layer, cell in enumerate(cells):
            for name in names:
                getattr(theirs, f"{name}_l{layer}{end}").data.copy_(getattr(cell, name))
    batch = make("sequence_classification").take("train", torch.arange(9))
    assert batch.lengths is not None
    packed = torch.nn.utils.rnn.pack_padded_sequence(batch.inputs, batch.lengths, enforce_sorted=False)
    _, (hidden, _) = theirs(packed)
    expected = model.readout_layer(torch.cat((hidden[-2], hidden[-1]), dim=-1))
    found = model(batch.inputs, lengths=batch.lengths)
    torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=1e-6)


class TestCarriedState:
    def test_pieces_are_the_whole(self):
        model, carried = small_model("lstm", readout="every"), Carried()
        inputs = torch.randn(12, 3, 2, generator=generator("probe", 0))
        pieces = [model(part, carried=carried) for part in inputs.split(5)]
        torch.testing.assert_close(torch.cat(pieces), model(inputs), rtol=1e-5, atol=1e-6)
        assert carried.states is not None
        assert not any(part.requires_grad for state in carried.states for part in state)

    def test_each_lane_is_one_text(self):
        task = make("character_model", window=10, stride=10, readout="every")
        assert isinstance(task, CharacterModel)
        settings = config(batch_size=4, carry_state=True)
        epoch = steps_per_epoch(task, settings)
        batches = list(itertools.islice(TrainingStream(task, settings, seed=0, device=CPU), epoch))
        for lane in range(4):
            shown = torch.cat([batch.inputs[:, lane] for batch in batches])
            assert shown.tolist() == task.parts["train"][lane * len(shown) :][: len(shown)].tolist()
        data = SequenceData(task, settings, seed=0, device=CPU).val_dataloader()
        assert len(data) == task.size("validation"), "one lane, as there are not 20 windows for two"

    def test_a_step_goes_on_where_the_last_one_ended_and_an_epoch_begins_anew(self, bench: Bench):
        words = ("task=character_model", *DATA["character_model"], "task.readout=every", "task.window=10",
                 "task.stride=10", "optimizer.lr=1e-30", "cell=gru", "training.clip_norm=null", "data.carry_state=true")  # fmt: skip
        spec = spec_of(*TINY, *words, "data.batch_size=2", "data.train_size=6")
        made = bench.one(*words, "data.batch_size=2", "data.train_size=6")
        losses = bench.curves(made)["train_loss"]
        assert losses[:3] == pytest.approx(losses[3:], rel=1e-6), "three steps an epoch, at no learning rate"
        model, task = spec.network.model(0), spec.task
        assert isinstance(task, CharacterModel)
        text = torch.from_numpy(task.parts["train"][:61].astype(np.int64))
        lanes = torch.stack((text[:30], text[30:60]), 1)
        asked = torch.stack((text[1:31], text[31:61]), 1)
        whole = F.cross_entropy(model(lanes).flatten(0, 1), asked.flatten(), reduction="none").view(3, -1).mean(1)
        assert losses[:3] == pytest.approx(whole.tolist(), rel=1e-5)


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
    def test_what_is_wrong_with_the_files(self, tmp_path: Path, damage: Callable[[Path], Any], message: str):
        mnist(tmp_path / "raw")
        damage(tmp_path / "raw")
        with pytest.raises(ValueError, match=message):
            make("digits", images="mnist", folder=str(tmp_path), test=None)


def mnist(folder: Path, *, packed: bool = False, seed: int = 0) -> dict[str, np.ndarray]:
    """Write small files as MNIST's, and return their images."""
    folder.mkdir(parents=True)
    dice, found = np.random.default_rng(seed), {}
    for split, count in (("train", 200), ("test", 30)):
        found[split] = dice.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        for name, numbers in zip(IDX_FILES[split], (found[split], np.arange(count, dtype=np.uint8) % 10), strict=True):
            head = bytes((0, 0, 8, numbers.ndim)) + b"".join(size.to_bytes(4, "big") for size in numbers.shape)
            text = head + numbers.tobytes()
            (folder / f"{name}{'.gz' if packed else ''}").write_bytes(gzip.compress(text) if packed else text)
    return found


class TestCharacters:
    def test_windows_and_what_follows_them(self, tmp_path: Path):
        text = "abcdefghij" * 30
        (tmp_path / "a.txt").write_text(text + "!")
        task = make("character_model", file=str(tmp_path / "a.txt"), window=4, stride=5, validation=0.1, test=0.1)
        assert isinstance(task, CharacterModel)
        assert task.characters == ("", *"abcdefghij")
        batch = task.take("train", torch.tensor([1, 0]))
        assert [content(batch)[0], content(batch)[1]] == [(6, 7, 8, 9, 10), (1, 2, 3, 4, 5)]
        assert task.parts["test"][-1] == 0, "a character that the training part does not have"
        every = make("character_model", file=str(tmp_path / "a.txt"), window=4, readout="every", solved_bits=1.0)
        assert every.take("train", torch.tensor([0])).targets[:, 0].tolist() == [2, 3, 4, 5]

    def test_the_baseline_is_that_of_the_frequencies(self):
        task = make("character_model")
        assert isinstance(task, CharacterModel)
        counts = Counter(task.parts["train"].tolist())
        total = counts.total() + task.output_size
        asked = all_of(task, "test").targets[-1].tolist()
        nats = -sum(math.log((counts[each] + 1) / total) for each in asked) / len(asked)
        assert task.baselines["loss"] == pytest.approx(nats)
        assert task.baselines["bits"] == pytest.approx(nats / math.log(2))

    def test_n_grams(self):
        """By hand: after a, b came twice and c once, in the text a b a b a c."""
        found = NGram(np.array([0, 1, 0, 1, 0, 2]), 2, 4)
        unigram = (np.array([3, 2, 1, 0]) + 3 / 4) / 9
        assert found.probabilities(()) == pytest.approx(unigram)
        assert found.probabilities((0,)) == pytest.approx((np.array([0, 2, 1, 0]) + 2 * unigram) / 5)
        assert found.probabilities((3,)) == pytest.approx(unigram), "never seen"
        longer = NGram(np.array([0, 1, 0, 1, 0, 2]), 3, 4)
        for context in itertools.product(range(4), repeat=2):
            assert longer.probabilities(context).sum() == pytest.approx(1)

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
        ends = [(first.min(), first.max() + task.horizon) for first in task.firsts.values()]
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(ends))

    def test_the_seasonal_forecast_has_a_mase_near_one_and_the_scores_are_right(self):
        task = make("forecast", horizon=3)
        assert isinstance(task, Forecast)
        series, first = task.values, task.firsts["test"]
        error = np.abs(series[first[:, None] + np.arange(3)] - series[first[:, None] + np.arange(3) - 12])
        found = task.references["one season before"]
        assert found["mae"] == pytest.approx(error.mean(), rel=1e-4)
        assert found["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-4)
        trained = series[: task.firsts["validation"].min()]
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


WRONG: dict[str, tuple[str, str | bytes | None, dict[str, Any], str]] = {
    # the task, the content of its file, other settings, and what is said
    "missing": ("forecast", None, {}, r"`file` must be a file, or one of co2, sentiment, sunspots, got '.*', which is not there"),
    "empty": ("forecast", "", {}, "`file` must be a table, got '.*', which is empty"),
    "no rows": ("forecast", "ppm\n", {}, "`file` must be a table with rows, got '.*', which has none"),
    "one row": ("forecast", "ppm\n3\n", {}, "`window` must leave a forecast of 12 in every part, and train of 1 rows has none, got 24"),
    "no table": ("forecast", "a,b\n1,2,3\n4\n", {}, "`file` must have as many names as values in a row"),
    "noise": ("forecast", bytes(range(256)), {}, "`file` must be"),
    "no UTF-8": ("sequence_classification", "sequence,label,x\né,a,1\n".encode("latin-1"), {}, "`file` must be text in UTF-8, got '.*', whose byte 17 is 0xe9"),
    "no column": ("forecast", "a,b\n1,2\n", {}, r"`target` must be a column of the file \(a, b\), got 'ppm'"),
    "NaN": ("forecast", "ppm\n1\n\n2\nnan\n", {}, "`target` must have a finite number in every row, and ppm of row 3 has 'nan'"),
    "a word": ("forecast", "ppm\n1\nmany\n", {}, "`target` must have a finite number in every row, and ppm of row 2 has 'many'"),
    "more values than names": ("forecast", "month,ppm\n0,100,25\n1,101,25\n", {}, "`file` must have as many names as values in a row"),
    "season": ("forecast", "ppm\n1\n", {"season": 99}, r"`season` must be <= window \(24\), got 99"),
    "a gap": ("sequence_classification", "sequence,step,x,label\na,0,1,u\na,2,1,u\nb,0,2,d\n", {}, "`step` must go up by 1 within a sequence, and that of 'a' goes from 0 to 2"),
    "one class": ("sequence_classification", "sequence,step,x,label\na,0,1,u\nb,0,2,u\n", {}, "`label` must have two classes at least, and label has 'u' alone"),
    "changing label": ("sequence_classification", "sequence,step,x,label\na,0,1,u\na,1,1,d\nb,0,2,d\n", {}, "`label` must be the same in all rows of a sequence, and that of 'a' changes"),
    "no label": ("sequence_classification", "sequence,step,x,label\na,0,1,u\nb,0,2,\n", {}, "`label` must have a value in every row, and row 2 has none"),
    "no numbers": ("sequence_classification", "sequence,step,label\na,0,u\nb,0,d\n", {}, "`columns` must name a column of numbers at least, and the file has no other ones"),
    "too long": ("sequence_classification", "sequence,step,x,label\na,0,1,u\na,1,1,u\nb,0,2,d\n", {"max_length": 1}, "`max_length` must be null or >= 2, the steps of 'a', got 1"),
    "unseen label": ("sequence_classification", "sequence,step,x,label\n" + "".join(f"{n},0,1,{'rare' if n == 0 else 'u'}\n" for n in range(20)), {"test": 0.6}, "every class must be in the training split, and 'rare' is not"),
    "few": ("sequence_classification", "sequence,step,x,label\na,0,1,u\nb,0,2,d\n", {}, "`(test|validation)` must leave every split one of the 2 sequences, got 0.2"),
    "an empty text": ("text_classification", 'text,label\n"  ",a\nb,b\n', {}, "`text` must have a word in every row, and row 1 has none"),
    "a long text": ("text_classification", "text,label\na b c,a\nb,b\n", {"max_length": 2}, "`max_length` must be null or >= 3, the words of row 1, got 2"),
    "short text": ("character_model", "too short", {}, "`window` must be shorter than each part of the text, and train has 8 characters, got 40"),
    "empty text": ("character_model", "", {}, "`file` must be a text, got '.*', which is empty"),
    "no text": ("character_model", b"\xff\xfe", {}, "`file` must be text in UTF-8, got '.*', whose byte 0 is 0xff"),
    "no shares": ("text_classification", "text,label\na,a\nb,b\n", {"validation": 0.7, "test": 0.3}, r"`validation` must be < 1 together with test \(0.3\), got 0.7"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, name: str):
    task, text, settings, message = WRONG[name]
    path = tmp_path / "mine.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as caught:
        make(task, file=str(path), **settings)
    assert "\n" not in str(caught.value)


class TestCommandLine:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("task=sequence_classification",), "task.file must be given, got ???"),
            (("task=forecast", "task.file=gone.csv"), "task.file must be a file, or one of co2, sentiment, sunspots, "
             "got 'gone.csv', which is not there"),
            (("task=digits", "task.images=mnist", "task.test=null"), "task.folder must be given for mnist, got null"),
            (("task=digits", "data.train_size=5000"), "data.train_size must be null or <= 1258, the training split, got 5000"),
            (("task=digits", "data.bucketing=true"), "data.bucketing must be false where all sequences have one length, got true"),
            (("task=character_model", "data.carry_state=true"), "data.carry_state must be false where sequences do not follow on one another, got true"),
            (("model.bidirectional=true", "probe=flow"), "model.bidirectional must be false where the probes are on (probe=none), got true"),
            (("task=copy_memory", "model.bidirectional=true"), "model.bidirectional must be false where every step is answered, got true"),
            (("data.eval_size=null",), "data.eval_size must be given for a task that draws its sequences, got null"),
            (("training.max_steps=null", "training.max_epochs=3"), "training.max_epochs must be null where every step has new sequences, got 3"),
            (("training.eval_every=null",), "training.eval_every must be given where every step has new sequences, got null"),
            (("task=digits", "training.max_epochs=3", "training.max_steps=6"), "training.max_steps must be null where "
             "max_epochs is given, as 3 epochs have 945 steps, got 6"),
            (("model.embedding=3",), "model.embedding must be null for a task whose inputs are no tokens, got 3"),
            (("model.head=[0]",), "model.head must be a list of sizes >= 1, got [0]"),
            (("model.head_activation=gelu",), "model.head_activation must be one of relu, tanh, got 'gelu'"),
            (("model.input_dropout=1",), "model.input_dropout must be >= 0 and < 1, got 1.0"),
            (("training.schedule=step",), "training.decay_every must be given where schedule is step, got null"),
            (("training.decay=0.5",), "training.decay must be null where schedule is constant, got 0.5"),
            (("training.warm_up_steps=7",), "training.warm_up_steps must be <= max_steps (6), got 7"),
            (("training.tested_weights=first",), "training.tested_weights must be one of last, best, got 'first'"),
        ],
    )  # fmt: skip
    def test_bad_input(self, words: tuple[str, ...], message: str):
        with pytest.raises(ConfigError) as caught:
            spec_of(*TINY, *words)
        assert str(caught.value) == message

    def test_another_place_is_the_same_run(self, tmp_path: Path):
        shutil.copy(TABLE, tmp_path / "elsewhere.csv")
        words = (*TINY, "task=sequence_classification", "task.step=step")
        one, other = (spec_of(*words, f"task.file={path}") for path in (TABLE, tmp_path / "elsewhere.csv"))
        assert one.run_id == other.run_id
        (tmp_path / "elsewhere.csv").write_text(TABLE.read_text().replace("0.", "0.1", 1))
        assert spec_of(*words, f"task.file={tmp_path / 'elsewhere.csv'}").run_id != one.run_id

    @pytest.mark.parametrize("name", DATA)
    def test_a_run_of_each_and_its_replay(self, bench: Bench, name: str):
        words = (f"task={name}", *DATA[name], "training.max_steps=null", "training.max_epochs=1", "data.train_size=10",
                 "probe=flow", "task.validation=0.2")  # fmt: skip
        made = bench.one(*words)
        assert (made.status, made.steps) == ("completed", 3)
        assert made.config["training"]["max_steps"] == 3
        assert set(made.metrics["test"]) == set(made.task_facts["baselines"])
        assert all(math.isfinite(value) for value in made.metrics["test"].values() if value is not None)
        flow = bench.probes(made)["flow"]
        assert {row[0] for row in flow} == {repr(0), repr(3)}
        replayed = bench.call("replay", str(bench.folder(made)))
        assert (replayed.code, "equal" in replayed.out) == (0, True), replayed.err
        table = bench.call("table", str(bench.results)).out
        for reference in made.task_facts["references"]:
            assert f"On the same test set, {reference}:" in " ".join(table.split())
        assert made.code["numerics"]["data"] == spec_of(*TINY, *words).code["numerics"]["data"]

    def test_bench_run_says_it_too(self, bench: Bench):
        outcome = bench.run("task=forecast", "task.target=price")
        assert_one_line(outcome, "run", "task.target must be a column of the file (month, ppm), got 'price'")
        assert composed("task=forecast")[0].task.file == "co2"
