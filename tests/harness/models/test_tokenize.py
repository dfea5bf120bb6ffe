"""Where rows are cut, against vectors of the released code, and how sequences are padded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadData
from harness.models.collate import pad, pad_id_of
from harness.models.tokenize import (
    IGNORE,
    cut,
    cut_together,
    join,
    released_cut,
    tokenize_row,
    tokenizer_digest,
)
from tests.golden_vectors import vectors
from tests.tiny_models import make_tokenizer

COLUMNS = ("chosen0", "chosen1", "rejected0")


def toy_ids(text: str) -> list[int]:
    """The toy tokenizer of the golden file: a=10, ..., z=35, anything else 2."""
    return [ord(c) - ord("a") + 10 if "a" <= c <= "z" else 2 for c in text]


def test_golden_rows_with_the_released_double_end(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden("wrpo/tokenize_row.json"))["cases"]:
        feature, out = case["feature"], case["outputs"]
        # The toy tokenizer's texts carry no end token of their own: one is appended.
        responses = [[*toy_ids(text), 1] for text in feature["chosen"] + feature["rejected"]]
        prompt, kept = released_cut(
            toy_ids(feature["prompt"]),
            responses,
            case["max_length"],
            case["max_prompt_length"],
            case["truncation_mode"],
        )
        assert prompt == out["prompt_input_ids"], case["name"]
        assert [1] * len(prompt) == out["prompt_attention_mask"]
        for name, response in zip(COLUMNS, kept, strict=True):
            sequence = join(prompt, response)
            assert sequence.input_ids == out[f"{name}_input_ids"], case["name"]
            assert sequence.labels == out[f"{name}_labels"], case["name"]
            assert [1] * len(sequence.input_ids) == out[f"{name}_attention_mask"]


tokens = st.lists(st.integers(3, 20), min_size=1, max_size=30)


@given(
    prompt=tokens,
    responses=st.lists(tokens, min_size=1, max_size=4),
    max_length=st.integers(2, 40),
    share=st.floats(0.05, 0.95),
    with_bos=st.booleans(),
)
def test_the_cut_fits_keeps_ends_and_wastes_nothing(
    prompt: list[int], responses: list[list[int]], max_length: int, share: float, with_bos: bool
) -> None:
    limit = max(1, min(max_length - 1, int(share * max_length)))
    prompt = [1, *prompt] if with_bos else prompt
    kept, answers = cut(prompt, responses, max_length, limit, bos=1)
    longest = max(map(len, responses))
    assert all(len(kept) + len(answer) <= max_length for answer in answers)
    assert all(a == r[: len(a)] and a for a, r in zip(answers, responses, strict=True))
    if len(prompt) + longest <= max_length:
        assert (kept, answers) == (prompt, responses)
    else:
        assert max(len(kept) + len(answer) for answer in answers) == max_length
    assert len(kept) >= min(len(prompt), limit)
    tail = kept[1:] if with_bos and len(kept) > 1 else kept
    assert tail == prompt[len(prompt) - len(tail) :]
    assert not (with_bos and len(kept) > 1) or kept[0] == 1
    if len(prompt) <= limit:  # a short prompt is never cut, and leaves its room to the response
        assert kept == prompt


def row(**responses: str) -> dict[str, Any]:
    return {
        "id": "r",
        "messages": [{"role": "user", "content": "ab"}],
        "responses": responses,
    }


def test_a_row_ends_in_one_end_token_by_default_and_two_when_released(tokenizer: Any) -> None:
    found = tokenize_row(
        tokenizer, row(a="cd", b="e"), ["b", "a"], max_length=50, max_prompt_length=20
    )
    end = tokenizer.eos_token_id
    assert list(found) == ["b", "a"]
    scored = [label for label in found["a"].labels if label != IGNORE]
    assert tokenizer.decode(scored, skip_special_tokens=True).replace(" ", "") == "cd"
    assert scored[-1] == end
    assert scored.count(end) == 1
    assert found["a"].length == 3
    assert found["a"].input_ids[: -found["a"].length] == found["b"].input_ids[:-2]
    released = tokenize_row(
        tokenizer, row(a="cd"), ["a"], max_length=50, max_prompt_length=20, released=True
    )
    assert released["a"].input_ids == [*found["a"].input_ids, end]


def test_a_long_response_to_a_short_prompt_survives_unless_released(tokenizer: Any) -> None:
    text = "abcdefghijklmnopqrstuvwxyz"
    options = {"max_length": 20, "max_prompt_length": 15}
    ours = tokenize_row(tokenizer, row(a=text), ["a"], **options)["a"]
    theirs = tokenize_row(tokenizer, row(a=text), ["a"], **options, released=True)["a"]
    assert len(ours.input_ids) == 20
    assert theirs.length == 5


def test_a_missing_response_is_named(tokenizer: Any) -> None:
    with pytest.raises(BadData, match='row "r" has no response "c"; it has a, b'):
        tokenize_row(tokenizer, row(a="x", b="y"), ["c"], max_length=9, max_prompt_length=4)
    with pytest.raises(BadData, match='row "r" has no response "c"; it has none'):
        tokenize_row(
            tokenizer, {"id": "r", "messages": []}, ["c"], max_length=9, max_prompt_length=4
        )
    with pytest.raises(BadData, match='row "r" has no messages'):
        tokenize_row(
            tokenizer, {"id": "r", "responses": {"c": ""}}, ["c"], max_length=9, max_prompt_length=4
        )


def test_any_tokenizer_has_an_id_to_pad_with(tokenizer: Any) -> None:
    assert pad_id_of(tokenizer) == tokenizer.pad_token_id
    tokenizer.pad_token = None
    assert pad_id_of(tokenizer) == tokenizer.eos_token_id
    assert pad_id_of(object()) == 0


def test_padding_has_an_embedding_row() -> None:
    tokenizer = make_tokenizer()
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    assert pad_id_of(tokenizer, pad + 1) == pad
    tokenizer.add_special_tokens({"pad_token": "<new>"})
    assert tokenizer.pad_token_id > end
    assert pad_id_of(tokenizer, tokenizer.pad_token_id + 1) == tokenizer.pad_token_id
    assert pad_id_of(tokenizer, tokenizer.pad_token_id) == end
    assert pad_id_of(tokenizer, end) == 0


def test_sequences_are_padded_on_the_right() -> None:
    batch = pad([join([1, 2], [3]), join([4], [5])], 9)
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 5, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[IGNORE, IGNORE, 3], [IGNORE, 5, IGNORE]]


def test_a_cut_response_has_no_end_token(tokenizer: Any) -> None:
    options = {"max_length": 50, "max_prompt_length": 20}
    cut = {**row(a="cd", b="cd"), "finish": {"a": "length", "b": "stop"}}
    found = tokenize_row(tokenizer, cut, ["a", "b"], **options)
    assert [*found["a"].input_ids, tokenizer.eos_token_id] == found["b"].input_ids
    assert (found["a"].length, found["b"].length) == (2, 3)
    for taught in ({"cut_answers": "end"}, {"released": True}):
        same = tokenize_row(tokenizer, cut, ["a", "b"], **options, **taught)
        assert same["a"] == same["b"]


def test_the_ids_that_a_model_wrote_are_kept(tokenizer: Any) -> None:
    options = {"max_length": 50, "max_prompt_length": 20}
    plain = tokenize_row(tokenizer, row(a="cd", b="cd"), ["a", "b"], **options)["a"]
    own = [7, 5, 7]
    written = {**row(a="cd", b="cd"), "response_ids": {"a": own, "b": None}}
    for digest, expected in ((tokenizer_digest(tokenizer), own), ("another", None)):
        found = tokenize_row(tokenizer, {**written, "tokenizer": digest}, ["a", "b"], **options)
        scored = [label for label in found["a"].labels if label != IGNORE]
        assert scored == ([*own, tokenizer.eos_token_id] if expected else plain.labels[-3:])
        assert found["b"] == plain
    with_both = {**written, "tokenizer": tokenizer_digest(tokenizer), "finish": {"a": "length"}}
    found = tokenize_row(tokenizer, with_both, ["a"], **options)
    assert [label for label in found["a"].labels if label != IGNORE] == own


def test_prompts_that_differ_at_their_end_are_cut_alike() -> None:
    prompts, answers = cut_together([[1, 2, 3, 4], [1, 2, 3]], [[7, 8], [4, 9]], 5, 2, bos=1)
    assert prompts == [[1, 3, 4], [1, 3]]
    assert answers == [[7, 8], [4, 9]]
