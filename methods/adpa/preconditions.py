"""What ADPA and DCKD need: a teacher that DPO made truly better than its reference."""

from __future__ import annotations

from harness.engine.preconditions import Precondition

GAIN = (
    Precondition(
        text="prompts on which the teacher after DPO is truly better than before",
        needs="more than those on which it is worse",
        metric="above",
    ),
    Precondition(text="prompts on which it is worse", metric="below"),
    Precondition(
        text="true grade of the teacher's answer",
        needs="higher after DPO than before",
        metric="best_grade",
    ),
)
