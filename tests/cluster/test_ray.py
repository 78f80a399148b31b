"""A sweep on Ray, on this machine: as a serial one."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import LONG, Login
from tests.conftest import results_of

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no ray"),
]
PATIENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "120"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Login]:
    found = Login(tmp_path / "results", PATIENT)
    yield found
    found.kill()


def test_one_of_its_own_makes_what_a_serial_sweep_makes(home: Login, serial: dict[str, object]):
    code, out, err = home.end(home.sweep("launcher=ray", *LONG, "runtime.threads=null"))
    assert code == 0, err
    assert out.startswith("0 of 2 runs are there already, 2 to do")
    assert results_of(home.results) == serial
