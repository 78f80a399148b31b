"""A command line that is wrong is answered with one line, as a wrong setting is."""

from __future__ import annotations

import argparse
import re
from typing import Any, NoReturn

from bench.errors import nearest, shown


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line; those of a command name the command."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and where the help is, and exit with 2."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())} ({self.prog} --help)\n")

    def parse_known_args(self, *args: Any, **kwargs: Any) -> tuple[Any, list[str]]:
        """Do the same as the parser of the library, but that words which mean nothing are an error here already."""
        parsed, unknown = super().parse_known_args(*args, **kwargs)
        flags = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        if flags:
            known = re.findall(r"--[\w-]+", self.format_usage())
            self.error(f"there is no flag {flags[0]}{nearest(flags[0], known)}")
        if unknown:
            self.error(f"{shown(unknown[0])} is one word too many; a pattern stands for all that it matches")
        return parsed, unknown
