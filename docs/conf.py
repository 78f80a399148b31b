"""How Sphinx builds the documentation: `make docs`, without a network, warnings as errors, code on pages executed."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[1]
PAGES = {
    "published": "results/README.md",
    "published_sequences": "results/sequences/README.md",
    "published_tuning": "results/tuning/README.md",
    "speed": "benchmarks/RESULTS.md",
    "changelog": "CHANGELOG.md",
}
"""Pages of the documentation that stand elsewhere, where their records are."""

# The package of this checkout, here and in the kernels that run the pages.
sys.path.insert(0, str(TOP))
os.environ["PYTHONPATH"] = str(TOP)
# Kernels of notebooks take one thread each, and draw without a screen.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

project = "rnn-bench"
copyright = "the rnn-bench authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = [".venv", "_build"]
html_theme = "furo"
html_title = "rnn-bench"
html_show_sourcelink = False
pygments_style = "tango"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 120
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_use_ivar = True
napoleon_attr_annotations = False
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False


def _read(app: Any, name: str, source: list[str]) -> None:
    """Take the text of a page that stands elsewhere, and let links lead to where pages are in the documentation."""
    folder = TOP / "docs"
    if name in PAGES:
        folder = (TOP / PAGES[name]).parent
        source[0] = (TOP / PAGES[name]).read_text(encoding="utf-8")

    def link(found: re.Match[str]) -> str:
        mark, text, to = found.groups()
        path = (folder / to.partition("#")[0]).resolve()
        inner = next((page for page, file in PAGES.items() if path == TOP / file), None)
        if inner is not None:
            return f"[{text}]({inner}.md)"
        if path.suffix == ".md" and path.parent == TOP / "docs":
            return f"[{text}]({path.name})"
        if mark:
            return f"![{text}]({os.path.relpath(path, TOP / 'docs')})"
        # Tables, records and the like are files of the repository.
        return text if name in PAGES or path.suffix == ".md" else found[0]

    source[0] = re.sub(r"(!?)\[([^]]*)\]\((?!https?:|#)([^)]+)\)", link, source[0])


def setup(app: Any) -> None:
    """Tell Sphinx."""
    app.connect("source-read", _read)
