"""The native kernels as a torch extension: built at first use, tested against torch, and kept for later processes."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import ninja
import torch
from filelock import FileLock
from torch import Tensor, nn

NAME = "rnn_bench_native"
SOURCE = Path(__file__).with_name("native.cpp")
FLAGS = {
    "AVX512": "-mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma",
    "AVX2": "-mavx2 -mfma",
}
"""Instructions for torch's name of what the processor can do; others take the compiler's own."""
TOLERANCE = 1e-5
"""Relative error of the self-test, in float32."""

_state: str | None = None
"""Of this process: ``None`` before the first use, an empty text when loaded, else why it cannot be had."""


class NativeUnavailableError(RuntimeError):
    """The native kernels cannot be had here; the text says why."""


def load(say: Callable[[str], None] | None = None) -> None:
    """Make ``torch.ops.rnn_bench`` available to this process.

    Args:
        say: Told when there is something to wait for.

    Raises:
        NativeUnavailableError: There is no compiler, or it fails, or the result computes something else.
    """
    global _state
    if _state is None:
        try:
            _load(say or (lambda text: None))
        except NativeUnavailableError as error:
            _state = str(error)
        else:
            _state = ""
    if _state:
        raise NativeUnavailableError(_state)


def compiler() -> str | None:
    """The C++ compiler, from ``CXX`` or the path, or ``None``."""
    return shutil.which(os.environ.get("CXX", "c++"))


def folder() -> Path:
    """Where built kernels are kept: below ``TORCH_EXTENSIONS_DIR``, or torch's place for extensions."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR")
    return (Path(root) if root else Path.home() / ".cache" / "torch_extensions") / "rnn_bench"


def _load(say: Callable[[str], None]) -> None:
    if platform.system() != "Linux":
        raise NativeUnavailableError(f"it is built on Linux, and this is {platform.system()}")
    flags = _flags()
    place = folder() / _digest(SOURCE.read_text(encoding="utf-8"), torch.__version__, platform.machine(), *flags)
    library = place / "native.so"
    try:
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / "lock"):
            if library.exists():
                torch.ops.load_library(library)
            else:
                _make(library, flags, say)
    except OSError as error:
        raise NativeUnavailableError(f"{place} cannot be used: {error}") from error


def _make(library: Path, flags: list[str], say: Callable[[str], None]) -> None:
    made_with = compiler()
    if made_with is None:
        raise NativeUnavailableError(f"there is no C++ compiler named {os.environ.get('CXX', 'c++')}")
    version = subprocess.run([made_with, "--version"], capture_output=True, text=True, check=False).stdout
    failure = library.with_name(f"failed-{_digest(made_with, version)}.log")
    if failure.exists():
        raise NativeUnavailableError(f"building it failed, see {failure}, and delete that to try again")
    say("building the native kernels for this machine, once; about half a minute")
    with tempfile.TemporaryDirectory(dir=library.parent) as draft:
        try:
            _build(Path(draft), flags)
            _check()
        except Exception as error:
            failure.write_text(f"{error}\n", encoding="utf-8")
            raise NativeUnavailableError(f"building it failed, see {failure}") from error
        # Into its place in one go, so that a process that is killed leaves no half of it.
        (Path(draft) / f"{NAME}.so").replace(library)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _flags() -> list[str]:
    found = torch.backends.cpu.get_cpu_capability()
    capability = found if found in FLAGS else "DEFAULT"
    macros = [f"-DCPU_CAPABILITY={capability}", f"-DCPU_CAPABILITY_{capability}"]
    return ["-O3", "-std=c++20", "-fopenmp", *macros, *FLAGS.get(capability, "").split()]


def _build(draft: Path, flags: list[str]) -> None:
    """Build in a folder, and load what is built."""
    from torch.utils import cpp_extension

    path = os.environ.get("PATH", "")
    os.environ["PATH"] = f"{ninja.BIN_DIR}{os.pathsep}{path}"  # torch asks the path for it
    try:
        cpp_extension.load(
            name=NAME,
            sources=[str(SOURCE)],
            extra_cflags=flags,
            extra_ldflags=["-fopenmp"],
            build_directory=str(draft),
            is_python_module=False,
        )
    finally:
        os.environ["PATH"] = path


def _check() -> None:
    """Compare with torch's own modules, in outputs and gradients; an odd size reaches the ends of all loops."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    with torch.random.fork_rng(devices=[]):  # torch draws first values, which are replaced below
        modules = {
            "rnn_tanh": nn.RNN(3, 37),
            "rnn_relu": nn.RNN(3, 37, nonlinearity="relu"),
            "lstm": nn.LSTM(3, 37),
            "gru": nn.GRU(3, 37),
        }
    for recurrence, module in modules.items():
        weights = list(module.parameters())
        for weight in weights:
            weight.data = draw(*weight.shape) / 37**0.5
        inputs, d_hidden = draw(11, 5, 3).requires_grad_(), draw(11, 5, 37)
        hidden = module(inputs)[0]
        expected = [hidden.detach(), *torch.autograd.grad(hidden, [inputs, *weights], d_hidden)]
        with torch.no_grad():
            start = [torch.zeros(5, 37)] * (2 if recurrence == "lstm" else 1)
            rows, kept, c = torch.ops.rnn_bench.forward(recurrence, inputs, start, *weights, True)
            d_inputs, _, _, *of_weights, _ = torch.ops.rnn_bench.backward(
                recurrence, 3, rows, kept, c, d_hidden, None, None, *weights[:2], True, True, False
            )
        for found, wanted in zip([rows[1:, :, :37], d_inputs, *of_weights], expected, strict=True):
            error = float((found - wanted).abs().max() / wanted.abs().max())
            if not error <= TOLERANCE:
                raise RuntimeError(f"{recurrence} differs from torch by {error:.1e}, of {TOLERANCE:.0e} allowed")
