"""Vocabulary mappings: golden ones, the full search, texts and roles, co-occurrence, counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array

from harness.core.errors import BadData
from harness.distillation.align.counts import pair_counts, statistics_mapping
from harness.distillation.align.dtw import dtw
from harness.distillation.align.tokens import Vocabulary, decoded, piece_of, swap_marker
from harness.distillation.align.vocab import (
    cooccurrences,
    map_vocabulary,
    nearest_tokens,
    same_text,
)
from tests.golden_vectors import vectors
from tests.tokenizers import nano

Finder = Callable[[str], Path]

WORDS = st.lists(st.text("abc", max_size=6), max_size=12)


def made(kind: Any, marker: str, tokens: list[str], **roles: int) -> Vocabulary:
    pieces = [piece_of(token, kind) for token in tokens]
    return Vocabulary("made", kind, marker, tokens, pieces, roles, frozenset(roles.values()))


def test_golden_nearest(golden: Finder, tokenizers: Any) -> None:
    for pair in vectors(golden("fusellm/vocab_mapping.json"))["pairs"]:
        base, source = (tokenizers(pair[side])[1] for side in ("base", "blending"))
        keys = swap_marker([row[0] for row in pair["rows"]], source.marker, base.marker)
        ties, distances = nearest_tokens(keys, base.tokens)
        for key, tied, distance, row in zip(keys, ties, distances, pair["rows"]):
            assert key == row[1]
            assert base.tokens[tied[0]] == row[2]
            assert distance == row[3]
            assert [base.tokens[i] for i in tied] == sorted(row[4], key=base.tokens.index)


@given(WORDS, WORDS)
def test_nearest_is_the_full_search(keys: list[str], base: list[str]) -> None:
    from rapidfuzz.distance import Levenshtein

    ties, distances = nearest_tokens(keys, base)
    for key, tied, distance in zip(keys, ties, distances):
        all_ = [Levenshtein.distance(key, other) for other in base]
        assert tied.tolist() == [i for i, d in enumerate(all_) if d == min(all_)]
        assert not base or distance == min(all_)


@pytest.mark.parametrize("name", ["target", "source_a", "encoder"])
def test_a_vocabulary_maps_to_itself(name: str) -> None:
    _, found = nano(name)
    assert map_vocabulary(found, found).tolist() == list(range(len(found)))


def test_texts_are_compared_across_kinds() -> None:
    base = made(
        "sentencepiece",
        "▁",
        ["<s>", "</s>", "<0x61>", "▁the", "a", "é", "▁", "<0xC3>"],
        bos=0,
        eos=1,
    )
    source = made(
        "byte_level", "Ġ", ["<|end|>", "Ġthe", "a", "Ã©", "Ġ", "Ã", "é", ""], bos=0, eos=0
    )
    # The byte é (0xE9) is no é; a stands before its byte token; the end token follows its role.
    assert map_vocabulary(base, source, "exact").tolist() == [1, 3, 4, 5, 6, 7, -1, -1]
    assert same_text(base, source)[0] == -1
    words = made("wordpiece", "##", ["[UNK]", "the", "##a", "é"], unk=0)
    assert map_vocabulary(base, words, "exact").tolist() == [-1, 3, 4, -1]


def test_nearest_spelling_leaves_out_what_has_none() -> None:
    base = made("sentencepiece", "▁", ["<s>", "▁hello", "▁help", "<0x7A>", "x"], bos=0)
    source = made("byte_level", "Ġ", ["<s", "Ġhelm", "Ġhellos", "q", "Ã"])
    # Ties go to the lower id; q shares no letter with x, and half a character spells nothing.
    assert map_vocabulary(base, source).tolist() == [-1, 2, 1, -1, -1]
    assert map_vocabulary(base, made("plain", "", ["ab"])).tolist() == [-1]
    assert map_vocabulary(made("plain", "", []), source).tolist() == [-1] * 5


def test_a_token_goes_over_to_the_longest_that_it_begins_with() -> None:
    base = made("byte_level", "Ġ", ["<s>", "c", "ca", "Ġ", "Ġca", "Ã", "x"], bos=0)
    source = made(
        "sentencepiece", "▁", ["<s>", "cat", "▁cat", "▁dog", "é", "xyz", "dog", "c"], bos=0
    )
    found = map_vocabulary(base, source, "prefix").tolist()
    assert found == [0, 2, 4, 3, 5, 6, -1, 1]
    assert map_vocabulary(base, base, "prefix").tolist() == list(range(len(base)))
    twice = made("plain", "", ["ca", "b", "ca"])
    assert map_vocabulary(twice, made("plain", "", ["cat"]), "prefix").tolist() == [0]


@given(WORDS, WORDS)
def test_prefixes_are_prefixes(base: list[str], source: list[str]) -> None:
    ours, theirs = made("plain", "", base), made("plain", "", source)
    for token, i in zip(source, map_vocabulary(ours, theirs, "prefix").tolist()):
        begins = [other for other in base if other and token.startswith(other)]
        assert (i >= 0) == bool(begins)
        assert not begins or base[i] == max(begins, key=len)


def test_cooccurrences_are_counted_within_the_window() -> None:
    found = cooccurrences([[0, 1, 2, 0], [2]], 3, window=2).toarray()
    assert found.tolist() == [[0, 2, 2], [2, 0, 1], [2, 1, 0]]
    assert (found == found.T).all()
    assert cooccurrences([], 3).nnz == 0


def test_cooccurrence_decides_between_tied_tokens() -> None:
    base = made("plain", "", ["cat", "car", "meow", "road"])
    source = made("plain", "", ["meow", "caz", "road"])
    base_counts = cooccurrences([[0, 2], [1, 3]], 4)
    for context, wanted in ((0, 0), (2, 1)):
        counts = (base_counts, cooccurrences([[1, context]], 3))
        assert map_vocabulary(base, source, counts=counts).tolist() == [2, wanted, 3]
    assert map_vocabulary(base, source).tolist() == [2, 0, 3]
    nothing = (base_counts, cooccurrences([], 3))
    assert map_vocabulary(base, source, counts=nothing).tolist() == [2, 0, 3]


def golden_counts(pair: dict, shape: tuple[int, int]) -> csr_array:
    b, s, n = np.array(pair["counts_base_blending_n"]).T
    return coo_array((n, (b, s)), shape=shape).tocsr()


def aligned(row: dict, loaded: list[tuple[Any, Vocabulary]], variant: Any) -> tuple:
    ids = [row["base_ids"], row["blending_ids"]]
    strings = [
        vocabulary.strings(i) if variant == "fusechat_v1" else decoded(tokenizer, i)
        for (tokenizer, vocabulary), i in zip(loaded, ids)
    ]
    markers = [vocabulary.marker for _, vocabulary in loaded]
    return (*ids, *dtw(*strings, *markers, variant).ranges())


def test_golden_statistics(golden: Finder, tokenizers: Any) -> None:
    rows = vectors(golden("fusellm/token_alignment.json"))["pairs"]
    documents = {(pair["base"], pair["blending"]): pair["rows"] for pair in rows}
    for pair in vectors(golden("fusechat/statistics_mapping.json"))["pairs"]:
        if "raises" in pair:
            continue  # the released code needs unk and bos tokens
        loaded = [tokenizers(pair[side]) for side in ("base", "blending")]
        base, source = (vocabulary for _, vocabulary in loaded)
        variant: Any = f"fusechat_{pair['version']}"
        texts = documents[pair["base"], pair["blending"]]
        done = [aligned(row, loaded, variant) for row in texts]
        shape = (len(base), len(source))
        counts = pair_counts(done[::2], shape) + pair_counts(done[1::2], shape)
        assert (counts != golden_counts(pair, shape)).nnz == 0
        found = statistics_mapping(
            counts, base, source, mode="legacy_sigmoid", unseen="unk", variant=variant
        )
        assert found.tolist() == pair["blending_to_base"]


def test_frequency_prefers_what_legacy_avoids() -> None:
    base = made("plain", "", ["<s>", "ax", "ay", "z"], bos=0)
    source = made("plain", "", ["a", "<b>", "never"], bos=1)
    counts = csr_array(np.array([[0, 9, 0], [5, 0, 0], [1, 0, 0], [1, 2, 0]]))
    assert statistics_mapping(counts, base, source).tolist() == [1, 0, -1]
    legacy = statistics_mapping(counts, base, source, mode="legacy_sigmoid", unseen="unk")
    assert legacy.tolist() == [2, 0, -1]
    with_unk = made("plain", "", base.tokens, unk=3)
    assert statistics_mapping(counts, with_unk, source, unseen="unk").tolist() == [1, 0, 3]
    even = csr_array(np.array([[0, 0, 0], [2, 0, 0], [2, 0, 0], [2, 0, 0]]))
    assert statistics_mapping(even, base, source).tolist() == [1, 0, -1]


def test_counts_of_other_vocabularies_are_refused() -> None:
    base, source = made("plain", "", ["a"]), made("plain", "", ["a", "b"])
    with pytest.raises(BadData, match="count again"):
        statistics_mapping(csr_array((2, 2), dtype=np.int64), base, source)
    one = np.zeros(1, np.int64)
    with pytest.raises(BadData, match="another tokenizer"):
        pair_counts([([0], [2], one, one)], (1, 2))


def test_a_source_token_counts_once_a_position() -> None:
    first, last = np.array([0, 2, -1]), np.array([1, 3, -1])
    found = pair_counts([([0, 1, 0], [1, 1, 0, 1], first, last)] * 3, (2, 2))
    assert found.toarray().tolist() == [[0, 3], [3, 3]]
    assert pair_counts([], (2, 2)).nnz == 0


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=8), min_size=1, max_size=4))
def test_equal_texts_map_to_themselves(documents: list[list[int]]) -> None:
    tokens = made("plain", "", ["<s>", "</s>", "b", "c", "d"], bos=0, eos=1)
    ones = [(ids, ids, np.arange(len(ids)), np.arange(len(ids))) for ids in documents]
    found = statistics_mapping(pair_counts(ones, (5, 5)), tokens, tokens)
    seen = {0, 1, *(i for ids in documents for i in ids)}
    assert found.tolist() == [i if i in seen else -1 for i in range(5)]
