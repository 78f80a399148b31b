"""What all tasks on data sets promise, and what networks promise them: padding, tokens, carried states."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench.cells import Cell
from bench.config.network import make_cell
from bench.training.data import SequenceData, TrainingStream, select, steps_per_epoch
from bench.training.model import Around, Carried, SequenceModel
from bench.training.rng import generator
from bench.training.settings import DataConfig
from tasks.character_model import CharacterModel
from tasks.data_set import SPLITS, DataSet
from tests.conftest import DATA, TINY, Bench, spec_of
from tests.data_made import all_of, content, make

CPU = torch.device("cpu")


@pytest.fixture(params=DATA)
def task(request: pytest.FixtureRequest) -> DataSet:
    return make(request.param)


def config(**changes: Any) -> DataConfig:
    settings: dict[str, Any] = {
        "batch_size": 8, "train_size": None, "eval_size": None, "test_size": None, "eval_batch_size": 16,
    }  # fmt: skip
    return DataConfig(**(settings | changes))


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
        words = (
            "task=character_model", *DATA["character_model"], "task.readout=every", "task.window=10", "cell=gru",
            "task.stride=10", "optimizer.lr=1e-30", "training.clip_norm=null", "data.carry_state=true",
        )  # fmt: skip
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
