"""Fitting teachers' documents to the context length, tokenising and identifying them.

    rows {"id", "text"} --fit_documents--> rows that are not empty or too long for any tokenizer
                        --encode_text----> Document: ids with labels, at most one leading BOS

All teachers read the same text, so a document is cut once: where the first of their tokenizers
reaches the limit. Conversations (`messages`, `response`) are fitted by `fit_conversations` and
encoded by `encode_chat`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.core.errors import BadData
from harness.core.hashing import canonical_json
from harness.engine.operations import Row
from harness.models import answers
from harness.models.tokenize import IGNORE, TokenSequence

WIDEST = 32  # characters per token that are examined; texts with longer tokens are cut earlier


@dataclass(frozen=True)
class Document:
    """A tokenised document; its labels mark the tokens that are scored."""

    id: str
    tokens: TokenSequence


def fit_documents(
    rows: Iterable[Row],
    tokenizers: Sequence[Any],
    limit: int,
    long: Literal["cut", "split", "refuse"] = "split",
) -> tuple[list[Row], dict[str, int]]:
    """Cut or split texts so that every tokenizer gives between 1 and `limit` ids.

    Args:
        rows: {"id", "text"}.
        limit: ids of the text alone; subtract BOS and EOS from the context length.
        long: "cut" keeps the beginning of a long document; "split" makes several documents,
            "id#0", "id#1", ...; "refuse" raises.

    Returns:
        rows {"id", "text"}, and the number of documents "empty" (dropped), "cut" and "split".

    Raises:
        BadData: a row without text, a duplicate id, or a long document with "refuse".
    """
    kept: list[Row] = []
    counts = {"empty": 0, "cut": 0, "split": 0}
    seen: set[str] = set()
    for row in rows:
        text = row.get("text")
        if not isinstance(text, str) or row["id"] in seen:
            found = "occurs twice" if row["id"] in seen else "has no text"
            raise BadData(f'document "{row["id"]}" {found}; expected unique ids and a text each')
        seen.add(row["id"])
        if not all(_ids(tokenizer, text[: WIDEST * limit]) for tokenizer in tokenizers):
            counts["empty"] += 1
            continue
        pieces = _pieces(text, tokenizers, limit)
        first = next(pieces)
        if len(first) == len(text):
            kept.append({"id": row["id"], "text": text})
        elif long == "refuse":
            raise BadData(
                f'document "{row["id"]}" has {len(text)} characters, of which {len(first)} are '
                f'{limit} tokens; the limit is {limit}: set long to "cut" or "split"'
            )
        elif long == "cut":
            counts["cut"] += 1
            kept.append({"id": row["id"], "text": first})
        else:
            counts["split"] += 1
            every = [first, *pieces]
            kept += [{"id": f"{row['id']}#{n}", "text": piece} for n, piece in enumerate(every)]
    return kept, counts


def _pieces(text: str, tokenizers: Sequence[Any], limit: int) -> Iterator[str]:
    while text:
        end = min(len(text), WIDEST * limit)
        shrinking = True
        while shrinking:
            shrinking = False
            for tokenizer in tokenizers:
                fits = _fitting(tokenizer, text[:end], limit)
                shrinking = shrinking or fits < end
                end = fits
        yield text[:end]
        text = text[end:]


def _fitting(tokenizer: Any, text: str, limit: int) -> int:
    """Number of characters covered by the first `limit` ids, at least 1."""
    ids = _ids(tokenizer, text)
    if len(ids) <= limit:
        return len(text)
    if getattr(tokenizer, "is_fast", False):
        spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        end = int(spans["offset_mapping"][limit][0])
    else:
        end = len(tokenizer.decode(ids[:limit], clean_up_tokenization_spaces=False))
    return max(1, min(end, len(text) - 1))


def encode_text(tokenizer: Any, row: Row, *, bos: bool = True, eos: bool = True) -> Document:
    """Token ids of a row's text; all but the first are scored.

    Args:
        bos, eos: add the tokenizer's BOS and EOS, where defined and not yet part of the text.
    """
    ids = _ids(tokenizer, row["text"])
    first, last = tokenizer.bos_token_id, tokenizer.eos_token_id
    if bos and first is not None and ids[:1] != [first]:
        ids = [first, *ids]
    if eos and last is not None and ids[-1:] != [last]:
        ids = [*ids, last]
    return Document(row["id"], TokenSequence(ids, list(ids)))


def encode_chat(tokenizer: Any, row: Row) -> Document:
    """Token ids of a row's messages and response; every answer of the assistant is scored.

    Raises:
        BadData: the template does not repeat an earlier answer.
    """
    try:
        ids, places = answers.dialogue(tokenizer, row["messages"], row["response"])
    except BadData as error:
        raise BadData(
            f'conversation "{row["id"]}": {error}; exchanges = 1 keeps one exchange of each '
            "conversation"
        ) from None
    labels = [IGNORE] * len(ids)
    for start, stop in places:
        labels[start:stop] = ids[start:stop]
    return Document(row["id"], TokenSequence(ids, labels))


def scored_texts(row: Row) -> list[str]:
    """The scored texts of a row: the whole text, or every answer of a conversation."""
    if "messages" not in row:
        return [row["text"]]
    earlier = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
    return [*earlier, row["response"]]


def scored_spans(labels: Sequence[int]) -> list[tuple[int, int]]:
    """Start and (exclusive) end of each run of scored tokens.

    >>> scored_spans([-100, 7, 8, -100, -100, 9])
    [(1, 3), (5, 6)]
    """
    flags = [False, *(label != IGNORE for label in labels), False]
    edges = [place for place in range(len(labels) + 1) if flags[place] != flags[place + 1]]
    return list(zip(edges[::2], edges[1::2]))


def fit_conversations(
    rows: Iterable[Row], tokenizers: Sequence[Any], limit: int, *, refuse: bool = False
) -> tuple[list[Row], dict[str, int]]:
    """Shorten conversations to at most `limit` ids for every tokenizer, template included.

    Whole exchanges are removed from the end, because a truncated answer would teach the model not
    to stop; a conversation whose first exchange is too long is dropped.

    Returns:
        rows, and the number of conversations "cut" and "left_out" (dropped).

    Raises:
        BadData: a conversation is too long, with `refuse`.
    """
    kept: list[Row] = []
    counts = {"cut": 0, "left_out": 0}
    for row in rows:
        shorter: Row | None = row
        while shorter and any(_length(t, shorter) > limit for t in tokenizers):
            if refuse:
                raise BadData(
                    f'conversation "{row["id"]}" has more than {limit} tokens; set long to "cut"'
                )
            shorter = _without_last_exchange(shorter)
        counts["left_out" if shorter is None else "cut"] += shorter is not row
        kept += [shorter] if shorter else []
    return kept, counts


def _length(tokenizer: Any, row: Row) -> int:
    return len(encode_chat(tokenizer, row).tokens.input_ids)


def _without_last_exchange(row: Row) -> Row | None:
    messages = row["messages"]
    last = max((n for n, m in enumerate(messages) if m["role"] == "assistant"), default=0)
    return (
        {**row, "messages": messages[:last], "response": messages[last]["content"]}
        if last
        else None
    )


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def corpus_digest(rows: Iterable[Row]) -> str:
    """Digest of the rows in order: their ids and the fields that a model reads."""
    state = hashlib.blake2b(digest_size=16)
    for row in rows:
        read = {name: row[name] for name in ("id", "text", "messages", "response") if name in row}
        state.update(canonical_json(read) + b"\n")
    return state.hexdigest()


def vocabulary_size(tokenizer: Any) -> int:
    """Largest id of a tokenizer plus 1, added tokens included."""
    return 1 + max(tokenizer.get_vocab().values())
