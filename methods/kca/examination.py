"""The exam of a base model: prompts of its questions, and outcomes from their scores.

    letters   a question with its four labelled options; the score of an option is the
              log-probability of its letter behind "Answer:" (the paper's form)
    texts     the question alone; the score is that of the option's text, per token

Position bias of letters is averaged out over cyclic shifts of the options, if more than one is
asked for; `letter_prior` reports it. No chat template is used, as the model is a base model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from math import exp
from typing import Any, Literal

from pydantic import Field

from harness.core.records import Record
from harness.engine.operations import Row
from methods.kca.decisions import LETTERS, Outcome, graded, predicted
from methods.kca.options import shifted

HEADER = "The following are multiple choice questions about factual knowledge, with answers.\n\n"
Form = Literal["letters", "texts"]
Layout = Literal["paper", "value_first"]


class Demonstration(Record):
    """A solved question of the prompt."""

    question: str
    options: tuple[str, str, str, str]
    answer: Literal["A", "B", "C", "D"]


# Ours; the right letters are those of the released demonstrations.
DEMONSTRATIONS = tuple(
    Demonstration.model_validate({"question": question, "options": options, "answer": answer})
    for question, options, answer in (
        (
            "Which planet is closest to the sun?",
            ("Venus", "Mars", "Earth", "Mercury"),
            "D",
        ),
        (
            "Which gas do green plants take in for photosynthesis?",
            ("Carbon dioxide", "Helium", "Neon", "Hydrogen"),
            "A",
        ),
        (
            "Who wrote the play Hamlet?",
            ("Christopher Marlowe", "William Shakespeare", "John Milton", "Ben Jonson"),
            "B",
        ),
        (
            "What is the capital of Canada?",
            ("Toronto", "Ottawa", "Montreal", "Vancouver"),
            "B",
        ),
        (
            "How many bones does an adult human have?",
            ("206", "150", "312", "98"),
            "A",
        ),
    )
)


class ExamSettings(Record):
    """How a base model is examined.

    Attributes:
        shots: number of demonstrations, the first ones; those that do not fit into the model's
            context are dropped from the last.
        layout: "paper" has lines "A. option" and ends in "Answer:". "value_first" has a line of
            "option A" before the question and ends with it, for tiny models, which recall a fact
            where they read the question mark and find a letter behind its option only.
        shifts: cyclic shifts of the options over which a letter's probability is averaged.
        demonstrations: () takes five general ones.
        batch_size: prompts per batch.
    """

    form: Form = "letters"
    layout: Layout = "paper"
    shots: int = Field(default=5, ge=0)
    shifts: int = Field(default=1, ge=1, le=4)
    demonstrations: tuple[Demonstration, ...] = ()
    batch_size: int = Field(default=256, ge=1)

    def prompt_settings(self) -> dict[str, Any]:
        """Settings of the prompt builder."""
        given = [one.model_dump(mode="json") for one in self.demonstrations]
        return {
            "form": self.form,
            "layout": self.layout,
            "shots": self.shots,
            "demonstrations": given,
        }


def question_prompt(
    row: Row,
    *,
    form: Form = "letters",
    layout: Layout = "paper",
    shots: int = 5,
    demonstrations: Sequence[dict[str, Any]] = (),
) -> list[dict[str, str]]:
    """Passages of a question: header, demonstrations, question; for `score_texts` as plain text."""
    chosen = [Demonstration.model_validate(one) for one in demonstrations] or DEMONSTRATIONS
    solved = [
        asked(one.question, one.options, form, layout)
        + continuations(one.options, form)[LETTERS.index(one.answer)]
        + "\n\n"
        for one in chosen[:shots]
    ]
    passages = [*solved, asked(row["question"], row["options"], form, layout)]
    said = [{"role": "user", "content": text} for text in passages]
    return [{"role": "system", "content": HEADER}, *said]


def asked(question: str, options: Sequence[str], form: Form, layout: Layout) -> str:
    """Text of a question up to its answer."""
    if form == "texts":
        return question if layout == "value_first" else f"{question}\nAnswer:"
    if layout == "value_first":
        line = "".join(f" {option} {letter}" for letter, option in zip(LETTERS, options))
        return f"Options:{line}\n{question}"
    lines = [f"\n{letter}. {option}" for letter, option in zip(LETTERS, options)]
    return question + "".join(lines) + "\nAnswer:"


def continuations(options: Sequence[str], form: Form) -> list[str]:
    """The texts that are scored as answers, one per option."""
    return [f" {said}" for said in (options if form == "texts" else LETTERS)]


def question_rows(
    instances: Iterable[Row], form: Form, shifts: int, max_questions: int = 3
) -> list[Row]:
    """One row per question and shift of its options, of the instances that have an exam.

    Args:
        max_questions: first questions of an exam that count; the released parser keeps more, which
            the released decisions give to other instances (see `decisions_released`).
    """
    found = []
    for row in instances:
        exam = row["exam"]["value"]
        for number, test in enumerate(exam["tests"][:max_questions] if exam else ()):
            for by in range(shifts if form == "letters" else 1):
                options, answer = shifted(test["options"], test["answer"], by)
                found.append(
                    {
                        "id": f"{row['id']}/q{number}/s{by}",
                        "instance": row["id"],
                        "number": number,
                        "shift": by,
                        "question": test["question"],
                        "options": options,
                        "answer": answer,
                        "texts": continuations(options, form),
                    }
                )
    return found


def option_scores(rows: Sequence[Row], form: Form) -> list[float] | None:
    """Score of each option in the order of the unshifted question; None if one is missing.

    Letters: the mean over shifts of the letter's share among the four. Texts: log-probability per
    token.
    """
    total = [0.0] * len(LETTERS)
    for row in rows:
        scores = row["scores"]
        if any(score["logp"] is None for score in scores):
            return None
        if form == "texts":
            return [score["logp"] / score["tokens"] for score in scores]
        shares = letter_shares(row)
        for place, share in enumerate(shares):
            total[(place - row["shift"]) % len(LETTERS)] += share / len(rows)
    return total


def letter_shares(row: Row) -> list[float]:
    """Probabilities of the four letters, normalised among them."""
    logps = [score["logp"] for score in row["scores"]]
    largest = max(logps)
    weights = [exp(logp - largest) for logp in logps]
    return [weight / sum(weights) for weight in weights]


def outcomes(scored: Sequence[Row], form: Form) -> dict[str, Outcome]:
    """Instance -> outcome of its exam, from the rows of `question_rows` with their scores."""
    found = {}
    for instance, rows in groupby(scored, key=lambda row: str(row["instance"])):
        letters: list[str | None] = []
        gold = []
        for _, same in groupby(rows, key=lambda row: int(row["number"])):
            shifts = list(same)
            scores = option_scores(shifts, form)
            letters.append(None if scores is None else predicted(scores))
            gold.append(shifts[0]["answer"])
        found[instance] = graded(letters, gold)
    return found


def letter_prior(scored: Iterable[Row]) -> dict[str, float] | None:
    """Mean probability of each letter over all questions and shifts; None without any.

    With four shifts every option stands at every letter, so that this is the model's position bias.
    """
    rows = [row for row in scored if all(score["logp"] is not None for score in row["scores"])]
    if not rows:
        return None
    sums = [sum(column) for column in zip(*(letter_shares(row) for row in rows))]
    return {letter: total / len(rows) for letter, total in zip(LETTERS, sums)}
