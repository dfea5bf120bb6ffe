"""Replies of KCA's helper: golden vectors, the rules they follow, and texts of any kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.backends.conversing import Turn
from harness.backends.prompting import Unreadable
from methods.kca import parsing_released
from methods.kca.options import answer_letter, shifted, split_options
from methods.kca.parsing import (
    Exam,
    Question,
    Requirement,
    parse_exam,
    parse_requirement,
    render_exam,
)
from methods.kca.prompts import read_exam, read_requirement
from tests.golden_vectors import vectors

OPTIONS = ["Lisbon", "Porto", "Braga", "Faro"]


def requirement(text: str) -> dict[str, Any] | None:
    found = parse_requirement(text)
    if isinstance(found, str):
        return None
    tag = "<need>" if found.need else "<no need>"
    return {"analysis": found.analysis, "final_prediction": tag, "queries": found.queries}


def test_golden_requirements(golden: Callable[[str], Path]) -> None:
    for vector in vectors(golden("kca/classify_parsing.json")):
        assert requirement(vector["raw"]) == vector["expected"], vector["id"]
        found = parsing_released.parse_requirement(vector["raw"])
        assert found == vector["reference"], vector["id"]


def test_golden_exams(golden: Callable[[str], Path]) -> None:
    for vector in vectors(golden("kca/exam_parsing.json")):
        found = parse_exam(vector["raw"]).model_dump(mode="json")
        assert found == {name: vector["expected"][name] for name in found}, vector["id"]
        tests = parsing_released.parse_exam(vector["raw"])
        assert tests == vector["reference"]["parse_res"]["tests"], vector["id"]
        assert parsing_released.flat(0, tests) == vector["reference"]["normalize"], vector["id"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "no_prediction"),
        ("So.\n### **Prediction:** **<No Need>** as said", Requirement(need=False, analysis="So.")),
        ("a\nPrediction：needs", "bad_tag"),
        ("a\nPrediction: needless", "bad_tag"),
        ("a\n#Prediction:", "bad_tag"),
        (
            "a\n#Prediction:\n<need>\n#Prediction:\nno_need",
            Requirement(need=False, analysis="a\n#Prediction:\n<need>"),
        ),
        (
            "a\n> Prediction: need\n- Search Queries: x",
            Requirement(need=True, analysis="a", queries="x"),
        ),
    ],
)  # fmt: skip
def test_requirements_in_other_words(text: str, found: object) -> None:
    assert parse_requirement(text) == found


def exam(options: str = "(A) a1\n(B) b1\n(C) c1\n(D) d1", answer: str = "(A)") -> Exam:
    return parse_exam(f"Question: Q?\nOptions:\n{options}\nAnalysis: x\nAnswer: {answer}")


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ("**A.** a1\n**B.** b1\n**C.** c1\n**D.** d1", ["a1", "b1", "c1", "d1"]),
        ("- [a] a1\n- [b] b1\n- [c] c1\n- [d] d1", ["a1", "b1", "c1", "d1"]),
        ("A: a1\nB: b1\nC: c1\nD: d1", ["a1", "b1", "c1", "d1"]),
        ("A) a1 B) b1 C) c1 D) d1", ["a1", "b1", "c1", "d1"]),
        ("Ｄ． d1\nＢ． b1\nＡ． a1\nＣ． c1", ["a1", "b1", "c1", "d1"]),
        ("A. A.D. 79\nB. in\nA.D. 80\nC. c\nD. d", ["A.D. 79", "in\nA.D. 80", "c", "d"]),
        ("One of (A) a1, (B) b1, (C) c1, (D) d1", ["a1,", "b1,", "c1,", "d1"]),
    ],
)  # fmt: skip
def test_option_labels(options: str, texts: list[str]) -> None:
    (question,) = exam(options).tests
    assert list(question.options) == texts


@pytest.mark.parametrize(
    ("options", "answer", "reason"),
    [
        ("(A) a\n(B) b\n(C) c\n(D) d\n(E) e", "A", "option_count"),
        ("(A) a\n(A) b\n(C) c\n(D) d", "A", "option_count"),
        ("(A) a\n(B) b\n(C) c\n(F) d", "A", "option_count"),
        ("none at all", "A", "option_count"),
        ("", "A", "option_count"),
        ("(A) a\n(B)\n(C) c\n(D) d", "A", "empty_option"),
        ("(A) a  a\n(B) A A\n(C) c\n(D) d", "A", "duplicate_options"),
        ("(A) a\n(B) b\n(C) c\n(D) d", "A or B", "multiple_answers"),
        ("(A) a\n(B) b\n(C) c\n(D) d", "", "no_answer"),
        ("(A) a\n(B) b\n(C) c\n(D) d", "keine Ahnung", "no_answer"),
        ("(A) a\n(B) b\n(C) c\n(D) d", "(F)", "no_answer"),
    ],
)
def test_what_is_no_question_has_a_reason(options: str, answer: str, reason: str) -> None:
    assert [reject.reason for reject in exam(options, answer).rejects] == [reason]


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"), ("b)", "B"), ("[C]", "C"), ("Option D is right", "D"), ("choice: (B)", "B"),
        ("**C**", "C"), ("The answer is B.", "B"), ("– D", "D"), ("A is correct", "A"),
        ("A city in Portugal", "no_answer"), ("porto.", "B"), ("\n\n  Faro\nmore", "D"),
        ("A, B and C", "multiple_answers"), ("A/D", "multiple_answers"), ("E", "no_answer"),
        ("（Ｂ）", "B"), ("B. Porto (A is wrong)", "B"), ("Dogs", "no_answer"),
    ],
)  # fmt: skip
def test_answers(answer: str, letter: str) -> None:
    assert answer_letter(answer, OPTIONS) == letter


def test_json_in_any_wrapping() -> None:
    item = '{"question": "Q?", "options": ["(A) a", "(B) b", "(C) c", "(D) d"], "answer": "b"}'
    for text in (item, f"[{item}]", f'Here: {{"questions": [{item}]}}', f"```json\n[{item}]\n```"):
        (question,) = parse_exam(text).tests
        assert (question.options, question.answer) == (("a", "b", "c", "d"), "B")
    assert (
        parse_exam('[{"question": "Q?", "options": {"A": "a"}}]').rejects[0].reason == "truncated"
    )
    assert parse_exam(item[:40]) == Exam()


def test_a_cut_reply_keeps_its_whole_questions() -> None:
    tests = [
        Question(question=f"Q{n}?", options=("a", "b", "c", "d"), answer="C") for n in range(3)
    ]
    text = render_exam(tests)
    found = parse_exam(text[: text.rindex("#Analysis")])
    assert [len(found.tests), [r.model_dump() for r in found.rejects]] == [
        2, [{"index": 2, "reason": "truncated"}]
    ]  # fmt: skip


@given(st.text())
def test_no_text_raises(text: str) -> None:
    for part in (
        text,
        f"Question:{text}\nOptions:{text}\nAnswer:{text}",
        f'[{{"question":"{text}"}}]',
    ):
        parse_exam(part)
        parse_requirement(f"Prediction:{part}")
        parsing_released.parse_exam(part)
        split_options(part)


WORDS = st.sampled_from(
    [
        "Lisbon",
        "(B)",
        "Question:",
        "A.",
        "Answer:",
        "in",
        "the",
        "year",
        "[C]",
        "1755",
        ":",
        "Options",
        "D)",
        "x",
    ]
)
LINE = st.lists(WORDS, min_size=1, max_size=5).map(" ".join)


@given(
    LINE, st.lists(LINE, min_size=4, max_size=4, unique_by=str.casefold), st.sampled_from("ABCD")
)
def test_a_rendered_question_is_read_back(question: str, options: list[str], answer: str) -> None:
    said = Question.model_validate(
        {"question": f"What {question}", "options": tuple(options), "answer": answer}
    )
    assert parse_exam(render_exam([said])).tests == (said,)


def test_shifts_move_options_and_the_right_letter_together() -> None:
    for by in range(4):
        options, answer = shifted(OPTIONS, "B", by)
        assert options["ABCD".index(answer)] == "Porto"


def test_readers_say_why_a_reply_is_unreadable() -> None:
    said = Turn(text="#Question: Q?\n#Options: (A) a\n#Answer: A")
    with pytest.raises(Unreadable, match=r"no valid question \(1 option_count\)"):
        read_exam(said, {})
    with pytest.raises(Unreadable, match="the reply is empty"):
        read_requirement(Turn(text=" "), {})
    with pytest.raises(Unreadable, match="bad tag"):
        read_requirement(Turn(text="Prediction: maybe"), {})
    with pytest.raises(Unreadable, match="released parser"):
        read_requirement(Turn(text="Prediction: Need"), {}, parser="released")
