"""Process-wide settings, each in a separate process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from bench.training import process
from bench.training.settings import RuntimeConfig, available_cores

PROBE = """
import json, sys, torch
from bench.training import process as runtime
config = runtime.RuntimeConfig(**json.loads(sys.argv[1]))
torch.set_num_threads(int(sys.argv[2]))
tiny = torch.full((200_000,), 1000, dtype=torch.int32).view(torch.float32)
torch.mul(tiny, 0.5)  # starts torch's threads
said = runtime.set_up(config)
print(json.dumps({
    "said": said,
    "threads": torch.get_num_threads(),
    "left": int((torch.mul(tiny, 0.5).view(torch.int32) != 0).sum()),
    "deterministic": torch.are_deterministic_algorithms_enabled(),
    "tf32": [torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32],
}))
"""


def settings(**changes: Any) -> dict[str, Any]:
    usual = {"threads": 2, "flush_subnormals": True, "keep_pages": True, "deterministic": True, "tf32": False}
    return usual | changes


def probe(threads_before: int = 1, **changes: Any) -> dict[str, Any]:
    """Set a process up that has computed with some threads before."""
    words = [sys.executable, "-c", PROBE, json.dumps(settings(**changes)), str(threads_before)]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(("before", "threads"), [(1, 1), (1, 2), (2, 3)])
def test_everything_on(before: int, threads: int):
    found = probe(before, threads=threads)
    assert found["left"] == 0, "subnormals are flushed in every thread"
    assert found["threads"] == found["said"]["threads"] == threads
    assert found["deterministic"] is True
    assert found["tf32"] == [False, False]
    assert found["said"]["subnormals_flushed"] is True
    assert found["said"]["allocator"] in ("pages kept", "not glibc")


def test_everything_off():
    """And no number of threads, which means all cores."""
    found = probe(threads=None, flush_subnormals=False, keep_pages=False, deterministic=False, tf32=True)
    assert found["left"] == 200_000
    assert found["threads"] == found["said"]["threads"] == available_cores()
    assert found["deterministic"] is False
    assert found["tf32"] == [True, True]
    assert found["said"]["subnormals_flushed"] is False
    assert found["said"]["allocator"] == "as it was"


@pytest.mark.parametrize("name", ["flush_subnormals", "keep_pages"])
def test_what_a_process_cannot_change_is_an_error(name: str):
    before = RuntimeConfig(**settings())
    process.check(RuntimeConfig(**settings(threads=1, deterministic=False)), before)
    with pytest.raises(ValueError, match=f"`{name}` must be the same for all runs of one process.*True, got False"):
        process.check(RuntimeConfig(**settings(**{name: False})), before)


def test_devices():
    assert process.resolve_device("cpu") == torch.device("cpu")
    expected = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    assert process.resolve_device("auto") == expected
    with pytest.raises(ValueError, match="`accelerator` must be one of auto, cpu, gpu, got 'tpu'"):
        process.resolve_device("tpu")


def test_precisions(monkeypatch: pytest.MonkeyPatch):
    cpu = torch.device("cpu")
    process.check_precision("32", cpu)
    monkeypatch.setattr(process, "supports_bf16", lambda device: True)
    process.check_precision("bf16-mixed", cpu)
    with pytest.raises(ValueError, match="`precision` must be one of 32, bf16-mixed, got '64'"):
        process.check_precision("64", cpu)


def test_the_processor_has_a_name():
    assert len(process.processor_name()) > 2
