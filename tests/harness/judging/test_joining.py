"""Which verdicts of two judges are pairs, on tables made by hand."""

from __future__ import annotations

import pytest

from harness.core.errors import BadData
from harness.judging.joining import Joined, join
from harness.judging.verdict_sets import JudgedItem, VerdictSet


def judged(*items: JudgedItem, source: str = "one") -> VerdictSet:
    return VerdictSet(judge="j", kind="alpaca", items=items, source=source, suite="s")


def item(prompt: str, value: float = 0.5, system: str = "m", **more: object) -> JudgedItem:
    return JudgedItem(prompt, system, value, **more)  # type: ignore[arg-type]


def shown(joined: Joined) -> list[tuple[str, str, int, float | None, float | None]]:
    return [(p.unit, p.system, p.turn, p.judged.value, p.reference.value) for p in joined.pairs]


def test_verdicts_are_paired_by_id_turn_and_system_and_never_by_place() -> None:
    ours = judged(
        item("b", 0.1), item("a", 0.2, turn=2), item("a", 0.3), item("c", 0.4), item("a", 0.5, "n")
    )
    theirs = judged(
        item("a", 0.9), item("b", 0.8), item("a", 0.7, "n"), item("a", 0.6, turn=2),
        item("d", 0.0, "n"), item("d", 0.0),
    )  # fmt: skip
    found = join(ours, theirs)
    assert shown(found) == [
        ("a", "m", 1, 0.3, 0.9),
        ("a", "m", 2, 0.2, 0.6),
        ("a", "n", 1, 0.5, 0.7),
        ("b", "m", 1, 0.1, 0.8),
    ]
    assert (found.only_judged, found.only_reference, found.other_answers) == (1, 2, 0)


def test_an_id_without_the_suite_and_equal_texts_pair_what_ids_do_not() -> None:
    ours = judged(
        item("s/1", 0.1), item("s/2", 0.2), item("mine", 0.3, text="t3"), item("s/4", 0.4)
    )
    theirs = judged(
        item("2", 0.8), item("theirs", 0.7, text="t3"), item("s/1", 0.9), item("5", 0.0)
    )
    found = join(ours, theirs)
    assert shown(found) == [
        ("2", "m", 1, 0.2, 0.8), ("mine", "m", 1, 0.3, 0.7), ("s/1", "m", 1, 0.1, 0.9)
    ]  # fmt: skip
    assert (found.only_judged, found.only_reference) == (1, 1)


def test_an_equal_id_wins_over_an_equal_text() -> None:
    ours = judged(item("1", 0.1, text="x"), item("2", 0.2))
    theirs = judged(item("3", 0.9, text="x"), item("1", 0.8), item("2", 0.7))
    assert shown(join(ours, theirs)) == [("1", "m", 1, 0.1, 0.8), ("2", "m", 1, 0.2, 0.7)]


def test_equal_bare_ids_of_other_texts_are_not_paired() -> None:
    ours = judged(item("a/1", 0.1, text="x"), item("2", 0.2))
    theirs = judged(item("b/1", 0.9, text="y"), item("2", 0.8))
    found = join(ours, theirs)
    assert shown(found) == [("2", "m", 1, 0.2, 0.8)]
    assert (found.only_judged, found.only_reference) == (1, 1)


def test_one_id_with_two_texts_is_refused() -> None:
    with pytest.raises(BadData, match=r'"1" is a different prompt on each side \(texts x and y\)'):
        join(judged(item("1", text="x")), judged(item("1", text="y")))


def test_systems_have_equal_names_except_where_each_side_has_one() -> None:
    both = join(judged(item("1", 0.1, "ours")), judged(item("1", 0.9, "theirs")))
    assert shown(both) == [("1", "ours", 1, 0.1, 0.9)]
    several = judged(item("1", 0.9, "theirs"), item("1", 0.8, "ours"), item("2", 0.7, "other"))
    found = join(judged(item("1", 0.1, "ours"), item("1", 0.2, "mine")), several)
    assert shown(found) == [("1", "ours", 1, 0.1, 0.8)]
    assert (found.only_judged, found.only_reference) == (1, 2)
    with pytest.raises(BadData, match="no system in common: one judges a, two b, c"):
        join(
            judged(item("1", 0.1, "a")),
            judged(item("1", 0.9, "b"), item("2", 0.9, "c"), source="two"),
        )


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ({"answers": "x"}, {"answers": "x", "lengths": (1.0, 2.0)}, True),
        ({"answers": "x"}, {"answers": "y"}, False),
        ({"answers": "x", "lengths": (1.0, 2.0)}, {"lengths": (1.0, 2.0)}, True),
        ({"lengths": (1.0, 2.0)}, {"answers": "x", "lengths": (1.0, 3.0)}, False),
        ({"lengths": (1.0, 2.0)}, {"answers": "x"}, True),  # nothing shows a difference
        ({"answers": "x", "lengths": (1.0, 2.0)}, {"answers": "x", "lengths": (9.0, 9.0)}, True),
    ],
)
def test_verdicts_on_demonstrably_other_answers_are_left_out(
    left: dict[str, object], right: dict[str, object], same: bool
) -> None:
    ours = judged(item("1", 0.1, **left), item("2", 0.2))  # type: ignore[arg-type]
    theirs = judged(item("2", 0.8), item("1", 0.9, **right))  # type: ignore[arg-type]
    found = join(ours, theirs)
    kept = [("1", "m", 1, 0.1, 0.9)] if same else []
    assert shown(found) == [*kept, ("2", "m", 1, 0.2, 0.8)]
    assert (found.other_answers, found.only_judged) == (int(not same), 0)


def test_mostly_other_answers_are_refused_with_their_number() -> None:
    ours = judged(*(item(str(n), answers="x") for n in range(3)))
    theirs = judged(*(item(str(n), answers="xy"[n > 0]) for n in range(3)))
    with pytest.raises(BadData, match=r'2 of 3 common prompts have different answers .*"1" of m'):
        join(ours, theirs)
    with pytest.raises(BadData, match="no prompt in common: one has 0, 1, 2, one has 7"):
        join(ours, judged(item("7")))


def test_a_refusal_shows_three_names_and_their_number() -> None:
    ours = judged(*(item("1", system=name) for name in "abcd"))
    theirs = judged(*(item("1", system=name) for name in "xyz"), source="two")
    with pytest.raises(BadData, match=r"one judges a, b, c, \.\.\. \(4\), two x, y, z; expected"):
        join(ours, theirs)
