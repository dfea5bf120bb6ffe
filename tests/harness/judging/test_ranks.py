"""The rank of every mark: windows, sentences, asides, code, lists, and the mark that concludes."""

from __future__ import annotations

import pytest

from harness.judging.conclusions import (
    MOST_MARKS,
    Mark,
    Rank,
    after,
    before,
    conclusion,
    find_marks,
    ranked,
    tidied,
    without_lists,
)

EXCLUDED, TENTATIVE, PLAIN, CONCLUDING = Rank


def values(text: str, **options: bool) -> list[str]:
    return [str(mark.value) for mark in find_marks(text, lambda content: content, **options)]


def ranks(text: str) -> list[Rank]:
    return [mark.rank for mark in ranked(text, find_marks(text, lambda content: content))]


def kept(text: str, options: int) -> list[str]:
    found = without_lists(text, find_marks(text, lambda content: content), options)
    return [str(mark.value) for mark in found]


def test_ranks_rise_from_excluded_to_concluding() -> None:
    assert EXCLUDED < TENTATIVE < PLAIN < CONCLUDING
    assert len({EXCLUDED, TENTATIVE, PLAIN, CONCLUDING}) == 4


def test_marks_are_found_at_their_places_and_in_double_brackets() -> None:
    (mark,) = find_marks("so [[7]]!", lambda content: content)
    assert (mark.value, mark.start, mark.end, mark.rank) == ("7", 3, 8, PLAIN)
    assert values("[7] and [[8]]") == ["8"]
    assert values("[7] and [8]", single=True) == ["7", "8"]
    assert values("[[rating: 8]] [[**9**]]") == ["8", "9"]
    (labelled,) = find_marks("[[Final score: 8]]", lambda content: content)
    assert labelled.rank == CONCLUDING


def test_of_many_marks_the_last_are_kept() -> None:
    text = " ".join(f"[[{number}]]" for number in range(300))
    assert values(text) == [str(number) for number in range(300 - 256, 300)]
    assert MOST_MARKS == 256


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[[1]] x", ["1"]),
        ("x[[1]]", []),
        (" x[[1]]", []),
        ("a_b)[[1]]", []),
        ("[[1]][[2]][[3]]", ["1", "2", "3"]),  # beside one another: no index
        ("x[[1]][[2]]", []),
        ("rating[[1]] verdict[[2]] it is[[3]]", ["1", "2", "3"]),
        ("-[[1]] ([[2]]", ["1", "2"]),
    ],
)
def test_what_indexes_a_name_is_no_mark(text: str, found: list[str]) -> None:
    assert values(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`x = [[1]]` [[2]]", ["2"]),
        ("[[0]] `x = [[1]]`[[2]] `y = [[3]]` [[4]]", ["0", "2", "4"]),
        ("`[[1]]` [[2]]", ["1", "2"]),
        ("`my verdict is [[1]]`", ["1"]),
        ('```\n{"v": "[[1]]", "because": "of that"}\n``` `x = [[2]]` [[3]]', ["1", "3"]),
        ('```json\n{"v": "[[1]]", "because": "of that"}\n```', ["1"]),
        ("```\nx = {[[1]]}\ny = {\n```", []),
    ],
)
def test_code_hides_marks_unless_it_only_says_the_verdict(text: str, found: list[str]) -> None:
    assert values(text) == found


@pytest.mark.parametrize(
    ("text", "rank"),
    [
        ("[[7]]", PLAIN),
        ("final [[7]]", CONCLUDING),
        ("Rating: [[7]]", CONCLUDING),
        ("My rating, in the form asked, is [[7]]", CONCLUDING),
        ("final in the form [[7]]", CONCLUDING),
        ("in the form [[7]]", EXCLUDED),
        ("the format is [[7]]", EXCLUDED),
        ("final, for example [[7]]", EXCLUDED),
        ("for example, my final [[7]]", CONCLUDING),
        ("overall, for example, my final [[7]]", CONCLUDING),
        ("overall it would deserve [[7]]", EXCLUDED),
        ("it would deserve, all in all, [[7]]", CONCLUDING),
        ("I cannot rate it [[7]]", EXCLUDED),
        ("not [[7]]", EXCLUDED),
        ("[[7]] if it had sources", EXCLUDED),
        ("perhaps [[7]]", TENTATIVE),
        ("overall perhaps [[7]]", TENTATIVE),
        ("[[7]] **?", TENTATIVE),
        ("[[7]] or so?", PLAIN),
        ("(key [[7]])", EXCLUDED),
        ("(key) [[7]]", PLAIN),
        ("a (good) key (mine [[7]])", PLAIN),
        ('key "[[7]]"', EXCLUDED),
        ('key "one" and "[[7]]"', EXCLUDED),
        ('key "one" and [[7]]', PLAIN),
        ("key “[[7]]”", EXCLUDED),
        ("key “one” and [[7]]", PLAIN),
        ('key "one\n[[7]]"', PLAIN),  # a quotation ends with its line
        ('mine\nkey "[[7]]"', EXCLUDED),
    ],
)
def test_the_words_of_a_sentence_rank_its_mark(text: str, rank: Rank) -> None:
    assert ranks(text) == [rank]


def test_a_mark_is_ranked_by_the_words_since_the_one_before() -> None:
    assert ranks("final [[1]] and [[2]]") == [CONCLUDING, PLAIN]
    assert ranks("[[1]] so final [[2]]") == [PLAIN, CONCLUDING]
    assert ranks("perhaps [[1]]. [[2]]") == [TENTATIVE, PLAIN]


def test_windows_reach_240_characters() -> None:
    text = "final " + "x" * 233 + " [[7]]"
    assert ranks(text) == [CONCLUDING]
    assert ranks("final " + "x" * 234 + " [[7]]") == [PLAIN]
    aside = "(key " + "x" * 234 + " [[7]]"
    assert ranks(aside) == [EXCLUDED]
    assert ranks("(key " + "x" * 235 + " [[7]]") == [PLAIN]
    (mark,) = find_marks("[[7]]" + "y" * 300, lambda content: content)
    assert after("[[7]]" + "y" * 300, mark) == "y" * 240
    quoted = "key " + "x" * 35 + ' "[[7]]"'
    assert ranks(quoted) == [EXCLUDED]
    assert ranks("key " + "x" * 36 + ' "[[7]]"') == [PLAIN]


def test_a_sentence_ends_before_and_after_a_mark() -> None:
    text = "One. Two! three [[7]] four. Five. Six."
    (mark,) = find_marks(text, lambda content: content)
    assert before(text, mark, 0) == "three "
    assert before(text, mark, text.index("ree")) == "ree "
    assert after(text, mark) == " four."


@pytest.mark.parametrize(
    ("text", "options", "found"),
    [
        ("[[A]], [[B]]", 3, []),
        ("[[A]] or [[A]]", 3, ["A", "A"]),
        ("[[A]]\n[[B]]", 3, ["A", "B"]),  # two lines, not a list
        ("[[A]]\nor [[B]]", 3, []),
        ("[[A]]\n[[B]]\n[[C]]", 3, []),
        ("[[B]], [[A]], [[B]], [[C]]", 3, ["B"]),
        ("[[A]], [[B]], [[C]], [[B]]", 3, ["B"]),
        ("[[A]], [[B]], [[C]], [[B]]", 0, []),
        ("[[A]], [[B]], [[A]], [[B]]", 3, []),
        ("[[A]] first one [[B]] second one [[C]] neither", 3, []),
        ("[[A]] first one [[B]] second one [[C]] neither", 0, ["A", "B", "C"]),
        ("[[A]] first one [[B]] second one", 3, ["A", "B"]),
        ("[[B]] it is [[A]] first one [[B]] second one [[C]] neither", 3, ["B"]),
        ("[[A]] one [[B]] two [[C]] three [[C]] again", 3, ["C"]),
        ("[[A]] one [[A]] two [[B]] three [[C]]", 3, ["A"]),
    ],
)
def test_options_that_are_listed_or_described_are_left_out(
    text: str, options: int, found: list[str]
) -> None:
    assert kept(text, options) == found


def test_descriptions_of_options_have_at_most_120_characters() -> None:
    text = f"[[A]]{'x' * 120}[[B]]{'x' * 120}[[C]]".replace("x[", " [")
    assert kept(text, 3) == []
    longer = f"[[A]]{'x' * 121}[[B]]{'x' * 121}[[C]]".replace("x[", " [")
    assert kept(longer, 3) == ["A", "B", "C"]


def test_the_last_mark_of_the_highest_rank_concludes() -> None:
    def marks(*ranks: Rank) -> list[Mark]:
        return [Mark(f"{place}", place, place + 1, rank) for place, rank in enumerate(ranks)]

    def chosen(*ranks: Rank, cut: bool = False) -> str | None:
        found = conclusion(marks(*ranks), cut=cut)
        return None if found is None else str(found.value)

    assert chosen() is None
    assert chosen(EXCLUDED, EXCLUDED) is None
    assert chosen(EXCLUDED, TENTATIVE, TENTATIVE, EXCLUDED) == "2"
    assert chosen(PLAIN, PLAIN, TENTATIVE) == "1"
    assert chosen(CONCLUDING, PLAIN) == "0"
    assert chosen(PLAIN, cut=True) is None
    assert chosen(PLAIN, CONCLUDING, PLAIN, cut=True) == "1"
    assert conclusion([Mark("x", 0, 1)]) is not None


def test_invisible_characters_are_dropped() -> None:
    assert tidied("A\ufe0f\u200bB \ud800C") == "AB C"
