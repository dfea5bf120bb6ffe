"""Work in a child process, for what changes a process for good."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any


def in_child(work: Callable[[int], Any]) -> Any:
    """What `work` returns in a fork of this process, through JSON; "raised ..." if it raises.

    Args:
        work: receives the descriptor that its result is written to, which it must not close.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            try:
                found = work(write)
            except BaseException as error:
                found = f"raised {type(error).__name__}: {error}"
            os.write(write, json.dumps(found).encode())
        finally:
            sys.stdout = sys.stderr = None
            os._exit(0)
    os.close(write)
    with open(read, "rb") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return json.loads(text)
