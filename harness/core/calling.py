"""Modules that are called like their main function.

`harness.evaluate` and `harness.reproduce` are modules, and `from harness import evaluate` shall
give something to call, whether or not the module has been imported before.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_callable(module: str, function: Callable[..., Any]) -> None:
    """Let calls of an imported module be calls of one of its functions.

    >>> import types
    >>> sys.modules["lengths"] = types.ModuleType("lengths")
    >>> make_callable("lengths", len)
    >>> sys.modules.pop("lengths")("four")
    4
    """

    class CallableModule(ModuleType):
        __call__ = staticmethod(function)
        # Python 3.11 would leave out the first parameter of a static __call__.
        __signature__ = inspect.signature(function)

    sys.modules[module].__class__ = CallableModule
