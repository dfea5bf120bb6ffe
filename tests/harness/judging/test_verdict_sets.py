"""Verdict sets from stored rows and from files, and what is no verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.data.forms import instruction_id
from harness.judging.verdict_sets import VerdictSet, merge, read_verdicts, verdicts_of_rows
from tests.hand_made import arena_row, game


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_of_a_judge_operation() -> None:
    rows = [arena_row("a", ("B>A", "A>>B"))]
    found = verdicts_of_rows(rows, "here", operation="judge_arena", judge="j", suite="s")
    (item,) = found.items
    assert (found.kind, found.judge, found.suite) == ("arena", "j", "s")
    assert item.shares == [("baseline", 0.75), ("model", 1.0)]
    assert item.text == instruction_id("Question a?")
    assert item.lengths == (11.0, 17.0)
    assert item.value == 1.0
    assert verdicts_of_rows(rows, "file").suite == "arena_hard"


def test_every_turn_of_a_dialogue_is_an_item() -> None:
    turns = [
        {**game("", verdict), "turn": number, "question": f"q{number}", "answer": "a"}
        for number, verdict in enumerate((7.0, 11.0), 1)
    ]
    found = verdicts_of_rows([{"id": "x", "system": "m", "turns": turns}], "here")
    assert (found.kind, found.suite) == ("rating", "mt_bench")
    assert [(item.turn, item.value) for item in found.items] == [(1, 7.0), (2, None)]
    assert {item.text for item in found.items} == {instruction_id("q1")}
    assert found.items[0].lengths is None
    pair = {"answers": {"model": "a", "baseline": "bb"}, "question": "q"}
    games = [game("model", "A"), game("baseline", "tie")]
    (item,) = verdicts_of_rows([{"id": "x", "turns": [{**pair, "games": games}]}], "here").items
    assert (item.value, item.shares) == (0.5, [("model", 1.0), ("baseline", 0.5)])
    assert item.lengths == (1.0, 2.0)


def test_failed_games_have_no_share() -> None:
    (item,) = verdicts_of_rows([arena_row("a", ("A>B", None))], "here").items
    assert item.value is None
    assert item.shares == [("baseline", 0.25)]


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
        ([{"id": "x", "games": [{}], "answers": {}}], 'row "x": no judgment can be read'),
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


def test_two_verdicts_on_one_prompt_are_refused_with_both_rows() -> None:
    row = {"uid": 0, "model": "m", "judge": "j", "games": [{"score": "A>B"}, {"score": "B>A"}]}
    other = {**row, "games": [{"score": "B>A"}, {"score": "A>B"}]}
    with pytest.raises(BadData, match=r'rows 1 and 3 have different verdicts on m, prompt "0"'):
        verdicts_of_rows([row, {**row, "uid": 1}, other], "file")
    found = verdicts_of_rows([row, row], "file")
    assert (len(found.items), found.repeated, found.items[0].prompt) == (1, 1, "0")
    failed = {**row, "games": [{"score": None}, {"score": "B>A"}]}
    assert verdicts_of_rows([failed, row], "file").items[0].value is not None


def test_a_repeated_row_counts_once_and_a_verdict_outlasts_a_failure() -> None:
    row = {"uid": 0, "model": "m", "judge": "j", "games": [{"score": "A>B"}, {"score": "B>A"}]}
    failed = {**row, "games": [{"score": None}, {"score": "B>A"}]}
    for rows in ([failed, row], [row, failed], [failed, row, failed]):
        found = verdicts_of_rows(rows, "file")
        assert (found.items[0].value, found.repeated) == (0.0, len(rows) - 1)
    assert VerdictSet("j", "arena", (), "here", "s").repeated == 0
    parts = [
        verdicts_of_rows([{**each, "model": model} for each in rows], source)
        for model, source, rows in (("a", "x", [row, row]), ("b", "y", [row, failed, failed]))
    ]
    both = merge(parts)
    assert (both.repeated, both.source, len(both.items)) == (3, "x, y", 2)


def test_answers_are_told_apart_by_a_digest() -> None:
    def answers(row: dict[str, object]) -> str:
        (item,) = verdicts_of_rows([row], "here").items
        return item.answers

    row = arena_row("a", ("A>B", "A>B"))
    assert answers(row) == digest(["answer to a", "other answer to a"])
    rated = {**game("", 7.0), "turn": 1, "question": "q", "answer": "a"}
    assert answers({"id": "x", "turns": [rated]}) == digest("a")


def test_a_folder_is_read_whole_and_a_nano_system_gives_the_scale(tmp_path: Path) -> None:
    for name, id in (("b.jsonl", "b"), ("a.jsonl", "a"), ("notes.txt", "c")):
        write(tmp_path / name, [arena_row(id, ("A>B", "A>B"))])
    found = read_verdicts(tmp_path)
    assert [item.prompt for item in found.items] == ["a", "b"]
    assert (found.scale, found.source, found.judge) == ("published", str(tmp_path), str(tmp_path))
    nano = write(tmp_path / "n.jsonl", [arena_row("a", ("A>B", "A>B"), system="nano:target")])
    assert read_verdicts(nano).scale == "nano"


def test_a_judge_named_with_its_prompt_is_the_judge(tmp_path: Path) -> None:
    row = {"question_id": 81, "model": "m", "turn": 1, "score": 7, "judge": ["gpt-4", "single-v1"]}
    assert read_verdicts(write(tmp_path / "mt.jsonl", [row])).judge == "gpt-4"


def test_a_refusal_shows_twelve_keys_and_the_number_of_a_nameless_row() -> None:
    keys = [f"k{number:02}" for number in range(14)]
    with pytest.raises(BadData, match=r"fits \(k00, k01, .*, k11\); expected"):
        verdicts_of_rows([dict.fromkeys(reversed(keys))], "here")
    with pytest.raises(BadData, match=r"no form of judgments fits \(no rows\)"):
        verdicts_of_rows([], "here")
    row = {"games": [{"score": "A>B"}] * 2, "uid": None}
    with pytest.raises(BadData, match='row "2": no verdict can be read'):
        verdicts_of_rows([{**row, "uid": "u", "model": "m"}, row], "here")
