"""Text as LaTeX has it: what is data is escaped. Pure."""

from __future__ import annotations

import re

_LATEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
    | {"|": r"\textbar{}"}
)
_SIGNS = {
    '"': "''",
    "$<$=": r"$\leq$",
    "$>$=": r"$\geq$",
    "∞": r"$\infty$",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
}


def tex(text: str) -> str:
    """Escape a text, with a minus sign instead of a hyphen and powers of ten."""
    escaped = re.sub(r"^-$", "--", text).translate(_LATEX)
    signed = re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped)
    powers = re.sub(r"(\d)e([+-])0*(\d+)", lambda m: rf"{m[1]}$\times 10^{{{m[2].strip('+')}{m[3]}}}$", signed)
    for plain, sign in _SIGNS.items():
        powers = powers.replace(plain, sign)
    return powers


def typed(command: str) -> str:
    """Return a command in type, whose quotes stay straight and whose hyphens stay two for anyone who copies them."""
    text = command.translate(_LATEX).replace("'", r"\textquotesingle{}").replace(",", r",\allowbreak{}")
    return rf"\texttt{{{text.replace('--', '-{}-')}}}"
