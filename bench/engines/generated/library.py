"""The compiled form of a generated step: built once, kept for later processes."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from filelock import FileLock

from bench.engines.native import build
from bench.engines.native.build import NativeUnavailableError

HEADERS = [
    Path(__file__).with_name("runtime.h"),
    *(Path(build.__file__).with_name(f"{name}.h") for name in ("lanes", "memory", "tile")),
]


class Library:
    """The functions of a compiled step.

    Args:
        path: The shared library.

    Raises:
        OSError: It cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self._functions = {}
        self._padded = {}
        for name in ("forward", "backward"):
            for word, dtype in (("float", torch.float32), ("double", torch.float64)):
                function = library[f"{name}_{word}"]
                function.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 3
                function.restype = None
                self._functions[name, dtype] = function
                padded = library[f"padded_{word}"]
                padded.argtypes, padded.restype = [ctypes.c_int64], ctypes.c_int64
                self._padded[dtype] = padded

    def padding(self, dtype: torch.dtype) -> Callable[[int], int]:
        """Return the function that gives the numbers of a row of a place in which products write whole tiles."""
        return self._padded[dtype]

    def call(
        self,
        name: str,
        dtype: torch.dtype,
        sizes: tuple[int, ...],
        tensors: list[torch.Tensor | None],
        strides: list[int],
        time: int,
        batch: int,
    ) -> None:
        """Call ``forward`` or ``backward``; ``None`` stands for a tensor that is not there."""
        pointers = (ctypes.c_void_p * len(tensors))(
            *(each.data_ptr() if each is not None else None for each in tensors)
        )
        self._functions[name, dtype](
            (ctypes.c_int64 * len(sizes))(*sizes), pointers, (ctypes.c_int64 * max(1, len(strides)))(*strides),
            time, batch, min(batch, torch.get_num_threads()),
        )  # fmt: skip


def library(text: str, say: Callable[[str], None] | None = None) -> Library:
    """Return the compiled form of a source text.

    Args:
        text: The C++.
        say: Function that is called with a message when the caller has to wait.

    Raises:
        NativeUnavailableError: There is no compiler, or it fails.
    """
    if text not in _loaded:
        _loaded[text] = _found(text, say or (lambda text: None))
    return _loaded[text]


_loaded: dict[str, Library] = {}


def _found(text: str, say: Callable[[str], None]) -> Library:
    flags = build.compiler_flags()
    try:
        headers = [file.read_text(encoding="utf-8") for file in HEADERS]
        place = build.folder() / "steps" / f"{build.digest(text, *headers, platform.machine(), *flags)}.so"
        if not build.whole(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(place.with_suffix(".lock")):
                if not build.whole(place):  # another process may have built it in the meantime
                    _build(text, place, flags, say)
        return Library(place)
    except (OSError, RuntimeError) as error:
        if isinstance(error, NativeUnavailableError):
            raise
        raise NativeUnavailableError(f"there is no place to build it in: {error}") from error


def _build(text: str, place: Path, flags: list[str], say: Callable[[str], None]) -> None:
    words = build.compiler()
    if words is None:
        raise NativeUnavailableError("there is no C++ compiler")
    say("building the steps of this cell for this machine, once; a few seconds")
    with tempfile.TemporaryDirectory(dir=place.parent) as draft:
        source, made = Path(draft) / "step.cpp", Path(draft) / "step.so"
        source.write_text(text, encoding="utf-8")
        run = subprocess.run(
            [*words, *flags, "-shared", "-fPIC", f"-I{HEADERS[0].parent}", str(source), "-o", str(made)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if run.returncode:
            lines = [line for line in run.stderr.splitlines() if "error" in line] or ["it says nothing"]
            raise NativeUnavailableError(f"the compiler fails: {lines[0].strip()[-200:]}")
        build.put(made, place)
