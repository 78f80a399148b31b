"""The HTML of a page: data, scripts and style in one file, which asks for nothing else and may load nothing else.

Names in records are data. They stand in a block of JSON in which no character can end the block, and scripts write them
as text. A content security policy in the file allows the scripts and the style that it was made with, by their SHA-256,
and no others, and no address at all. The two libraries are vendored: ``vendor/`` has them as they were published, with
their licences, and :data:`VENDORED` their hashes, which are those of the policy.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import string
from importlib import resources
from typing import Any

ASSETS = resources.files("bench") / "report" / "web" / "assets"
VENDORED = {
    "d3.min.js": "912111098ea99503a6f4967361d2bbdc9dbf58cf9c678c8e27e5b02d1a07f0c1",
    "plot.umd.min.js": "4358086467740777dd788d6b27a95cebdbaefdd50c730a3060117073bd7134cb",
}
"""SHA-256 of d3 7.9.2 and Observable Plot 0.6.17 as npm has them, in the order in which they are loaded."""
SCRIPTS = ("base.js", "state.js", "chart.js", "plots.js", "tables.js", "run.js", "main.js")
"""Our own scripts, which are joined to one in this order."""
STYLES = ("page.css", "vendor/plot.css")
"""Our own style, and the one that Plot writes into each of its pictures, which the policy must allow."""


def document(content: dict[str, Any], title: str) -> bytes:
    """Return a page as HTML; the same content gives the same bytes.

    Args:
        content: See :func:`bench.report.web.content.content_of`.
        title: The title, as text.

    Raises:
        ValueError: A vendored script is not the one that was pinned.
    """
    libraries = [_vendored(name) for name in VENDORED]
    own = '"use strict";\n(() => {\n' + "\n".join(map(_asset, SCRIPTS)) + "\n})();\n"
    style, style_of_plot = map(_asset, STYLES)
    template = string.Template(_asset("page.html"))
    page = template.substitute(
        policy=_policy([*libraries, own], [style, style_of_plot]),
        title=html.escape(title),
        style=style,
        licences=html.escape(_asset("vendor/LICENSES.txt")),
        libraries="\n".join(f"<script>{script}</script>" for script in libraries),
        data=in_html(content),
        script=own,
    )
    return page.encode("utf-8")


def in_html(value: Any) -> str:
    """Return a value as JSON that can stand in an element of HTML: nothing in it begins a tag, a comment or an entity.

    A text that is no Unicode, as a file name may be, has a question mark for each character that is none.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "replace").decode("utf-8")


def _policy(scripts: list[str], styles: list[str]) -> str:
    allowed = {
        "default-src": ["'none'"],
        "script-src": [_source(text) for text in scripts],
        "style-src": [_source(text) for text in styles],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    return "; ".join(f"{name} {' '.join(sources)}" for name, sources in allowed.items())


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _asset(name: str) -> str:
    # Not as text, whose line ends some systems change.
    return (ASSETS / name).read_bytes().decode("utf-8").replace("\r\n", "\n")


def _vendored(name: str) -> str:
    content = (ASSETS / "vendor" / name).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != VENDORED[name]:
        raise ValueError(f"`{name}` must be the script with the SHA-256 {VENDORED[name]}, got {found}")
    return content.decode("utf-8")
