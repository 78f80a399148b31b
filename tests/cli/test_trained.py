"""``bench predict`` and ``bench generate``: what they write, and bad input, which is one line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.runs.trained import load_model
from tests.conftest import DATA, ROOT, Bench, assert_one_line

KEEP = "training.keep_weights=true"
FILES = ROOT / "tests" / "files"
LINE = "abcdefgh, "


@pytest.fixture
def writer(bench: Bench, tmp_path: Path) -> str:
    """The folder of a model of characters that has learned a periodic text."""
    text = tmp_path / "periodic.txt"
    text.write_text(40 * LINE)
    made = bench.ready(
        "task=character_model", f"task.file={text}", "task.window=12", "task.stride=1", "task.solved_bits=0.1", KEEP,
        "task.validation=0.1", "task.test=0.1", "model.hidden_size=16", "data.batch_size=16", "optimizer.lr=0.03",
        "training.max_steps=60", "training.eval_every=60",
    )  # fmt: skip
    assert made.metrics["test"]["bits"] is not None
    assert made.metrics["test"]["bits"] < 0.1
    return str(bench.folder(made))


@pytest.mark.parametrize("prompt", ["ab", "gh, abcdefgh, abc"])
def test_a_model_that_has_learned_a_periodic_text_writes_it_on(bench: Bench, writer: str, prompt: str):
    start = LINE.index(prompt[-1]) + 1
    follows = (4 * LINE)[start : start + 30]
    outcome = bench.call("generate", writer, f"--prompt={prompt}", "--length=30", "--temperature=0")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"{prompt}{follows}\n", "")
    # The characters are all but certain, so that drawn ones are the same.
    assert bench.call("generate", writer, f"--prompt={prompt}", "--length=30", "--temperature=0.1").out == outcome.out


def test_the_draws_follow_from_seed_and_temperature(writer: str):
    model = load_model(writer)
    written = [model.generate("ab", 60, temperature, seed) for temperature in (5.0, 50.0) for seed in (0, 0, 1)]
    assert written[0] == written[1]
    assert len({*written}) == 4
    assert all(set(text) <= set(LINE) for text in written), "the unknown character is never written"
    # At a temperature without bounds all characters are equally likely.
    flat = model.generate("ab", 2000, 1e9)
    assert all(abs(flat.count(character) / 2000 - 1 / len(LINE)) < 0.03 for character in LINE)


def test_what_steers_a_terminal_is_escaped(bench: Bench, tmp_path: Path):
    (tmp_path / "text.txt").write_text(60 * "\x1b[2J\n")
    made = bench.one("task=character_model", f"task.file={tmp_path / 'text.txt'}", "task.window=4",
                     "task.validation=0.1", "task.test=0.1", "task.solved_bits=0.1", KEEP)  # fmt: skip
    outcome = bench.call("generate", str(bench.folder(made)), "--prompt=\x1b[2J", "--length=200", "--temperature=9")
    assert outcome.out.startswith("\\x1b[2J")
    assert outcome.out.count("\\x1b") > 1
    assert "\x1b" not in outcome.out
    assert "\n" in outcome.out[:-1]


def test_names_of_classes_that_steer_a_terminal_are_escaped(bench: Bench, tmp_path: Path):
    table = tmp_path / "mine.csv"
    names = ("up\x1b[2J", "down\x07")
    table.write_text("text,label\n" + "".join(f"word{n % 2},{names[n % 2]}\n" for n in range(40)))
    made = bench.one("task=text_classification", f"task.file={table}", KEEP)
    outcome = bench.call("predict", str(bench.folder(made)), str(table))
    assert outcome.code == 0
    assert "probability down\\x07" in outcome.out
    assert "up\\x1b[2J" in outcome.out
    assert {"\x1b", "\x07"}.isdisjoint(outcome.out)
    # A file has the names as they are.
    bench.call("predict", str(bench.folder(made)), str(table), f"--output={tmp_path / 'found.csv'}")
    assert list(pd.read_csv(tmp_path / "found.csv").columns)[2:] == [f"probability {name}" for name in sorted(names)]


def test_predictions_as_csv(bench: Bench, writer: str, tmp_path: Path):
    made = bench.ready("task=sequence_classification", *DATA["sequence_classification"], KEEP)
    folder = bench.folder(made)
    table = pd.read_csv(FILES / "sequences.csv").drop(columns="label")
    table.to_parquet(tmp_path / "new.parquet")
    outcome = bench.call("predict", str(folder), str(tmp_path / "new.parquet"))
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "sequence,class,probability down,probability up"
    expected = load_model(folder).predict(table)
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(outcome.out)), expected.astype({"class": str}),
                                  check_dtype=False, rtol=1e-6)  # fmt: skip
    output = tmp_path / "deep" / "found.csv"
    silent = bench.call("predict", str(folder), str(tmp_path / "new.parquet"), f"--output={output}")
    assert (silent.code, silent.out, output.read_text()) == (0, "", outcome.out)
    # A text is told in bits.
    (tmp_path / "new.txt").write_text(2 * LINE)
    outcome = bench.call("predict", writer, str(tmp_path / "new.txt"))
    found = pd.read_csv(io.StringIO(outcome.out), keep_default_na=False)
    assert list(found.columns) == ["place", "character", "bits"]
    assert "".join(found["character"]) == (2 * LINE)[1:]
    assert outcome.err == f"bench predict: {found['bits'].mean():.4f} bits a character, over 19 characters\n"


GENERATE = [
    (["--prompt=abé"], "--prompt must have no characters but those of the training part, got 'é'"),
    (["--prompt="], "--prompt must have a character at least, got ''"),
    (["--prompt=a", "--length=0"], "--length must be >= 1, got 0"),
    (["--prompt=a", "--temperature=-0.1"], "--temperature must be a number >= 0, got -0.1"),
    (["--prompt=a", "--temperature=nan"], "--temperature must be a number >= 0, got nan"),
    (["--prompt=a", "--temperature=inf"], "--temperature must be a number >= 0, got inf"),
    (["--prompt=a", "--seed=-1"], "--seed must be >= 0 and < 2^63, got -1"),
]


def test_bad_words_of_generate(bench: Bench, writer: str):
    for words, message in GENERATE:
        assert_one_line(bench.call("generate", writer, *words), "generate", message)
    made = bench.ready("task=digits", KEEP)
    outcome = bench.call("generate", str(bench.folder(made)), "--prompt=a")
    assert_one_line(outcome, "generate", "RUN must be of a model of characters, such as character_model, got digits")


TABLE = "sequence,step,x,y\na,0,1,2\na,1,1,2\n"
FILES_BAD: dict[str, list[tuple[str, Any, str]]] = {
    "sequence_classification": [
        ("new.csv", None, "FILE must be a file, or one of co2, sentiment, sunspots, got '{path}', which is not there"),
        ("new.csv", b"", "FILE must be a table, got '{path}', which is empty"),
        ("new.csv", b"sequence,step,x,y\n", "FILE must be a table with rows, got '{path}', which has none"),
        ("new.csv", "é".encode("latin-1") + b",b\n1,2\n", "FILE must be text in UTF-8, got '{path}', whose byte"),
        ("new.csv", TABLE.replace("y", "z"), "columns must be a column of the file (sequence, step, x, z), got 'y'"),
        ("new.csv", TABLE.replace("sequence", "s"), "sequence must be a column of the file (s, step, x, y), got"),
        ("new.csv", TABLE.replace("step", "s"), "step must be a column of the file (sequence, s, x, y), got 'step'"),
        ("new.csv", TABLE.replace("a,1,1,2", "a,1,1,"), "columns must have a finite number in every row, and y of"),
        ("new.csv", TABLE.replace("a,1,1,2", ",1,1,2"), "sequence must have a value in every row, and row 2 has none"),
        ("new.csv", TABLE.replace("a,1,1,2", "a,2,1,2"), "step must go up by 1 within a sequence, and that of"),
        ("new.parquet", b"PAR1", "FILE must be a CSV or Parquet table, got '{path}' ("),
    ],
    "text_classification": [
        ("new.csv", "words\na b\n", "text must be a column of the file (words), got 'text'"),
        ("new.csv", 'text,n\n"  ",1\n', "text must have a word in every row, and row 1 has none"),
    ],
    "forecast": [
        ("new.csv", "ppm\n1\n2\n", "FILE must have a row for each of 24 times of a window, got 2"),
        ("new.csv", "ppm\n" + 30 * "1\n" + "x\n", "target must have a finite number in every row, and ppm of row 31"),
        ("new.csv", "co2\n" + 30 * "1\n", "target must be a column of the file (co2), got 'ppm'"),
    ],
    "digits": [
        ("new", None, "FILE must be an IDX file of images, got '{path}', which is not there"),
        ("new", b"noise", "FILE must be an IDX file of 3 dimensions, got 'new', which is no such"),
        ("new", b"\0\0\x08\x03\0\0\0\x01\0\0\0\x01\0\0\0\x02ab", "FILE must have images of 8 x 8 pixels, got 1 x 2"),
        ("new", b"\0\0\x08\x03\0\0\0\x01\0\0\0\x08\0\0\0\x08" + 64 * b"\x11", "FILE must have pixels from 0 to 16"),
        ("new.gz", b"noise", "FILE must be an IDX file that can be read, got 'new.gz' ("),
    ],
    "character_model": [
        ("new", None, "FILE must be a text, or python, got '{path}', which is not there"),
        ("new", b"", "FILE must be a text, got '{path}', which is empty"),
        ("new", b"\xff", "FILE must be text in UTF-8, got '{path}', whose byte 0 is 0xff"),
        ("new", "a", "FILE must have two characters at least, got '{path}', which has 1"),
        ("new", "the\ncell ß", "FILE must have no characters but those of the training part, got 'ß' of line 2"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("task", FILES_BAD)
def test_bad_files_are_one_line(bench: Bench, tmp_path: Path, task: str):
    folder = str(bench.folder(bench.ready(f"task={task}", *DATA[task], KEEP)))
    for number, (name, content, message) in enumerate(FILES_BAD[task]):
        path = tmp_path / f"{number}" / name
        path.parent.mkdir()
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        outcome = bench.call("predict", folder, str(path))
        assert_one_line(outcome, "predict", message.replace("{path}", str(path)))
        assert len(outcome.err) < 400


def test_an_output_that_cannot_be_written(bench: Bench, tmp_path: Path):
    made = bench.ready("task=forecast", KEEP)
    (tmp_path / "file").write_text("")
    outcome = bench.call("predict", str(bench.folder(made)), "co2", f"--output={tmp_path / 'file' / 'x.csv'}")
    assert_one_line(outcome, "predict", "--output must be a file that can be written to, ")
