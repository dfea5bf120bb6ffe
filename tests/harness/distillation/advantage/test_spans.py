"""Spans between common boundaries of two tokenizations, and the advantages of their tokens."""

from __future__ import annotations

from harness.distillation.advantage.spans import (
    END,
    boundaries,
    span_weights,
)
from harness.distillation.align.tokens import vocabulary
from tests.tiny_models import make_tokenizer


def test_spans_of_equal_tokens_are_tokens() -> None:
    ends = [1, 3, 4, END]
    weights, spans = span_weights(ends, ends, [0.1, 0.2, -0.3, 0.4])
    assert weights == spans == [0.1, 0.2, -0.3, 0.4]


def test_spans_telescope_and_what_is_behind_the_last_boundary_has_no_advantage() -> None:
    weights, spans = span_weights([2, 4, 6, 7], [1, 2, 5, 6], [1.0, 2.0, 4.0, 8.0])
    assert weights == [3.0, 12.0, 12.0, 0.0]
    assert sum(spans) == 15.0
    assert span_weights([None, 4], [4], [1.0]) == ([1.0, 1.0], [1.0])
    assert span_weights([2, 3], [3], [2.0], "sequence") == ([2.0, 2.0], [2.0])


def test_boundaries_end_with_the_end_token() -> None:
    tokenizer = make_tokenizer()
    ids = tokenizer("ab", add_special_tokens=False)["input_ids"]
    words = vocabulary(tokenizer)
    assert boundaries(ids, words, "ab") == [1, 2]
    assert boundaries([*ids, tokenizer.eos_token_id], words, "ab") == [1, 2, END]
    assert boundaries([], words, "ab") == []
