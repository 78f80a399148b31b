"""What a clock that is started and stopped has counted."""

from __future__ import annotations

import time

import pytest

from bench.training.clock import Clock


def test_only_the_time_between_a_start_and_a_stop_counts(monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    clock = Clock(2.0)
    now = 101.0
    assert clock.seconds == 2.0
    clock.start()
    now = 104.0
    assert clock.seconds == 5.0
    clock.stop()
    now = 109.0
    assert clock.seconds == 5.0
    clock.stop()
    clock.add(0.5)
    clock.start()
    now = 110.0
    assert clock.seconds == 6.5
