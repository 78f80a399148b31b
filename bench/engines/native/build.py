"""Build of the native kernels as a torch extension.

The kernels are built at their first use, tested against torch, and kept for later processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import ninja
import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor, nn

NAME = "rnn_bench_native"
SOURCE = Path(__file__).with_name("ops.cpp")
HEADERS = sorted(SOURCE.parent.glob("*.h"))
FLAGS = {
    "AVX512": "-mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma",
    "AVX2": "-mavx2 -mfma",
}
"""Compiler flags for torch's name of the processor's capability; other processors get the compiler's defaults."""
SECONDS_BETWEEN_TRIES = 3600.0
"""Seconds before a failed build is tried again; the compiler may have been killed, or the disk may have been full."""
TOLERANCE = 1e-5
"""Largest relative error that the self-test allows, in float32."""

_state: str | None = None
"""State of this process: ``None`` before the first use, "" once the kernels are loaded, else why they cannot be."""


class NativeUnavailableError(RuntimeError):
    """The native kernels are not available on this machine; the text says why."""


def load(say: Callable[[str], None] | None = None) -> None:
    """Make ``torch.ops.rnn_bench`` available to this process.

    Args:
        say: Function that is called with a message when the caller has to wait.

    Raises:
        NativeUnavailableError: There is no compiler, it fails, or the kernels do not compute what torch computes.
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


def compiler() -> list[str] | None:
    """Return the C++ compiler and its arguments, from ``CXX`` or the path; ``None`` if it is not there."""
    words = _asked_for()
    return words if shutil.which(words[0]) else None


def _asked_for() -> list[str]:
    return shlex.split(os.environ.get("CXX", "")) or ["c++"]


def folder() -> Path:
    """Return the folder of the built kernels, below ``TORCH_EXTENSIONS_DIR`` or torch's own folder for extensions.

    Raises:
        RuntimeError: The user has no home folder.
    """
    root = os.environ.get("TORCH_EXTENSIONS_DIR")
    return (Path(root) if root else Path.home() / ".cache" / "torch_extensions") / "rnn_bench"


def _load(say: Callable[[str], None]) -> None:
    if platform.system() != "Linux":
        raise NativeUnavailableError(f"it is built on Linux, and this is {platform.system()}")
    flags = compiler_flags()
    try:
        texts = [file.read_text(encoding="utf-8") for file in (SOURCE, *HEADERS)]
        place = folder() / digest(*texts, torch.__version__, platform.machine(), *flags)
        library = place / "native.so"
        if _loaded(library):
            return
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / "lock"):
            if not _loaded(library):  # another process may have built it in the meantime
                _make(library, flags, say)
    except (OSError, RuntimeError) as error:
        if isinstance(error, NativeUnavailableError):
            raise
        say(f"the native kernels have no place to be built in: {error}")
        raise NativeUnavailableError("there is no place to build it in") from error


def _loaded(library: Path) -> bool:
    """Load a library if it is there and whole; return whether it was."""
    if whole(library):
        with contextlib.suppress(OSError):
            torch.ops.load_library(library)
            return True
    return False


def put(draft: Path, library: Path) -> None:
    """Move a library into its place, and note its digest beside it."""
    # The note comes first: a library without its note is built again.
    library.with_suffix(".sha256").write_text(_digest_of_file(draft), encoding="utf-8")
    draft.replace(library)


def whole(library: Path) -> bool:
    """Return whether a library is there as it was built; to load half of one would end the process."""
    try:
        return library.with_suffix(".sha256").read_text(encoding="utf-8") == _digest_of_file(library)
    except (OSError, UnicodeDecodeError):
        return False


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make(library: Path, flags: list[str], say: Callable[[str], None]) -> None:
    made_with = compiler()
    if made_with is None:
        raise NativeUnavailableError(f"there is no C++ compiler named {_asked_for()[0]}")
    version = subprocess.run([*made_with, "--version"], capture_output=True, text=True, check=False).stdout
    failure = library.with_name(f"failed-{digest(*made_with, version)}.log")
    if failure.exists() and time.time() - failure.stat().st_mtime < SECONDS_BETWEEN_TRIES:
        say(f"building the native kernels has failed, see {failure}, and delete that to try again")
        raise NativeUnavailableError("building it has failed")
    for left in library.parent.glob("tmp*"):  # a killed process left these: this process holds the lock
        shutil.rmtree(left, ignore_errors=True)
    say("building the native kernels for this machine, once; about half a minute")
    with tempfile.TemporaryDirectory(dir=library.parent) as draft:
        try:
            _build(Path(draft), flags)
            _check()
        except Exception as error:
            failure.write_text(f"{error}\n", encoding="utf-8")
            say(f"building the native kernels failed, see {failure}")
            raise NativeUnavailableError("building it has failed") from error
        put(Path(draft) / f"{NAME}.so", library)


def digest(*parts: str) -> str:
    """Return sixteen hexadecimal digits over some texts."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def compiler_flags() -> list[str]:
    """Return the compiler's flags for this machine's vectors."""
    found = torch.backends.cpu.get_cpu_capability()
    capability = found if found in FLAGS else "DEFAULT"
    macros = [f"-DCPU_CAPABILITY={capability}", f"-DCPU_CAPABILITY_{capability}"]
    return ["-O3", "-std=c++20", "-fopenmp", *macros, *FLAGS.get(capability, "").split()]


def _build(draft: Path, flags: list[str]) -> None:
    """Build the library in a folder, and load it."""
    from torch.utils import cpp_extension

    path = os.environ.get("PATH", "")
    os.environ["PATH"] = f"{ninja.BIN_DIR}{os.pathsep}{path}"  # torch looks for ninja on the path
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
    """Compare with torch's own modules, in outputs and gradients, at sizes that reach the ends of all loops."""
    generator = torch.Generator().manual_seed(0)
    steps, batch, inputs, hidden = 7, 70, 35, 37

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    with torch.random.fork_rng(devices=[]):  # torch draws initial values, which are replaced below
        modules = {
            "rnn_tanh": nn.RNN(inputs, hidden),
            "rnn_relu": nn.RNN(inputs, hidden, nonlinearity="relu"),
            "lstm": nn.LSTM(inputs, hidden),
            "gru": nn.GRU(inputs, hidden),
        }
    for recurrence, module in modules.items():
        weights = list(module.parameters())
        for weight in weights:
            weight.data = draw(*weight.shape) / hidden**0.5
        start = [draw(batch, hidden).requires_grad_() for _ in range(2 if recurrence == "lstm" else 1)]
        sequence, d_hidden = draw(steps, batch, inputs).requires_grad_(), draw(steps, batch, hidden)
        parts = [part.unsqueeze(0) for part in start]
        outputs = module(sequence, tuple(parts) if len(parts) > 1 else parts[0])[0]
        expected = [outputs.detach(), *torch.autograd.grad(outputs, [sequence, *weights, *start], d_hidden)]
        with torch.no_grad():
            rows, kept, c = torch.ops.rnn_bench.forward(recurrence, sequence, start, *weights, True)
            d_inputs, d_h, d_c, *of_weights, of_states = torch.ops.rnn_bench.backward(
                recurrence, inputs, rows, kept, c, d_hidden, None, None, *weights[:2], True, True, True
            )
        found = [rows[1:, :, :hidden], d_inputs, *of_weights, d_h, *([d_c] if recurrence == "lstm" else [])]
        found.append(of_states[0, -1])  # the gradient of the last h is d_hidden alone
        _compare(recurrence, found, [*expected, d_hidden[-1]])
    read = [draw(steps, batch, hidden), draw(inputs, hidden), draw(inputs)]
    targets, scored = draw(steps, batch).abs().mul(1000).long() % inputs, draw(steps, batch) > -1
    outputs = F.linear(*(each.requires_grad_() for each in read))
    loss = F.cross_entropy(outputs[scored], targets[scored])
    expected = [loss.detach(), *torch.autograd.grad(loss, read)]
    with torch.no_grad():
        _compare("cross_entropy", torch.ops.rnn_bench.cross_entropy(*read, targets, scored, True), expected)


def _compare(name: str, found: Iterable[Tensor], expected: list[Tensor]) -> None:
    for each, wanted in zip(found, expected, strict=True):
        error = float((each - wanted).abs().max() / wanted.abs().max())
        if not error <= TOLERANCE:
            raise RuntimeError(f"{name} differs from torch by {error:.1e}, of {TOLERANCE:.0e} allowed")
