"""The published question sets, by name: `official:<set>`.

    official:alpaca_eval2        805 instructions, answers of gpt4_1106_preview, published tables
    official:arena_hard_v0.1     500 prompts, answers of gpt-4-0314
    official:arena_hard_v2.0     750 prompts, answers of two models, one for each category
    official:mt_bench            80 questions, gpt-4's reference answers to 30 of them
    official:mt_bench_corrected  the same questions, corrected reference answers

The data is never part of Crucible: it is looked for below $CRUCIBLE_DATA, then fetched from the
hub. What a set must hold stands in `sets` as a digest of its content, so that it is the same
set wherever it came from.
"""

from __future__ import annotations

from harness.data.files import read_objects, read_text
from harness.data.official import (
    PREFIX,
    answers,
    answers_identity,
    check_corrected,
    count,
    gamed_table,
    is_official,
    prompts,
    prompts_identity,
    table_identity,
)
from harness.data.sets import SETS

__all__ = [
    "PREFIX",
    "SETS",
    "answers",
    "answers_identity",
    "check_corrected",
    "count",
    "gamed_table",
    "is_official",
    "prompts",
    "prompts_identity",
    "read_objects",
    "read_text",
    "table_identity",
]
