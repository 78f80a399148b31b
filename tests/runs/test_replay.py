"""``bench replay`` finds all numbers equal, or names the first that is not; and it runs no code that a record names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.records import record
from bench.records.read import find_records, read_record
from bench.runs import trust
from tests.conftest import Bench


def folder_of(bench: Bench, *overrides: str) -> Path:
    return bench.folder(bench.ready(*overrides))


def change(folder: Path, **changes: Any) -> None:
    path = folder / record.RECORD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_equal(bench: Bench):
    folder = folder_of(bench, "cell=lstm", "task=copy_memory", "task.delay=3", "logger=csv", "probe=flow")
    before = sorted(bench.results.rglob("*"))
    outcome = bench.call("replay", str(folder))
    assert (outcome.code, outcome.out) == (
        0,
        "equal, bit for bit: 6 steps of 7 curves, 8 final metrics, 162 values of probes\n",
    )
    assert outcome.err == ""
    assert sorted(bench.results.rglob("*")) == before


def test_a_diverged_run_is_equal_too(bench: Bench):
    explode = ("cell=rnn", "cell.nonlinearity=relu", "optimizer=sgd", "optimizer.lr=1e6", "training.clip_norm=null")
    folder = folder_of(bench, *explode, "training.max_steps=50", "probe=flow")
    assert bench.call("replay", str(folder)).out.startswith("equal, bit for bit")


@pytest.mark.parametrize("name", ["train_loss", "grad_norm_clipped", "eval_mse"])
def test_one_digit_is_found(bench: Bench, name: str):
    folder = folder_of(bench)
    path = folder / record.CURVES_FILE
    curves = pq.read_table(path)
    values = curves[name].to_pylist()
    old, values[2] = values[2], values[2] * (1 + 1e-6)
    index = curves.column_names.index(name)
    pq.write_table(curves.set_column(index, name, pa.array(values, curves[name].type)), path)
    outcome = bench.call("replay", str(folder))
    assert outcome.code == 1
    changed = pq.read_table(path)[name].to_pylist()[2]
    assert outcome.out == f"different: step 3, {name}: {changed!r} in the record, {old!r} now\n"


def test_a_final_metric_is_compared(bench: Bench):
    folder = folder_of(bench)
    metrics = read_record(folder).metrics
    change(folder, metrics=metrics | {"test": metrics["test"] | {"mse": 0.5}})
    outcome = bench.call("replay", str(folder))
    assert outcome.code == 1
    assert outcome.out.startswith("different: final test mse: 0.5 in the record, ")
    assert outcome.err == ""
    change(folder, device={name: text for name, text in read_record(folder).device.items() if name != "capability"})
    assert "does not say which instruction set its processor had" in bench.call("replay", str(folder)).err


def test_other_surroundings_are_named_and_allow_a_tolerance(bench: Bench):
    folder = folder_of(bench)
    made = read_record(folder)
    metrics = made.metrics["test"] | {"mse": (made.metrics["test"]["mse"] or 0) * 1.0005}
    change(
        folder,
        libraries=made.libraries | {"torch": "2.6.0"},
        device=made.device | {"name": "abacus", "capability": "beads"},
        code=made.code | {"numerics": made.code["numerics"] | {"training": "2"}},
        metrics=made.metrics | {"test": metrics},
    )
    outcome = bench.call("replay", str(folder))
    assert outcome.code == 0
    assert outcome.out.startswith("equal within a relative difference of 0.001: 6 steps")
    assert "torch: 2.6.0 in the record, " in outcome.err
    assert "device name: abacus in the record, " in outcome.err
    assert "device capability: beads in the record, " in outcome.err
    assert "version of training: 2 in the record, 1 now" in outcome.err
    assert bench.call("replay", str(folder), "--tolerance=1e-5").code == 1


def test_other_files_and_another_commit_loosen_nothing(bench: Bench):
    folder = folder_of(bench)
    made = read_record(folder)
    change(
        folder, code=made.code | {"sources": "others", "cell": "another", "commit": "0123456789ab", "version": "0.0.1"}
    )
    outcome = bench.call("replay", str(folder))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("equal, bit for bit: 6 steps")


def test_by_run_id(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    made = bench.ready()
    monkeypatch.chdir(bench.results.parent)
    assert bench.call("replay", made.run_id).code == 0
    outcome = bench.call("replay", "nothing")
    assert (outcome.code, outcome.err) == (
        2,
        "bench replay: RUN must be the folder of a record, or a run id below results, found 0 records of 'nothing'\n",
    )


EVIL = {
    "cell": {"_target_": "os.system", "command": "touch {canary}"},
    "task": {"_target_": "os.system", "command": "touch {canary}"},
    "optimizer": {"_target_": "torch.os.system", "command": "touch {canary}"},
    "optimizer function": {"_target_": "torch.hub.load", "lr": 0.1},
    "optimizer arguments": {"_target_": "torch.optim.Adam", "_args_": [{"_target_": "os.system"}]},
    "model": {"hidden_size": {"_target_": "builtins.exec", "command": "1"}},
    "data": {"batch_size": "${oc.env:HOME}"},
    # A class of torch's starts a program when it is made, inside a class that makes whatever it is given.
    "optimizer nested": {
        "_target_": "torch.optim.Adam",
        "lr": {
            "_target_": "torch.nn.ParameterDict",
            "parameters": {
                "x": {
                    "_target_": "torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler"
                    ".SubprocessHandler",
                    "entrypoint": "/bin/sh",
                    "args": ["-c", "touch {canary}"],
                    "env": {},
                    "stdout": None,
                    "stderr": None,
                    "local_rank_id": 0,
                    "numa_options": None,
                },
            },
        },
    },
    "cell of torch": {"_target_": "torch.nn.ParameterDict"},
    "training": {"list": [{"_target_": "evil_module.Evil"}]},
}


@pytest.mark.parametrize("part", EVIL)
def test_a_record_is_not_code(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str):
    canary = tmp_path / "canary"
    (tmp_path / "evil_module.py").write_text(f"open({str(canary)!r}, 'w')\nclass Evil: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = folder_of(bench)
    config = read_record(folder).config
    node = json.loads(json.dumps(EVIL[part]).replace("{canary}", str(canary)))
    change(folder, config=config | {part.split()[0]: node})
    for line in (["replay", str(folder)], ["table", str(bench.results)], ["status", str(bench.results)]):
        outcome = bench.call(*line)
        if line[0] == "replay":
            assert outcome.code == 2
            assert outcome.err.startswith(f"bench replay: config.{part.split()[0]}."), outcome.err
            assert len(outcome.err.splitlines()) == 1
    assert not canary.exists()


def test_a_curve_file_is_not_code(bench: Bench, tmp_path: Path):
    folder = folder_of(bench)
    path = folder / record.CURVES_FILE
    curves = pq.read_table(path)
    texts = pa.array(['{"_target_": "os.system", "command": "true"}'] * 6)
    pq.write_table(curves.append_column("_target_", texts), path)
    for line in (["replay", str(folder)], ["figures", str(bench.results), f"--output={tmp_path / 'f'}"]):
        outcome = bench.call(*line)
        assert outcome.code != 0
        assert f"{path}: `_target_` must be numbers, got string" in outcome.err


def test_a_class_of_ones_own_needs_trust(bench: Bench, tmp_path: Path):
    mine = tmp_path / "mine"
    (mine / "cell").mkdir(parents=True)
    (mine / "own_gate.py").write_text(
        "from bench.cells.gru import GRUCell\n\n\nclass Own(GRUCell):\n    '''The same.'''\n"
    )
    (mine / "cell" / "own.yaml").write_text(
        "_target_: own_gate.Own\n_partial_: true\n"
        "init: {_target_: bench.cells.init.Initialization, input: torch, recurrent: torch, bias: torch}\n"
    )
    assert bench.run(f"--config-dir={mine}", "cell=own").code == 0
    (folder,) = find_records(bench.results)
    outcome = bench.call("replay", str(folder), f"--config-dir={mine}")
    assert outcome.code == 2
    assert outcome.err == (
        "bench replay: config.cell._target_ must be a Cell class of bench.cells, or named by --trust, "
        "got 'own_gate.Own'\n"
    )
    for name in ("own_gate", "own_gate.Own"):
        outcome = bench.call("replay", str(folder), f"--config-dir={mine}", "--trust", name)
        assert outcome.out.startswith("equal, bit for bit"), outcome.err


@pytest.mark.parametrize(
    ("part", "name"),
    [("cell", "bench.cells.gru.GRUCell"), ("task", "tasks.copy_memory.CopyMemory"), ("optimizer", "torch.optim.Adam")],
)
def test_known_classes_are_trusted_where_they_belong(part: str, name: str):
    trust.check({part: {"_target_": name, "_partial_": True, "size": 3}})
    trust.check({"cell": {"init": {"_target_": "bench.cells.init.Initialization"}}})
    for other in ({part: {"_target_": f"{name}_not_there"}}, {"model": {"_target_": name}, "data": {"x": 1}}):
        if name.startswith("bench.cells") and "model" in other:
            continue  # this change is harmless in any place
        with pytest.raises(ValueError, match=r"must be a \w*.?class of [\w.]+, or named by --trust"):
            trust.check(other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "failed"}, "status must be one of completed, diverged to be replayed, got 'failed'"),
        ({"experiment": ".."}, "{path}: `experiment` must be letters, digits, -, . and _, got '..'"),
        ({"cell": "a/b"}, "{path}: `cell` must be letters, digits, -, . and _, got 'a/b'"),
        ({"libraries": []}, "{path}: `libraries` must be a mapping, each value a text, got []"),
        ({"schema": 9}, "{path}: `schema` must be <= 1 for this version, got 9"),
        ({"steps": 5}, "{curves}: must have a row for each of 5 steps, has 6"),
    ],
)
def test_what_cannot_be_replayed(bench: Bench, changes: dict[str, Any], message: str):
    folder = folder_of(bench)
    change(folder, **changes)
    outcome = bench.call("replay", str(folder))
    assert outcome.code == 2
    path, curves = folder / record.RECORD_FILE, folder / record.CURVES_FILE
    assert outcome.err == f"bench replay: {message.format(path=path, curves=curves)}\n"


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("model", {"hidden_size": "big"}, "model.hidden_size must be an integer, got 'big'"),
        ("model", {"gone": 1}, "gone"),
        ("task", {"lenght": 4}, "task.lenght is no setting of AddingProblem, did you mean length?"),
        ("data", {"batch_size": 0}, "data.batch_size must be >= 1, got 0"),
    ],
)
def test_a_config_that_no_longer_composes(bench: Bench, section: str, changes: dict[str, Any], message: str):
    folder = folder_of(bench)
    config = read_record(folder).config
    change(folder, config=config | {section: config[section] | changes})
    outcome = bench.call("replay", str(folder))
    assert outcome.code == 2
    assert outcome.err.startswith("bench replay: the record's config no longer composes: "), outcome.err
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
