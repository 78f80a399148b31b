"""Set-up of a process before its first parallel operation: threads, subnormals, allocator, determinism.

A vanishing gradient is a subnormal number, which a CPU handles many times slower than a normal one. And glibc hands
large buffers back to the system at every free, so that every step pays page faults for them. Both cost recurrent
networks more than their arithmetic does. ``benchmarks/README.md`` has the measured figures.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch

from bench.training.settings import RuntimeConfig

_applied: RuntimeConfig | None = None
"""The settings that this process was last set up with."""
_PERMANENT = ("flush_subnormals", "keep_pages")
"""Settings that cannot be taken back: threads keep what they started with, and so does the allocator."""

# The parameters are those of mallopt in glibc's malloc.h; the values are generous, in bytes.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MMAP_THRESHOLDS = (1 << 30, 1 << 25)
"""Thresholds to try in turn, because older versions of glibc refuse more than 32 MiB."""

_OMP_PAUSE_HARD = 2
"""As in OpenMP's omp.h: free the threads, and forget what they hold."""
_GRAIN = 32768
"""The least number of elements that torch gives to a thread, ``at::internal::GRAIN_SIZE``."""


def resolve_device(accelerator: str) -> torch.device:
    """Return the device for ``auto`` (a CUDA GPU if there is one, else the CPU), ``cpu`` or ``gpu``.

    Raises:
        ValueError: ``accelerator`` is another word, or it is ``gpu`` on a machine without one.
    """
    if accelerator not in ("auto", "cpu", "gpu"):
        raise ValueError(f"`accelerator` must be one of auto, cpu, gpu, got {accelerator!r}")
    has_gpu = torch.cuda.is_available()
    if accelerator == "gpu" and not has_gpu:
        raise ValueError("`accelerator` must be auto or cpu on this machine, where torch finds no GPU, got 'gpu'")
    if not has_gpu or accelerator == "cpu":
        return torch.device("cpu")
    # Workers of a sweep are numbered from 1 and take the GPUs in turn. A process that is no worker takes the first.
    number = re.fullmatch(r"LokyProcess-(\d+)", multiprocessing.current_process().name)
    return torch.device("cuda", (int(number[1]) - 1) % torch.cuda.device_count() if number else 0)


def supports_bf16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 natively."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Some builds of torch come without oneDNN.
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return supported is not None and bool(supported())


def check_precision(precision: str, device: torch.device) -> None:
    """Raise ``ValueError`` unless the precision is known and the device has it."""
    if precision not in ("32", "bf16-mixed"):
        raise ValueError(f"`precision` must be one of 32, bf16-mixed, got {precision!r}")
    if precision == "bf16-mixed" and not supports_bf16(device):
        raise ValueError(f"`precision` must be 32 on this {device.type}, which lacks bfloat16, got {precision!r}")


def check(config: RuntimeConfig, before: RuntimeConfig | None = None) -> None:
    """Raise ``ValueError`` if a process that was set up before cannot be changed to these settings.

    Args:
        config: The settings that are wanted.
        before: The settings that hold; ``None`` stands for those that this process was last set up with.
    """
    for name in _PERMANENT:
        wanted, held = getattr(config, name), getattr(before or _applied, name, None)
        if held is not None and wanted != held:
            raise ValueError(
                f"`{name}` must be the same for all runs of one process, which cannot change it: {held}, got {wanted}"
            )


def set_up(config: RuntimeConfig) -> dict[str, object]:
    """Apply the settings to this process.

    Returns:
        What holds now, for the record: the settings with ``threads`` resolved; ``allocator``: ``"pages kept"``,
        ``"as it was"``, ``"refused"`` or ``"not glibc"``; and ``subnormals_flushed``: whether every thread flushes.

    Raises:
        ValueError: See :func:`check`.
    """
    global _applied
    check(config)
    _applied = config
    flushed = torch.set_flush_denormal(config.flush_subnormals) and config.flush_subnormals
    torch.set_num_threads(config.thread_count)
    if flushed and not _every_thread_flushes():
        _end_threads()
        flushed = _every_thread_flushes()
    if config.deterministic:
        # cuBLAS reads this when it starts; without it the products of cuBLAS are not repeatable.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(config.deterministic)
    # Filling fresh memory with NaN would reveal reads of it, but costs a pass over every result; nothing here reads it.
    cast(Any, torch.utils.deterministic).fill_uninitialized_memory = False
    torch.backends.cudnn.deterministic = config.deterministic
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = config.tf32
    torch.backends.cuda.matmul.allow_tf32 = config.tf32
    return {
        **asdict(config),
        "threads": torch.get_num_threads(),
        "subnormals_flushed": flushed,
        "allocator": _keep_pages() if config.keep_pages else "as it was",
    }


@contextlib.contextmanager
def torch_as_it_starts() -> Iterator[None]:
    """Give torch the default type, device and modes of a new process for a while.

    Whoever calls from Python, or a module of a user's when it is imported, may have set others, and these would change
    numbers that no record explains.
    """
    dtype = torch.get_default_dtype()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        torch.set_default_dtype(torch.float32)
        stack.callback(torch.set_default_dtype, dtype)
        yield


def _every_thread_flushes() -> bool:
    """Return whether a product of subnormal numbers is 0 in every thread that torch computes with."""
    # As whole numbers: this thread takes a subnormal number that it reads for 0.
    tiny = torch.ones(torch.get_num_threads() * _GRAIN, dtype=torch.int32).view(torch.float32)
    return not torch.mul(tiny, 1.0).view(torch.int32).any()


def _end_threads() -> None:
    """End the threads of OpenMP, so that the next parallel operation starts new ones with this thread's settings.

    A thread takes over whether to flush from the one that starts it, and torch changes this for the calling thread
    alone. So threads that were started before, by a check of a compiled kernel or by another cell of a notebook, would
    never flush. OpenMP 5.0 has a call that ends them; in an older library it is missing.
    """
    with contextlib.suppress(OSError):
        loaded = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        for path in set(re.findall(r"/\S.*lib(?:gomp|iomp5|omp)\b.*", loaded)):
            with contextlib.suppress(OSError, AttributeError):
                ctypes.CDLL(path).omp_pause_resource_all(_OMP_PAUSE_HARD)


def _keep_pages() -> str:
    if platform.libc_ver()[0] != "glibc":
        return "not glibc"
    libc = ctypes.CDLL(None)
    if not any(libc.mallopt(_M_MMAP_THRESHOLD, value) for value in _MMAP_THRESHOLDS):
        return "refused"
    libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    libc.mallopt(_M_TOP_PAD, 1 << 28)
    return "pages kept"


def processor_name() -> str:
    """Return the processor's model name if the system tells it, else the name of its architecture."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
