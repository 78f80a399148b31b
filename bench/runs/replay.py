"""Replay of a run: it is made again elsewhere, from its record alone, and every number is compared."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.config.explain import ConfigError, explain
from bench.config.resolve import build
from bench.config.run_spec import RunSpec
from bench.config.schema import Config
from bench.engines import ENGINES
from bench.errors import StoppedError
from bench.records import older, record, thinning
from bench.records.compare import (
    compared,
    digest_difference,
    first_difference,
    first_probe_difference,
    probe_rows,
    surroundings,
)
from bench.records.read import check_record, config_as_written, read_curves
from bench.records.record import DamagedRecordError, Record
from bench.runs import trust
from bench.runs.execute import execute
from bench.runs.job import own_modules
from bench.runs.progress import Pulse
from bench.sweeps import signals

NO_PROBE = {"enabled": False, "every": None, "batch_size": 1, "lags": "log", "gates": None, **older.SECTIONS["probe"]}
"""Probe settings for records that were written before there were probes."""


def replay_run(folder: Path, trusted: Sequence[str], config_dir: str | None, tolerance: float) -> int:
    """Replay one record and print the outcome.

    Args:
        folder: Folder of the record.
        trusted: Names that the record may import besides our own.
        config_dir: Folder of the user's own classes.
        tolerance: Largest relative difference allowed if the surroundings differ.

    Returns:
        The exit code: 0 if all is equal, 1 if not, 2 if the record cannot be replayed, or that of
        :func:`bench.sweeps.signals.exit_code`.
    """
    own = str(Path(config_dir).expanduser().absolute()) if config_dir else None
    try:
        signals.listen(at_once=True)
        # To be shown, texts are escaped; to be run, they are as they were.
        old, old_curves = replace(check_record(folder), config=config_as_written(folder)), read_curves(folder)
        with own_modules(own), tempfile.TemporaryDirectory(prefix="bench-replay-") as scratch:
            spec = rebuild(old, Path(scratch), trusted)
            signals.listen()
            new = execute(spec, old.command, Pulse(), lambda: None, f"replay of {spec.label}")
            stopped = signals.requested()
            if stopped is not None:
                print(f"bench replay: stopped by {stopped}", file=sys.stderr)
                return signals.exit_code(stopped)
            new_curves = read_curves(spec.folder)
            old_probes, new_probes = probe_rows(folder), probe_rows(spec.folder)
    except (ConfigError, DamagedRecordError) as error:
        print(f"bench replay: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except StoppedError:
        stopped = signals.requested()
        assert stopped is not None
        print(f"bench replay: stopped by {stopped}", file=sys.stderr)
        return signals.exit_code(stopped)
    except OSError as error:
        print(f"bench replay: the folder for temporary files must be writable ({error})", file=sys.stderr)
        return 2
    finally:
        signals.forget()
    if new.status == "failed":
        print(f"{new.traceback}bench replay: failed, {new.reason}", file=sys.stderr)
        return 1
    changes = surroundings(old, new)
    for change in changes:
        print(f"bench replay: warning: {change}", file=sys.stderr)
    allowed = tolerance if changes else 0.0
    within = f" within a relative difference of {tolerance:g}" if changes else ", bit for bit"
    info = thinning.thinning_of(old_curves.schema)
    kept = new_curves if info is None else thinning.thin(new_curves, info.every)
    different = first_difference(old, old_curves, new, kept, allowed)
    if info is not None and allowed == 0:
        different = different or digest_difference(info, new_curves)
    different = different or first_probe_difference(old_probes, new_probes, allowed)
    if different is not None:
        print(f"different: {different}")
        if not changes and "capability" not in old.device:
            _say("the record does not say which instruction set its processor had; another one rounds otherwise")
        return 1
    curves = sum(name != "step" for name in compared(old_curves))
    metrics, probed = len(old.metrics["test"]) + len(old.metrics["eval"]), sum(map(len, old_probes.values()))
    steps = f"{old.steps} steps of {curves} curves"
    if info is not None:
        others = "the rest by digest" if allowed == 0 else "the record keeps no others"
        steps += f" ({info.kept} by value, {others})"
    print(f"equal{within}: {steps}, {metrics} final metrics, {probed} values of probes")
    return 0


def rebuild(old: Record, scratch: Path, trusted: Sequence[str] = ()) -> RunSpec:
    """Build the run spec of a record's run, to be made elsewhere and without a mirror.

    The device is of the record's kind if there is one.

    Raises:
        ConfigError: The record's config no longer composes, or it names code that is not trusted.
    """
    if old.status not in record.FINAL:
        raise ConfigError(f"status must be one of {', '.join(record.FINAL)} to be replayed, got {old.status!r}")
    try:
        trust.check({name: value for name, value in old.config.items() if name != "logger"}, trusted)
    except ValueError as error:
        raise ConfigError(f"config.{str(error).replace('`', '')}") from error
    on_gpu = old.device["type"] == "cuda" and torch.cuda.is_available()
    changes = {
        "logger": {"_target_": "bench.runs.loggers.no_logger", "_partial_": True},
        "launcher": {"name": "serial", "workers": None, "workers_per_gpu": None},
        "training": {"checkpoint_every": None, "keep_weights": False, "keep_predictions": False},
        "trainer": {"accelerator": "gpu" if on_gpu else "cpu"},
        "runtime": {"threads": old.runtime["threads"]},
        "results_dir": str(scratch),
        "rerun": "none",
        "sweep": None,
        "tuning": {"role": None, "trials": None, "seeds": None, "sampler": None},
    }
    config = {name: value for name, value in old.config.items() if name not in ("logger", "launcher")}
    config = {"probe": NO_PROBE, "budget": None} | config
    config["model"] = {"readout_init": "torch"} | config["model"]
    try:
        # The engines are those of the record, or else the best ones on this machine; a difference is reported.
        engine, loss_engine = old.model.get("engine"), old.model.get("loss_engine", "torch")
        recorded = [{"engine": engine, "loss_engine": loss_engine}] if engine in ENGINES else []
        best = {"engine": "auto", "loss_engine": "torch" if loss_engine == "torch" else "auto"}
        for asked in (*recorded, best):
            cfg = OmegaConf.merge(OmegaConf.structured(Config), config, changes, {"model": asked})
            assert isinstance(cfg, DictConfig)
            try:
                return build(cfg, {"task": old.task, "cell": old.cell, "experiment": old.experiment}, [], _say)
            except ConfigError as error:
                if asked is best or not str(error).startswith(("model.engine", "model.loss_engine")):
                    raise
        raise AssertionError("the best is always there")
    except OmegaConfBaseException as error:
        raise ConfigError(f"the record's config no longer composes: {explain(error)}") from error
    except ConfigError as error:
        raise ConfigError(f"the record's config no longer composes: {error}") from error


def _say(text: str) -> None:
    print(f"bench replay: {text}", file=sys.stderr, flush=True)
