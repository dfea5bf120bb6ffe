"""Alignment by ends in the text: relations, bytes, special tokens, odd tokenizers, laws."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadData
from harness.distillation.align import offsets
from harness.distillation.align.dtw import dtw
from harness.distillation.align.offsets import RELATIONS, Alignment, Reading, align, ends_in, read
from harness.distillation.align.report import alignment_report
from harness.distillation.align.tokens import Vocabulary, piece_of
from tests.golden_vectors import vectors
from tests.tokenizers import nano

NAMES = ("target", "source_a", "source_b", "encoder")
TEXTS = st.one_of(
    st.text("abc 12.,\n", max_size=30),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12),
)


def made(name: str, tokens: list[str], special: tuple[str, ...] = ()) -> Vocabulary:
    """A SentencePiece vocabulary; the special tokens have the roles bos and eos."""
    listed = [*special, *dict.fromkeys(tokens)]
    roles = dict(zip(("bos", "eos"), range(len(special))))
    pieces = [piece_of(token, "sentencepiece") for token in listed]
    return Vocabulary(name, "sentencepiece", "▁", listed, pieces, roles, frozenset(roles.values()))


def reading(tokens: list[str], special: tuple[str, ...] = ()) -> Reading:
    """Tokens that spell a text, the special ones around it."""
    vocabulary = made("made", tokens, special)
    ids = np.array([vocabulary.tokens.index(token) for token in tokens], np.int64)
    textual = ~vocabulary.is_special[ids]
    ends = np.where(textual, np.cumsum(vocabulary.sizes[ids] * textual), -1)
    return Reading(ids, ends, vocabulary)


def shown(found: Alignment) -> list[tuple[str, int, tuple[int, int]]]:
    rows = zip(found.relation, found.step.tolist(), found.first.tolist(), found.last.tolist())
    return [(RELATIONS[relation], step, (first, last)) for relation, step, first, last in rows]


def test_relations() -> None:
    base = reading(["a", "bcd", "e", "f", "gh", "i", "j"])
    source = reading(["a", "b", "cd", "ef", "g", "hi"])
    assert shown(align(base, source)) == [
        ("exact", 0, (0, 0)),
        ("split", 2, (1, 2)),
        ("merged", -1, (3, 3)),
        ("merged", 3, (3, 3)),
        ("crossed", -1, (4, 5)),
        ("crossed", 5, (4, 5)),
        ("unmatched", -1, (-1, -1)),
    ]


def test_special_tokens_are_aligned_by_role() -> None:
    base = reading(["<s>", "ab", "</s>"], ("<s>", "</s>"))
    source = reading(["[B]", "a", "b", "[E]"], ("[B]", "[E]"))
    assert [row[:2] for row in shown(align(base, source))] == [
        ("exact", 0),
        ("split", 2),
        ("exact", 3),
    ]
    # Nothing stands for the base's, and a source's own widens no block.
    assert [row[0] for row in shown(align(base, reading(["ab"])))] == [
        "unmatched",
        "exact",
        "unmatched",
    ]
    assert shown(align(reading(["ab"]), source))[0] == ("split", 2, (1, 2))


def test_a_text_of_an_end_token_alone() -> None:
    ended = reading(["</s>"], ("<s>", "</s>"))
    assert shown(align(ended, reading(["[E]"], ("[B]", "[E]")))) == [("exact", 0, (0, 0))]


def test_empty_documents_align_to_nothing() -> None:
    nothing = reading([])
    assert len(align(nothing, nothing).step) == 0
    assert align(reading(["a"]), nothing).step.tolist() == [-1]
    assert len(align(nothing, reading(["a"])).step) == 0


@given(st.text("abc", min_size=1, max_size=12), st.data())
def test_steps_are_the_common_ends(text: str, data: st.DataObject) -> None:
    cuts = [sorted(data.draw(st.sets(st.integers(1, len(text)))) | {len(text)}) for _ in range(2)]
    base, source = (
        reading([text[a:b] for a, b in itertools.pairwise([0, *ends])]) for ends in cuts
    )
    found = align(base, source)
    wanted = [cuts[1].index(end) if end in cuts[1] else -1 for end in cuts[0]]
    assert found.step.tolist() == wanted
    back = align(source, base)
    pairs = {(j, i) for j, i in enumerate(found.step.tolist()) if i >= 0}
    assert pairs == {(j, i) for i, j in enumerate(back.step.tolist()) if j >= 0}
    # Blocks cover the source without gaps, and relations mirror each other.
    assert found.first[0] == 0
    assert found.last[-1] == len(source.ids) - 1
    for before, after in itertools.pairwise(range(len(base.ids))):
        same = found.last[before] == found.last[after]
        assert found.first[after] == (found.first[before] if same else found.last[before] + 1)
    mirrored = {"exact": "exact", "split": "merged", "merged": "split", "crossed": "crossed"}
    for j, (relation, _, (first, last)) in enumerate(shown(found)):
        for i in range(first, last + 1):
            assert RELATIONS[back.relation[i]] == mirrored[relation], (j, i)


@pytest.mark.parametrize("name", NAMES)
@given(text=TEXTS)
def test_a_tokenizer_aligns_with_itself(name: str, text: str) -> None:
    first = read(*nano(name), text, bos=True, eos=True)
    found = align(first, read(*nano(name), text, bos=True, eos=True))
    assert found.step.tolist() == list(range(len(first.ids)))
    assert (found.relation == offsets.EXACT).all()


@pytest.mark.parametrize(("base", "source"), itertools.permutations(NAMES, 2))
@given(text=TEXTS)
def test_steps_follow_the_same_text(base: str, source: str, text: str) -> None:
    ours, theirs = read(*nano(base), text), read(*nano(source), text)
    found = align(ours, theirs)
    assert found.mode == "offset"
    for j in np.flatnonzero(found.step >= 0):
        assert ours.ends[j] == theirs.ends[found.step[j]] >= 0
    for which in (ours, theirs):
        known = which.ends[which.ends >= 0]
        assert (np.diff(known) >= 0).all()
        assert known.max(initial=0) <= len(text.encode())


@given(TEXTS)
def test_byte_level_ends_are_bytes(text: str) -> None:
    found = read(*nano("source_b"), text)
    spelled = itertools.accumulate(found.vocabulary.pieces[i] for i in found.ids)
    assert [text.encode()[:end] for end in found.ends] == list(spelled)


def test_golden_ends_follow_the_last_source_piece(golden: Any, tokenizers: Any) -> None:
    """Where base ends meet source ends the last aligned source position is the right one."""
    texts = vectors(golden("fusellm/token_alignment.json"))["texts"]
    agree = total = 0
    for text in texts:
        base, source = (read(*tokenizers(name), text) for name in ("sp_bpe", "byte_bpe"))
        if not len(base.ids) or not len(source.ids):
            continue
        found = align(base, source)
        for which in (base, source):
            ends, whole = which.ends.tolist(), text.encode()
            for token, end in zip(which.vocabulary.strings(which.ids), ends):
                piece = piece_of(token, which.vocabulary.kind).lstrip(b" ")
                assert end < 0 or whole[:end].endswith(piece) or "▁" in text, (token, end)
        lists = dtw(
            base.vocabulary.strings(base.ids), source.vocabulary.strings(source.ids), "▁", "Ġ"
        ).base_to_source()
        matched = np.flatnonzero(found.step >= 0)
        agree += sum(lists[j][-1] == found.step[j] for j in matched)
        total += len(matched)
    assert 0.5 < agree / total < 1


def fast(model: Any, normalizer: Any = None, pre: Any = None, post: Any = None) -> Any:
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    made = tokenizers.Tokenizer(model)
    if normalizer is not None:
        made.normalizer = normalizer
    if pre is not None:
        made.pre_tokenizer = pre
    if post is not None:
        made.post_processor = post
    return PreTrainedTokenizerFast(tokenizer_object=made)


def ends_of(tokenizer: Any, text: str) -> list[tuple[str, int]]:
    from harness.distillation.align.tokens import vocabulary

    found = read(tokenizer, vocabulary(tokenizer), text)
    return list(zip(found.vocabulary.strings(found.ids), found.ends.tolist()))


def test_characters_that_normalisation_splits_have_no_inner_end() -> None:
    from tokenizers import models, normalizers, pre_tokenizers

    unigram = models.Unigram([(token, -1.0) for token in ("▁", "f", "i", "n", "e")], None, False)
    space = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer = fast(unigram, normalizers.NFKC(), space)
    # U+FB01 is three bytes, f and i are two: f ends nowhere. The space is the tokenizer's own.
    wanted = [("▁", 0), ("n", 1), ("e", 2), ("f", -1), ("i", 5)]
    assert ends_of(tokenizer, "neﬁ") == wanted


def test_trimmed_offsets_of_spaces_do_not_matter() -> None:
    from tokenizers import models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = fast(
        models.BPE({token: i for i, token in enumerate([*alphabet, "aĠ"])}, [("a", "Ġ")]),
        pre=level,
        post=processors.ByteLevel(trim_offsets=True),
    )
    assert ends_of(tokenizer, " a é") == [("Ġ", 1), ("aĠ", 3), ("Ã", 4), ("©", 5)]


def slow(lower: bool) -> Any:
    """A Python tokenizer of letters; lower-casing, its pieces do not spell the text."""
    from transformers import PreTrainedTokenizer

    letters = list("abcdefgh ABCDEFGH")

    class Letters(PreTrainedTokenizer):
        def __init__(self) -> None:
            super().__init__()
            self.name_or_path = f"letters {lower}"

        @property
        def vocab_size(self) -> int:
            return len(letters)

        def get_vocab(self) -> dict[str, int]:
            return {letter: i for i, letter in enumerate(letters)} | self._added_tokens_encoder

        def _tokenize(self, text: str, **_: Any) -> list[str]:
            return list(text.lower() if lower else text)

        def _convert_token_to_id(self, token: str) -> int:
            return letters.index(token)

        def _convert_id_to_token(self, index: int) -> str:
            return letters[index]

    return Letters()


def test_without_offsets_dtw_is_used_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    from harness.distillation.align.tokens import vocabulary

    offsets._warn_no_offsets.cache_clear()
    tokenizer = slow(lower=True)
    source = vocabulary(tokenizer)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            pair = (read(*nano("source_b"), "Abc de"), read(tokenizer, source, "Abc de"))
            found = align(*pair)
    assert len(caplog.records) == 1
    assert "gives no offsets" in caplog.text
    assert found.mode == "dtw"
    assert pair[1].ends is None
    pieces = [[which.vocabulary.pieces[i] for i in which.ids] for which in pair]
    assert found.step[-1] == 5
    for j, i in enumerate(found.step.tolist()):
        before = 1 + max((k for k in found.step[:j].tolist()), default=-1)
        if i >= 0 and j and found.step[j - 1] == before - 1 >= 0:
            assert pieces[0][j] == b"".join(pieces[1][before : i + 1])
    assert alignment_report([(*pair, found)]).dtw == 1


def test_slow_tokenizers_that_spell_the_text_are_exact() -> None:
    from harness.distillation.align.tokens import vocabulary

    tokenizer = slow(lower=False)
    found = read(tokenizer, vocabulary(tokenizer), "Ab c")
    assert found.ends.tolist() == [1, 2, 3, 4]


def test_a_text_that_was_cut_keeps_its_ends() -> None:
    whole = read(*nano("target"), "some words, cut")
    kept = ends_in("some words, cut", whole.vocabulary, whole.ids[:4], None)
    assert kept is not None
    assert kept.tolist() == whole.ends[:4].tolist()


def test_empty_documents_by_dtw() -> None:
    one, nothing = reading(["a"]), reading([])
    blind = Reading(nothing.ids, None, nothing.vocabulary)
    assert align(one, blind).step.tolist() == [-1]


def test_ids_of_another_tokenizer_are_refused() -> None:
    _, vocabulary = nano("target")
    with pytest.raises(BadData, match="another tokenizer"):
        ends_in("a", vocabulary, [len(vocabulary)], None)


def test_report() -> None:
    base = reading(["a", "bcd", "e", "f", "gh", "i", "j"])
    source = reading(["a", "b", "cd", "ef", "g", "hi"])
    found = alignment_report([(base, source, align(base, source))] * 2)
    assert (found.documents, found.positions, found.dtw) == (2, 14, 0)
    shares = [found.exact, found.split, found.merged, found.crossed, found.unmatched]
    assert shares == pytest.approx([1 / 7, 1 / 7, 2 / 7, 2 / 7, 1 / 7])
    assert found.transferable == pytest.approx(4 / 7)
    assert set(found.examples) == {
        ("split", ("bcd",), ("b", "cd")),
        ("merged", ("e", "f"), ("ef",)),
        ("crossed", ("gh", "i"), ("g", "hi")),
        ("unmatched", ("j",), ()),
    }
    assert not alignment_report([(base, base, align(base, base))]).examples
    with pytest.raises(BadData, match="nothing to report"):
        alignment_report([])


def test_report_is_a_record_that_survives_json() -> None:
    base = reading(["ab", "c"])
    found = alignment_report([(base, reading(["a", "bc"]), align(base, reading(["a", "bc"])))])
    assert type(found).model_validate_json(found.model_dump_json()) == found
