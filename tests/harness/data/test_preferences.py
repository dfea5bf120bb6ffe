"""The operation that imports preferences: files, folders, hub, nano world, and bad rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, UnknownName, UserError
from harness.data import preferences
from harness.data.preferences import (
    ImportPreferencesParams,
    preferences_identity,
    read_preferences,
    responses_in,
)
from harness.engine.operations import Artifact
from harness.engine.plan import Plan
from harness.nano import world

Run = Callable[..., Artifact]


def pair(number: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"question {number}", "chosen": "good", "rejected": "bad", **more}


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_file_becomes_preference_rows(tmp_path: Path, run_operation: Run) -> None:
    ref = written(tmp_path / "a.jsonl", [pair(n, score_chosen=2, score_rejected=n) for n in (1, 3)])
    planned = {"ref": ref, "digest": preferences_identity(ref)}
    made = run_operation("import_preferences", planned)
    assert [row["responses"] for row in made.rows()] == [{"target": "good", "rejected": "bad"}] * 2
    assert made.rows()[0]["messages"] == [{"role": "user", "content": "question 1"}]
    summary = made.read_json("summary.json")
    assert summary == {
        "rows": 2, "read": 2, "identical": 0, "repeated": 0, "scored_lower": 1, "bad": 0,
        "responses": ["target", "rejected"], "first_bad": "",
    }  # fmt: skip
    written(tmp_path / "a.jsonl", [pair(2)])
    with pytest.raises(BadData, match=r"preferences .*a.jsonl changed since the plan was made"):
        run_operation("import_preferences", planned)


def test_rows_that_teach_nothing_are_counted_and_left_out(tmp_path: Path) -> None:
    ref = written(tmp_path / "a.jsonl", [pair(1), pair(1), pair(2, rejected="good"), pair(3)])
    made = read_preferences(ImportPreferencesParams(ref=ref))
    assert (len(made.rows), made.read, made.identical, made.repeated) == (2, 4, 1, 1)
    assert len(read_preferences(ImportPreferencesParams(ref=ref, limit=1)).rows) == 1
    alike = written(tmp_path / "b.jsonl", [pair(1, rejected="good")])
    with pytest.raises(BadData, match=r"no preference is left of 1 rows \(1 identical\)"):
        read_preferences(ImportPreferencesParams(ref=alike))
    with pytest.raises(BadData, match="has no rows"):
        read_preferences(ImportPreferencesParams(ref=written(tmp_path / "c.jsonl", [])))


QUADRUPLE = pair(9, chosen=["a", "b"])


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([pair(1), {"prompt": "x", "chosen": "y"}], "row 2: chosen without rejected"),
        ([pair(1, id="a"), pair(2, id="a")], 'row 2: the id "a" is that of .*row 1, too'),
        ([pair(1, id="a"), pair(1, id="a")], 'row 2: the id "a" is that of .*row 1, too'),
        (
            [pair(1), QUADRUPLE],
            "row 2: found the responses source, target, rejected; expected target, rejected",
        ),
    ],
)
def test_a_bad_row_stops_the_import_or_is_counted(
    tmp_path: Path, rows: list[dict[str, Any]], reason: str
) -> None:
    ref = written(tmp_path / "a.jsonl", rows)
    with pytest.raises(BadData, match=f"a.jsonl, {reason}.*bad_rows = .drop"):
        read_preferences(ImportPreferencesParams(ref=ref))
    made = read_preferences(ImportPreferencesParams(ref=ref, bad_rows="drop"))
    assert (len(made.rows), made.bad) == (1, 1)
    assert "a.jsonl, row 2: " in made.first_bad


def test_half_the_rows_without_rejected(tmp_path: Path) -> None:
    rows = [pair(n) if n % 2 else {"prompt": "x", "chosen": "y"} for n in range(10)]
    made = read_preferences(
        ImportPreferencesParams(ref=written(tmp_path / "a.jsonl", rows), bad_rows="drop")
    )
    assert (len(made.rows), made.bad) == (5, 5)


def test_the_responses_of_a_file_are_known_while_a_plan_is_made(tmp_path: Path) -> None:
    two = written(tmp_path / "a.jsonl", [{"x": 1}, pair(1)])
    three = written(tmp_path / "b.jsonl", [QUADRUPLE])
    assert responses_in(ImportPreferencesParams(ref=two)) == ("target", "rejected")
    assert responses_in(ImportPreferencesParams(ref=three)) == ("source", "target", "rejected")
    assert responses_in(ImportPreferencesParams(ref="org/name")) is None
    plan = Plan()
    handle = plan.stage("import_preferences", ref=three)
    estimate = plan.estimates()[handle.id]
    assert (estimate.rows, estimate.responses) == (1, 3)


def test_a_data_set_of_the_hub_may_have_several_pairs_for_one_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def load(*how: Any) -> list[dict[str, Any]]:
        asked.append(how)
        return [pair(1, prompt_id="p"), pair(1, prompt_id="p", rejected="worse")] * 2

    monkeypatch.setattr(preferences, "load_dataset", load)
    params = ImportPreferencesParams(ref="org/name", split="train_prefs", revision="abc")
    made = read_preferences(params)
    assert asked == [("org/name", "train_prefs", "abc")]
    assert len({row["id"] for row in made.rows}) == len(made.rows) == 2
    assert preferences_identity("org/name", "abc") == "hub:org/name@abc"


def test_a_folder_of_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"prompt_id": "1", **{k: QUADRUPLE[k] for k in ("prompt", "chosen", "rejected")}}]
    datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)}).save_to_disk(str(tmp_path))
    params = ImportPreferencesParams(ref=str(tmp_path), split="test")
    assert read_preferences(params).responses == ("source", "target", "rejected")
    with pytest.raises(UnknownName, match="no split in"):
        read_preferences(ImportPreferencesParams(ref=str(tmp_path)))


def test_preferences_of_the_nano_world_are_ordered_by_the_truth() -> None:
    made = read_preferences(ImportPreferencesParams(ref="nano:train", limit=40))
    for row in made.rows:
        found = world.find(row["messages"][0]["content"])
        assert found is not None
        grades = [world.grade(found[0], text).total for text in row["responses"].values()]
        assert grades == list(row["rewards"].values())
        assert grades[0] >= grades[1] > grades[2]
    again = read_preferences(ImportPreferencesParams(ref="nano:train", limit=40))
    assert again.rows == made.rows


def test_a_reference_that_leads_nowhere() -> None:
    with pytest.raises(UserError, match=r'no preferences "nope.jsonl"; expected nano:<split>, a'):
        preferences_identity("nope.jsonl")
