"""The experiments there are, and how many runs each has."""

from __future__ import annotations

from importlib import resources


def names() -> list[str]:
    """Names of the experiments in ``conf/experiment/``."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in (resources.files("conf") / "experiment").iterdir()
        if entry.name.endswith(".yaml")
    )


def size(name: str) -> int:
    """Number of runs of an experiment as it stands.

    Raises:
        ConfigError: It does not compose.
    """
    # Only now: this takes seconds, and names are wanted at once.
    from hydra._internal.utils import get_args_parser

    from bench.config import schema
    from bench.config.compose import compose_runs

    schema.register()
    specs = compose_runs(get_args_parser().parse_args([f"+experiment={name}"]))
    return len({spec.run_id for spec in specs})
