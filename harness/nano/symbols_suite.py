"""The suite `symbols`: every symbol of an answer graded, in the world of `harness.nano.symbols`.

`points` is the quality that methods raise. Read it with `content`, the share of symbols that are
right in either form: a method that gains points by good forms and loses content hacks the score.
"""

from __future__ import annotations

from harness.nano.symbols import VERSION, score
from harness.suites.base import Decode, Metric
from harness.suites.per_prompt import per_prompt_suite

SUITE = per_prompt_suite(
    "symbols",
    version=VERSION,
    summary="the nano world of symbols: points, right symbols and good forms of an answer",
    prompts="nano:symbols/test",
    score=score,
    metrics=(
        Metric("points", "%", "points of an answer: 3 per good symbol, 2 per plain one"),
        Metric("content", "%", "symbols that are right, in good or plain form"),
        Metric("good", "%", "symbols in good form"),
    ),
    decode=Decode(temperature=1.0, max_tokens=12),
)
