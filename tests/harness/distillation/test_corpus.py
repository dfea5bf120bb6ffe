"""Documents from rows: windows, domains, conversations, lengths and identities, by hand."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, UserError
from harness.core.hashing import digest
from harness.distillation.corpus import (
    DocumentsParams,
    conversation_of,
    documents_identity,
    import_documents,
)
from harness.distillation.documents import (
    Document,
    corpus_digest,
    encode_chat,
    encode_text,
    fit_conversations,
    fit_documents,
    scored_spans,
    scored_texts,
    vocabulary_size,
)
from harness.engine.operations import Artifact, Row
from harness.models.tokenize import IGNORE, TokenSequence
from tests.tiny_models import make_tokenizer

Make = Callable[..., Any]


@pytest.fixture
def imported(context: Make, tmp_path: Path) -> Make:
    """`imported(rows, **params)`: the rows and the context of an import from a file."""

    def run(rows: list[Any], models: tuple[Artifact, ...] = (), **params: Any) -> Any:
        path = tmp_path / "given.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        made = context("run")
        import_documents(made, DocumentsParams(ref=str(path), **params), models=models)
        return Artifact("made", made.directory).rows(), made

    return run


TEXTS = [{"id": n, "text": f"t{n}", "domain": "ab"[n % 2]} for n in range(5)]


@pytest.mark.parametrize(
    ("window", "expected"),
    [({}, "01234"), ({"offset": 2}, "234"), ({"limit": 2}, "01"),
     ({"offset": 1, "limit": 3}, "123"), ({"offset": 4, "limit": 9}, "4")],
)  # fmt: skip
def test_a_window_of_rows_is_imported(
    window: dict[str, int], expected: str, imported: Make
) -> None:
    rows, run = imported(TEXTS, **window)
    assert [row["id"] for row in rows] == list(expected)
    assert run.reports == [(len(rows), len(rows), "rows")]


def test_rows_are_texts_with_their_domain_and_id(imported: Make) -> None:
    rows, _ = imported([{"text": "a", "more": 1}, {"id": 0, "text": "b", "domain": 7}])
    assert rows == [
        {"id": digest({"text": "a"}), "text": "a", "domain": "all"},
        {"id": "0", "text": "b", "domain": "7"},
    ]
    rows, _ = imported([{"body": "a", "text": "b"}], field="body")
    assert rows[0]["text"] == "a"
    rows, _ = imported(TEXTS, domains=("b",))
    assert [row["id"] for row in rows] == ["1", "3"]


def test_what_is_no_corpus_is_refused(imported: Make) -> None:
    with pytest.raises(UserError, match="has no documents from offset 5 on"):
        imported(TEXTS, offset=5)
    with pytest.raises(BadData, match="two documents have one id"):
        imported([TEXTS[0], TEXTS[0]])
    with pytest.raises(BadData, match=r'row 2: no text "text", and no messages .*found id, more'):
        imported([TEXTS[0], {"id": 1, "more": 2}])
    with pytest.raises(BadData, match=r"row 1: .*found nothing"):
        imported([{}])
    messages = [{"role": "tool", "content": "x"}, {"role": "assistant", "content": "y"}]
    with pytest.raises(BadData, match='row 3: message 1 is from "tool"; expected'):
        imported([*TEXTS[:2], {"messages": messages}])


def test_content_that_changed_since_planning_is_refused(imported: Make, tmp_path: Path) -> None:
    rows, _ = imported(TEXTS, digest=None)
    known = documents_identity(str(tmp_path / "given.jsonl"))
    assert imported(TEXTS, digest=known)[0] == rows
    with pytest.raises(UserError, match="documents"):
        imported(TEXTS[:2], digest=known)


SAID = [("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4"), ("user", "5")]
TURNS = [{"role": role, "content": text} for role, text in SAID]


def talk(*numbers: int) -> list[dict[str, str]]:
    return [TURNS[number] for number in numbers]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"messages": TURNS}, talk(0, 1, 2, 3)),
        ({"messages": TURNS[:3], "response": "4"}, talk(0, 1, 2, 3)),
        ({"messages": TURNS[1:]}, talk(2, 3)),
        ({"messages": TURNS[:1]}, []),
        ({"messages": []}, []),
        ({"messages": ["text"]}, []),
        ({"messages": "text", "conversations": "text"}, []),
        ({"messages": [*TURNS[:1], {"role": "assistant", "content": 3}]}, []),
        ({"conversations": [{"from": "human", "value": "1"}, {"from": "gpt", "value": "2"}]},
         talk(0, 1)),
        ({"conversations": [{"from": "system", "value": "s"}, {"from": "gpt", "value": "2"}]},
         [{"role": "system", "content": "s"}, TURNS[1]]),
        ({"instruction": "1", "output": "2"}, talk(0, 1)),
        ({"instruction": "1", "output": "2", "input": None}, talk(0, 1)),
        ({"instruction": "1", "output": " "}, []),
        ({"instruction": " ", "output": "2"}, []),
        ({"instruction": "1"}, []),
        ({"instruction": 1, "output": "2"}, []),
        ({"text": "t"}, []),
    ],
)  # fmt: skip
def test_rows_are_read_as_conversations(item: Row, expected: list[dict[str, str]]) -> None:
    assert conversation_of(item) == expected


def test_exchanges_are_counted_from_the_first() -> None:
    assert conversation_of({"messages": TURNS}, 1) == talk(0, 1)
    assert conversation_of({"messages": TURNS}, 2) == talk(0, 1, 2, 3)
    assert conversation_of({"messages": TURNS}, 3) == talk(0, 1, 2, 3)


def test_conversations_keep_their_answers_or_become_texts(imported: Make) -> None:
    rows, _ = imported([{"id": "a", "messages": TURNS}])
    chat = {"id": "a", "messages": talk(0, 1, 2), "response": "4", "domain": "all"}
    assert rows == [chat]
    rows, _ = imported([{"id": "a", "messages": TURNS}], form="text")
    assert rows == [{"id": "a", "text": "1\n2\n3\n4", "domain": "all"}]


def test_documents_are_fitted_to_every_model_texts_first(
    imported: Make, checkpoint: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """One token per letter; a conversation of two one-letter messages has six."""
    chat = {"id": "c", "messages": talk(0, 1, 2, 3)}
    given = [chat, {"id": "a", "text": "abcdefg"}, {"id": "b", "text": "xy"}]
    models = (checkpoint("llama"), checkpoint("tied"))
    with caplog.at_level(logging.WARNING):
        rows, run = imported(given, models, max_tokens=6)
    assert [row["id"] for row in rows] == ["a#0", "a#1", "b", "c"]
    assert [row.get("text") for row in rows] == ["abcdef", "g", "xy", None]
    assert rows[3]["messages"] == talk(0)
    steps = [(1, 3, "documents"), (2, 3, "documents"), (3, 3, "documents")]
    assert run.reports == [*steps, (4, 4, "rows")]
    said = [record.getMessage().partition(": ")[2] for record in caplog.records]
    assert said == ["1 documents split", "1 documents cut"]
    assert len(imported(given, models)[0]) == len(imported(given, max_tokens=2)[0]) == 3
    with pytest.raises(BadData, match='document "a" has 7 characters, of which 6'):
        imported(given, models, max_tokens=6, long="refuse")
    with pytest.raises(BadData, match='conversation "c" has more than 6 tokens'):
        imported([chat], models, max_tokens=6, long="refuse")
    with pytest.raises(UserError, match="none of 1 documents fits into 2 tokens; raise"):
        imported([chat], models, max_tokens=2)


def slow(width: int) -> Any:
    """A tokenizer without offsets whose tokens have `width` letters; id = length of the token."""

    def read(text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [len(text[n : n + width]) for n in range(0, len(text), width)]}

    class Slow:
        is_fast = False
        __call__ = staticmethod(read)

        def decode(self, ids: list[int], clean_up_tokenization_spaces: bool = True) -> str:
            assert clean_up_tokenization_spaces is False
            return "x" * sum(ids)

    return Slow()


def fitted(text: str, limit: int, long: Any, *tokenizers: Any) -> tuple[list[str], dict[str, int]]:
    rows, counts = fit_documents([{"id": "a", "text": text}], tokenizers, limit, long)
    return [row["text"] for row in rows], counts


def test_the_first_tokenizer_at_its_limit_decides_where_a_text_is_cut() -> None:
    two, three, letters = slow(2), slow(3), make_tokenizer()
    text = "abcdefghij"
    none = {"empty": 0, "cut": 0, "split": 0}
    assert fitted(text, 5, "refuse", two, three) == ([text], none)
    assert fitted(text, 4, "cut", two, three) == (["abcdefgh"], {**none, "cut": 1})
    assert fitted(text, 4, "cut", three, letters) == (["abcd"], {**none, "cut": 1})
    pieces = (["abcd", "efgh", "ij"], {**none, "split": 1})
    assert fitted(text, 4, "split", letters, two) == pieces
    assert fitted(text, 1, "split", slow(7)) == (["abcdefg", "hij"], {**none, "split": 1})
    assert fitted("", 3, "split", letters) == ([], {**none, "empty": 1})
    ids = [row["id"] for row in fit_documents([{"id": "a", "text": text}], [two], 2, "split")[0]]
    assert ids == ["a#0", "a#1", "a#2"]


class Stubborn:
    """Two tokens for any text, of which the first decodes to nothing."""

    is_fast = False

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [1, 1]}

    def decode(self, ids: list[int], **_: Any) -> str:
        return ""


def test_at_least_one_character_and_at_most_32_per_token_are_read() -> None:
    with pytest.raises(BadData, match="of which 1 are 1 tokens"):
        fitted("abc", 1, "refuse", Stubborn())
    long = "x" * 100
    assert fitted(long, 2, "cut", slow(1000)) == (["x" * 64], {"empty": 0, "cut": 1, "split": 0})
    assert fitted(long, 2, "cut", slow(60))[0] == ["x" * 64]


def test_bos_and_eos_are_put_once_where_defined() -> None:
    tokenizer = make_tokenizer()
    row = {"id": "a", "text": "ab"}

    def ids(text: str = "ab", **how: bool) -> list[int]:
        tokens = encode_text(tokenizer, {**row, "text": text}, **how).tokens
        assert tokens.labels == tokens.input_ids
        return tokens.input_ids

    assert ids() == [1, 6, 7, 2]
    assert ids(bos=False) == [6, 7, 2]
    assert ids(eos=False) == [1, 6, 7]
    assert ids("") == [1, 2]
    tokenizer.bos_token = tokenizer.eos_token = None
    assert ids() == [6, 7]


CHAT: Row = {"id": "c", "messages": TURNS[:3], "response": "4"}


def test_answers_of_a_conversation_are_scored_with_their_ends() -> None:
    found = encode_chat(make_tokenizer(), CHAT)
    # <s> <u> 1 <a> 2 </s> <u> 3 <a> 4 </s>; digits begin at 33
    assert found.tokens.input_ids == [1, 3, 34, 4, 35, 2, 3, 36, 4, 37, 2]
    labels = [IGNORE] * 4 + [35, 2] + [IGNORE] * 3 + [37, 2]
    assert found == Document("c", TokenSequence(found.tokens.input_ids, labels))
    assert scored_spans(labels) == [(4, 6), (9, 11)]
    assert scored_spans([]) == scored_spans([IGNORE]) == []
    assert scored_spans([5, IGNORE, 6]) == [(0, 1), (2, 3)]
    assert scored_texts(CHAT) == ["2", "4"]
    assert scored_texts({"text": "t"}) == ["t"]


@pytest.mark.parametrize(
    ("limit", "kept", "counts"),
    [(11, 3, {"cut": 0, "left_out": 0}), (10, 1, {"cut": 1, "left_out": 0}),
     (6, 1, {"cut": 1, "left_out": 0}), (5, None, {"cut": 0, "left_out": 1})],
)  # fmt: skip
def test_long_conversations_lose_their_last_exchanges(
    limit: int, kept: int | None, counts: dict[str, int]
) -> None:
    rows, found = fit_conversations([CHAT], [make_tokenizer(), make_tokenizer()], limit)
    assert found == counts
    assert [len(row["messages"]) for row in rows] == ([] if kept is None else [kept])
    if counts["cut"]:
        assert rows == [{"id": "c", "messages": TURNS[:1], "response": "2"}]
    if limit < 11:
        with pytest.raises(BadData, match=f"more than {limit} tokens"):
            fit_conversations([CHAT], [make_tokenizer()], limit, refuse=True)


def test_a_corpus_is_its_rows_in_order_and_what_is_read_of_them() -> None:
    rows: list[Row] = [{"id": "a", "text": "t"}, CHAT]
    known = corpus_digest(rows)
    assert len(known) == 32
    assert corpus_digest([{**row, "domain": "d"} for row in rows]) == known
    others = [
        rows[::-1],
        rows[:1],
        [{**rows[0], "id": "b"}, CHAT],
        [{**rows[0], "text": "u"}, CHAT],
        [rows[0], {**CHAT, "response": "5"}],
        [rows[0], {**CHAT, "messages": TURNS[:1]}],
    ]
    assert len({known, *map(corpus_digest, others)}) == 7
    assert vocabulary_size(make_tokenizer()) == 43
