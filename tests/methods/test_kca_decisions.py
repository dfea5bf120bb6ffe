"""Decisions from exams and training rows of strategies: golden vectors and invariants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import UnknownName
from methods.kca import decisions_released, strategies_released
from methods.kca.decisions import (
    Outcome,
    Part,
    by_instance,
    decide,
    graded,
    posterior_above,
    predicted,
)
from methods.kca.operations import part_of, report, strategy_of
from methods.kca.strategies import REFUSAL, STRATEGIES, Instance, training_rows
from tests.golden_vectors import vectors


def test_golden_consistency(golden: Callable[[str], Path]) -> None:
    data = vectors(golden("kca/consistency.json"))["fp32"]
    correct = {}
    for instance in data["instances"]:
        questions = instance["questions"]
        letters: list[str | None] = [predicted(each["option_logits"]) for each in questions]
        assert letters == [each["predicted"] for each in questions]
        gold = [each["gold"] for each in questions]
        for number, (letter, right) in enumerate(zip(letters, gold, strict=True)):
            correct[f"idx_sft{instance['instance']}_test{number}"] = letter == right
        outcome = graded(letters[:3], gold[:3])
        assert outcome.accuracy == instance["accuracy_first3"]
        for tau, status in instance["expected_status"].items():
            assert decide(outcome, float(tau)) == status
    for tau, expected in data["reference_decisions"].items():
        found = decisions_released.behaviour(correct, float(tau))
        assert found == expected
        share = decisions_released.consistent_share(found)
        assert share == data["reference_dataset_accuracy"][tau]


def test_golden_ids_that_collide(golden: Callable[[str], Path]) -> None:
    data = vectors(golden("kca/id_collision.json"))
    correct = {item["idx"]: item["correct"] == "True" for item in data["items"]}
    assert decisions_released.behaviour(correct, 0.6) == data["reference_at_0.6"]
    found = {
        name: {"n": one.n, "correct": one.right, "consistent": decide(one) == "consistent"}
        for name, one in by_instance(correct).items()
    }
    assert found == data["expected"]


def test_golden_training_instances(golden: Callable[[str], Path]) -> None:
    data = vectors(golden("kca/training_instances.json"))
    given = data["inputs"]
    found = strategies_released.instances(
        given["classification_rows"],
        given["examined_rows"],
        given["consistent_at_0.6"],
        "toy-model",
    )
    for name, expected in data["reference_outputs"].items():
        assert strategies_released.conversations(found, STRATEGIES[name]) == expected


def test_golden_refusal(golden: Callable[[str], Path]) -> None:
    assert vectors(golden("kca/refusal_detection.json"))[0]["answer"] == REFUSAL


def test_decisions_are_monotone() -> None:
    for n in range(1, 5):
        for rule in ("accuracy", "posterior"):
            known = [decide(Outcome(n=n, right=r), 0.6, 1, rule) for r in range(n + 1)]  # type: ignore[arg-type]
            assert known == sorted(known, reverse=True)  # inconsistent, then consistent
            taus = [decide(Outcome(n=n, right=1), tau / 10, 1, rule) for tau in range(-1, 12)]  # type: ignore[arg-type]
            assert taus == sorted(taus)
    assert decide(Outcome(n=3, right=0), -0.1) == "consistent"
    assert decide(Outcome(n=3, right=3), 1.0) == "inconsistent"
    assert decide(Outcome(n=1, right=1), min_questions=2) == "unexamined"


def test_the_posterior_is_that_of_a_uniform_prior() -> None:
    assert [posterior_above(0, 0, tau) for tau in (0.0, 0.25, 1.0)] == pytest.approx([1, 0.75, 0])
    assert posterior_above(3, 3, 0.6) == pytest.approx(1 - 0.6**4)


def test_scores_shifted_by_a_constant_predict_the_same_letter() -> None:
    assert predicted([0.1, 0.4, 0.4, 0.2]) == predicted([7.1, 7.4, 7.4, 7.2]) == "B"
    assert graded(["A", None], ["A", "B"]) == Outcome(n=1, right=1, predicted=("A", None))


def instance(number: int, part: Part) -> Instance:
    said = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": f"I{number}?"})
    return Instance(
        id=str(number), messages=said, response=f"R{number}", part=part, knowledge=f"K {{{number}}}"
    )


PARTS: tuple[Part, ...] = ("no_need", "consistent", "inconsistent", "unexamined", "unparsed")
INSTANCES = [instance(number, PARTS[number % 5]) for number in range(10)]


def test_strategies_differ_in_inconsistent_rows_only() -> None:
    made = {name: training_rows(INSTANCES, each) for name, each in STRATEGIES.items()}
    assert len(made["open_book"]) == len(made["refusal"]) == len(made["standard"]) == 6
    kept = [row for row in made["refusal"] if row["class"] != "need_and_have_no_fact"]
    assert made["discard"] == kept
    for book, refusal, plain in zip(
        made["open_book"], made["refusal"], made["standard"], strict=True
    ):
        if plain["class"] != "need_and_have_no_fact":
            assert book == refusal == plain
            continue
        number = plain["id"]
        assert refusal == {**plain, "response": REFUSAL}
        assert book["response"] == plain["response"]
        assert book["messages"][0] == plain["messages"][0]
        assert book["messages"][1]["content"] == f"K {{{number}}}\nI{number}?"
    assert len(training_rows(INSTANCES, STRATEGIES["standard"], "all")) == len(INSTANCES)


def row(id: str, need: bool | None, n: int = 0, right: int = 0) -> dict[str, Any]:
    value = None if need is None else {"need": need, "analysis": "", "queries": ""}
    failure = "the reply is empty" if need is None else None
    asked = {"value": None, "failure": "nothing was asked", "attempts": 0}
    return {
        "id": id,
        "requirement": {"value": value, "failure": failure, "attempts": 1},
        "knowledge": asked,
        "exam": asked,
        "outcome": Outcome(n=n, right=right).model_dump(mode="json"),
    }


def test_the_five_parts_add_up_at_every_threshold() -> None:
    rows = [
        row("a", None), row("b", False), row("c", True), row("d", True, 3, 2), row("e", True, 1, 0)
    ]  # fmt: skip
    assert [part_of(each) for each in rows] == [
        "unparsed", "no_need", "unexamined", "consistent", "inconsistent"
    ]  # fmt: skip
    found = report(rows)
    assert all(sum(parts.values()) == len(rows) for parts in found["parts"].values())
    decided = {p["consistent"] + p["inconsistent"] for p in found["parts"].values()}
    assert decided == {2}
    assert [p["consistent"] for p in found["parts"].values()] == [1, 1, 0]
    assert found["by_questions"]["3"]["chance"] == 0.15625
    assert found["failures"]["requirement"] == {"the reply is empty": 1}


def short(instance: Instance) -> dict[str, Any] | None:
    return {"id": instance.id} if instance.part == "inconsistent" else None


def test_a_strategy_may_be_any_function() -> None:
    strategy = strategy_of("tests.methods.test_kca_decisions:short")
    assert [each["id"] for each in training_rows(INSTANCES, strategy)] == ["2", "7"]
    with pytest.raises(UnknownName, match="discard"):
        strategy_of("discrad")
