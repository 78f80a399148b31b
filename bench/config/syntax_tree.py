"""Syntax trees as text, so that code can be compared without what computes nothing."""

from __future__ import annotations

import ast
import hashlib
import re
from typing import Any, TypeGuard

DECLARATION = "NUMERICS"
"""The name under which a part of the code declares its version."""


def declared_versions(tree: ast.Module) -> list[int]:
    """Return the numbers that a module declares as its version."""
    values = [node.value for node in tree.body if _is_declaration(node)]
    return [value.value for value in values if isinstance(value, ast.Constant) and type(value.value) is int]


def _is_declaration(node: ast.AST) -> TypeGuard[ast.Assign]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)] == [DECLARATION]


def definitions(tree: ast.Module, chosen: tuple[str, ...], *, everything: bool = False) -> list[str]:
    """Return a digest of each statement of a module that can change a number.

    Args:
        tree: The module.
        chosen: Functions and methods (``Class.method``) that count; none named means all of the module.
        everything: Whether imports and annotations count as well.
    """
    body: list[ast.stmt] = list(tree.body)
    if chosen:
        members = {f"{node.name}.{each.name}": each for node in body if isinstance(node, ast.ClassDef)
                   for each in node.body if isinstance(each, ast.FunctionDef)}  # fmt: skip
        members |= {node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        body = [members[name] for name in chosen]
    kept = (text for node in body if (text := _text_of(node, everything)))
    return [digest(text) for text in kept]


def _text_of(node: Any, everything: bool) -> str:
    """Return a syntax tree as text, the same in all versions of Python; empty for what computes nothing."""
    if isinstance(node, list):
        return ",".join(text for each in node if (text := _text_of(each, everything)))
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return ""  # A docstring, or a text that stands for a comment.
    fields = {name: value for name, value in ast.iter_fields(node) if name not in ("ctx", "type_comment", "kind")}
    if not everything:
        if isinstance(node, ast.Import | ast.ImportFrom) or _is_declaration(node):
            return ""
        if isinstance(node, ast.AnnAssign):
            # The fields of a dataclass: their names and order, and values, are what is left.
            fields = {"targets": [node.target], "value": node.value}
        fields = {name: value for name, value in fields.items() if name not in ("annotation", "returns", "type_params")}
    # Newer versions of Python have more fields, which are empty.
    texts = (f"{name}={_text_of(value, everything)}" for name, value in fields.items() if value not in (None, []))
    kind = "Assign" if isinstance(node, ast.AnnAssign) and not everything else type(node).__name__
    return f"{kind}({';'.join(texts)})"


def tokens_of_cpp(source: str) -> str:
    """C++ without comments and white space."""
    without = re.sub(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', lambda found: found[1] or " ", source, flags=re.DOTALL)
    return " ".join(without.split())


def digest(text: str) -> str:
    """SHA-256 of a text, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()
