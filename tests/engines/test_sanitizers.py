"""Generated code under the compiler's sanitizers: no byte beyond an array, and nothing that C++ leaves undefined."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.engines.native import build
from tests.conftest import ROOT

KERNELS = """
import torch

from bench.engines import stepwise
from bench.engines.generated import engine as generated
from tests import own_cells
from tests.cells_made import draw, draw_state, error, everything, make

for kind in (own_cells.MGU, own_cells.Peephole, own_cells.NormLSTM):
    for time, batch, hidden in ((2, 1, 2), (131, 3, 7), (3, 33, 50), (2, 5, 130)):
        cell, inputs = make(kind, 3, hidden), draw(time, batch, 3)
        state = draw_state(cell, batch)
        expected = everything(stepwise.unroll, cell, inputs, state)
        for dtype, allowed in ((torch.double, 1e-10), (torch.float, 1e-4)):
            assert error(everything(generated.unroll, cell.to(dtype), inputs, state), expected) < allowed
        cell.double()
print("clean")
"""
BEYOND = """
import ctypes, sys
ctypes.CDLL(sys.argv[1]).beyond(16)
print("clean")
"""
FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")


def sanitized(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run some Python for which kernels are built anew, with the sanitizers."""
    compiler = build.compiler()
    assert compiler is not None
    libraries = [
        subprocess.run([*compiler, f"-print-file-name={name}.so"], capture_output=True, text=True, check=True).stdout
        for name in ("libasan", "libubsan")
    ]
    environment = {
        **os.environ,
        "CXX": " ".join((*compiler, *FLAGS)),
        "TORCH_EXTENSIONS_DIR": str(folder),
        "LD_PRELOAD": " ".join(each.strip() for each in libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python itself keeps what it has
        "OMP_NUM_THREADS": "2",
    }
    words = [sys.executable, "-c", code, *arguments]
    return subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.long_run
def test_generated_code_is_clean(tmp_path: Path):
    done = sanitized(KERNELS, tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["clean"]), done.stderr[-3000:]
    assert len(list(tmp_path.rglob("steps/*.so"))) >= 3, "built anew, for each of the cells"


@pytest.mark.long_run
def test_a_kernel_that_reads_beyond_an_array_is_found(tmp_path: Path):
    source, library = tmp_path / "beyond.cpp", tmp_path / "beyond.so"
    source.write_text(
        '#include <vector>\nextern "C" float beyond(int count) {\n'
        "  std::vector<float> row(count);\n  return row.data()[count];\n}\n"
    )
    compiler = build.compiler()
    assert compiler is not None
    subprocess.run([*compiler, *FLAGS, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    done = sanitized(BEYOND, tmp_path, str(library))
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
