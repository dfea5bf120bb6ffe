"""Verdicts as they lie in stores and files: every form, and what is no verdict."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from harness.core.errors import BadData
from harness.judging.verdict_sets import (
    Game,
    first_share,
    merge,
    model_share,
    read_verdicts,
    verdicts_of_rows,
)
from harness.suites.alpaca_eval2.metrics import instruction_id
from tests.hand_made import arena_row, game


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("verdict", "share"),
    [("A>>B", 1.0), ("A>B", 0.75), ("B=A", 0.5), ("A<B", 0.25), ("A<<B", 0.0), (0.3, 0.3)],
)
def test_any_verdict_is_a_share_of_the_first(verdict: float | str, share: float) -> None:
    assert first_share(verdict) == share


def test_a_prompt_is_worth_what_its_suite_says() -> None:
    def games(*said: object) -> list[dict[str, object]]:
        return [{"first": f, "verdict": v} for f, v in zip(("baseline", "model"), said)]

    assert model_share(games("B>>A", "B>A")) == 0.75
    assert model_share(games("B>>A", "B>A"), weight=1) == 0.5
    assert model_share(games("B", "A")) == 1.0
    assert model_share(games("B", "tie")) == 0.5
    assert model_share(games(0.2, 0.6)) == pytest.approx(0.7)
    assert model_share(games("B", None)) is None
    assert model_share([]) is None


def test_our_rows() -> None:
    found = verdicts_of_rows([arena_row("a", ("B>A", "A>>B"))], "here", judge="j", suite="s")
    (verdict,) = found.verdicts
    assert (found.protocol, found.judge, found.suite) == ("labels", "j", "s")
    assert verdict.games == (Game("baseline", 0.75), Game("model", 1.0))
    assert verdict.text == instruction_id("Question a?")
    assert verdict.lengths == (11.0, 17.0)
    assert verdict.value == 1.0


def test_published_arena_judgments(tmp_path: Path) -> None:
    rows = [
        {"uid": "u1", "model": "m", "judge": "gpt", "games": [{"score": "B>A"}, {"score": "A>B"}]},
        {"uid": "u2", "model": "m", "judge": "gpt", "games": [{"score": "[[A]]"}, None]},
    ]
    path = tmp_path / "m.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode()))
    found = read_verdicts(path)
    assert (found.judge, found.protocol, found.suite) == ("gpt", "labels", "arena_hard")
    assert [v.value for v in found.verdicts] == [1.0, None]
    assert found.scale == "published"


def test_published_mt_bench_ratings_and_their_repetitions(tmp_path: Path) -> None:
    def row(question: int, turn: int, score: float) -> dict[str, object]:
        judge = ["gpt-4", "single-v1"]
        return {
            "question_id": question,
            "model": "m",
            "judge": judge,
            "score": score,
            "turn": turn,
        }

    rows = [row(81, 1, 7), row(81, 2, -1), row(82, 1, 3), row(82, 1, 4)]
    found = read_verdicts(write(tmp_path / "gpt-4_single.jsonl", rows))
    assert (found.judge, found.protocol, found.repeated) == ("gpt-4", "ratings", 1)
    assert [(v.prompt, v.turn, v.value) for v in found.verdicts] == [
        ("81", 1, 7.0),
        ("81", 2, None),
        ("82", 1, 4.0),
    ]


def test_published_pairs_mean_the_same_in_either_order(tmp_path: Path) -> None:
    def row(one: str, two: str, first: str, second: str) -> dict[str, object]:
        return {
            "question_id": 81,
            "model_1": one,
            "model_2": two,
            "g1_winner": first,
            "g2_winner": second,
            "judge": ["gpt-4", "pair-v2"],
            "turn": 1,
        }

    read = [
        read_verdicts(write(tmp_path / "pair.jsonl", [row(*said)])).verdicts[0]
        for said in (
            ("alpha", "beta", "model_1", "model_1"),
            ("beta", "alpha", "model_2", "model_2"),
            ("alpha", "beta", "model_1", "tie"),
            ("alpha", "beta", "error", "tie"),
        )
    ]
    assert [v.value for v in read] == [1.0, 1.0, 0.5, None]
    assert {v.system for v in read} == {"alpha against beta"}
    # alpha ("model") was shown first in game 1 of the first row, beta in that of the second.
    assert read[0].games == (Game("model", 1.0), Game("baseline", 1.0))
    assert read[1].games == (Game("baseline", 1.0), Game("model", 1.0))


def test_several_judges_need_a_choice(tmp_path: Path) -> None:
    rows = [
        {"uid": "u", "model": "m", "judge": judge, "games": [{"score": "A=B"}, {"score": "A=B"}]}
        for judge in ("one", "two")
    ]
    path = write(tmp_path / "both.jsonl", rows)
    with pytest.raises(BadData, match=r"verdicts of one, two; expected one judge.*--judge"):
        read_verdicts(path)
    assert read_verdicts(path, "two").judge == "two"
    with pytest.raises(BadData, match="none of the judge"):
        read_verdicts(path, "three")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"a": 1, "b": 2}], r"no form of judgments fits \(a, b\)"),
        ([{"uid": "u1", "model": "m", "games": 3}], "no form of judgments fits"),
        ([{"uid": "u1", "games": [{"score": "A>B"}] * 2}], 'row "u1": no verdict can be read'),
    ],
)
def test_what_is_no_judgment_is_named(
    tmp_path: Path, rows: list[dict[str, object]], message: str
) -> None:
    with pytest.raises(BadData, match=message):
        read_verdicts(write(tmp_path / "odd.jsonl", rows))


def test_empty_and_broken_files(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadData, match="no verdicts"):
        read_verdicts(tmp_path / "empty")
    (tmp_path / "broken.jsonl").write_text("{")
    with pytest.raises(BadData, match=r"broken\.jsonl, line 1: not JSON"):
        read_verdicts(tmp_path / "broken.jsonl")


def test_parts_of_one_side_are_of_one_judge_and_of_different_systems() -> None:
    rows = [arena_row("a", ("A>B", "A>B"))]
    one, two, twin = (
        verdicts_of_rows(rows, name, judge=judge, system=system)
        for name, judge, system in (("x", "j", "s1"), ("y", "j", "s2"), ("z", "k", "s3"))
    )
    assert merge([one, two]).systems == ("s1", "s2")
    with pytest.raises(BadData, match="expected one judge"):
        merge([one, twin])
    with pytest.raises(BadData, match="judged in both x and x"):
        merge([one, one])


def test_failed_games_are_left_out_of_the_games() -> None:
    row = {**arena_row("a", ("A>B", None)), "games": [game("baseline", "A>B"), game("model", None)]}
    (verdict,) = verdicts_of_rows([row], "here").verdicts
    assert verdict.value is None
    assert verdict.games == (Game("baseline", 0.25),)
