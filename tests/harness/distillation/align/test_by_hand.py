"""Ends, vocabularies, counts, steps and reports of an alignment, from tables made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.core.errors import BadData
from harness.distillation.align import vocab
from harness.distillation.align.counts import pair_counts, statistics_mapping
from harness.distillation.align.legacy import _among_several, _mixed
from harness.distillation.align.offsets import Alignment, Reading, align, ends_in
from harness.distillation.align.report import AlignmentReport, alignment_report
from harness.distillation.align.tokens import Vocabulary, check_ids, marker_of, vocabulary
from harness.distillation.align.vocab import cooccurrences, nearest_tokens
from harness.distillation.documents import Document
from harness.distillation.mapping import Pair, Part, _arrays
from harness.models.tokenize import IGNORE, TokenSequence
from tests.harness.distillation.align.test_offsets import reading


def pieces(*given: bytes) -> Vocabulary:
    names = [f"t{n}" for n in range(len(given))]
    return Vocabulary("v", "plain", "", names, list(given), {}, frozenset())


def ends(text: str, offsets: Any, *given: bytes) -> list[int] | None:
    array = None if offsets is None else np.array(offsets, np.int64)
    found = ends_in(text, pieces(*given), range(len(given)), array)
    return None if found is None else found.tolist()


def test_offsets_count_characters_and_ends_count_bytes() -> None:
    text = "\x7f\x80\u07ff\u0800\uffff\U00010000"
    single = [(n, n + 1) for n in range(6)]
    assert ends(text, single, *[b"z"] * 6) == [1, 3, 5, 8, 11, 15]
    assert ends(text, None, *[b"z"] * 6) is None


def test_pieces_that_spell_the_text_need_no_offsets() -> None:
    assert ends("ab c", None, b"ab", b" ", b"c") == [2, 3, 4]
    assert ends("ab c", None, b" a", b"b") == [1, 2]  # the space is the tokenizer's own; cut
    assert ends(" a", None, b" a") == [2]
    assert ends("", None) == []


@pytest.mark.parametrize(
    ("text", "offsets", "given", "expected"),
    [
        # Two pieces of one character; X is lower-cased, so that the pieces do not spell the text.
        ("éX", [(0, 1), (0, 1), (1, 2)], (b"\xc3", b"\xa9", b"x"), [1, 2, 3]),
        ("éX", [(0, 1), (0, 1), (1, 2)], (b" \xc3", b"\xa9", b"x"), [1, 2, 3]),
        ("aéX", [(0, 2), (1, 2), (2, 3)], (b"a\xc3", b"\xa9", b"x"), [2, 3, 4]),
        ("aéX", [(1, 2), (1, 2), (2, 3)], (b"a\xc3", b"\xa9", b"x"), [2, 3, 4]),
        ("éX", [(0, 1), (0, 1), (1, 2)], (b"q", b"\xa9", b"x"), [-1, 2, 3]),
        ("éX", [(0, 1), (0, 1), (1, 2)], (b"q", b"long", b"x"), [-1, 2, 3]),
        ("Xé", [(0, 1), (1, 2), (1, 2), (1, 2)], (b"x", b"\xc3", b"", b"\xa9"), [1, 2, 2, 3]),
        ("XéY", [(0, 1), (1, 2), (2, 3)], (b"x", b"e", b"y"), [1, 3, 4]),
    ],
)
def test_tokens_that_share_a_character_end_where_their_bytes_are(
    text: str, offsets: Any, given: Any, expected: list[int]
) -> None:
    assert ends(text, offsets, *given) == expected


def known(*found: int | None) -> Reading:
    """Tokens of one vocabulary with these ends; None is a special token."""
    names = [f"t{n}" for n in range(len(found))]
    special = frozenset(n for n, end in enumerate(found) if end is None)
    words = Vocabulary("v", "plain", "", names, [b"x"] * len(found), {}, special)
    numbers = np.array([-1 if end is None else end for end in found], np.int64)
    return Reading(np.arange(len(found)), numbers, words)


def steps(base: Reading, source: Reading) -> list[int]:
    return align(base, source).step.tolist()


def test_a_step_is_the_last_source_token_that_ends_at_the_same_byte() -> None:
    assert steps(known(1, 3), known(1, 2, 3)) == [0, 2]
    assert steps(known(2, 2), known(2, 2)) == [-1, 1]  # an empty token ends where the last did
    assert steps(known(-1, 3), known(1, -1, 3)) == [-1, 2]
    assert steps(known(3, 1, 4), known(1, 3, 4)) == [1, -1, 2]  # never backwards
    assert steps(known(0, 2), known(2)) == [-1, 0]
    assert steps(known(5), known(5)) == [0]
    assert steps(known(None, 1), known(1)) == [-1, 0]


def test_ids_are_below_the_size_of_a_vocabulary() -> None:
    for ids in ([], [0], [4], [0, 0], [4, 0]):
        assert check_ids(ids, 5, "v").tolist() == ids
    for ids in ([5], [-1], [0, 5], [-1, 4]):
        with pytest.raises(BadData, match=f"from {min(ids)} to {max(ids)}, but v has 5 tokens"):
            check_ids(ids, 5, "v")


class Tokenizer:
    """A byte-level tokenizer of four tokens, of which two were added."""

    name_or_path = "org/name"
    cls_token_id, sep_token_id, unk_token_id, bos_token_id = 3, None, 0, None
    added_tokens_decoder = {
        2: SimpleNamespace(content="Ġé", special=False),
        4: SimpleNamespace(content="<s>", special=True),
    }

    def get_vocab(self) -> dict[str, int]:
        return {"Ġa": 0, "Ã©": 1, "Ġé": 2, "[C]": 3}


def test_a_vocabulary_by_hand() -> None:
    found = vocabulary(Tokenizer())
    assert (found.name, found.kind, found.marker) == ("org/name", "byte_level", "Ġ")
    assert found.tokens == ["Ġa", "Ã©", "Ġé", "[C]", "<s>"]
    added = "Ġé".encode()  # as it is, not in the alphabet of bytes
    assert found.pieces == [b" a", "é".encode(), added, b"[C]", b"<s>"]
    assert found.roles == {"bos": 3, "unk": 0, "cls": 3}
    assert found.special == {0, 3, 4}
    assert found.is_special.tolist() == [True, False, False, True, True]
    assert found.sizes.tolist() == [2, 2, 4, 3, 3]
    assert found.texts[:2] == [" a", "é"]
    assert found.strings([4, 1]) == ["<s>", "Ã©"]


def test_the_marker_is_the_one_that_begins_most_tokens() -> None:
    assert marker_of(["▁a", "▁b", "Ġa"]) == "▁"
    assert marker_of(["##a", "b##", "a▁"]) == "##"
    assert marker_of(["aĠ"]) == ""


def test_neighbours_are_within_five_positions() -> None:
    found = cooccurrences([[0, 1, 1, 1, 1, 2, 3]], 4).toarray()
    assert (found[0, 2], found[0, 3], found[0, 1], found[2, 3]) == (1, 0, 4, 1)
    assert found[1, 1] == 2 * 6
    assert cooccurrences([[0], []], 2).nnz == 0


def test_all_nearest_tokens_are_found_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, base = ["ab", "abcd", "x", ""], ["abc", "a", "abd", "xyz", "b"]
    for rows in (1024, 1):
        monkeypatch.setattr(vocab, "_ROWS", rows)
        ties, distances = nearest_tokens(keys, base)
        assert [tied.tolist() for tied in ties] == [[0, 1, 2, 4], [0, 2], [1, 4], [1, 4]]
        assert distances.tolist() == [1, 1, 1, 1]


def test_counts_are_of_positions_in_which_two_tokens_meet() -> None:
    """Base a b c; a meets source tokens 0 and 1, b none, c token 1 twice."""
    first, last = np.array([0, -1, 2]), np.array([1, -1, 3])
    found = pair_counts([([0, 1, 2], [0, 1, 1, 1], first, last)], (3, 2)).toarray()
    assert found.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert found.dtype == np.int64
    words = pieces(b"a", b"b", b"ab")
    tied = pair_counts([([0, 1], [2, 2], np.array([0, 1]), np.array([0, 1]))], (3, 3))
    assert statistics_mapping(tied, words, words).tolist() == [-1, -1, 0]
    with pytest.raises(BadData, match="counts are 3 x 3, the vocabularies have 3 and 2 tokens"):
        statistics_mapping(tied, words, pieces(b"a", b"b"))


def fits(ours: str, theirs: str) -> bool:
    return ours == theirs


@pytest.mark.parametrize(
    ("bare", "version", "expected"),
    [
        (["ab", "x", "ab"], "v2", [1]), (["ab", "ab", "ab"], "v2", [0]),
        (["ab", "a", "b"], "v2", [1]), (["ab", "a", "b"], "v1", [0, 1]),
        (["ab", "a", "b", ""], "v1", [0, 1]), (["ab", "a", "b", ""], "v2", [2]),
        (["ab", "a", "c", "b"], "v1", [0, 2]), (["ab", "a"], "v2", None),
        (["ab", "b", "a"], "v1", None), (["ab", "x", "y"], "v2", None),
    ],
)  # fmt: skip
def test_pieces_among_several(bare: list[str], version: str, expected: list[int] | None) -> None:
    assert _among_several(bare, bare, fits, version) == expected


def test_pieces_that_fit_together_predict_nothing_in_the_second_version() -> None:
    def whole(ours: str, theirs: str) -> bool:
        return ours in theirs and len(theirs) > 2

    assert _among_several(["bc", "ab", "cd"], ["bc", "ab", "cd"], whole, "v2") == []
    assert _among_several(["bc", "ab", "cd"], ["bc", "ab", "cd"], whole, "v1") is None


def test_steps_are_mixed_by_the_softmax_of_counts() -> None:
    assert _mixed([], []) == {}
    assert _mixed([{1: 3.0}], []) == {1: 3.0}
    found = _mixed([{1: 4.0, 2: 8.0}, {2: 4.0}], [np.log(3.0) + 5, 5.0])
    assert found == pytest.approx({1: 3.0, 2: 6.0})
    assert list(_mixed([{1: -4.0}, {1: -8.0}], [0.0, 0.0]).values()) == [-2.0]


def test_a_report_in_lines() -> None:
    report = AlignmentReport(
        base="b", source="s", documents=1200, positions=3000, exact=0.5, split=0.25, merged=0.125,
        crossed=0.1, unmatched=0.025, transferable=0.875, dtw=0,
        examples=(("split", ("ab",), ("a", "b")),),
    )  # fmt: skip
    assert report.lines() == [
        "3,000 positions of b in 1,200 documents, 87.5% receive a prediction of s",
        "crossed 10.0%, merged 12.5%, split 25.0%, exact 50.0%, unmatched 2.5%",
        "split      ab | a b",
    ]
    spelled = report.model_copy(update={"dtw": 7, "examples": ()}).lines()
    assert spelled[0].endswith("prediction of s, 7 texts by spelling")


def test_a_report_has_the_most_frequent_blocks_of_the_first_hundred_documents() -> None:
    def pair(ours: list[str], theirs: list[str]) -> tuple[Reading, Reading, Alignment]:
        base, source = reading(ours), reading(theirs)
        return base, source, align(base, source)

    split = [pair([text], list(text)) for text in ("ab", "cd", "ef", "gh")]
    late = [pair(["x", "y"], ["xy"])]
    given = [split[0]] + [split[1]] * 3 + [split[2]] * 2 + [split[3]] * 94 + late
    found = alignment_report(given)
    assert (found.documents, found.positions) == (101, 102)
    assert [block[1] for block in found.examples] == [("gh",), ("cd",), ("ef",)]
    assert [block[1] for block in alignment_report(given, examples=1).examples] == [("gh",)]
    assert {block[0] for block in alignment_report(late + split).examples} == {"split", "merged"}
    alone = alignment_report([pair(["a", "b"], ["a"])])
    assert alone.examples == (("unmatched", ("b",), ()),)
    with pytest.raises(BadData, match="no base token in 1 documents"):
        alignment_report([pair([], ["a"])])


def test_steps_of_a_document_are_those_of_its_parts_and_of_the_token_before() -> None:
    step = np.array([1, -1, 2])
    part = Part((known(1, 2, 3), known(1, 2, 3)), (1, 2),
                Alignment(step, step, step, step, "offset"))  # fmt: skip
    base = TokenSequence([0, 1, 2, 3, 4], [IGNORE, 1, 2, IGNORE, 4])
    source = TokenSequence([0] * 6, [0] * 6)
    pair = Pair(Document("d", base), Document("d", source), (part,))
    assert pair.step.tolist() == [1, 3, -1, 4, -1]
    assert pair.outside.tolist() == [False, False, True, False, False]
    short = Pair(Document("d", base), Document("d", TokenSequence([0] * 5, [0] * 5)), (part,))
    assert short.step.tolist() == [1, 3, -1, -1, -1]  # nothing follows the source's last token
    first = Part(part.readings, (0, 0), part.alignment)
    assert Pair(pair.base, pair.source, (first,)).step.tolist() == [1, -1, 2, -1, -1]


def test_lists_become_rows_of_the_largest_values() -> None:
    logps, ids = _arrays(([[-1.0, -0.5, -2.0], [], [1.0]], [[5, 6, 7], [], [8]]), 2)
    assert logps.tolist() == [[-0.5, -1.0], [-np.inf, -np.inf], [0.0, -np.inf]]
    assert ids.tolist() == [[6, 5], [-1, -1], [8, -1]]
    assert _arrays(([[-1.0, -1.0]], [[5, 6]]), 1)[1].tolist() == [[5]]  # the first of equal ones
