"""Limits of time and output of chat templates, which come with models and are programs.

A template that only walks through the messages and writes parts of them ends, and its output is
about as long as they are: `is_bounded` recognises this from its source. Every other template is
first rendered on trial in a process with limits (`template_trial`); what ends there is rendered by
the tokenizer itself, so that the text is the tokenizer's in either case.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.core.errors import BadData, EnvironmentProblem

TIME_S = 5
MEMORY_MB = 1024
LONGEST, PER_CHARACTER = 1_000_000, 20  # characters of output: at least, and per one of the input
START_S = 60
_TRIAL = Path(__file__).with_name("template_trial.py")

_FILTERS = {
    *("trim", "length", "count", "upper", "lower", "capitalize", "title", "tojson", "list"),
    *("first", "last", "default", "d", "string", "safe", "selectattr", "rejectattr", "items"),
    *("int", "float"),
}
_METHODS = {
    *("strip", "lstrip", "rstrip", "split", "rsplit", "startswith", "endswith", "items", "keys"),
    *("values", "get", "lower", "upper", "title", "capitalize"),
}
_FUNCTIONS = frozenset(("raise_exception", "strftime_now", "namespace", "dict"))


class BeyondLimits(BadData):
    """A chat template does not end in time, or writes too much."""


def check_template(template: str, variables: Mapping[str, Any], date: datetime, name: str) -> None:
    """Render a template on trial, unless its source shows that it is harmless.

    Args:
        variables: JSON values that the template can use.
        name: of the tokenizer, for messages.

    Raises:
        BeyondLimits: it needs more time or memory, or writes more, than the limits.
        EnvironmentProblem: the process for trials does not start.
    """
    if is_bounded(template):
        return
    given = json.dumps(variables, default=str)
    longest = LONGEST + PER_CHARACTER * len(given)
    request = {"template": template, "variables": json.loads(given), "date": date.isoformat()}
    found = _TRIALS.answer(json.dumps({**request, "longest": longest}))
    if found in ("ended", "refused"):  # the tokenizer says why it refuses
        return
    what = f"writes more than {longest:,} characters" if found else f"takes more than {TIME_S} s"
    raise BeyondLimits(f"{name}: its chat template {what} for one conversation; it is not used")


@lru_cache(64)
def is_bounded(template: str) -> bool:
    """Whether the source of a template shows that time and output are bounded by the messages.

    >>> is_bounded("{% for m in messages %}{{ m.role + ': ' + m.content }}{% endfor %}")
    True
    >>> is_bounded("{% for n in range(99999) %}{% for m in range(99999) %}{% endfor %}{% endfor %}")
    False
    """
    import jinja2
    from jinja2.ext import loopcontrols

    try:
        tree = jinja2.Environment(extensions=[loopcontrols]).parse(template)
    except (jinja2.TemplateError, RecursionError):
        return False
    return _is_bounded(tree, _assigned(tree), inside=False)


def _assigned(tree: Any) -> frozenset[str]:
    """Names of the variables that a template sets."""
    from jinja2 import nodes as n

    found = {node.name for node in tree.find_all(n.NSRef)}
    for node in tree.find_all((n.Assign, n.AssignBlock)):
        found |= {name.name for name in node.target.find_all(n.Name)}
        found |= {node.target.name} if isinstance(node.target, n.Name) else set()
    return frozenset(found)


def _is_bounded(node: Any, assigned: frozenset[str], inside: bool) -> bool:
    """Whether a node has one loop only, and makes no text much longer than what it reads."""
    from jinja2 import nodes as n

    refused = (n.Mul, n.Pow, n.Macro, n.CallBlock, n.FilterBlock, n.AssignBlock, n.Include)
    if isinstance(node, (*refused, n.Import, n.FromImport, n.Extends, n.Block)):
        return False
    if isinstance(node, n.Mod) and not _counts(node.left):
        return False
    if isinstance(node, n.Filter):
        options = node.name == "tojson" and (node.args or node.kwargs)
        if node.name not in _FILTERS or options:
            return False
    if isinstance(node, n.Call) and not _is_known(node.node):
        return False
    if isinstance(node, n.For):
        if node.recursive or inside:
            return False
        inside = True
    if isinstance(node, n.Assign) and not _grows_slowly(node.node, assigned):
        return False
    return all(_is_bounded(child, assigned, inside) for child in node.iter_child_nodes())


def _counts(left: Any) -> bool:
    """Whether the left side of `%` is a number: a loop's index or a length."""
    from jinja2 import nodes as n

    index = isinstance(left, n.Getattr) and isinstance(left.node, n.Name)
    return (index and left.node.name == "loop") or (
        isinstance(left, n.Filter) and left.name in ("length", "count")
    )


def _is_known(called: Any) -> bool:
    from jinja2 import nodes as n

    if isinstance(called, n.Name):
        return called.name in _FUNCTIONS
    return isinstance(called, n.Getattr) and called.attr in _METHODS


def _grows_slowly(value: Any, assigned: frozenset[str]) -> bool:
    """Whether an assigned value has at most one part that was assigned before."""
    from jinja2 import nodes as n

    names = [value] if isinstance(value, n.Name) else list(value.find_all(n.Name))
    return sum(name.name in assigned for name in names) <= 1 or not any(
        isinstance(part, n.Add | n.Concat) for part in (value, *value.find_all((n.Add, n.Concat)))
    )


class _Trials:
    """The process for trials, started when it is needed, one per process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._owner = 0

    def answer(self, line: str) -> str:
        """Result of one trial; "" if it did not end in time."""
        with self._lock:
            child = self._started()
            assert child.stdin
            assert child.stdout
            try:
                child.stdin.write(line + "\n")
                child.stdin.flush()
                late = not select.select([child.stdout], [], [], TIME_S)[0]
                found = "" if late else child.stdout.readline().strip()
            except BrokenPipeError:
                found = ""
            if not found:
                child.kill()
                child.wait()
                self._child = None
            return found

    def _started(self) -> subprocess.Popen[str]:
        if self._child is not None and self._owner == os.getpid():
            return self._child
        self._owner = os.getpid()  # a fork must not share its parent's
        command = [sys.executable, "-P", str(_TRIAL), str(MEMORY_MB), str(TIME_S)]
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert child.stdout
        ready = select.select([child.stdout], [], [], START_S)[0]
        if not ready or child.stdout.readline() != "ready\n":
            child.kill()
            child.wait()
            raise EnvironmentProblem(
                "the process that tries chat templates does not start; try: "
                "python -c 'import jinja2'"
            )
        self._child = child
        return child


_TRIALS = _Trials()
