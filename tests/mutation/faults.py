"""Small faults of a module: one changed expression or statement each.

Mistakes that a reader overlooks: a bound off by one, a swapped comparison, a default that is no
longer passed, a step left out. Annotations, decorators, docstrings and the texts of errors are left
alone.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
# Functions and methods taken for one another.
NAMES = {
    "min": "max",
    "argmin": "argmax",
    "minimum": "maximum",
    "any": "all",
    "mean": "sum",
    "floor": "ceil",
    "log": "log1p",
    "zeros": "ones",
    "startswith": "endswith",
    "lstrip": "rstrip",
}
NAMES |= {after: before for before, after in NAMES.items()}
# Calls whose argument has the same type as their result.
UNWRAPPED = {"sorted", "reversed", "abs", "set", "round", "exp", "log", "sqrt", "detach", "sum"}


@dataclass(frozen=True)
class Fault:
    """A planted fault: where it is, what was changed, and the module's whole text with it."""

    line: int
    kind: str
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        return f"{self.line}: {self.kind}: {_short(self.before)} -> {_short(self.after)}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."


def faults(source: str) -> list[Fault]:
    """Every fault of a module's text, in the order of its lines; none has another's text."""
    tree = ast.parse(source)
    seen = {ast.unparse(tree)}
    found = []
    for owner, name, place, node in _slots(tree):
        for kind, changed in _changes(node, owner):
            _put(owner, name, place, changed)
            text = ast.unparse(ast.fix_missing_locations(tree))
            _put(owner, name, place, node)
            if text in seen or not _compiles(text):
                continue
            seen.add(text)
            line = getattr(node, "lineno", getattr(owner, "lineno", 0))
            found.append(Fault(line, kind, ast.unparse(node), ast.unparse(changed), text))
    return sorted(found, key=lambda fault: fault.line)


def sample(found: Sequence[tuple[str, Fault]], count: int, seed: int) -> list[tuple[str, Fault]]:
    """`count` of the (module, fault) pairs, drawn from the kinds in turn, in their order."""
    generator = random.Random(seed)
    kinds: dict[str, list[int]] = {}
    for place, (_, fault) in enumerate(found):
        kinds.setdefault(fault.kind, []).append(place)
    for members in kinds.values():
        generator.shuffle(members)
    drawn: list[int] = []
    while len(drawn) < min(count, len(found)):
        for kind in sorted(kinds):
            if kinds[kind] and len(drawn) < count:
                drawn.append(kinds[kind].pop())
    return [found[place] for place in sorted(drawn)]


def _compiles(text: str) -> bool:
    try:
        compile(text, "fault", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def _put(owner: ast.AST, name: str, place: int | None, node: ast.AST) -> None:
    if place is None:
        setattr(owner, name, node)
    else:
        getattr(owner, name)[place] = node


def _slots(owner: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, Any]]:
    """Every expression and statement that may change, with the field that holds it."""
    for name, value in ast.iter_fields(owner):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_comment"):
            continue
        if isinstance(owner, ast.Raise) or (isinstance(owner, ast.Assert) and name == "msg"):
            continue  # what an error says
        entries = enumerate(value) if isinstance(value, list) else [(None, value)]
        for place, node in entries:
            if not isinstance(node, ast.AST) or _is_left_alone(node):
                continue
            yield owner, name, place, node
            yield from _slots(node)


def _is_left_alone(node: ast.AST) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Global | ast.Nonlocal | ast.expr_context):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # a docstring
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return True
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"


def _changes(node: ast.AST, owner: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.stmt):
        yield from _statement(node)
    elif isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                yield "comparison", ast.Compare(node.left, ops, node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        if not _is_text(node.left) and not _is_text(node.right):
            changed = ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
            yield "arithmetic", changed
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield "unary", node.operand
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "boolean", ast.BoolOp(other, node.values)
        for place in range(len(node.values)):
            rest = [value for number, value in enumerate(node.values) if number != place]
            yield "boolean", rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    elif isinstance(node, ast.IfExp):
        yield "branches", ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Constant):
        yield from _constant(node)
    elif isinstance(node, ast.Slice):
        yield from _slice(node)
    elif isinstance(node, ast.Call):
        yield from _call(node)
    elif isinstance(node, ast.comprehension):
        for place in range(len(node.ifs)):
            ifs = [*node.ifs[:place], *node.ifs[place + 1 :]]
            yield "condition", ast.comprehension(node.target, node.iter, ifs, node.is_async)


def _is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.JoinedStr):
        return True
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def _statement(node: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "step left out", ast.Pass()
    elif isinstance(node, ast.AugAssign):
        yield "step left out", ast.Pass()
        if type(node.op) in ARITHMETIC:
            changed = ARITHMETIC[type(node.op)]()
            yield "arithmetic", ast.AugAssign(node.target, changed, node.value)
    elif isinstance(node, ast.Raise):
        yield "error left out", ast.Pass()
    elif isinstance(node, ast.Continue):
        yield "loop", ast.Break()
        yield "loop", ast.Pass()
    elif isinstance(node, ast.Break):
        yield "loop", ast.Continue()
    elif isinstance(node, ast.If):
        changed = ast.UnaryOp(ast.Not(), node.test)
        yield "condition", ast.If(changed, node.body, node.orelse)


def _constant(node: ast.Constant) -> Iterator[tuple[str, ast.AST]]:
    value = node.value
    if isinstance(value, bool):
        yield "constant", ast.Constant(not value)
    elif isinstance(value, int):
        yield "constant", ast.Constant(value + 1)
        if value >= 1:
            yield "constant", ast.Constant(value - 1)
    elif isinstance(value, float):
        yield "constant", ast.Constant(value * 1.05 if value else 0.05)


def _slice(node: ast.Slice) -> Iterator[tuple[str, ast.AST]]:
    for name in ("lower", "upper", "step"):
        bound = getattr(node, name)
        if bound is None:
            continue
        parts = {"lower": node.lower, "upper": node.upper, "step": node.step}
        yield "slice", ast.Slice(**{**parts, name: None})
        if name != "step" and not isinstance(bound, ast.Constant):
            moved = ast.BinOp(bound, ast.Add(), ast.Constant(1))
            yield "slice", ast.Slice(**{**parts, name: moved})


def _call(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    for place, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            rest = [*node.keywords[:place], *node.keywords[place + 1 :]]
            yield "keyword left out", ast.Call(node.func, node.args, rest)
    if len(node.args) >= 2 and not any(isinstance(item, ast.Starred) for item in node.args[:2]):
        swapped = [node.args[1], node.args[0], *node.args[2:]]
        if not _is_text(node.args[0]) and not _is_class_check(node):
            yield "arguments swapped", ast.Call(node.func, swapped, node.keywords)
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else name
    if name in NAMES:
        func = (
            ast.Name(NAMES[name], ast.Load())
            if isinstance(node.func, ast.Name)
            else ast.Attribute(node.func.value, NAMES[name], ast.Load())
        )
        yield "function", ast.Call(func, node.args, node.keywords)
    if name in UNWRAPPED and len(node.args) == 1:
        yield "call left out", node.args[0]
    if name == "sorted":
        backwards = ast.keyword("reverse", ast.Constant(True))
        if not any(keyword.arg == "reverse" for keyword in node.keywords):
            yield "order", ast.Call(node.func, node.args, [*node.keywords, backwards])


def _is_class_check(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass", "cast")
