"""Dialogues from files and published sets: turns, facts of the session, shared base, bad input."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, EnvironmentProblem, UnknownName, UserError
from harness.data.dialogue_files import (
    check_apart,
    entity_values,
    record_rows,
    transcript,
    turn_rows,
    union,
)
from harness.data.dialogues import (
    BASES,
    DIALOGUES,
    TURNS,
    ImportDialoguesParams,
    dialogue_set,
    dialogues_identity,
)
from harness.engine.operations import Artifact
from tests.operation_runs import rows_artifact, run_operation

__all__ = ["rows_artifact", "run_operation"]

Run = Callable[..., Artifact]


def turn(dialogue: Any = 1, number: Any = 1, **changed: Any) -> dict[str, Any]:
    found = {
        "dialogue": dialogue,
        "turn": number,
        "domain": "restaurant",
        "context": ["a cheap place please"],
        "response": f"curry_garden is cheap ({dialogue})",
        "kb": [{"name": "curry_garden", "price": "cheap", "ref": "x1", "choice": "3"}],
        "gold": ["curry_garden", "cheap"],
    }
    return {**found, **changed}


def file_of(folder: Path, turns: list[dict[str, Any]], name: str = "turns.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(item) + "\n" for item in turns), encoding="utf-8")
    return str(path)


def test_facts_of_the_session_leave_the_records() -> None:
    (row,) = turn_rows([turn()], "here")
    assert row["id"] == "1/1"
    assert row["kb"] == [{"name": "curry_garden", "price": "cheap"}]
    assert row["facts"] == {"ref": "x1", "choice": "3"}
    assert row["messages"] == [{"role": "user", "content": "user: a cheap place please"}]


def test_the_released_handling_leaves_everything() -> None:
    call = turn(number=2, response="api_call x cheap x")
    rows = turn_rows([turn(), call], "here", released=True)
    assert [row["id"] for row in rows] == ["1/1", "1/2"]
    assert rows[0]["kb"][0]["ref"] == "x1"
    assert rows[0]["facts"] == {}


def test_api_turns_are_neither_replies_nor_context() -> None:
    context = ["cheap food", "api_call x cheap x", "<silence>"]
    rows = turn_rows([turn(response="api_call x"), turn(number=2, context=context)], "here")
    assert [row["id"] for row in rows] == ["1/2"]
    assert rows[0]["context"] == ["cheap food"]


def test_names_of_other_releases_and_of_the_user() -> None:
    other = {"dialogue_id": 5, "context": ["hi"], "output": "hello", "kb": [], "gold_entities": []}
    (row,) = turn_rows([other], "here")
    assert (row["id"], row["reference"], row["domain"]) == ("5/1", "hello", "")
    mine = {**other, "answer": "good day"}
    assert turn_rows([mine], "here", {"reference": "answer"})[0]["reference"] == "good day"


def test_records_of_equal_content_are_one_and_versions_of_a_name_stay() -> None:
    first, second = {"name": "a", "area": "north"}, {"name": "a", "area": "south"}
    rows = turn_rows([turn(kb=[first, {**first, "ref": "z"}, second])], "here")
    assert rows[0]["kb"] == [first, second]
    assert union(rows) == [first, second]


def test_records_without_a_name_are_told_apart_by_content() -> None:
    assert union([{"kb": [{"day": "b"}, {"day": "a"}, {"day": "b"}]}]) == [
        {"day": "a"},
        {"day": "b"},
    ]


def test_numbers_become_text_and_absent_values_leave() -> None:
    assert record_rows([{"name": "a", "stars": 4, "fee": None, "zip": ""}, {}], "here") == [
        {"name": "a", "stars": "4"}
    ]
    assert entity_values([{"kb": [{"name": "b"}]}], [{"name": "a"}]) == {"name": ["a", "b"]}


def test_empty_values_are_no_gold() -> None:
    assert turn_rows([turn(gold=["", "_", "cheap"])], "here")[0]["gold"] == ["cheap"]


def test_a_transcript_ends_with_the_user() -> None:
    assert transcript(["hello", "good_day"]) == "system: hello\nuser: good day"


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ([], "no turns"),
        ([turn(), turn()], "dialogue 1 has turn 1 in row 1, too"),
        ([turn(response="  ")], "row 1: the turn has no reply"),
        ([turn(response=None)], "row 1: the turn has no reply"),
        ([turn(context=[])], "row 1: context is"),
        ([turn(context="hello")], "row 1: context is"),
        ([turn(context=[1])], "row 1: context is"),
        ([turn(gold=None)], "row 1: gold is None"),
        ([turn(number="one")], "row 1: turn is 'one'"),
        ([turn(dialogue=None)], "row 1: dialogue is None"),
        ([turn(dialogue=[1])], "row 1: dialogue is"),
        ([turn(kb=["curry"])], "record 1 is 'curry'"),
        ([turn(kb={"name": ["a"]})], "record 1 is"),
        ([{"dialogue": 1, "context": ["a"]}], "no response or output"),
        ([turn(response="api_call a b c")], "every reply is an api_call"),
    ],
)
def test_bad_turns_name_their_row(turns: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(BadData, match=words) as caught:
        turn_rows(turns, "my.jsonl")
    assert "my.jsonl" in str(caught.value)


def test_a_dialogue_of_both_splits_is_refused_whatever_its_id() -> None:
    mine, theirs = turn_rows([turn(1)], "a"), turn_rows([{**turn(1), "dialogue": 9}], "b")
    with pytest.raises(BadData, match=r"1 dialogues are also in the other split: 1 is its 9"):
        check_apart(mine, theirs, "a")
    check_apart(mine, turn_rows([turn(2)], "b"), "a")


def test_the_operation_writes_the_set(tmp_path: Path, run_operation: Run) -> None:
    turns = [turn(1), turn(2, kb=[{"name": "b"}]), turn(1, 2)]
    ref = file_of(tmp_path, turns)
    made = run_operation(
        "import_dialogues", {"ref": ref, "limit": 1, "digest": dialogues_identity(ref)}
    )
    assert [row["id"] for row in made.rows()] == ["1/1", "1/2"]
    # The shared base is that of the whole file, whatever the limit.
    assert [record["name"] for record in made.read_json("records.json")] == ["b", "curry_garden"]
    about = made.read_json("set.json")
    assert (about["dialogues"], about["records"], about["rules"]) == (1, 2, "plain")
    assert made.read_json("entities.json")["price"] == ["cheap"]


def test_a_changed_file_and_a_shared_dialogue_stop_the_operation(
    tmp_path: Path, run_operation: Run
) -> None:
    ref = file_of(tmp_path, [turn(1)])
    planned = {"ref": ref, "digest": dialogues_identity(ref)}
    first = run_operation("import_dialogues", planned)
    other = file_of(tmp_path, [turn(7, response="curry_garden is cheap (1)")], "train.jsonl")
    with pytest.raises(BadData, match="also in the other split"):
        run_operation("import_dialogues", {"ref": other}, apart=first)
    file_of(tmp_path, [turn(1), turn(2)])
    with pytest.raises(BadData, match="changed since the plan was made"):
        run_operation("import_dialogues", planned)


def test_files_of_records_and_entities(tmp_path: Path) -> None:
    ref = file_of(tmp_path, [turn(1)])
    twice = [{"name": "zed", "ref": "leak"}, {"name": "zed"}]
    base = file_of(tmp_path, twice, "kb.jsonl")
    table = tmp_path / "entities.json"
    table.write_text(json.dumps({"name": ["Curry Garden"], "price": ["CHEAP"]}))
    params = ImportDialoguesParams(ref=ref, base=base, entities=str(table), rules="multiwoz")
    found = dialogue_set(params)
    assert found.records == ({"name": "zed"},)
    assert found.rules == "multiwoz"
    assert dialogues_identity(ref, base, str(table)) != dialogues_identity(ref)
    with pytest.raises(UserError, match='no file "absent"'):
        dialogues_identity(ref, "absent")


def test_an_entity_table_of_another_release_is_refused(tmp_path: Path) -> None:
    ref = file_of(tmp_path, [turn(1)])
    table = tmp_path / "entities.json"
    table.write_text(json.dumps({"name": ["another place"], "price": ["cheap"]}))
    with pytest.raises(BadData, match=r"contains 1 of the 2 annotated values .* another"):
        dialogue_set(ImportDialoguesParams(ref=ref, entities=str(table)))


def test_a_reference_that_leads_nowhere() -> None:
    with pytest.raises(UserError, match=r"no dialogues .*nano:dialogues.*official:camrest_test"):
        dialogues_identity("absent.jsonl")
    with pytest.raises(UnknownName, match="camrest_test"):
        dialogues_identity("official:camrest_tset")


def test_a_published_set_can_be_planned_but_not_read_without_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRUCIBLE_DATA", str(tmp_path))
    assert dialogues_identity("official:mwoz_test").startswith("official:mwoz_test@")
    with pytest.raises(EnvironmentProblem, match=r"tod/mwoz_test\.jsonl"):
        dialogue_set(ImportDialoguesParams(ref="official:mwoz_test"))
    (tmp_path / "tod").mkdir()
    with gzip.open(tmp_path / "tod/mwoz_test.jsonl.gz", "wt") as stream:
        stream.write(json.dumps(turn()) + "\n")
    with pytest.raises(BadData, match="1 rows, expected 711"):
        dialogue_set(ImportDialoguesParams(ref="official:mwoz_test"))


@pytest.mark.realdata
def test_published_sets(realdata: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRUCIBLE_DATA", str(realdata("tod").parent))
    sets = {
        name: dialogue_set(ImportDialoguesParams(ref=f"official:{name}"))
        for name in TURNS
        if name != "smd_train"
    }
    assert {name: len(found.turns) for name, found in sets.items()} == {
        "camrest_train": 1692, "camrest_val": 543, "camrest_test": 509, "mwoz_val": 576,
        "mwoz_test": 711, "smd_val": 777, "smd_test": 807,
    }  # fmt: skip
    for name, found in sets.items():
        params = ImportDialoguesParams(ref=f"official:{name}")
        assert DIALOGUES.source(params.ref).count(params) == len(found.turns)
    for family in BASES:  # the published base is the union of all sessions
        turns = [t for name, found in sets.items() if name.startswith(family) for t in found.turns]
        assert tuple(union(turns)) == sets[f"{family}_test"].records
    assert sets["smd_test"].records == ()
    check_apart(sets["camrest_train"].turns, sets["camrest_test"].turns, "camrest_train")
    for row in sets["mwoz_test"].turns:
        assert not any({"ref", "choice"} & set(record) for record in row["kb"])
