"""Texts that are too large for memory: the same numbers from arrays on disk, made once."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks import mapped, ngrams
from tasks.character_model import CharacterModel
from tests.conftest import ROOT, Bench, assert_one_line
from tests.data_made import make

TEXT = "Wörter, 東京 and 🙂:\r\n" + (ROOT / "CONTRIBUTING.md").read_text()[:6000]


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A text that counts as large, read in pieces that end anywhere."""
    monkeypatch.setenv(mapped.FOLDER, str(tmp_path / "data"))
    monkeypatch.setattr(mapped, "PORTION", 61)
    monkeypatch.setattr(ngrams, "DENSE", 5000)
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    return tmp_path / "text.txt"


def model(path: Path, **settings: Any) -> CharacterModel:
    settings = {"window": 9, "stride": 4, "validation": 0.1, "test": 0.1, "solved_bits": 0.1} | settings
    made = make("character_model", file=str(path), **settings)
    assert isinstance(made, CharacterModel)
    return made


def numbers(task: CharacterModel) -> list[Any]:
    batch = task.take("test", torch.arange(0, task.size("test"), 3))
    return [task.fingerprint, task.characters, task.references, batch.inputs.tolist(), batch.targets.tolist()]


def test_a_mapped_text_has_the_numbers_of_one_in_memory(text: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mapped, "MAPPED_FROM", 1 << 40)
    small = model(text)
    assert type(small.parts["train"].points) is np.ndarray
    monkeypatch.setattr(mapped, "MAPPED_FROM", 1)
    large = model(text)
    points = large.parts["train"].points
    assert isinstance(points, np.memmap)
    assert numbers(large) == numbers(small)
    assert large.baselines == pytest.approx(small.baselines)
    # The hash is that of the tokens as one array, as it has always been.
    whole = [large.parts[name][:] for name in ("train", "validation", "test")]
    assert {each.dtype for each in whole} == {np.dtype("<i4")}
    found = hashlib.sha256("".join(large.characters).encode())
    for each in whole:
        found.update(f"<i4{each.shape}".encode() + each.tobytes())
    assert large.fingerprint == found.hexdigest()


def test_it_is_converted_once_and_in_the_least_type(text: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(mapped, "MAPPED_FROM", 1)
    model(text)
    (file,) = (tmp_path / "data").iterdir()
    assert np.load(file, mmap_mode="r").dtype == np.uint32
    before = file.stat().st_mtime_ns
    model(text, window=12)
    assert file.stat().st_mtime_ns == before
    text.write_text("plain text, " * 40)
    model(text)
    (other,) = (path for path in (tmp_path / "data").iterdir() if path != file)
    assert np.load(other, mmap_mode="r").dtype == np.uint8
    assert other.stat().st_size == 12 * 40 + 128


def test_memory_does_not_grow_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(mapped.FOLDER, str(tmp_path / "data"))
    monkeypatch.setattr(mapped, "MAPPED_FROM", 1)
    monkeypatch.setattr(mapped, "PORTION", 1 << 14)
    dice, most = np.random.default_rng(0), {}
    for size in (1 << 18, 1 << 21):
        path = tmp_path / f"{size}.txt"
        path.write_bytes(dice.choice(np.frombuffer(b"abcdefgh \n", dtype=np.uint8), size).tobytes())
        tracemalloc.start()
        task = model(path, window=50, stride=50)
        task.tested = 20
        assert task.fingerprint
        assert len(task.references) == 3
        task.take("train", torch.arange(8))
        most[size] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most[1 << 21] < most[1 << 18] + (1 << 18), most
    assert most[1 << 21] < 14_000_000


def test_what_can_be_wrong(text: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(mapped, "MAPPED_FROM", 1)
    words = ("task=character_model", f"task.file={text}")
    (tmp_path / "data").write_text("")
    outcome = bench.run(*words)
    assert_one_line(
        outcome, "run", "task.file is converted once into the folder that RNN_BENCH_DATA names, which must "
    )
    (tmp_path / "data").unlink()
    for place in (60, 61, 62, 3000):
        content = bytearray(("é" * 2000).encode())
        content[2 * (place // 2) + 1] = 0x41
        text.write_bytes(content)
        with pytest.raises(ValueError, match=rf"in UTF-8, got .*, whose byte {2 * (place // 2)} is 0xc3"):
            model(text)
    text.write_bytes("é".encode() * 100 + b"\xc3")
    with pytest.raises(ValueError, match="whose byte 200 is 0xc3"):
        model(text)
    assert not list((tmp_path / "data").iterdir()), "nothing half done is left"
