"""Script that compares mathematical answers with math-verify, run as a child of `mathematics`.

Input: JSON lines [gold answer, response], or [expression, expression, "same"]. Output: "ready",
then one line [correct, reason] per input; correct is null if either cannot be parsed. The parent
kills the process if a check takes too long: computer algebra may not terminate, and math-verify's
own timeouts use signals, which only the main thread of a program may set.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
from typing import Any


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


def same(one: str, other: str) -> tuple[bool | None, str]:
    """Whether two LaTeX expressions are equal (None: not parsable); symmetric, unlike `verify`.

    `verify` reads "2x + z = 1" as 1 where the other side is a number; both directions must agree.
    """
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    # Units are gone already; the library takes the m of "2m" for one.
    form = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none",
        equations=False,
    )  # fmt: skip
    found = []
    for text in (one, other):
        read = parse(
            f"${text}$",
            extraction_config=[LatexExtractionConfig(normalization_config=form)],
            fallback_mode="no_fallback",
            parsing_timeout=None,
        )
        if not read:
            return None, f"not an expression: {text[:60]}"
        found.append([_complex(read[0])])
    equal = all(
        verify(a, b, timeout_seconds=None, allow_set_relation_comp=True)
        for a, b in (found, reversed(found))
    )
    return equal, ""


def _complex(value: Any) -> Any:
    """An expression with the imaginary unit for the symbol i."""
    from sympy import Basic, I

    if not isinstance(value, Basic):
        return value
    return value.subs({symbol: I for symbol in value.free_symbols if str(symbol) == "i"})


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
            one, other, *same_asked = json.loads(line)
            verdict = (same if same_asked else judge)(one, other)
        except Exception as error:
            verdict = None, f"{type(error).__name__} while comparing"
        signal.alarm(0)
        print(json.dumps(verdict), file=out, flush=True)


if __name__ == "__main__":
    main()
