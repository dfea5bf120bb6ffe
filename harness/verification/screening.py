"""Static screening: reject code that does not compile or openly tries to pass tests by cheating.

Screening is not a security boundary: code that builds names at run time passes it. The boundary is
`confinement`.
"""

from __future__ import annotations

import ast
from typing import Any

from harness.verification.syntax import parse

# Names that give access to calling frames or to the memory of the process.
REFUSED = {
    *("_getframe", "_current_frames", "currentframe", "f_back", "f_locals", "f_globals"),
    *("f_builtins", "tb_frame", "get_objects", "get_referrers", "get_referents", "settrace"),
    *("setprofile", "addaudithook", "ctypes"),
}
_EQUALITY = ("__eq__", "__ne__")


def objection(code: str) -> str:
    """Why code is rejected, or "".

    >>> objection("import math\\nmath.isclose = lambda *a, **k: True")
    'replaces math.isclose, which its tests may call'
    """
    try:
        tree = parse(code)
        compile(tree, "candidate.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"does not compile: {type(error).__name__}: {error}"
    modules = {"__builtins__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules |= {(a.asname or a.name).partition(".")[0] for a in node.names} - {"sys"}
    for node in ast.walk(tree):
        names = (str(getattr(node, key, "")) for key in ("id", "attr", "name", "module"))
        if found := {name.partition(".")[0] for name in names} & REFUSED:
            return f"uses {min(found)}, which reads or steers the program that runs it"
        changed, name = _replaced(node)
        if changed in modules or (changed, name) == ("sys", "modules"):
            return f"replaces {changed}.{name}, which its tests may call"
        if _always_equal(node):
            return "defines objects that are equal to everything"
    return ""


def _replaced(node: Any) -> tuple[str, str]:
    """Module and attribute that a statement assigns or deletes, or two empty strings."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("setattr", "delattr"):
        return (getattr(node.args[0], "id", ""), "attributes") if node.args else ("", "")
    for target in getattr(node, "targets", None) or [getattr(node, "target", None)]:
        inner = target.value if isinstance(target, ast.Subscript) else target
        whole = inner is target or getattr(inner, "attr", "") in ("modules", "__dict__")
        if whole and isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name):
            return inner.value.id, inner.attr
    return "", ""


def _always_equal(node: Any) -> bool:
    if isinstance(node, ast.FunctionDef) and node.name in _EQUALITY and len(node.body) == 1:
        return isinstance(getattr(node.body[0], "value", None), ast.Constant)
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
        named = any(getattr(target, "id", "") in _EQUALITY for target in node.targets)
        return named and isinstance(node.value.body, ast.Constant)
    return False
