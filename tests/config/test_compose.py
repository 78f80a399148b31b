"""Runs planned from one config that Hydra has composed are those that it composes one by one."""

from __future__ import annotations

import re

import pytest
from omegaconf import OmegaConf, open_dict

from bench.config import compose
from bench.config.command import MULTIRUN, compose_command
from bench.config.experiments import names
from bench.config.explain import ConfigError
from bench.config.hydra_app import Composer, opened
from bench.config.resolve import build


@pytest.mark.parametrize("preset", [*names(), "default"])
def test_planned_from_one_config_a_run_is_what_hydra_composes(preset: str):
    """All that a run is made of, for the first, the last and some runs between; settings of the user's on top."""
    mine = ["optimizer.lr=0.25,0.5", "seed=3,4", "trainer=cpu"]
    words = [*([] if preset == "default" else [f"+experiment={preset}"]), *mine, MULTIRUN]
    with opened() as hydra:
        config = compose_command(hydra, words)
        jobs = compose.jobs_of(config, hydra.config_loader)
        chosen = [*jobs[:2], *jobs[2 :: max(1, len(jobs) // 2)], jobs[-1]]
        fast = list(compose.runs_of(config, hydra.config_loader, chosen))
        for job, spec in zip(chosen, fast, strict=True):
            made = hydra.config_loader.load_sweep_config(config, job)
            choices = made.hydra.runtime.choices
            with open_dict(made):
                del made["hydra"]
            plain = build(made, choices, job)
            for name in ("config", "run_id", "kind", "seed", "overrides", "asked", "row", "code", "experiment", "data"):
                assert getattr(spec, name) == getattr(plain, name), name


def test_what_adds_takes_away_or_holds_several_values_is_left_to_hydra():
    jobs = [
        ["seed=1", "data.test_scales=[2.0]"], ["seed=1", "data.test_scales=[0.5]"], ["+optimizer.amsgrad=true"],
        ["~optimizer.fused"], ["cell=gru", "++cell.reset=before"], ["cell=gru", "cell.reset=before"], ["cell=gru"],
    ]  # fmt: skip
    with opened() as hydra:
        config = compose_command(hydra, ["trainer=cpu", MULTIRUN])
        composer = Composer(config, hydra.config_loader)
        for job in jobs:
            made, choices = composer.compose(job)
            plain = composer.plainly(job)
            assert dict(choices) == dict(plain.hydra.runtime.choices)
            with open_dict(plain):
                del plain["hydra"]
            assert OmegaConf.to_container(made, resolve=True) == OmegaConf.to_container(plain, resolve=True)


@pytest.mark.parametrize("values", ["range(0,1000000000)", "range(0,400)"])
def test_a_sweep_beyond_measure_is_refused_with_its_size(values: str):
    words = [f"seed={values}", "training.eval_every=range(1,400)", "trainer=cpu", MULTIRUN]
    with opened() as hydra, pytest.raises(ConfigError) as error:
        compose.jobs_of(compose_command(hydra, words), hydra.config_loader)
    assert re.fullmatch(r"a sweep must have at most 100000 runs, got at least \d{6,}", str(error.value))
