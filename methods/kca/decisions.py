"""Whether a base model knows what an instance needs, from its exam.

An instance with n valid questions, of which the model answers r correctly, is consistent iff

    r / n > tau                                       (strict; the paper's tau is 0.6)

so that a random guesser is consistent with probability 0.16 for n = 3, 0.06 for n = 2 and 0.25 for
n = 1. `posterior` is the other rule: P(accuracy > tau) > 1/2 under a Beta(1, 1) prior.

    D = no_need + consistent + inconsistent + unexamined + unparsed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import Literal

from pydantic import Field

from harness.core.records import Record

Part = Literal["no_need", "consistent", "inconsistent", "unexamined", "unparsed"]
PARTS: tuple[Part, ...] = ("no_need", "consistent", "inconsistent", "unexamined", "unparsed")
LETTERS = "ABCD"


class Decision(Record):
    """See `decide`."""

    tau: float = 0.6
    min_questions: int = Field(default=1, ge=1)
    rule: Literal["accuracy", "posterior"] = "accuracy"


class Outcome(Record):
    """Result of a base model's exam on one instance.

    Attributes:
        n, right: number of questions with a score, and of those answered correctly.
        predicted: letter of each question in order; None where scoring failed.
    """

    n: int
    right: int
    predicted: tuple[str | None, ...] = ()

    @property
    def accuracy(self) -> float | None:
        return self.right / self.n if self.n else None


def predicted(scores: Sequence[float]) -> str:
    """The letter with the highest score; of equal ones the first.

    >>> predicted([-1.0, -0.5, -0.5, -2.0])
    'B'
    """
    return LETTERS[max(range(len(scores)), key=lambda place: (scores[place], -place))]


def graded(letters: Sequence[str | None], gold: Sequence[str]) -> Outcome:
    """The outcome of predicted letters; a question without a prediction does not count."""
    pairs = [(said, right) for said, right in zip(letters, gold, strict=True) if said is not None]
    right = sum(said == wanted for said, wanted in pairs)
    return Outcome(n=len(pairs), right=right, predicted=tuple(letters))


def decide(
    outcome: Outcome,
    tau: float = 0.6,
    min_questions: int = 1,
    rule: Literal["accuracy", "posterior"] = "accuracy",
) -> Literal["consistent", "inconsistent", "unexamined"]:
    """The decision at a threshold; fewer than `min_questions` questions decide nothing.

    >>> decide(Outcome(n=3, right=2)), decide(Outcome(n=2, right=1)), decide(Outcome(n=0, right=0))
    ('consistent', 'inconsistent', 'unexamined')
    """
    if outcome.accuracy is None or outcome.n < min_questions:
        return "unexamined"
    if rule == "posterior":
        known = posterior_above(outcome.right, outcome.n, tau) > 0.5
    else:
        known = outcome.accuracy > tau
    return "consistent" if known else "inconsistent"


def posterior_above(right: int, n: int, tau: float) -> float:
    """P(accuracy > tau) after `right` of `n` correct answers, with a uniform prior.

    The survival function of Beta(right + 1, n - right + 1), a binomial sum.

    >>> round(posterior_above(2, 3, 0.6), 4)
    0.5248
    """
    tau = min(1.0, max(0.0, tau))
    return sum(comb(n + 1, k) * tau**k * (1 - tau) ** (n + 1 - k) for k in range(right + 1))


def by_instance(correct: Mapping[str, bool]) -> dict[str, Outcome]:
    """Outcomes of released rows "idx_sft<line>_test<number>", grouped by their whole suffix.

    >>> by_instance({"idx_sft1_test10": True, "idx_sft10_test0": False})["idx_sft1"].right
    1
    """
    found: dict[str, list[bool]] = {}
    for idx, right in correct.items():
        found.setdefault(idx.rpartition("_test")[0], []).append(right)
    return {name: Outcome(n=len(each), right=sum(each)) for name, each in found.items()}
