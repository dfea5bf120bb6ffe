"""Dialogue metrics and cells on three turns, computed by hand; slots, prompts and text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.core.errors import BadData, UserError
from harness.core.records import Cell
from harness.engine.operations import Artifact, Row
from harness.stats.bootstrap import resample_counts
from harness.suites.dialogue.answering import RetrieveParams
from harness.suites.dialogue.bleu import bleu, bleu_counts
from harness.suites.dialogue.cells import ScoreDialogueParams, ends
from harness.suites.dialogue.encoding import LIMIT, longest
from harness.suites.dialogue.entities import Entity, EntityList, entity_list, extract
from harness.suites.dialogue.entity_f1 import f1_percent, scores
from harness.suites.dialogue.prompts import dialogue_reply, dialogue_reply_short
from harness.suites.dialogue.records import Dialogue, Knowledge, record_id, record_text, values_in
from harness.suites.dialogue.slots import SlotTable, slot_matching, stemmed_tokens
from harness.suites.dialogue.text import (
    contains_run,
    count_runs,
    normalised,
    value_runs,
    with_joined_values,
    without_markers,
)
from harness.suites.dialogue.turns import Answer, read_answer
from tests.operation_runs import rows_artifact, run_operation

__all__ = ["rows_artifact", "run_operation"]
EAST = {"name": "curry_garden", "area": "east"}
WEST = {"name": "da_vinci", "area": "west"}
IDS = [record_id(EAST), record_id(WEST)]
KNOWN: dict[str, Any] = {"suite": "s", "system": "m", "scale": "nano", "rounds": 60}


def turn(id: str, dialogue: str, reference: str, gold: list[str], domain: str = "food") -> Row:
    return {
        "id": id, "dialogue": dialogue, "domain": domain, "reference": reference, "gold": gold,
        "kb": [EAST, WEST], "messages": [{"role": "user", "content": f"{id}?"}], "facts": {},
        "context": [f"{id}?"],
    }  # fmt: skip


TURNS = [
    turn("1/1", "1", "curry garden is in the east", ["curry_garden", "east"]),
    turn("1/2", "1", "what else can i do ?", [], "taxi"),
    turn("2/1", "2", "da vinci is in the west", ["da_vinci", "west"]),
]
SAID = ["curry garden is in the west", "what else can i do ?", None]


@pytest.fixture
def cells(run_operation: Callable[..., Artifact], rows_artifact: Callable[..., Artifact]) -> Any:
    def run(replies: list[dict[str, Any]], **more: Any) -> dict[str, Cell]:
        turns = rows_artifact(TURNS)
        about = {"rules": "plain", "digest": "d", "dialogues": 2, "records": 2,
                 "names_with_several_records": 0}  # fmt: skip
        table = {"name": ["curry_garden", "da_vinci"], "area": ["east", "west"]}
        for name, data in (("set", about), ("entities", table), ("records", [EAST, WEST])):
            (turns.path / f"{name}.json").write_text(json.dumps(data))
        rows = [{**each, **reply} for each, reply in zip(TURNS, replies, strict=True)]
        made = run_operation(
            "score_dialogue", KNOWN | more, dialogues=turns, replies=rows_artifact(rows[::-1])
        )
        found = [Cell.model_validate(cell) for cell in made.read_json("cells.json")]
        return {cell.metric: cell for cell in found}

    return run


def replies() -> list[dict[str, Any]]:
    first, second, _ = SAID
    return [
        {"responses": [first], "retrieved": [IDS[1], IDS[0]], "scores": [2.0, 1.0]},
        {"responses": [second], "retrieved": [IDS[0], IDS[1]], "scores": [2.0, 1.0]},
        {"error": "late", "retrieved": [], "scores": []},
    ]


def test_entities_of_both_sides_are_counted_over_turns(cells: Any) -> None:
    found = cells(replies())
    f1 = found["entity_f1_surface_micro"]
    # The first turn: curry garden right, west invented, east missing; the second has none.
    assert (f1.value, f1.n_expected, f1.n_scored, f1.n_failed) == (50, 3, 2, 1)
    # With an empty last reply two more are missing, with its reference two more are right.
    assert f1.bounds == pytest.approx((100 * 2 / 6, 100 * 6 / 8))
    assert f1.details["failed: late"] == 1
    assert (f1.details["ceiling"], f1.details["knowledge"]) == (100, "shared")
    assert f1.resampled.units == 1
    assert f1.resampled.columns == ((1, 0, 0), (1, 0, 0), (1, 0, 0))
    assert f1.resampled.clusters == (0, 0, 1)
    assert found["entity_f1_gold_micro"].value == 50
    domains = [name for name in found if name.startswith("entity_f1_surface_micro:")]
    assert domains == [f"entity_f1_surface_micro:{name}" for name in ("food", "taxi")]
    food, taxi = (found[f"entity_f1_surface_micro:{name}"] for name in ("food", "taxi"))
    assert (food.value, food.n_expected, food.n_failed, food.primary) == (50, 2, 1, False)
    assert (taxi.value, taxi.n_expected) == (0, 1)
    ceiling = found["entity_f1_surface_micro_ceiling"]
    assert (ceiling.value, ceiling.primary, ceiling.n_expected, ceiling.n_failed) == (
        100, False, 3, 0
    )  # fmt: skip


def test_bleu_is_that_of_the_answered_turns(cells: Any) -> None:
    cell = cells(replies())["bleu"]
    # 5 of 6 and 6 of 6 words; 4 + 5 of 10 pairs, 3 + 4 of 8 triples, 2 + 3 of 6 fours.
    expected = 100 * (11 / 12 * 9 / 10 * 7 / 8 * 5 / 6) ** 0.25
    assert cell.value == pytest.approx(expected)
    rows = np.array([bleu_counts(text or "", each["reference"]) for text, each in zip(SAID, TURNS)])
    drawn = resample_counts(cell.prompt_set, 2, 60).astype(float)
    both = rows[:2].sum(axis=0)
    draws = bleu(drawn[:, :1] * both)
    assert cell.replicates == pytest.approx(np.where(drawn[:, 0] > 0, draws, 0))
    assert cell.bounds[0] < cell.value < cell.bounds[1]
    assert cell.bounds == pytest.approx((
        float(bleu(both + bleu_counts("", TURNS[2]["reference"]))),
        float(bleu(both + bleu_counts(TURNS[2]["reference"], TURNS[2]["reference"]))),
    ))  # fmt: skip


def test_recall_is_read_at_each_k(cells: Any) -> None:
    found = cells(replies(), recall_at=(2, 1))
    # In scope are the first mentions, turns 1/1 and 2/1; the latter failed.
    values = {name: cell.value for name, cell in found.items() if name.startswith("recall")}
    assert values == {
        "recall_turn:1": 0, "recall_value:1": 0, "recall_name:1": 0,
        "recall_turn:2": 100, "recall_value:2": 100, "recall_name:2": 100,
        "recall_turn_ceiling": 100, "recall_value_ceiling": 100, "recall_name_ceiling": 100,
    }  # fmt: skip
    one, two = found["recall_turn:1"], found["recall_value:2"]
    assert (one.n_expected, one.n_scored, one.bounds) == (2, 1, (0, 50))
    assert (two.resampled.values, two.resampled.weights) == ((200, None, None), (2, 0, 0))
    assert two.resampled.units == 1
    assert (one.primary, two.primary) == (True, False)
    assert [found[f"recall_turn:{k}"].primary for k in (1, 2)] == [True, True]
    assert ends((5, 1, 7)) == [1, 7]
    assert ends((5,)) == [5]
    many = cells(replies(), recall_at=(1, 5, 7))
    assert [many[f"recall_turn:{k}"].primary for k in (1, 5, 7)] == [True, False, True]
    assert ScoreDialogueParams(**KNOWN).recall_at == (1, 5, 7)


def test_what_a_system_does_not_give_has_no_score(cells: Any) -> None:
    silent = [{"retrieved": IDS, "scores": [1.0, 0.5]}] * 3
    found = cells(silent)
    assert (found["bleu"].value, found["bleu"].n_expected) == (None, 0)
    assert found["bleu"].details["reason"] == "it only retrieves"
    talking = cells([{"responses": ["x"]}] * 3)
    assert talking["recall_turn:1"].details["reason"] == "it retrieves nothing"
    assert set(talking) & {"recall_turn:5", "recall_value:1"} == set()
    lost = cells([{"error": "x" * 99}] * 3)
    assert lost["bleu"].details["reason"] == "no turn was answered"
    assert lost["bleu"].details[f"failed: {'x' * 60}"] == 3
    several = cells([{"error": "b"}, {"responses": ["x"]}, {"error": "a"}])["bleu"].details
    assert [key for key in several if key.startswith("failed")] == ["failed: a", "failed: b"]


def test_released_scores_are_rounded_and_named(cells: Any) -> None:
    cell = cells(replies(), released=True)["bleu"]
    assert cell.value == round(100 * (11 / 12 * 9 / 10 * 7 / 8 * 5 / 6) ** 0.25, 2)
    assert cell.details["handling"] == "released"


def test_answers_are_read_from_replies_and_responses() -> None:
    bases = dict(zip(IDS, (EAST, WEST), strict=True))

    def reply(**more: Any) -> Row:
        return {"id": "a", "reply": {"value": None, "failure": None, "finish": None, **more}}

    assert read_answer(reply(value="x", finish="stop", reply="x"), bases) == Answer(
        "x", None, "", "stop"
    )
    assert read_answer(reply(failure="HTTP", reply=""), bases) == Answer(None, None, "HTTP")
    assert read_answer(reply(failure="unread", finish="length", reply=" "), bases) == Answer(
        "", None, "", "length"
    )
    assert read_answer({"id": "a", "responses": []}, bases).silent
    assert not read_answer({"id": "a", "error": "late"}, bases).silent
    kept = read_answer({"id": "a", "error": "late", "retrieved": IDS[:1]}, bases)
    assert (kept.records, kept.failed) == ((EAST,), "late")
    assert read_answer({"id": "a", "error": "late", "retrieved": []}, bases).records is None
    assert read_answer({"id": "a", "retrieved": []}, bases).records == ()
    with pytest.raises(BadData, match="is not in the knowledge base of 2 records"):
        read_answer({"id": "a", "retrieved": ["?"]}, bases)


def test_rows_of_other_turns_are_refused(cells: Any) -> None:
    with pytest.raises(BadData, match='3 turns; expected the 3 imported ones: "1/1"'):
        cells([{**each, "id": f"x{n}"} for n, each in enumerate(replies())])


def test_bleu_clips_matches_and_punishes_short_replies() -> None:
    assert bleu_counts("the the the", "The cat the mat") == [2, 0, 0, 0, 3, 2, 1, 0, 3, 4]
    assert float(bleu([4, 3, 2, 1, 4, 3, 2, 1, 4, 6])) == pytest.approx(100 * math.exp(1 - 6 / 4))
    assert float(bleu([4, 3, 2, 1, 8, 6, 4, 2, 8, 6])) == pytest.approx(50)
    assert float(bleu([4, 3, 2, 0, 4, 3, 2, 1, 4, 4])) == 0
    found = scores([3, 1, 2])
    assert (found.precision, found.recall, found.f1) == (0.75, 0.6, pytest.approx(6 / 9))
    assert f1_percent([[1, 1, 1], [0, 3, 0]]).tolist() == [50, 0]


@pytest.mark.parametrize(
    ("text", "choice", "found"),
    [
        ("there are many places", "many", True), ("how many people ?", "many", False),
        ("all of the places", "all", True), ("is that all ?", "all", False),
        ("to the west", "to", False), ("found only three", "three", True),
        ("at three", "three", False), ("have about 12", "12", True),
    ],
)  # fmt: skip
def test_numbers_of_matches_count_in_their_phrases(text: str, choice: str, found: bool) -> None:
    known = EntityList((Entity(choice, counts_matches=True),), "multiwoz")
    assert extract(text, known) == [choice] * found


@pytest.mark.parametrize(
    ("text", "value", "found"),
    [("in the centre", "centre", True), ("cambridge towninfo centre", "centre", False),
     ("free wifi", "free", True), ("it is free", "free", False)],
)  # fmt: skip
def test_centre_and_free_count_in_their_phrases(text: str, value: str, found: bool) -> None:
    assert extract(text, entity_list({"x": [value]}, "multiwoz")) == [value] * found


def test_values_are_tried_longest_first() -> None:
    assert (Entity("abc").length, Entity("abc", counts_matches=True).length) == (3, 10)
    made = entity_list({"choice": ["b"], "name": ["bbbbbbbb", "aaa", "bbb"]}, "multiwoz")
    assert [(entity.value, entity.counts_matches) for entity in made.entities] == [
        ("b", True), ("bbbbbbbb", False), ("aaa", False), ("bbb", False)
    ]  # fmt: skip
    smd = entity_list({"distance": ["5"], "temperature": ["20"]}, "smd").values
    assert {"1st", "2nd", "3rd", "4th", "11th", "20th", "5 miles", "20f", " hr "} <= smd
    assert "21th" not in smd
    assert "0th" not in smd
    hours = entity_list({"time": ["10am", "20f-40f"]}, "smd")
    assert extract("at 10 am , 20-40f", hours) == ["20f-40f", "10am"]


BASE = Knowledge.of(
    [
        {"name": f"n{number}", "area": ("north", "south")[number % 2], "code": f"c{number // 2}"}
        for number in range(24)
    ]
)


def test_attributes_with_many_values_tell_records_apart() -> None:
    assert SlotTable.of(BASE).apart == {"name", "code"}  # 12 codes: more than ten and than a third
    few = Knowledge.of(BASE.records[:20])
    assert SlotTable.of(few).apart == {"name"}  # ten codes
    wide = Knowledge.of([{"x": f"v{n % 14}"} for n in range(42)])
    assert SlotTable.of(wide).apart == {"name"}  # fourteen of forty-two
    assert SlotTable.of(Knowledge.of(wide.records[:41])).apart == {"name", "x"}


def test_mentions_score_by_attribute_and_age() -> None:
    said = ("north , c3", "hm", "n7 please", "ok", "south")
    rank = slot_matching(BASE)
    scores = rank([Dialogue("a", "d", said, {})])[0]
    # Record 7: area south said last, code c3 four utterances and name two utterances ago.
    frequency = 0.05 * 3
    assert scores[7] == pytest.approx(1 + 0.7**2 + 1.5 * 0.7 + frequency)
    assert scores[6] == pytest.approx(0.5 + 0.7**2 + 0.05 * 2)
    assert scores[1] == pytest.approx(1 + 0.05)
    own = slot_matching(BASE, earlier=0.2, name=3.0, decay=0.5, frequency=0.0)
    assert own([Dialogue("a", "d", said, {})])[0][[6, 7]] == pytest.approx(
        [0.2 + 0.25, 1 + 0.25 + 1.5]
    )


def test_endings_are_cut_from_long_words_only() -> None:
    assert stemmed_tokens("early bars trees baker matter it's") == [
        "early", "bars", "tree", "baker", "matt", "it's"
    ]  # fmt: skip
    assert stemmed_tokens("calmly southern cheaper inexpensive") == [
        "calm",
        "south",
        "cheap",
        "cheap",
    ]
    table = SlotTable.of(Knowledge.of([{"name": "guest_house"}, {"name": "guest"}]))
    assert table.mentioned("a guesthouse , guest house and a guest") == [
        ("guest", "house"), ("guest", "house"), ("guest",)
    ]  # fmt: skip


def test_runs_of_tokens() -> None:
    assert count_runs(list("abab"), list("ab")) == 2
    assert count_runs(list("aaa"), list("aa")) == 2
    assert (contains_run(list("ab"), ["b"]), contains_run(list("ab"), list("ba"))) == (True, False)
    assert not contains_run(list("ab"), list("abc"))
    assert without_markers(" <sys> a <user>b</s> ") == "a b</s>"
    assert normalised("<database>A_b 's") == "a _ b ' s"
    assert with_joined_values("the da vinci", value_runs(["da_vinci", "vinci"])) == [
        "the", "da_vinci"
    ]  # fmt: skip
    assert values_in({"a": "", "b": "x_y"}) == [("b", ("x", "y"))]
    assert record_text({"a": "x_y", "b": "z"}) == "a x y, b z"


def test_ids_are_short_digests() -> None:
    assert (len(IDS[0]), len(set(IDS))) == (16, 2)
    turned = Knowledge.of([WEST, EAST])
    assert turned.ids == (IDS[1], IDS[0])
    assert turned.digest != Knowledge.of([EAST, WEST]).digest


def test_prompts_number_records_and_keep_the_last_utterances() -> None:
    row = {"records": [EAST, WEST], "facts": {"ref": "x_1"}, "context": list("abcde")}
    (message,) = dialogue_reply(row, k=5)
    assert message["content"] == (
        "Records:\n1. name: curry garden, area: east\n2. name: da vinci, area: west\n\n"
        "This session: booking reference: x 1\n\n"
        "user: a\nsystem: b\nuser: c\nsystem: d\nuser: e\n\n"
        "Write the system's next reply in one or two short sentences. Copy names, numbers and "
        "addresses exactly from the records."
    )
    (short,) = dialogue_reply_short(row, k=1)
    assert short["content"].splitlines()[0] == "curry garden, east"
    assert [line[-1] for line in short["content"].splitlines()[1:]] == ["c", "d", "e"]


def test_a_retriever_keeps_the_best_records(
    run_operation: Callable[..., Artifact], rows_artifact: Callable[..., Artifact]
) -> None:
    rows = [
        {**each, "context": [text]}
        for each, text in zip(TURNS, ("west", "curry garden east", "?"), strict=True)
    ]
    dialogues = rows_artifact(rows)
    (dialogues.path / "records.json").write_text(json.dumps([EAST, WEST]))
    for knowledge in ("shared", "session"):
        made = run_operation("retrieve_records", {"keep": 1, "knowledge": knowledge},
                             dialogues=dialogues).rows()  # fmt: skip
        assert [row["retrieved"] for row in made] == [[IDS[1]], [IDS[0]], [IDS[0]]]
        assert [row["scores"] for row in made] == [[1.0], [2.0], [0.0]]
        assert [row["records"] for row in made] == [[WEST], [EAST], [EAST]]
        assert {row["base"] for row in made} == {Knowledge.of([EAST, WEST]).digest}
    assert (RetrieveParams().keep, RetrieveParams().knowledge) == (7, "shared")
    (dialogues.path / "records.json").write_text("[]")
    with pytest.raises(BadData, match="no shared knowledge base"):
        run_operation("retrieve_records", {}, dialogues=dialogues)
    with pytest.raises(UserError, match="needs an encoder"):
        run_operation("retrieve_records", {"retriever": "dense", "knowledge": "session"},
                      dialogues=dialogues)  # fmt: skip


def test_contexts_are_read_to_128_tokens() -> None:
    network = type("Network", (), {"config": type("Config", (), {"max_position_embeddings": 64})})
    assert (LIMIT, longest(network), longest(network, 9)) == (128, 64, 9)
    network.config.max_position_embeddings = None  # type: ignore[attr-defined]
    assert longest(network) == 128
