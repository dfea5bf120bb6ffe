"""Pairs of answers: rows of preferences, joined with a model's own answers, as token sequences.

A row is {"id", "messages", "responses": {"chosen", "rejected"}}. `answer_pairs` adds a model's own
answer as `responses.answer`: ADPA distils on the states that the student visits itself. An answer
that is empty has no states, so the row keeps only its preferred answer; one that was cut at the
token limit has no end, so that no end token is scored. The ids that the student sampled are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from harness.core.errors import BadData
from harness.core.records import Record
from harness.distillation.advantage.settings import ANSWER
from harness.engine import costs
from harness.engine.operations import Artifact, Context, Row, operation
from harness.models.tokenize import IGNORE, TokenSequence, tokenize_row
from harness.training.settings import PromptLimit

if TYPE_CHECKING:
    from harness.models.chat import Tokenizer


class AnswerPairsParams(Record):
    """No settings: the first answer of each row is used."""


@operation(
    "answer_pairs",
    version=1,
    params=AnswerPairsParams,
    rows="pairs",
    batch_size=lambda params: 256,
    estimate=costs.rows_of("pairs", responses=2),
)
def answer_pairs(
    context: Context,
    params: AnswerPairsParams,
    batches: Iterable[list[Row]],
    *,
    pairs: Artifact,
    answers: Artifact,
) -> Iterator[list[Row]]:
    """Rows of `pairs` with `responses.answer`, its `finish`, and its `response_ids` where kept.

    Args:
        answers: rows of `sample` on the same prompts.

    Raises:
        BadData: a row without an answer.
    """
    known = {row["id"]: row for row in answers.rows()}
    for batch in batches:
        found = []
        for row in batch:
            given = known.get(row["id"], {})
            texts = given.get("responses") or []
            if not texts or not isinstance(texts[0], str):
                raise BadData(
                    f'no answer to row "{row["id"]}"; expected one from the stage that samples the '
                    "student: run that stage again (--fresh sample)"
                )
            joined = {**row, "responses": {**row["responses"], ANSWER: texts[0]}}
            if given.get("finish"):
                joined["finish"] = {**row.get("finish", {}), ANSWER: given["finish"][0]}
            if given.get("response_ids"):
                joined |= {"response_ids": {ANSWER: given["response_ids"][0]}}
                joined |= {"tokenizer": given["tokenizer"]}
            found.append(joined)
        yield found


def pair_sequences(
    tokenizer: Tokenizer,
    row: Mapping[str, Any],
    anchor: str,
    second: str | None,
    limits: PromptLimit,
) -> tuple[TokenSequence, TokenSequence | None]:
    """Token sequences of the preferred answer, and of the second one or None if it is empty.

    Both follow the same, possibly shortened prompt.

    Args:
        anchor: name of the preferred answer.
        second: name of the other answer; None for the preferred answer alone.

    Raises:
        BadData: the row lacks messages or an answer.
    """
    texts = row.get("responses") or {}
    other = texts.get(second) if second else None
    empty = second is None or (isinstance(other, str) and not other.strip())
    names = [anchor] if empty else [anchor, str(second)]
    found = tokenize_row(
        tokenizer,
        row,
        names,
        max_length=limits.max_length,
        max_prompt_length=limits.max_prompt_length,
        released=limits.released,
        cut_answers=limits.cut_answers,
    )
    if empty or not found[str(second)].length:
        return found[anchor], None
    return found[anchor], found[str(second)]


def scored_ids(sequence: TokenSequence) -> list[int]:
    """Ids of the scored tokens."""
    return [label for label in sequence.labels[1:] if label != IGNORE]
