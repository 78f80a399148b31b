"""The code and the libraries that made a number."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import __version__

LIBRARIES = ("torch", "lightning", "torchmetrics", "hydra-core", "omegaconf", "wandb", "numpy", "pyarrow")


def source_hash(files: Iterable[Path]) -> str:
    """Hash the contents of source files, whatever their order and place.

    The function reads each file once a process: the code that runs is the imported one, not what is on disk an hour
    later.
    """
    digests = sorted({_digest(file) for file in files})
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:12]


@functools.cache
def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def code_version(shared: Iterable[Path], cell: Iterable[Path]) -> dict[str, Any]:
    """Return the version of the code as this process has it.

    Returns:
        ``version`` of the package, hashes of the given files as ``sources`` and ``cell``, and ``commit`` and ``dirty``
        if the package is a git checkout.
    """
    return {"version": __version__, "sources": source_hash(shared), "cell": source_hash(cell), **_checkout()}


@functools.cache
def _checkout() -> dict[str, Any]:
    """Return commit and state of the checkout, asked once a process.

    The code that runs is the imported one, whatever is committed later.
    """
    version: dict[str, Any] = {"commit": None, "dirty": None}
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists() and shutil.which("git"):
        head = _git(root, "rev-parse", "HEAD")
        if head.returncode == 0:
            version["commit"] = head.stdout.strip()
            version["dirty"] = bool(_git(root, "status", "--porcelain", "--untracked-files=no").stdout.strip())
    return version


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that a result may depend on."""
    return {name: _installed_version(name) for name in LIBRARIES}


@functools.cache
def _installed_version(name: str) -> str:
    return importlib.metadata.version(name)


def without_home(text: str) -> str:
    """Return a text with ``~`` for the user's home folder, whose name is often that of the user.

    Commands understand it in ``results_dir`` and ``--config-dir``.
    """
    try:
        home = str(Path.home())
    except RuntimeError:
        return text  # A process may have no user, as in a container.
    return re.sub(rf"{re.escape(home)}(?![\w-])", "~", text) if len(home) > 1 else text
