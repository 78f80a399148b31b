"""Weights and predictions beside a record, and trained networks on new inputs, read as those of the training are."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

import bench as package
from bench.records.read import check_record, find_records, read_predictions, read_record
from bench.records.record import PREDICTIONS_FILE, RECORD_FILE, WEIGHTS_FILE, DamagedRecordError, Record
from bench.records.series import CLASSES
from bench.runs.keeping import ENTRY, WeightsError
from bench.runs.trained import TrainedModel, load_model
from bench.training.scores import Scores
from tasks.character_model import CharacterModel
from tasks.classification import Classification
from tasks.data_set import DataSet
from tasks.forecast import Forecast
from tests.conftest import DATA, ROOT, TINY, Bench, assert_one_line, documented_cell, spec_of

KEEP = ("training.keep_weights=true", "training.keep_predictions=true")
FILES = ROOT / "tests" / "files"


def trained(bench: Bench, task: str, *overrides: str) -> tuple[DataSet, Record, TrainedModel]:
    """A task, the record of a run of it that has kept all, and its network."""
    words = (f"task={task}", *DATA[task], *KEEP, *overrides)
    made = bench.ready(*words)
    found = spec_of(*TINY, *words).task
    assert isinstance(found, DataSet)
    return found, made, load_model(bench.folder(made))


def outputs_of(task: DataSet, model: TrainedModel, count: int = 8) -> tuple[torch.Tensor, Any]:
    batch = task.take("test", torch.arange(count))
    with torch.no_grad():
        return model.network(batch.inputs, lengths=batch.lengths), batch


VARIANTS = {
    "character_model": ("task.readout=every", "model.embedding=3"),
    "digits": ("task.order=permuted", "cell=lstm", "model.layers=2", "model.dropout=0.2"),
    "series": ("task.horizon=2", "task.season=12"),
    "forecast": ("task.file=sunspots", "task.target=number", "task.columns=[year]", "task.horizon=3"),
    "sequence_classification": ("task.readout=mean", "model.head=[3]", "cell=rnn"),
    "text_classification": ("model.embedding=5", "training.tested_weights=best", "training.eval_every=2"),
}


@pytest.mark.parametrize("varied", [False, True], ids=["plain", "varied"])
@pytest.mark.parametrize("name", DATA)
def test_the_network_is_the_one_that_was_tested(bench: Bench, name: str, varied: bool):
    task, made, model = trained(bench, name, *(VARIANTS[name] if varied else ()))
    outputs, batch = outputs_of(task, model)
    scores = Scores(task.scores(outputs, batch), torch.device("cpu"), task.set_scores)
    scores.add(task.scores(outputs, batch))
    if task.set_metrics:
        scores.keep(outputs, batch.targets)
    assert scores.collect() == pytest.approx(made.metrics["test"], rel=1e-6)
    # The table has the same, in the words of the data.
    table = read_predictions(bench.folder(made))
    told = task.told(0, outputs, batch.targets)
    assert table is not None
    assert told is not None
    assert table.column_names == list(told)
    assert table.column_names[:4] == ["sequence", "step", "target", "output"]
    for column, values in told.items():
        np.testing.assert_allclose(table[column].to_numpy(), values, rtol=1e-5, err_msg=column)
    if isinstance(task, Classification):
        assert json.loads((table.schema.metadata or {})[CLASSES]) == list(task.classes)
        right = np.mean(table["target"].to_numpy() == table["output"].to_numpy())
        assert right == pytest.approx(made.metrics["test"]["accuracy"])
        chances = np.stack([table[f"probability_{i}"].to_numpy() for i in range(len(task.classes))])
        np.testing.assert_allclose(chances.sum(0), 1, rtol=1e-6)
    elif isinstance(task, Forecast):
        error = np.abs(table["target"].to_numpy() - table["output"].to_numpy()).mean()
        assert error == pytest.approx(made.metrics["test"]["mae"], rel=1e-5)
    else:
        assert table["bits"].to_numpy().mean() == pytest.approx(made.metrics["test"]["bits"], rel=1e-5)


def idx(path: Path, images: np.ndarray) -> Path:
    path.write_bytes(struct.pack(">HBBIII", 0, 8, 3, *images.shape) + images.astype(np.uint8).tobytes())
    return path


@pytest.mark.parametrize("varied", [False, True], ids=["plain", "varied"])
@pytest.mark.parametrize("name", DATA)
def test_new_inputs_are_read_as_those_of_the_training(bench: Bench, tmp_path: Path, name: str, varied: bool):
    task, made, model = trained(bench, name, *(VARIANTS[name] if varied else ()))
    table = cast(Any, read_predictions(bench.folder(made))).to_pandas()
    settings = made.config["task"]
    if isinstance(task, Classification):
        source: Any = settings.get("file")
        if name == "digits":
            from sklearn.datasets import load_digits

            pixels = np.asarray(load_digits(return_X_y=True)[0]).reshape(-1, 8, 8)
            source = str(idx(tmp_path / "images", pixels))
        found = model.predict(source)
        assert len(found) == len(task.labels)
        asked = found.iloc[task.splits["test"][:8]]
        for number, called in enumerate(task.classes):
            np.testing.assert_allclose(asked[f"probability {called}"], table[f"probability_{number}"], atol=1e-6)
        assert list(asked["class"]) == [task.classes[each] for each in table["output"]]
    elif isinstance(task, Forecast):
        series = pd.read_csv(ROOT / "tasks" / "files" / f"{settings['file']}.csv")
        for number, first in enumerate(task.firsts["test"][:3]):
            found = model.predict(series.iloc[:first])
            assert list(found.columns) == ["step", settings["target"]]
            assert list(found["step"]) == list(range(1, settings["horizon"] + 1))
            there = table[table["sequence"] == number]["output"]
            np.testing.assert_allclose(found[settings["target"]], there, rtol=1e-5)
    else:
        assert isinstance(task, CharacterModel)
        text = (FILES / "text.txt").read_text()
        found = model.predict(settings["file"])
        assert list(found["character"]) == list(text[1:])
        assert list(found["place"]) == list(range(2, len(text) + 1))
        begin = len(text) - len(task.parts["test"])
        # The network that is read out at every step has the whole window before its last step alone.
        last = table[table["step"] == table["step"].max()]
        places = begin + np.arange(8) * task.stride + task.length + 1
        np.testing.assert_allclose(found.set_index("place")["bits"][places], last["bits"], rtol=1e-5)
        # The first characters have less before them: the network alone on these.
        logits = model.network(torch.from_numpy(task.encode(text[:2]).astype(np.int64))[:, None])[-1, 0]
        bits = -logits.log_softmax(-1)[int(task.encode(text[2])[0])] / np.log(2)
        assert found["bits"].tolist()[1] == pytest.approx(float(bits), rel=1e-5)


def test_the_training_data_is_not_needed(bench: Bench, tmp_path: Path):
    file = tmp_path / "mine.csv"
    file.write_bytes((FILES / "sequences.csv").read_bytes())
    made = bench.one("task=sequence_classification", f"task.file={file}", "task.step=step", *KEEP)
    new = pd.read_csv(file, usecols=["y", "step", "x", "sequence"])
    before = load_model(bench.folder(made)).predict(new)
    file.unlink()
    pd.testing.assert_frame_equal(load_model(bench.folder(made)).predict(new), before)
    assert "label" not in new


def test_weights_change_no_number_and_are_the_same_bytes_each_time(bench: Bench):
    plain = bench.one("task=copy_memory", "task.delay=3", "probe=flow")
    curves, probes = bench.curves(plain), bench.probes(plain)
    assert "weights" not in plain.model
    files = []
    for folder in ("one", "other"):
        there = bench.beside(folder)
        made = there.one("task=copy_memory", "task.delay=3", "probe=flow", "training.keep_weights=true")
        assert made.run_id == plain.run_id
        assert {**there.curves(made), "eval_train_seconds": 0} == {**curves, "eval_train_seconds": 0}
        assert there.probes(made) == probes
        content = (there.folder(made) / WEIGHTS_FILE).read_bytes()
        assert made.model["weights"] == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        assert read_record(there.folder(made)).model == made.model
        files.append(content)
    assert files[0] == files[1]
    model = load_model(there.folder(made))
    assert model.encoder is None
    assert sum(weight.numel() for weight in model.network.parameters()) == made.model["parameters"]
    with pytest.raises(ValueError, match="RUN must be of a task that reads new inputs, got one of copy_memory"):
        model.predict("x.csv")


def test_only_a_completed_run_keeps_anything(bench: Bench):
    explode = ("cell=rnn", "cell.nonlinearity=relu", "optimizer=sgd", "optimizer.lr=1e9", "training.clip_norm=null")
    made = bench.one("task=digits", *explode, "training.max_steps=50", *KEEP)
    assert made.status == "diverged"
    assert {path.name for path in bench.folder(made).iterdir()} == {RECORD_FILE, "curves.parquet"}
    assert bench.call("status", str(bench.results)).code == 0


def test_replay_status_and_figures_take_such_a_folder(bench: Bench):
    _, made, _ = trained(bench, "digits")
    folder = str(bench.folder(made))
    assert bench.call("replay", folder).out.startswith("equal, bit for bit")
    outcome = bench.call("status", str(bench.results))
    assert (outcome.code, outcome.err) == (0, "")
    assert "damaged" not in outcome.out
    (bench.folder(made) / PREDICTIONS_FILE).write_bytes(b"PAR1")
    with pytest.raises(DamagedRecordError, match=PREDICTIONS_FILE):
        check_record(bench.folder(made))


def test_a_copy_has_predictions_and_weights_only_on_request(bench: Bench):
    _, made, _ = trained(bench, "digits")
    origin, runs = bench.folder(made), str(bench.results / "runs")
    paper = bench.results.with_name("paper")
    copy = paper / origin.relative_to(bench.results / "runs")
    outcome = bench.call("publish", runs, str(paper))
    assert outcome.out.startswith("1 record copied, 1 of them without their weights (--weights copies these too): ")
    assert not (copy / WEIGHTS_FILE).exists()
    one, other = read_predictions(origin), read_predictions(copy)
    assert one is not None
    assert one.equals(other, check_metadata=True)
    assert bench.call("publish", runs, str(paper)).out == "0 records copied, 1 there already\n"
    outcome = bench.call("predict", str(copy), "x")
    assert_one_line(outcome, "predict", f"{copy / WEIGHTS_FILE} is not there: a copy of a record has weights only if")
    outcome = bench.call("publish", runs, str(paper), "--weights")
    assert_one_line(outcome, "publish", f"DEST must not hold other records of these runs without --force, got {copy} "
                    f"(its {WEIGHTS_FILE} differs)")  # fmt: skip
    assert bench.call("publish", runs, str(paper), "--weights", "--force").out.startswith("1 record copied: ")
    assert (copy / WEIGHTS_FILE).read_bytes() == (origin / WEIGHTS_FILE).read_bytes()
    load_model(copy)
    (origin / WEIGHTS_FILE).write_bytes(b"noise")
    outcome = bench.call("publish", runs, str(paper), "--weights")
    assert (outcome.code, outcome.out) == (1, "0 records copied\n")
    assert outcome.err == f"bench publish: {origin / WEIGHTS_FILE}: must be the weights that the record names\n"


def renamed(folder: Path, content: bytes, **changes: Any) -> None:
    """Put other weights beside a record, and let the record name them."""
    (folder / WEIGHTS_FILE).write_bytes(content)
    node = json.loads((folder / RECORD_FILE).read_text())
    node["model"] |= {"weights": {"sha256": hashlib.sha256(content).hexdigest()}, **changes}
    (folder / RECORD_FILE).write_text(json.dumps(node))


def about(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Weights that say something else of themselves."""
    length = struct.unpack("<Q", content[:8])[0]
    said = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][ENTRY])
    change(said)
    return safetensors.torch.save(safetensors.torch.load(content), {ENTRY: json.dumps(said)})


def test_damaged_and_foreign_weights(bench: Bench):
    _, made, _ = trained(bench, "text_classification")
    folder = bench.folder(made)
    path = folder / WEIGHTS_FILE
    whole = path.read_bytes()
    for content in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:100], b""):
        path.write_bytes(content)
        with pytest.raises(
            WeightsError, match=rf"{path}: damaged, or of another run: its SHA-256 must be \w+\.\.\., as"
        ):
            load_model(folder)
    said = "not weights that a run has kept"
    for content in (b"", b"noise", whole[:100], safetensors.torch.save({"a": torch.zeros(1)}, {ENTRY: "[]"}),
                    safetensors.torch.save({"a": torch.zeros(1)})):  # fmt: skip
        renamed(folder, content)
        with pytest.raises(WeightsError, match=said):
            load_model(folder)
    changes: list[tuple[Callable[[dict[str, Any]], object], str]] = [
        (lambda said: said.update(run_id="other"), f"the weights must be those of run {made.run_id}, got other"),
        (lambda said: said.update(schema=99), "its schema must be <= 1 for this version, got 99"),
        (lambda said: said["kept"].pop("words"), "the weights must say what TextClassification keeps"),
        (lambda said: said["sizes"].update(input_size=7, tokens=7), "of the network that the record describes"),
        (lambda said: said["sizes"].update(readout="first"), said),
    ]
    for change, message in changes:
        renamed(folder, about(whole, change))
        with pytest.raises(WeightsError, match=message) as raised:
            load_model(folder)
        assert "\n" not in str(raised.value)
    renamed(folder, whole, hidden_size=5)
    with pytest.raises(WeightsError, match="of the network that the record describes"):
        load_model(folder)
    renamed(folder, whole, hidden_size=4)
    load_model(folder)


def test_code_of_others_is_trusted_or_not_loaded(bench: Bench, tmp_path: Path):
    mine = documented_cell(tmp_path / "mine")
    spec = bench.call("run", *TINY, f"results_dir={bench.results}", "--config-dir", str(mine), "cell=mine",
                      "task=digits", "model.engine=stepwise", *KEEP)  # fmt: skip
    assert spec.code == 0, spec.err
    (folder,) = find_records(bench.results)
    sys.modules.pop("leaky_gate", None)
    with pytest.raises(
        ValueError, match=r"config\.cell\._target_ must be a Cell class of bench.cells, or named by --trust"
    ):
        load_model(folder)
    assert "leaky_gate" not in sys.modules
    model = load_model(folder, trust=["leaky_gate.LeakyGate"], config_dir=str(mine))
    assert type(model.network.layers[0]).__name__ == "LeakyGate"


def test_a_run_without_weights_and_a_run_that_is_not_there(bench: Bench):
    made = bench.ready("task=digits")
    folder = bench.folder(made)
    outcome = bench.call("predict", str(folder), "x")
    message = f"{folder} has no weights: training.keep_weights=true keeps them, with rerun=all for a run that is there"
    assert_one_line(outcome, "predict", message)
    outcome = bench.call("generate", "nowhere", "--prompt=a")
    assert_one_line(
        outcome, "generate", "RUN must be the folder of a record, or a run id below results, found 0 records"
    )
    outcome = bench.call("predict", str(bench.results), "x")
    assert_one_line(outcome, "predict", f"{bench.results / RECORD_FILE}: not a readable record")


def test_predictions_are_kept_only_where_a_task_tells_them():
    with pytest.raises(
        ValueError, match=r"training.keep_predictions must be false for AddingProblem, which tells none"
    ):
        spec_of(*TINY, "training.keep_predictions=true")


def test_the_name_in_the_package():
    assert package.load_model is load_model
    assert package.TrainedModel is TrainedModel
