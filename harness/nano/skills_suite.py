"""The suite `skills`: questions on all skills of a domain, see `harness.nano.skills`."""

from __future__ import annotations

from harness.nano.skills import LENGTH, VERSION, score
from harness.suites.base import Decode, Metric
from harness.suites.per_prompt import per_prompt_suite

SUITE = per_prompt_suite(
    "skills",
    version=VERSION,
    summary="a domain of the nano world: right answers to questions on all of its skills",
    prompts="nano:skills/test",
    score=score,
    metrics=(
        Metric("exact", "%", "right answers"),
        Metric("letters", "%", "right letters of an answer", primary=False),
    ),
    decode=Decode(max_tokens=2 * LENGTH),
)
