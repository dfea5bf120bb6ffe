"""Script that compares mathematical answers with math-verify, run as a child of `mathematics`.

Input: JSON lines [gold answer, response]. Output: "ready", then one line [correct, reason] per
input; correct is null if either cannot be parsed. The parent kills the process if a check takes
too long: computer algebra may not terminate, and math-verify's own timeouts use signals, which
only the main thread of a program may set.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys


def judge(gold: str, response: str) -> tuple[bool | None, str]:
    """Whether the last answer in `response` equals `gold` (None: not parsable), and the reason."""
    from math_verify import parse, verify

    marked = gold if "$" in gold or "\\boxed" in gold else f"${gold}$"
    wanted = parse(marked, parsing_timeout=None)
    if not wanted:
        return None, "the gold answer cannot be read"
    found = parse(response, parsing_timeout=None)
    if not found:
        return None, "no answer that can be read"
    right = bool(verify(wanted, found, timeout_seconds=None))
    return right, "" if right else f"found {str(found[-1])[:80]}"


def main() -> None:
    memory, seconds = int(sys.argv[1]) << 20, int(sys.argv[2])
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may print
    import math_verify  # noqa: F401

    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        signal.alarm(seconds)  # ends the process even if the parent is gone
        try:
            verdict = judge(*json.loads(line))
        except Exception as error:
            verdict = None, f"{type(error).__name__} while comparing"
        signal.alarm(0)
        print(json.dumps(verdict), file=out, flush=True)


if __name__ == "__main__":
    main()
