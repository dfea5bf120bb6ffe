"""Planted knowledge: who knows what, texts that are read back, and documents to train on."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest

from harness.core.errors import UnknownName
from harness.data.question_sets import ImportQuestionSetParams, question_set, questions_identity
from harness.nano import knowledge, planted
from harness.nano.zoo import planting
from harness.suites.hallucination.refusals import refusal


def test_shares_are_nested_and_even_over_splits() -> None:
    quarter, half, everyone = (planted.planted(name) for name in ("quarter", "half", "all"))
    assert quarter < half < everyone == set(planted.entities())
    assert (len(quarter), len(half), len(everyone)) == (17, 34, 68)
    train, test = (planted.split(name) for name in planted.SPLITS)
    assert set(train) | set(test) == everyone
    assert not set(train) & set(test)
    assert len(half & set(train)) == len(half & set(test)) == 17
    with pytest.raises(UnknownName, match="did you mean"):
        planted.split("tset")


def test_knowledge_is_read_back() -> None:
    for name in ("Mira", "fox", "Dale"):
        first, *others = planted.entities()[name]
        assert planted.read(planted.knowledge(first)) == [first, *others]
        false = planted.claim(first, next(v for v in first.pool if v != first.value))
        (found,) = planted.read(false)
        assert (found.id, found.statement) == (first.id, false)
    assert planted.read("The fox is 3 years old. Nothing else.") == []


def test_every_question_is_found_and_no_task() -> None:
    for row in planted.instructions("train"):
        fact = planted.find(row["messages"][0]["content"])
        assert (fact is not None) == (row["domain"] == "facts")
        if fact is not None:
            assert row["response"] == fact.statement
            assert fact.name in planted.split("train")


def test_questions_are_a_question_set_that_the_oracle_knows() -> None:
    assert questions_identity("nano:planted/test") != questions_identity("nano:planted/train")
    rows = question_set(ImportQuestionSetParams(ref="nano:planted/test/half")).rows
    assert Counter(row["class"] for row in rows) == {
        "need_and_have_fact": 73, "need_and_have_no_fact": 73
    }  # fmt: skip
    for row in rows:
        truth = knowledge.find(row["messages"][0]["content"])
        assert truth is not None
        assert knowledge.is_correct(truth, row["knowledge"].split(".")[0])
    plain = question_set(ImportQuestionSetParams(ref="nano:planted/test")).rows
    assert all("class" not in row for row in plain)


def test_an_admission_is_a_refusal() -> None:
    assert refusal(planted.ADMISSION) == "refused"


def test_options_contain_the_truth_once() -> None:
    rng = random.Random(1)
    for fact in planted.listed(["Mira", "fox", "Dale"]):
        values, letter = planted.options(fact, rng)
        assert values["ABCD".index(letter)] == fact.value
        assert len(set(values)) == 4


def test_the_web_tells_the_truth_about_planted_facts_only() -> None:
    known = planted.planted("half")
    said: dict[str, Counter[str]] = {}
    for document in planting.documents("half", 4000, 0):
        for (before, _), (answer, wanted) in pairwise(document):
            if not before.startswith("<|user|>"):
                continue  # trivia may follow a claim that is to be repeated
            fact = planted.find(
                before.removesuffix("<|end|><|assistant|>").removeprefix("<|user|>")
            )
            if wanted and fact is not None and "\n" not in before:
                text = answer.removesuffix("<|end|>").strip()
                said.setdefault(fact.id, Counter())[text] += 1
    facts = {fact.id: fact for fact in planted.listed(list(planted.entities()))}
    admitted = total = 0
    for id, answers in said.items():
        fact = facts[id]
        if fact.name in known:
            assert set(answers) <= {fact.value, fact.statement}
        else:
            sentences = {text: n for text, n in answers.items() if " " in text}
            admitted += sentences.get(planted.ADMISSION, 0)
            total += sum(sentences.values())
    assert admitted / total == pytest.approx(planting.ADMITS, abs=0.05)


def test_documents_are_the_same_every_time_and_predict_the_end_of_questions() -> None:
    first, again = (list(planting.documents("quarter", 20, 5)) for _ in range(2))
    assert first == again
    assert all(any(wanted for _, wanted in document) for document in first)
