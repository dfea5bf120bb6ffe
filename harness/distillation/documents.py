"""Documents that teachers read: fitted to the context, tokenised, and identified.

    rows {"id", "text"} --fit_documents--> rows that no tokenizer finds empty or too long
                        --encode_text----> Document: ids with labels, at most one leading BOS

Teachers with different tokenizers read the same text, so a text is cut once, for all of them: where
the first of the tokenizers reaches its limit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

from harness.core.errors import BadData
from harness.core.hashing import canonical_json, digest
from harness.engine.operations import Row
from harness.models import chat
from harness.models.tokenize import IGNORE, TokenSequence, join

WIDEST = 32  # characters a token that are looked at; a text of longer tokens is cut earlier


@dataclass(frozen=True)
class Document:
    """A tokenised document; labels say which tokens count in its cross-entropy."""

    id: str
    tokens: TokenSequence


def fit_documents(
    rows: Iterable[Row],
    tokenizers: Sequence[Any],
    limit: int,
    long: Literal["cut", "split", "refuse"] = "split",
) -> tuple[list[Row], dict[str, int]]:
    """Texts that every tokenizer turns into at least one and at most `limit` ids.

    Args:
        rows: {"id", "text"}.
        limit: ids of the text alone; leave room for BOS and EOS below the context.
        long: "cut" keeps a long document's beginning; "split" makes it several, "id#0", "id#1"...;
            "refuse" raises.

    Returns:
        rows {"id", "text"}, and how many documents were "empty" (left out), "cut" or "split".

    Raises:
        BadData: a row without text, two of one id, or a long document with "refuse".
    """
    kept: list[Row] = []
    counts = {"empty": 0, "cut": 0, "split": 0}
    seen: set[str] = set()
    for row in rows:
        text = row.get("text")
        if not isinstance(text, str) or row["id"] in seen:
            found = "is there twice" if row["id"] in seen else "has no text"
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
    """How many characters the first `limit` ids stand for; at least one, at most all."""
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
    """Token ids of a row's text, all of them scored but the first.

    Args:
        bos, eos: put the tokenizer's token before and behind, where it has one and the text does
            not spell it already.
    """
    ids = _ids(tokenizer, row["text"])
    first, last = tokenizer.bos_token_id, tokenizer.eos_token_id
    if bos and first is not None and ids[:1] != [first]:
        ids = [first, *ids]
    if eos and last is not None and ids[-1:] != [last]:
        ids = [*ids, last]
    return Document(row["id"], TokenSequence(ids, list(ids)))


def encode_chat(tokenizer: Any, row: Row) -> Document:
    """Token ids of a row's messages and its response; every answer of the assistant is scored.

    Raises:
        BadData: the template changes an earlier answer, or does not end it.
    """
    messages = row["messages"]
    prompt = chat.prompt_ids(tokenizer, messages)
    tokens = join(prompt, chat.response_ids(tokenizer, row["response"]))
    earlier = [place for place, m in enumerate(messages) if m["role"] == "assistant"]
    text = chat.render(tokenizer, messages) if earlier else ""
    for place in earlier:
        # From where the conversation goes on otherwise than the prompt of this answer did: a
        # template's opening may end in what is one token with the answer's first letters.
        before = zip(chat.prompt_ids(tokenizer, messages[:place]), prompt)
        start = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], before))
        end = chat.end_of_turn_id(tokenizer)
        if messages[place]["content"].strip() not in text or end not in prompt[start:]:
            raise BadData(
                f'conversation "{row["id"]}": the chat template of {tokenizer.name_or_path} does '
                f"not repeat message {place + 1} with an end of turn, so that it cannot be scored; "
                "keep one exchange of each conversation (exchanges = 1)"
            )
        stop = prompt.index(end, start) + 1
        tokens.labels[start:stop] = prompt[start:stop]
    return Document(row["id"], tokens)


def scored_texts(row: Row) -> list[str]:
    """The texts of a row that are scored: all of it, or of a conversation every answer."""
    if "messages" not in row:
        return [row["text"]]
    said = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
    return [*said, row["response"]]


def scored_spans(labels: Sequence[int]) -> list[tuple[int, int]]:
    """First place of each run of scored tokens, and the place behind it.

    >>> scored_spans([-100, 7, 8, -100, -100, 9])
    [(1, 3), (5, 6)]
    """
    flags = [False, *(label != IGNORE for label in labels), False]
    edges = [place for place in range(len(labels) + 1) if flags[place] != flags[place + 1]]
    return list(zip(edges[::2], edges[1::2]))


def fit_conversations(
    rows: Iterable[Row], tokenizers: Sequence[Any], limit: int, *, refuse: bool = False
) -> tuple[list[Row], dict[str, int]]:
    """Conversations of at most `limit` ids for every tokenizer, template included.

    The last exchanges of a longer one are left out, and so is one whose first is too long: an
    answer without its end would teach not to stop.

    Returns:
        rows, and how many were "cut" or "left_out".

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
    """Digest of rows in order: of what a model reads of them, and of their ids."""
    state = hashlib.blake2b(digest_size=16)
    for row in rows:
        read = {name: row[name] for name in ("id", "text", "messages", "response") if name in row}
        state.update(canonical_json(read) + b"\n")
    return state.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """Digest of what turns text into ids: vocabulary, rules and special tokens."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    rules: Any = None
    if inner is not None:
        rules = json.loads(inner.to_str())
        for state in ("truncation", "padding"):  # of the last call, not of the tokenizer
            rules.pop(state, None)
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return digest([sorted(tokenizer.get_vocab().items()), rules, special])


def vocabulary_size(tokenizer: Any) -> int:
    """One more than the largest id of a tokenizer, added tokens included."""
    return 1 + max(tokenizer.get_vocab().values())
