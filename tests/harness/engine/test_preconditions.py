"""Declared preconditions: which cells a line shows, and what is planned."""

from __future__ import annotations

from typing import Any

import pytest

from harness.engine.plan import Handle
from harness.engine.preconditions import SUITE, Precondition, Preconditions, listed

LINE = Precondition(text="above", metric="above")
FAMILY = Precondition(text="bits", metric="bits:*", systems=("a", "b"))
NAMED = Precondition(text="recall", metric="recall:1", suite="dialogue")


@pytest.mark.parametrize(
    ("line", "cell", "shown"),
    [
        (LINE, ("any", SUITE, "above"), True),
        (LINE, ("any", SUITE, "above:more"), False),
        (LINE, ("any", "dialogue", "above"), False),
        (FAMILY, ("a", SUITE, "bits:sort"), True),
        (FAMILY, ("a", SUITE, "bits"), False),
        (FAMILY, ("c", SUITE, "bits:sort"), False),
        (NAMED, ("x", "dialogue", "recall:1"), True),
        (NAMED, ("x", SUITE, "recall:1"), False),
    ],
)
def test_a_line_shows_the_cells_that_it_names(
    line: Precondition, cell: tuple[str, str, str], shown: bool
) -> None:
    assert line.shows(*cell) is shown


def test_a_family_has_parts_and_a_metric_none() -> None:
    assert FAMILY.part("bits:a:b") == "a:b"
    assert NAMED.part("recall:1") == ""


def test_the_plan_gets_what_all_cells_share_and_may_be_missing() -> None:
    asked: dict[str, Any] = {}

    def plan(recipe: Any, stage: Any, planned: Any, **about: Any) -> list[Handle]:
        asked.update(about, recipe=recipe, planned=planned)
        return [Handle("x")]

    made = Preconditions((LINE,), plan).stages("r", None, {"a": 1}, "nano", 7)  # type: ignore[arg-type]
    assert made == (Handle("x"),)
    assert asked == {"recipe": "r", "planned": {"a": 1}, "suite": SUITE, "scale": "nano", "seed": 7}
    assert Preconditions((LINE,)).stages("r", None, {}, "nano", 7) == ()  # type: ignore[arg-type]


def test_lines_of_several_methods_are_listed_once() -> None:
    both = [Preconditions((LINE, NAMED)), None, Preconditions((NAMED, FAMILY))]
    assert listed(both, None) == (LINE, NAMED, FAMILY)
    of_recipe = Preconditions(lambda recipe: (LINE,) if recipe == "this" else ())
    assert (of_recipe.lines("this"), of_recipe.lines("that")) == ((LINE,), ())
