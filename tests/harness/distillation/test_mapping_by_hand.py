"""Which prediction arrives at which token, by hand: BOS, ends of documents and of turns, prompts.

The target reads single letters, the source also "ab" and "cd". At position p the source gives its
own next token the probability 0.5 + p / 100, and "i" 0.1; its cross-entropy there is (p + 1) / 10.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.distillation.documents import (
    Document,
    corpus_digest,
    encode_chat,
    encode_text,
    vocabulary_size,
)
from harness.distillation.mapping import Side, map_teacher
from harness.distillation.produce import make_teacher, teacher_document
from harness.distillation.settings import MappingSettings
from harness.distillation.shards import Manifest, Teacher, TeacherDocument
from harness.engine.operations import Row
from harness.models.tokenize import tokenizer_digest
from tests.tiny_models import make_tokenizer

PIECES = ["[P]", "[B]", "[E]", "[T]", "[A]", "[?]", "ab", "cd", *"abcdehi"]
TEMPLATE = (
    "[B]{% for m in messages %}{{ m['content'] }}{{ '[T]' if m['role'] == 'assistant' else '[A]' }}"
    "{% endfor %}"
)


def pairs_tokenizer() -> Any:
    """Reads "ab" and "cd" as one token; a turn ends with [T], a document with [E]."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {piece: number for number, piece in enumerate(PIECES)}
    inner = Tokenizer(models.WordLevel(words, unk_token="[?]"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("ab|cd|."), "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="[B]", eos_token="[E]", pad_token="[P]", unk_token="[?]",
        additional_special_tokens=["[T]", "[A]"], chat_template=TEMPLATE,
    )  # fmt: skip


def side(tokenizer: Any, rows: list[Row], **how: bool) -> Side:
    encode = encode_chat if "messages" in rows[0] else partial(encode_text, **how)
    return Side(tokenizer, lambda row: encode(tokenizer, row))


def predicted(document: Document) -> TeacherDocument:
    ids = document.tokens.input_ids
    places = np.arange(len(ids) - 1)
    chances = np.column_stack([0.5 + places / 100, np.full(len(places), 0.1)])
    top = np.column_stack([ids[1:], np.full(len(places), PIECES.index("i"))])
    return teacher_document(document, np.log(chances), top, (places + 1) / 10)


def mapped(row: Row, folder: Path, *, bos: bool = True, eos: bool = True, **changes: Any) -> Any:
    """The target's tokens, and the teacher's document in them."""
    rows = [row]
    base, source = make_tokenizer(), pairs_tokenizer()
    how = {} if "messages" in row else {"bos": bos, "eos": eos}
    ours, theirs = side(base, rows, **how), side(source, rows, **how)
    manifest = Manifest(
        k=2, vocabulary=vocabulary_size(source), corpus=corpus_digest(rows), model="m",
        tokenizer=tokenizer_digest(source), token_ce=True,
    )  # fmt: skip
    make_teacher(folder / "source", manifest, rows, theirs.encode, lambda ds: map(predicted, ds))
    settings = MappingSettings(**changes)
    map_teacher(folder / "mapped", rows, Teacher(folder / "source"), ours, theirs, settings)
    ids = ours.encode(row).tokens.input_ids
    return base.convert_ids_to_tokens(ids), Teacher(folder / "mapped").document(row["id"], ids)


def shown(found: TeacherDocument) -> list[dict[str, float]]:
    """The predicted tokens of each position but the last, with their probabilities."""
    names = make_tokenizer().convert_ids_to_tokens
    return [
        {names(int(i)): round(float(np.exp(v)), 2) for v, i in zip(logps, ids) if v > -np.inf}
        for logps, ids in zip(found.logps[:-1].astype(float), found.ids[:-1])
    ]


TEXT: Row = {"id": "t", "text": "abcde"}
# "ab" and "cd" have no counterpart in the target; they become the longest token they begin with.
WHOLE = [
    {"a": 0.5, "i": 0.1},  # at <s>, as at [B]
    {"b": 1.0},  # at "a", inside of the source's "ab"
    {"c": 0.51, "i": 0.1},  # at "b", where "ab" ends
    {"d": 1.0},
    {"e": 0.52, "i": 0.1},
    {"</s>": 0.53, "i": 0.1},  # at "e": the end of the document, whatever it is called
]


def test_a_text_from_its_bos_to_its_end(tmp_path: Path) -> None:
    tokens, found = mapped(TEXT, tmp_path)
    assert tokens == ["<s>", "a", "b", "c", "d", "e", "</s>"]
    assert shown(found) == WHOLE
    assert found.logps[-1].tolist() == [-np.inf] * 2  # nothing follows the end
    expected = [0.1, np.nan, 0.2, np.nan, 0.3, 0.4]
    np.testing.assert_allclose(found.token_ce, expected, atol=1e-3)
    assert found.scored == 6
    assert found.ce == pytest.approx((0.1 + 0.2 + 0.3 + 0.4) / 6)


def test_a_text_without_bos_or_end(tmp_path: Path) -> None:
    tokens, found = mapped(TEXT, tmp_path / "bare", bos=False, eos=False)
    assert tokens == list("abcde")
    # The source's positions begin at "ab" now; nothing is predicted at the end.
    assert shown(found) == [{"b": 1.0}, {"c": 0.5, "i": 0.1}, {"d": 1.0}, {"e": 0.51, "i": 0.1}]
    assert found.scored == 4
    assert found.ce == pytest.approx((0.1 + 0.2) / 4)
    _, open_end = mapped(TEXT, tmp_path / "open", eos=False)
    assert shown(open_end) == WHOLE[:5]
    _, no_start = mapped(TEXT, tmp_path / "start", bos=False)
    assert shown(no_start) == [
        {"b": 1.0}, {"c": 0.5, "i": 0.1}, {"d": 1.0}, {"e": 0.51, "i": 0.1},
        {"</s>": 0.52, "i": 0.1},
    ]  # fmt: skip


def test_positions_without_a_counterpart_as_the_settings_say(tmp_path: Path) -> None:
    alone = {
        "next": ({"b": 1.0}, {"d": 1.0}),
        "current": ({"a": 1.0}, {"c": 1.0}),
        "none": ({}, {}),
    }
    for kind, (first, second) in alone.items():
        _, found = mapped(TEXT, tmp_path / kind, onehot_target=kind)
        expected = [WHOLE[0], first, WHOLE[2], second, *WHOLE[4:]]
        assert shown(found) == expected, kind
    _, exact = mapped(TEXT, tmp_path / "exact", vocabulary="exact")
    assert shown(exact)[0] == {"i": 0.1}  # "ab" has no token of the same text
    _, own = mapped(TEXT, tmp_path / "own", ce_per="source_token")
    assert (own.ce, own.scored) == (pytest.approx(0.25), 4)


CHAT: Row = {"id": "c", "messages": [{"role": "user", "content": "hi"}], "response": "abcde"}


def test_an_answer_from_the_end_of_its_prompt_to_the_end_of_its_turn(tmp_path: Path) -> None:
    tokens, found = mapped(CHAT, tmp_path)
    assert tokens == ["<s>", "<u>", "h", "i", "<a>", "a", "b", "c", "d", "e", "</s>"]
    assert shown(found) == [
        *[{}] * 4,  # inside the prompt
        {"a": 0.53, "i": 0.1},  # at the end of the prompt, position 3 of the source
        {"b": 1.0},
        {"c": 0.54, "i": 0.1},
        {"d": 1.0},
        {"e": 0.55, "i": 0.1},
        {"</s>": 0.56, "i": 0.1},  # the source's [T], not its [E]
    ]
    assert found.scored == 6
    assert found.ce == pytest.approx((0.4 + 0.5 + 0.6 + 0.7) / 6)


def test_earlier_answers_are_mapped_and_nothing_between_them(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ab"},
        {"role": "user", "content": "a"},
    ]
    tokens, found = mapped({"id": "d", "messages": messages, "response": "cd"}, tmp_path)
    assert "".join(tokens) == "<s><u>hi<a>ab</s><u>a<a>cd</s>"
    assert shown(found) == [
        *[{}] * 4,
        {"a": 0.53, "i": 0.1},
        {"b": 1.0},
        {"</s>": 0.54, "i": 0.1},  # the end of the first turn
        *[{}] * 3,  # at </s> and in the second prompt
        {"c": 0.57, "i": 0.1},
        {"d": 1.0},
        {"</s>": 0.58, "i": 0.1},
    ]
    assert found.scored == 6
