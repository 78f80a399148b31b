"""``bench predict`` and ``bench generate``: a trained network at work."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from bench.cli.common import fail
from bench.records.validation import readable

if TYPE_CHECKING:
    import pandas as pd

    from bench.runs.trained import TrainedModel

FLAGS = (
    {"run": "RUN", "file": "FILE"}
    | {name: f"--{name}" for name in ("prompt", "length", "temperature", "seed", "units", "layer")}
    | {"number": "--sequence"}
)
"""What the command line calls the arguments of :class:`bench.runs.trained.TrainedModel` and of its like."""


def predict_command(parsed: argparse.Namespace) -> int:
    """Write what a trained network makes of a file, as CSV; the exit code."""
    try:
        model = _loaded(parsed)
        found = model.predict(str(parsed.file))
        text = found.to_csv(index=False)
        if parsed.output is not None:
            from bench.records.write import write_output

            write_output(parsed.output, text.encode())
        else:
            # Names of classes and characters may be what steers a terminal.
            print(readable(text, keeps_lines=True), end="")
    except ValueError as error:
        return fail("predict", in_flags(error))
    except OSError as error:
        return fail("predict", f"--output must be a file that can be written to, {error}")
    if (said := _summary(found)) is not None:
        print(f"bench predict: {said}", file=sys.stderr)
    return 0


def generate_command(parsed: argparse.Namespace) -> int:
    """Write a text that a trained model of characters makes, after its prompt; the exit code."""
    try:
        model = _loaded(parsed)
        written = model.generate(parsed.prompt, parsed.length, parsed.temperature, parsed.seed)
    except ValueError as error:
        return fail("generate", in_flags(error))
    # What steers a terminal is shown as what stands for it.
    print(readable(parsed.prompt + written, keeps_lines=True))
    return 0


def _loaded(parsed: argparse.Namespace) -> TrainedModel:
    from bench.runs.trained import load_model

    return load_model(parsed.run, trust=parsed.trust, config_dir=parsed.config_dir)


def in_flags(error: ValueError) -> str:
    """Return a message in the words of the command line, in one line."""
    text = " ".join(str(error).split())
    for name, flag in FLAGS.items():
        text = text.replace(f"`{name}`", flag)
    return text.replace("`", "")


def _summary(found: pd.DataFrame) -> str | None:
    """Return the mean of what has a mean that people ask for."""
    if "bits" not in found:
        return None
    return f"{found['bits'].mean():.4f} bits a character, over {len(found)} characters"
