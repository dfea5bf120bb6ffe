"""Which ids and labels a row of supervised training becomes, by hand."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from harness.core.errors import BadData
from harness.engine.operations import Row
from harness.models.templates import TEMPLATES
from harness.models.tokenize import IGNORE, TokenSequence, tokenizer_digest
from harness.training.answer_counts import AnswerCounts
from harness.training.sft import SftParams, _sequences, train_sft
from harness.training.sft_trainer import TokenLoss, packed, sft_trainer
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[..., Any]
# <s> <u> a b <a>, and c d </s>: letters begin at 6.
PROMPT, ANSWER = [1, 3, 6, 7, 4], [8, 9, 2]


def row(**changes: Any) -> Row:
    return {"id": "r", "messages": [{"role": "user", "content": "ab"}], "response": "cd", **changes}


@pytest.fixture
def read(rows_artifact: Make) -> Make:
    """`read(rows, **settings)`: sequences, keys and counts."""

    def one(*rows: Row, **settings: Any) -> tuple[list[TokenSequence], list[str], AnswerCounts]:
        params = SftParams(learning_rate=1e-3, **settings)
        counts = AnswerCounts(params.cut_answers)
        found = _sequences(make_tokenizer(), params, rows_artifact(list(rows)), counts)
        return *found, counts

    return one


def scored(prompt: list[int], answer: list[int]) -> TokenSequence:
    return TokenSequence([*prompt, *answer], [IGNORE] * len(prompt) + answer)


def test_an_answer_is_trained_with_its_end_and_without_its_prompt(read: Make) -> None:
    for text in ("cd", ["cd", "other"]):
        found, keys, counts = read(row(response=text))
        assert found == [scored(PROMPT, ANSWER)]
        assert len(keys) == counts.rows == 1
    (whole,), _, _ = read(row(), loss_on="all")
    assert whole == TokenSequence([*PROMPT, *ANSWER], [*PROMPT, *ANSWER])
    (other,), _, _ = read(row(text="d"), field="text")
    assert other == scored(PROMPT, [9, 2])


@pytest.mark.parametrize("finish", ["length", ["length", "stop"]])
def test_an_answer_that_was_cut_has_no_end_unless_asked_for(finish: Any, read: Make) -> None:
    cut = row(finish=finish)
    found, _, counts = read(cut)
    assert found == [scored(PROMPT, [8, 9])]
    assert (counts.cut["answer"], counts.left_out) == (1, 0)
    assert read(cut, cut_answers="end")[0] == [scored(PROMPT, ANSWER)]
    found, keys, counts = read(cut, row(id="s", finish=["stop"]), cut_answers="leave_out")
    assert found == [scored(PROMPT, ANSWER)]
    assert (len(keys), counts.rows, counts.left_out) == (1, 1, 1)
    with pytest.raises(BadData, match="all 1 rows are left out"):
        read(cut, cut_answers="leave_out")


@pytest.mark.parametrize("ids", [[10, 11], [[10, 11], [12]]])
def test_the_ids_that_the_model_wrote_are_kept_for_the_same_tokenizer(ids: Any, read: Make) -> None:
    mine = tokenizer_digest(make_tokenizer())
    assert read(row(response_ids=ids, tokenizer=mine))[0] == [scored(PROMPT, [10, 11, 2])]
    for tokenizer in ({"tokenizer": "other"}, {}):
        assert read(row(response_ids=ids, **tokenizer))[0] == [scored(PROMPT, ANSWER)]
    assert read(row(response_ids=[], tokenizer=mine))[0] == [scored(PROMPT, [2])]


def test_an_answer_without_a_token_is_left_out_and_the_next_one_read(read: Make) -> None:
    empty = row(response="", finish="length")
    found, keys, counts = read(empty, row(id="s"))
    assert found == [scored(PROMPT, ANSWER)]
    assert (len(keys), counts.left_out) == (1, 1)
    for wrong in (None, [], 3, [3]):
        with pytest.raises(BadData, match='row "r" has no text in the field "response"; it has id'):
            read(row(response=wrong))


def test_a_long_row_loses_the_front_of_its_prompt_then_the_end_of_its_answer(read: Make) -> None:
    shorter = {"max_length": 7, "max_prompt_length": 4}
    assert read(row(), **shorter)[0] == [scored([1, 6, 7, 4], ANSWER)]
    assert read(row(), max_length=7)[0] == [scored(PROMPT, [8, 9])]  # three quarters are 5
    assert read(row(), max_length=4)[0] == [scored([1, 7, 4], [8])]
    assert read(row(), max_length=4, packing=True)[0] == [scored(PROMPT, ANSWER)]


def test_the_stage_counts_what_it_trains_and_keeps_its_template(
    context: Make, rows_artifact: Make, checkpoint: Make
) -> None:
    rows = rows_artifact([row(id=f"r{n}", response="cd" * n) for n in range(1, 4)])
    how = {"learning_rate": 1e-3, "max_steps": 1, "chat_template": "alpaca"}
    run = context("run")
    train_sft(run, SftParams(**how), rows=rows, model=checkpoint("llama"))
    assert (run.directory / "summary.json").is_file()
    template = (run.directory / "chat_template.jinja").read_text()
    assert template == TEMPLATES["alpaca"]
    assert template != make_tokenizer().chat_template
    plain = context("plain")
    train_sft(plain, SftParams(learning_rate=1e-3, max_steps=1), rows=rows,
              model=checkpoint("llama"))  # fmt: skip
    assert plain.tokens == (5 + 3) + (5 + 5) + (5 + 7)


def test_pieces_are_cut_where_the_length_says() -> None:
    one, two = TokenSequence([1, 2, 3], [IGNORE, 2, 3]), TokenSequence([4, 5], [IGNORE, 5])
    assert packed([one, two], 2) == [
        TokenSequence([1, 2], [IGNORE, 2]), TokenSequence([3, 4], [3, IGNORE]),
        TokenSequence([5], [5]),
    ]  # fmt: skip


class Fixed(nn.Module):
    """Gives the same logits (1, 4, 3) whatever it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.tensor([[[0.0, 1.0, 2.0], [3.0, 0.0, 0.0], [0.0, 5.0, 0.0], [9.0] * 3]])
        self.seen: dict[str, Any] = {}

    def forward(self, **inputs: Any) -> Any:
        self.seen = inputs
        return SimpleNamespace(logits=self.table)


def test_the_loss_of_held_out_tokens_by_hand() -> None:
    """Labels 2 and 1 are predicted at positions 0 and 2; the label of position 1 is not scored."""
    loss, model = TokenLoss(0), Fixed()
    batch = loss.collate([TokenSequence([0, 2, 1, 1], [0, 2, IGNORE, 1])])
    terms, logged = loss.sums(model, batch, {})
    assert set(model.seen) == {"input_ids", "attention_mask"}
    logps = model.table.log_softmax(-1)[0]
    assert terms["loss"][0] == pytest.approx(float(-logps[0, 2] - logps[2, 1]))
    assert terms["loss"][1] == 2
    assert loss.counts(batch) == {"loss": torch.tensor(2)}
    assert [int(value) for value in logged["mean_token_accuracy"]] == [2, 2]
    wrong = loss.collate([TokenSequence([0, 1, 1, 1], [0, 1, 1, 1])])
    assert [int(v) for v in loss.sums(model, wrong, {})[1]["mean_token_accuracy"]] == [1, 3]


@pytest.mark.parametrize("pack_to", [None, 4])
def test_sequences_go_to_trl_as_they_are_or_wrapped(pack_to: int | None, context: Make) -> None:
    params = SftParams(learning_rate=1e-3, validation={"share": 0.5, "points": 3})
    sequences = [scored(PROMPT, [8, 9, 2]), scored(PROMPT, [10])]
    tokenizer = make_tokenizer()
    tokenizer.pad_token = None
    trainer = sft_trainer(
        make_model("llama"), tokenizer, sequences, params, context("run"), pack_to=pack_to,
        held_out=sequences[:1],
    )  # fmt: skip
    arguments = trainer.args
    assert (arguments.packing, arguments.max_length) == (pack_to is not None, pack_to)
    assert (arguments.packing_strategy, arguments.shuffle_dataset) == ("wrapped", arguments.packing)
    assert tokenizer.pad_token is None
    rows = [list(row["input_ids"]) for row in trainer.train_dataset]
    validator = next(c for c in trainer.callback_handler.callbacks if hasattr(c, "examples"))
    if pack_to is None:
        assert rows == [sequence.input_ids for sequence in sequences]
        assert validator.examples == sequences[:1]
    else:
        assert sorted(map(len, rows)) == [2, 4, 4, 4]
        ids = [token for sequence in sequences for token in sequence.input_ids]
        assert sorted(token for piece in rows for token in piece) == sorted(ids)
        assert validator.examples == packed(sequences[:1], 4)
    assert validator.points == 3
    batch = trainer.data_collator([{"input_ids": [1, 2], "labels": [IGNORE, 2]},
                                   {"input_ids": [1], "labels": [IGNORE]}])  # fmt: skip
    assert batch["labels"].tolist() == [[IGNORE, 2], [IGNORE, IGNORE]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize("held_out", [False, True])
def test_a_token_without_an_embedding_row_is_refused(held_out: bool, context: Make) -> None:
    good, bad = scored(PROMPT, ANSWER), scored(PROMPT, [99])
    given = ([good], [bad]) if held_out else ([bad], [good])
    params = SftParams(learning_rate=1e-3, validation={})
    with pytest.raises(BadData, match="99"):
        sft_trainer(
            make_model("llama"), make_tokenizer(), given[0], params, context("run"), pack_to=None,
            held_out=given[1],
        )  # fmt: skip


def test_without_validation_nothing_is_measured(context: Make) -> None:
    good = scored(PROMPT, ANSWER)
    for validation, held_out in ((None, [good]), ({}, [])):
        params = SftParams(learning_rate=1e-3, validation=validation)
        trainer = sft_trainer(
            make_model("llama"), make_tokenizer(), [good], params, context("run"), pack_to=None,
            held_out=held_out,
        )  # fmt: skip
        assert not [c for c in trainer.callback_handler.callbacks if hasattr(c, "examples")]
