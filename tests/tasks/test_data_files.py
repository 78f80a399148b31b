"""What can be wrong with a file and a setting of a task on a data set, and what the command line says of it."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.config.explain import ConfigError
from tasks import mapped
from tasks.tables import read_table
from tests.conftest import DATA, TINY, Bench, assert_one_line, composed, spec_of
from tests.data_made import TABLE, make

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


@pytest.mark.parametrize("large", [False, True], ids=["in memory", "piece by piece"])
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, large: bool):
    monkeypatch.setenv(mapped.FOLDER, str(tmp_path / "data"))
    if large:
        monkeypatch.setattr(mapped, "MAPPED_FROM", 1)
        monkeypatch.setattr(mapped, "PORTION", 32)
    task, text, settings, message = WRONG[name]
    path = tmp_path / "mine.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as caught:
        make(task, file=str(path), **settings)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "data").glob(".*")), "nothing half done is left"


def test_a_key_is_the_same_in_all_of_a_long_file(tmp_path: Path):
    """Read in pieces, the first half a million would be the number 1, and the last the text."""
    file = tmp_path / "long.csv"
    file.write_text("sequence,x\n" + "1,0.5\n" * 500_000 + "one,0.5\n1,0.5\n")
    assert set(read_table(str(file))["sequence"]) == {"1", "one"}


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
