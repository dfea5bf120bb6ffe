"""Log-probabilities in replies: absent, sound or wrong."""

from __future__ import annotations

import math
from typing import Any

import pytest

from harness.backends.api.logprobs import BadLogprobs, chat_tops, likeliest, logprob


@pytest.mark.parametrize(
    ("given", "value"),
    [(-1.5, -1.5), (0, 0.0), (1e-7, 0.0), ("-0.2", -0.2), (None, None), (-9999.0, None),
     (-math.inf, None), ("-inf", None)],
)  # fmt: skip
def test_sound_and_absent_values(given: Any, value: float | None) -> None:
    assert logprob(given) == value


@pytest.mark.parametrize("given", [math.nan, math.inf, 0.5, 3, "NaN", "text", True, [1]])
def test_wrong_values_are_refused(given: Any) -> None:
    with pytest.raises(BadLogprobs, match="no log-probability"):
        logprob(given)


def test_pairs_are_sorted_and_cut() -> None:
    assert likeliest([("a", -2), ("b", -1), ("c", None), ("d", -3)], 2) == (("b", -1), ("a", -2))


def test_the_older_form_is_read() -> None:
    older = {"tokens": ["m"], "token_logprobs": [-0.2], "top_logprobs": [{"m": -0.2, "M": -1.8}]}
    assert chat_tops(older, 5) == ((("m", -0.2), ("M", -1.8)),)
    assert chat_tops({"content": []}, 5) is None


def test_a_wrong_value_of_the_sampled_token_counts() -> None:
    entry = {"token": "m", "logprob": math.nan, "top_logprobs": [{"token": "m", "logprob": -0.1}]}
    with pytest.raises(BadLogprobs):
        chat_tops({"content": [entry]}, 5)
