"""Many processes on two hosts share one folder of runs, and each run is made once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cluster import claims

pytestmark = pytest.mark.cluster


def test_of_200_processes_on_two_hosts_one_makes_each_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    if subprocess.run(["unshare", "--uts", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no namespaces")
    line = claims.measure(tmp_path, workers=200, runs=1000)
    with capsys.disabled():
        print(f"\n{line}")
    first, second = map(int, line.partition("(")[2].partition(")")[0].split(" and "))
    assert first + second == 1000
    assert min(first, second) > 0
