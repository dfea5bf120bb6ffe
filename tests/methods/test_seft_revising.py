"""One round of revision: who is asked what, what is accepted, and what is recorded."""

from __future__ import annotations

import logging
import math
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from harness.core.errors import BadData, BadRecord
from harness.core.records import parse
from methods.seft.plot import PANELS, rounds_svg
from methods.seft.revising import AcceptRevisionsParams, _accepted
from methods.seft.rounds import MEASURES, round_table
from methods.seft.wording import Wording, shown
from tests.operation_runs import rows_artifact, run_operation

__all__ = ["rows_artifact", "run_operation"]

SAID = [{"role": "user", "content": "x"}]
WORDING = {"verdict": "{prompt}>{answer}", "write": "!", "no_revise": "=", "minor_revise": "~",
           "major_revise": "#"}  # fmt: skip


def answer(number: int, text: str = "ab", finish: str = "stop") -> dict[str, Any]:
    return {
        "id": f"p{number}", "messages": SAID, "responses": [text], "finish": [finish],
        "tokens_out": [len(text) + 1], "own_logps": [{"logp": -2.0, "tokens": 3, "error": None}],
    }  # fmt: skip


def verdicts(run: Any, make: Any, answers: list[Any], logps: list[list[Any]]) -> Any:
    asked = run("revision_requests", {"wording": WORDING}, answers=make(answers)).rows()
    return make(
        [
            {**row, "label_scores": [{"logp": v, "tokens": 2, "error": None} for v in values]}
            for row, values in zip(asked, logps, strict=True)
        ]
    )


def through(
    run: Any,
    make: Any,
    logps: list[list[Any]],
    texts: dict[str, tuple[str, str]],
    *,
    decide: str = "reviser",
    rewards: dict[str, list[float]] | None = None,
    **accept: Any,
) -> Any:
    """The artifact of `accept_revisions` for answers "ab" and given revisions (text, finish)."""
    answers = [answer(number) for number in range(len(logps))]
    scored = verdicts(run, make, answers, logps)
    decided = run("decide_revisions", {"decide": decide}, verdicts=scored)
    tasks = run("revision_prompts", {"wording": WORDING}, decided=decided).rows()
    written = [
        {"id": task["id"], "responses": [texts[task["id"]][0]], "finish": [texts[task["id"]][1]],
         "tokens_out": [len(texts[task["id"]][0]) + 1]}
        for task in tasks
    ]  # fmt: skip
    joined = run("join_revisions", {}, decided=(decided,), written=(make(written),)).rows()
    if rewards is not None:
        joined = [{**row, "rewards": rewards[row["id"]]} for row in joined]
    return run("accept_revisions", accept, revisions=make(joined))


NO, MINOR, MAJOR = [0.0, -9.0, -9.0], [-9.0, 0.0, -9.0], [-9.0, -9.0, 0.0]


def test_unusable_answers_are_dropped_and_counted(rows_artifact: Any, run_operation: Any) -> None:
    failed = {**answer(3), "responses": []}
    rows = [answer(0), answer(1, " "), answer(2, "abc", "length"), failed, answer(4)]
    made = run_operation("revision_requests", {"wording": WORDING}, answers=rows_artifact(rows))
    assert [row["id"] for row in made.rows()] == ["p0", "p4"]
    assert made.read_json("summary.json")["dropped"] == {
        "cut at the token limit": 1, "empty": 1, "failed": 1,
    }  # fmt: skip
    row = made.rows()[0]
    assert row["messages"] == [{"role": "user", "content": "x>ab"}]
    assert row["texts"] == ["=", "~", "#"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_windows_of_two_revisers_cover_every_answer_once(
    rows_artifact: Any, run_operation: Any, share: float
) -> None:
    answers = rows_artifact([answer(number) for number in range(7)])
    parts = [
        run_operation(
            "revision_requests", {"wording": WORDING, "start": a, "stop": b}, answers=answers
        ).rows()
        for a, b in ((0.0, 1 - share), (1 - share, 1.0))
    ]
    assert [row["id"] for part in parts for row in part] == [f"p{n}" for n in range(7)]


def test_text_is_written_only_where_the_verdict_asks_for_it(
    rows_artifact: Any, run_operation: Any
) -> None:
    answers = [answer(number) for number in range(4)]
    scored = verdicts(run_operation, rows_artifact, answers, [NO, MINOR, MAJOR, [0.0, None, 0.0]])
    decided = run_operation("decide_revisions", {}, verdicts=scored)
    assert decided.read_json("summary.json") == {
        "rows": 3, "failed": 1, "mix": {"no_revise": 1, "minor_revise": 1, "major_revise": 1},
    }  # fmt: skip
    tasks = run_operation("revision_prompts", {"wording": WORDING}, decided=decided).rows()
    assert [task["id"] for task in tasks] == ["p1#minor_revise", "p2#major_revise"]
    assert [message["content"] for message in tasks[0]["messages"]] == ["x>ab", "~", "!"]


@pytest.mark.parametrize(
    ("params", "written"),
    [
        ({"decide": "always"}, [["major_revise"]] * 3),
        ({"decide": "never"}, [[]] * 3),
        ({"no_revise_threshold": 0.0}, [[]] * 3),
        ({"decide": "oracle"}, [["minor_revise", "major_revise"]] * 3),
    ],
)
def test_other_deciders(
    rows_artifact: Any, run_operation: Any, params: dict[str, Any], written: list[list[str]]
) -> None:
    answers = [answer(number) for number in range(3)]
    scored = verdicts(run_operation, rows_artifact, answers, [NO, MINOR, MAJOR])
    found = run_operation("decide_revisions", params, verdicts=scored).rows()
    assert [row["write"] for row in found] == written


def test_a_reviser_with_one_label_for_everything_is_warned_about(
    rows_artifact: Any, run_operation: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [answer(number) for number in range(20)]
    for logps, warned in ([[MAJOR] * 20, True], [[MAJOR] * 19 + [NO], False]):
        caplog.clear()
        scored = verdicts(run_operation, rows_artifact, answers, logps)
        with caplog.at_level(logging.WARNING):
            made = run_operation("decide_revisions", {}, verdicts=scored)
        assert ("says major_revise to all 20 answers" in caplog.text) == warned
        assert ("warning" in made.read_json("summary.json")) == warned
    with caplog.at_level(logging.WARNING):
        scored = verdicts(run_operation, rows_artifact, answers, [[MAJOR] * 20][0])
        run_operation("decide_revisions", {"decide": "never"}, verdicts=scored)
    assert "to all" not in caplog.text, "an ablation decides for everything on purpose"


def test_targets_are_accepted_revisions_or_sources(rows_artifact: Any, run_operation: Any) -> None:
    texts = {
        "p1#minor_revise": ("aB", "stop"),
        "p2#major_revise": ("", "stop"),
        "p3#major_revise": ("ABAB", "length"),
    }
    made = through(run_operation, rows_artifact, [NO, MINOR, MAJOR, MAJOR], texts)
    rows = made.rows()
    assert [row["response"] for row in rows] == ["ab", "aB", "ab", "ab"]
    assert [row["accepted"] for row in rows] == [None, True, False, False]
    assert [row["decoded_tokens"] for row in rows] == [0, 3, 1, 5]
    dropped = through(
        run_operation, rows_artifact, [NO, MINOR, MAJOR, MAJOR], texts,
        gate={"on_reject": "drop"},
    )  # fmt: skip
    assert [row["id"] for row in dropped.rows()] == ["p0", "p1"]
    from harness.engine.io import read_objects

    assert len(read_objects(dropped.path / "round.jsonl")) == 4, "the record has every prompt"


def test_the_gate_needs_a_gain_and_a_length(rows_artifact: Any, run_operation: Any) -> None:
    texts = {f"p{n}#major_revise": ("ABABAB" if n == 2 else "AB", "stop") for n in range(3)}
    rewards = {"p0": [1.0, 2.0], "p1": [1.0, 0.5], "p2": [1.0, 9.0]}
    gate = {"min_gain": 0.0, "max_length_ratio": 2.0}
    made = through(
        run_operation, rows_artifact, [MAJOR] * 3, texts, rewards=rewards, gate=gate
    ).rows()
    assert [row["accepted"] for row in made] == [True, False, False]
    assert [row["target_score"] for row in made] == [2.0, 1.0, 1.0]
    with pytest.raises(BadData, match="scorer"):
        through(run_operation, rows_artifact, [MAJOR] * 3, texts, gate=gate)
    row = {"id": "p1", "rewards": [1.0, math.inf], "responses": ["a", "b"]}
    with pytest.raises(BadData, match="finite"):
        _accepted(row, AcceptRevisionsParams())


def test_the_oracle_takes_what_scores_highest_and_the_least_invasive_of_equals(
    rows_artifact: Any, run_operation: Any
) -> None:
    texts = {
        f"p{n}#{label}_revise": (text, "stop")
        for n in range(3)
        for label, text in (("minor", "aB"), ("major", "AB"))
    }
    rewards = {"p0": [3.0, 3.0, 2.0], "p1": [1.0, 2.0, 2.0], "p2": [1.0, 2.0, 3.0]}
    made = through(
        run_operation, rows_artifact, [MAJOR] * 3, texts, decide="oracle", rewards=rewards,
        by_score=True,
    ).rows()  # fmt: skip
    assert [row["response"] for row in made] == ["ab", "aB", "AB"]
    assert [row["label"] for row in made] == ["no_revise", "minor_revise", "major_revise"]
    with pytest.raises(BadData, match="oracle"):
        through(run_operation, rows_artifact, [MAJOR] * 3, texts, decide="oracle", by_score=True)


def test_nothing_left_to_train_on_is_said(rows_artifact: Any, run_operation: Any) -> None:
    texts = {"p0#major_revise": ("", "stop")}
    with pytest.raises(BadData, match="none of 1 answers is left"):
        through(run_operation, rows_artifact, [MAJOR], texts, gate={"on_reject": "drop"})
    same = through(run_operation, rows_artifact, [MAJOR], {"p0#major_revise": ("ab", "stop")})
    with pytest.raises(BadData, match="no answer was revised"):
        run_operation("revision_preferences", {}, accepted=same)


def test_preferences_of_a_round_are_its_accepted_revisions(
    rows_artifact: Any, run_operation: Any
) -> None:
    texts = {"p1#minor_revise": ("aB", "stop"), "p2#major_revise": ("AB", "length")}
    made = through(run_operation, rows_artifact, [NO, MINOR, MAJOR], texts)
    rows = run_operation("revision_preferences", {}, accepted=made).rows()
    assert [row["responses"] for row in rows] == [{"target": "aB", "rejected": "ab"}]


def test_the_table_of_rounds(rows_artifact: Any, run_operation: Any) -> None:
    texts = {"p1#minor_revise": ("aB", "stop"), "p2#major_revise": ("ABC", "length")}
    rewards = {"p0": [3.0], "p1": [1.0, 2.0], "p2": [1.0, 0.0]}
    made = through(run_operation, rows_artifact, [NO, MINOR, MAJOR], texts, rewards=rewards)
    table = round_table([{**row, "round": 1} for row in made.rows()])
    assert len(table) == 1
    line = table[0]
    assert (line["round"], line["prompts"]) == (1, 3)
    assert line["no_revise"] == pytest.approx(100 / 3)
    assert (line["accepted"], line["worse"]) == (50, 50)
    assert line["source_score"] == pytest.approx(5 / 3)
    assert line["target_score"] == pytest.approx(6 / 3)
    assert line["entropy"] == pytest.approx(2 / 3)
    assert line["decoded"] == pytest.approx((3 + 4) / 3)
    assert line["decoded_without"] == pytest.approx((3 + 3 + 4) / 3)
    picture = rounds_svg([line, {**line, "round": 2, "worse": None}])
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert picture.count("<polyline") == sum(len(names) for _, names in PANELS)
    shown_names = {name for _, names in PANELS for name in names}
    assert shown_names <= {measure.name for measure in MEASURES}


# --- wording ----------------------------------------------------------------------------------


def test_earlier_turns_stay_and_places_in_answers_are_text() -> None:
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "{answer}"},
    ]
    wording = Wording()
    asked = wording.ask_verdict(talk, "say {prompt}")
    assert asked[:3] == talk[:3]
    assert "Request:\n{answer}\n" in asked[-1]["content"]
    assert "say {prompt}" in asked[-1]["content"]
    assert "[No Revise], [Minor Revise], [Major Revise]" in asked[-1]["content"]
    both = wording.ask_text(talk, "say", "minor_revise")
    assert [message["role"] for message in both[-2:]] == ["assistant", "user"]
    assert both[-2]["content"] == "[Minor Revise]"
    with pytest.raises(BadData, match="must end with the user"):
        shown("{prompt}", talk[:3], "x")


@pytest.mark.parametrize(
    "settings",
    [{"minor_revise": "[No Revise]"}, {"verdict": "only {prompt}"}, {"no_revise": ""}],
)
def test_wordings_that_cannot_work_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(BadRecord):
        parse(Wording, settings, "wording")
