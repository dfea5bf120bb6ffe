"""Columns for each judge, and the agreement of the judges, by hand."""

from __future__ import annotations

import pytest

from harness.core.errors import UserError
from harness.core.records import Cell, Resampled
from leaderboards.board import build_board
from leaderboards.by_judge import by_judge, short_name
from leaderboards.claims import Claim
from leaderboards.judge_agreement import judge_pairs
from leaderboards.render import FORMATS, render
from leaderboards.spec import BoardSpec, ColumnSpec

SPEC = BoardSpec(
    name="b",
    title="B",
    columns=(
        ColumnSpec(suite="s", metric="win_rate", group="Suite", rank=True),
        ColumnSpec(suite="plain", metric="x"),
    ),
)


def scored(system: str, judge: str, values: list[float | None], suite: str = "s") -> Cell:
    known = [value for value in values if value is not None]
    return Cell(
        system=system,
        suite=suite,
        metric="win_rate" if suite == "s" else "x",
        value=sum(known) / len(known),
        n_expected=len(values),
        n_scored=len(known),
        n_failed=len(values) - len(known),
        scale="paper",
        judge=judge or None,
        judge_fingerprint=f"print of {judge}",
        decode_fingerprint="d",
        prompt_set="p",
        resampled=Resampled(units=len(known), span=(0.0, 100.0), values=tuple(values)),
    )


# Wins, ties and losses of two judges on four prompts of three systems.
ONE = {"a": [100.0, 100, 0, 50], "b": [100.0, 0, 0, 50], "c": [0.0, 0, 0, None]}
TWO = {"a": [100.0, 0, 0, 50], "b": [100.0, 100, 100, 50], "c": [0.0, 0, 100, 0]}


def cells() -> list[Cell]:
    return [
        *(scored(name, "openai:one@http://x/v1", values) for name, values in ONE.items()),
        *(scored(name, "openai:org/two?key=K", values) for name, values in TWO.items()),
        *(scored(name, "", [1.0, 2.0], "plain") for name in ONE),
    ]


def test_each_judge_has_columns_and_the_first_one_ranks() -> None:
    spec, made = by_judge(SPEC, cells())
    assert [(c.suite, c.heading, c.rank) for c in spec.columns] == [
        ("s@one", "Suite (one)", True),
        ("s@two", "Suite (two)", False),
        ("plain", "plain", False),
    ]
    assert by_judge(spec, made) == (spec, made)
    assert {cell.suite for cell in made} == {"s@one", "s@two", "plain"}
    board = build_board(spec, made)
    assert [row.system.name for row in board.rows] == ["a", "b", "c"]


def test_agreement_by_hand() -> None:
    spec, made = by_judge(SPEC, cells())
    (pair,) = judge_pairs(made)
    assert (pair.first, pair.second, pair.systems) == ("one", "two", 3)
    # Scores by one: 62.5, 37.5, 0; by two: 37.5, 87.5, 25. Ranks 3 2 1 and 2 3 1.
    assert pair.spearman == pytest.approx(0.5)
    assert pair.kendall == pytest.approx(1 / 3, abs=1e-6)
    # Eleven verdicts of both, seven equal. Marginals (win, tie, loss): 3 2 6 and 5 2 4.
    assert pair.verdicts == 11
    assert pair.equal == pytest.approx(100 * 7 / 11, abs=1e-4)
    chance = (3 * 5 + 2 * 2 + 6 * 4) / 121
    assert pair.kappa == pytest.approx((7 / 11 - chance) / (1 - chance), abs=1e-6)
    for format in ("terminal", *FORMATS):
        text = render(build_board(spec, made), format)
        assert "kappa" in text or format == "csv", format


def test_judges_with_equal_names_are_told_apart() -> None:
    assert short_name("openai:m?logprobs=false", ["openai:m"]) == "m-logprobs=false"
    same = [
        scored("a", "openai:m@http://x/v1", [1.0]).model_copy(
            update={"judge_fingerprint": "f1aaaa1"}
        ),
        scored("a", "openai:m@http://y/v1", [1.0]).model_copy(
            update={"judge_fingerprint": "f2bbbb2"}
        ),
    ]
    assert {cell.suite for cell in by_judge(SPEC, same)[1]} == {"s@m-f1aaaa", "s@m-f2bbbb"}


def test_claims_are_about_one_judge() -> None:
    claim = Claim(id="c", better="a", worse="b", suite="s", metric="win_rate")
    with pytest.raises(UserError, match="make another board"):
        by_judge(SPEC.model_copy(update={"claims": (claim,)}), cells())


def test_a_mixture_names_the_judges_and_the_remedy() -> None:
    with pytest.raises(UserError, match=r"openai:one@http://x/v1 print of .*--by-judge"):
        build_board(SPEC, [cells()[0], cells()[4]])
