"""Facts of the nano world as questions, and the oracle's check of answers."""

from __future__ import annotations

import pytest

from harness.backends.base import Request, messages_of
from harness.core.errors import UnknownName
from harness.data.question_sets import ImportQuestionSetParams, questions_identity, set_rows
from harness.judging.frames import Message
from harness.nano import knowledge, world
from harness.nano.oracle import OracleBackend, OracleSettings
from harness.suites.hallucination import prompts
from harness.suites.hallucination.replies import parse_reply


def asked(question: str, answer: str, name: str = "hallucination", **row: object) -> str:
    """The oracle's reply, or its error."""
    whole = {"messages": [{"role": "user", "content": question}], "responses": [answer], **row}
    build = prompts.BUILDERS[name]  # type: ignore[index]
    messages: list[Message] | None = build({"id": "a", **whole})
    assert messages is not None
    generic = OracleSettings(unknown="generic")
    (found,) = OracleBackend(generic).generate([Request(id="a", messages=messages_of(messages))])
    return found.error or found.completions[0].text


def test_sets_have_unique_ids_and_versions() -> None:
    for ref, number in (
        ("nano:facts", 64),
        ("nano:attributes/30", 292),
        ("nano:notes", 24),
        ("nano:labelled", 64),
    ):
        rows = set_rows(ImportQuestionSetParams(ref=ref))
        assert len({row["id"] for row in rows}) == len(rows) == number
        assert questions_identity(ref).startswith(f"{ref}@{world.VERSION}.")
    for ref in ("nano:fact", "nano:facts/50", "nano:attributes/101"):
        with pytest.raises(UnknownName):
            set_rows(ImportQuestionSetParams(ref=ref))


def test_known_facts_are_nested_and_labelled() -> None:
    few, many = knowledge.known_facts(25), knowledge.known_facts(50)
    assert few < many
    assert (len(few), len(many), len(knowledge.known_facts(100))) == (73, 146, 292)
    rows = set_rows(ImportQuestionSetParams(ref="nano:attributes/25"))
    assert sum(row["class"] == "need_and_have_fact" for row in rows) == 73


def test_every_question_has_one_truth_that_is_not_wrong() -> None:
    facts = knowledge.all_facts()
    assert len({fact.question for fact in facts}) == len(facts)
    for fact in facts:
        truth = knowledge.find(fact.question)
        assert truth is not None
        assert not knowledge.wrong_spans(truth, fact.statement)
        assert knowledge.is_correct(truth, fact.statement)
        other = next(value for value in fact.pool if value != fact.value)
        wrong = fact.statement.replace(fact.value, other)
        assert other in knowledge.wrong_spans(truth, wrong)
        assert not knowledge.is_correct(truth, wrong)
    for item in (item for split in knowledge.SPLITS for item in world.items(split)):
        truth = knowledge.find(item.turns[0])
        assert truth is not None
        assert not knowledge.wrong_spans(truth, world.reference_answer(item))


def test_the_oracle_names_wrong_words() -> None:
    found = parse_reply(asked("What does the fox eat?", "The fox eats grass."), "hallucination")
    assert (found.score, found.spans) == (1, ("grass",))
    clean = parse_reply(asked("What does the fox eat?", "I don't know."), "hallucination")
    assert (clean.score, clean.spans) == (0, ())


def test_the_oracle_answers_every_question_of_the_suite() -> None:
    fox = "What does the fox eat?"
    reference = {"references": ["fruit"]}
    assert asked(fox, "fruit", "grade", **reference) == "A"
    assert asked(fox, "grass", "grade", **reference) == "B"
    assert asked(fox, "I cannot say.", "grade", **reference) == "C"
    assert asked(fox, "I cannot say.", "refusal") == "1"
    assert asked(fox, "fruit", "refusal") == "0"
    points = [parse_reply(asked(fox, a, "helpfulness"), "helpfulness").score for a in
              ("fruit", "grass", "Who knows?")]  # fmt: skip
    assert points == [9, 3, 2]


def test_questions_outside_the_world_are_errors_or_generic() -> None:
    generic = parse_reply(asked("Who was Ada?", "She was born in 1815."), "hallucination")
    assert generic.spans == ("1815",)
    supported = asked("Who was Ada?", "She was born in 1815.", knowledge="Born in 1815.")
    assert parse_reply(supported, "hallucination").score == 0
    assert asked("Who?", "It was Ada.", "grade", references=["ada"]) == "A"
    assert asked("Who?", "I am not sure.", "refusal") == "1"
    messages = prompts.hallucination({"messages": [{"role": "user", "content": "Who?"}],
                                      "responses": ["Ada"]})  # fmt: skip
    assert messages is not None
    (strict,) = OracleBackend().generate([Request(id="a", messages=messages_of(messages))])
    assert strict.error is not None
    assert "does not know the question 'Who?'" in strict.error
