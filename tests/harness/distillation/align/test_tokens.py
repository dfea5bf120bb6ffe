"""Kinds of vocabularies, what tokens stand for, roles, ids that do not exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadData
from harness.distillation.align.tokens import decoded, marker_of, piece_of, swap_marker, vocabulary
from tests.golden_vectors import vectors
from tests.tokenizers import nano

Loader = Callable[[str], Any]


@pytest.mark.parametrize(
    ("name", "kind", "marker"),
    [
        ("target", "byte_level", "Ġ"),
        ("source_a", "sentencepiece", "▁"),
        ("encoder", "wordpiece", "##"),
    ],
)
def test_kinds(name: str, kind: str, marker: str) -> None:
    tokenizer, found = nano(name)
    assert (found.kind, found.marker) == (kind, marker)
    assert len(found) == len(tokenizer)
    assert found.strings(range(len(found))) == tokenizer.convert_ids_to_tokens(range(len(found)))
    assert {found.tokens[i] for i in found.special} >= set(tokenizer.all_special_tokens)


def test_roles_have_stand_ins() -> None:
    tokenizer, found = nano("encoder")
    assert tokenizer.bos_token_id is None
    assert found.tokens[found.roles["bos"]] == "[CLS]"
    assert found.tokens[found.roles["eos"]] == "[SEP]"
    assert found.is_special[found.roles["unk"]]


@pytest.mark.parametrize("name", ["sp_bpe", "byte_bpe", "unigram", "wordpiece"])
def test_golden_markers(golden: Loader, tokenizers: Loader, name: str) -> None:
    entry = vectors(golden("fusellm/tokenizers/index.json"))[name]
    found = tokenizers(name)[1]
    assert found.marker == entry["marker"]
    assert len(found) == entry["actual_vocab"]
    assert [found.roles.get(role) for role in ("bos", "eos", "unk")] == [
        entry[f"{role}_id"] for role in ("bos", "eos", "unk")
    ]


def test_a_vocabulary_without_markers() -> None:
    assert marker_of(["a", "b"]) == marker_of([]) == ""
    assert piece_of("##a", "plain") == b"##a"


@pytest.mark.parametrize(
    ("token", "kind", "piece"),
    [
        ("▁the", "sentencepiece", b" the"),
        ("<0x0A>", "sentencepiece", b"\n"),
        ("the", "wordpiece", b" the"),
        ("##s", "wordpiece", b"s"),
        ("##", "wordpiece", b" ##"),
        ("", "wordpiece", b""),
        ("Ċ", "byte_level", b"\n"),
        ("a b", "byte_level", b"a b"),
    ],
)
def test_pieces(token: str, kind: Any, piece: bytes) -> None:
    assert piece_of(token, kind) == piece


@given(st.text(max_size=20))
def test_byte_level_pieces_spell_any_text(text: str) -> None:
    tokenizer, found = nano("target")
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert b"".join(found.pieces[i] for i in ids) == text.encode()


def test_decoded_is_what_single_ids_decode_to() -> None:
    tokenizer, found = nano("target")
    ids = tokenizer("two words", add_special_tokens=False)["input_ids"]
    assert decoded(tokenizer, ids * 2) == [found.texts[i] for i in ids] * 2


def test_markers_are_swapped_wherever_they_stand() -> None:
    assert swap_marker(["ĠaĠ", "b"], "Ġ", "▁") == ["▁a▁", "b"]
    assert swap_marker(["ab"], "", "▁") == ["ab"]


def test_ids_beyond_the_vocabulary_are_refused() -> None:
    found = nano("target")[1]
    for ids in ([0, len(found)], [-1]):
        with pytest.raises(BadData, match="another tokenizer"):
            found.strings(ids)


def test_unused_ids_are_empty_tokens() -> None:
    class Gappy:
        name_or_path = ""
        added_tokens_decoder: dict = {}

        def get_vocab(self) -> dict[str, int]:
            return {"a": 0, "b": 2}

    found = vocabulary(Gappy())
    assert found.tokens == ["a", "", "b"]
    assert found.name == "Gappy"
    assert found.roles == {}
