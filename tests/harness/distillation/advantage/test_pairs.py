"""Pairs as token sequences, identities of answers, and tokenizers in common, by hand."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core.errors import BadData
from harness.distillation.advantage.checks import answers_digest, check_tokenizers, identity_of
from harness.distillation.advantage.pairs import (
    AnswerPairsParams,
    answer_pairs,
    pair_sequences,
    scored_ids,
)
from harness.distillation.advantage.settings import TrainOnPairsParams
from harness.engine.operations import Row
from harness.models.references import model_identity
from harness.models.tokenize import IGNORE, TokenSequence
from harness.training.settings import PromptLimit
from tests.tiny_models import make_tokenizer

Make = Callable[..., Any]
PROMPT, GOOD, OTHER = [1, 3, 6, 7, 4], [8, 2], [9, 9, 2]  # letters begin at 6
ROW: Row = {
    "id": "r", "messages": [{"role": "user", "content": "ab"}],
    "responses": {"chosen": "c", "answer": "dd", "empty": " ", "nothing": ""},
}  # fmt: skip


def scored(prompt: list[int], answer: list[int]) -> TokenSequence:
    return TokenSequence([*prompt, *answer], [IGNORE] * len(prompt) + answer)


def pair(second: str | None, row: Row = ROW, anchor: str = "chosen", **limits: Any) -> Any:
    return pair_sequences(make_tokenizer(), row, anchor, second, PromptLimit(**limits))


def test_both_answers_follow_the_same_prompt() -> None:
    assert pair("answer") == (scored(PROMPT, GOOD), scored(PROMPT, OTHER))
    assert pair("chosen", anchor="answer") == (scored(PROMPT, OTHER), scored(PROMPT, GOOD))
    short = pair("answer", max_length=7, max_prompt_length=2)
    assert short == (scored([1, 6, 7, 4], GOOD), scored([1, 6, 7, 4], OTHER))
    cut = {**ROW, "finish": {"answer": "length"}}
    assert pair("answer", cut)[1] == scored(PROMPT, [9, 9])
    assert pair("answer", cut, cut_answers="end")[1] == scored(PROMPT, OTHER)
    assert pair("answer", released=True)[0] == scored(PROMPT, [8, 2, 2])


@pytest.mark.parametrize("second", [None, "empty", "nothing"])
def test_without_another_answer_the_preferred_one_is_alone(second: str | None) -> None:
    assert pair(second) == (scored(PROMPT, GOOD), None)


def test_another_answer_without_room_is_none() -> None:
    cut = {**ROW, "responses": {"chosen": "c", "answer": "d"}, "finish": {"answer": "length"},
           "response_ids": {"answer": []}}  # fmt: skip
    assert pair("answer", cut)[1] == scored(PROMPT, [9])
    from harness.models.tokenize import tokenizer_digest

    mine = {**cut, "tokenizer": tokenizer_digest(make_tokenizer())}
    assert pair("answer", mine) == (scored(PROMPT, GOOD), None)


def test_an_answer_that_a_row_lacks_is_named() -> None:
    with pytest.raises(BadData, match='row "r" has no response "more"'):
        pair("more")
    with pytest.raises(BadData, match='row "r" has no response "chosen"'):
        pair("answer", {**ROW, "responses": None})


def test_scored_ids_are_the_labels_after_the_first() -> None:
    assert scored_ids(scored(PROMPT, GOOD)) == GOOD
    assert scored_ids(TokenSequence([7, 8, 9], [7, IGNORE, 9])) == [9]


def joined(answers: list[Row], context: Make, write: Make, row: Row = ROW) -> Row:
    given = {"pairs": write([row], "pairs"), "answers": write(answers, "answers")}
    ((found,),) = answer_pairs(context("run"), AnswerPairsParams(), [[row]], **given)
    return found


def test_the_first_answer_joins_its_row_with_what_is_known_of_it(
    context: Make, rows_artifact: Make
) -> None:
    said = {
        "id": "r", "responses": ["one", "two"], "finish": ["length", "stop"],
        "response_ids": [[5], [6]], "tokenizer": "t",
    }  # fmt: skip
    row = {**ROW, "finish": {"chosen": "stop"}}
    found = joined([said], context, rows_artifact, row)
    assert found["responses"] == {**ROW["responses"], "answer": "one"}
    assert found["finish"] == {"chosen": "stop", "answer": "length"}
    assert found["response_ids"] == {"answer": [5]}
    assert (found["tokenizer"], found["id"], found["messages"]) == ("t", "r", ROW["messages"])
    bare = joined([{"id": "r", "responses": ["one"]}], context, rows_artifact)
    assert bare == {**ROW, "responses": {**ROW["responses"], "answer": "one"}}


@pytest.mark.parametrize("said", [[], [{"id": "s", "responses": ["a"]}], [{"id": "r"}],
                                  [{"id": "r", "responses": [None]}],
                                  [{"id": "r", "responses": []}]])  # fmt: skip
def test_a_row_without_an_answer_is_named(
    said: list[Row], context: Make, rows_artifact: Make
) -> None:
    with pytest.raises(BadData, match='no answer to row "r"; expected one from the stage'):
        joined(said, context, rows_artifact)


def test_the_identity_of_answers_is_of_what_is_read_and_of_the_limits(rows_artifact: Make) -> None:
    row = {**ROW, "finish": {"answer": "stop"}, "response_ids": {"answer": [1]}, "tokenizer": "t"}
    limits = PromptLimit(max_length=9, max_prompt_length=3)
    known = answers_digest(rows_artifact([row]), limits)
    more = TrainOnPairsParams(**limits.model_dump(), learning_rate=1, loss={}, seed=3)
    assert answers_digest(rows_artifact([{**row, "note": 1}]), more) == known
    others = [{**row, name: "other"} for name in row]
    found = {answers_digest(rows_artifact([other]), limits) for other in others}
    found |= {answers_digest(rows_artifact([row]), PromptLimit(max_length=9, max_prompt_length=n))
              for n in (2, 4)}  # fmt: skip
    assert len(found | {known}) == len(others) + 3


def test_the_identity_of_a_model_is_that_of_its_weights(checkpoint: Make) -> None:
    assert identity_of(None) == ""
    assert identity_of(checkpoint("llama")) == model_identity(checkpoint("llama").path)


def test_tokenizers_must_have_one_map() -> None:
    one, same, more = make_tokenizer(), make_tokenizer(), make_tokenizer()
    more.add_tokens(["zz", "yy"])
    assert check_tokenizers({"the student": one, "the teacher": same}) == 43
    assert check_tokenizers({"the student": one}) == 43
    expected = (
        r"the teacher and the student have different tokenizers \(45 and 43 entries; "
        'id 43, "zz", is in one only'
    )
    with pytest.raises(BadData, match=expected):
        check_tokenizers({"the student": one, "the same": same, "the teacher": more})
    swapped = SimpleNamespace(get_vocab=lambda: {**one.get_vocab(), "a": 7, "b": 6})
    with pytest.raises(BadData, match=r"id 6, \"[ab]\", is in one only"):
        check_tokenizers({"the student": one, "the teacher": swapped})
