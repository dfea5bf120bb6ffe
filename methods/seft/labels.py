"""How much revision an answer needs: labels of training pairs, decisions and acceptance.

    no_revise < minor_revise < major_revise      from the least to the most invasive

Pure functions on numbers; `methods.seft.pairs` and `methods.seft.revising` apply them to rows.
The rules are definitions of this reconstruction, see README.md. Ties are always decided for the
less invasive label, and NaN is an error, never a label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from harness.core.errors import BadData
from harness.core.records import Record

Label = Literal["no_revise", "minor_revise", "major_revise"]
LABELS: tuple[Label, ...] = ("no_revise", "minor_revise", "major_revise")
NO, MINOR, MAJOR = LABELS


def label_by_score_gap(
    source: float,
    target: float,
    *,
    t_no: float,
    t_major: float,
    ceiling: float | None = None,
) -> Label:
    """The label of a pair from d = target - source.

    no_revise if d <= t_no or source >= ceiling, else minor_revise if d <= t_major.

    Args:
        source, target: scores of the two answers.
        ceiling: score from which an answer counts as good enough; None for none.

    Raises:
        BadData: a score is not finite, or not 0 <= t_no < t_major.
    """
    check_finite("source_score", source)
    check_finite("target_score", target)
    if not 0 <= t_no < t_major:
        raise BadData(f"t_no is {t_no} and t_major {t_major}; expected 0 <= t_no < t_major")
    gap = target - source
    if gap <= t_no or (ceiling is not None and source >= ceiling):
        return NO
    return MINOR if gap <= t_major else MAJOR


def label_by_rank_gap(source: int, target: int, *, max_minor: int) -> Label:
    """The label of a pair from the difference of ranks, 1 being the best.

    Raises:
        BadData: a rank below 1, or a target ranked below its source.
    """
    if min(source, target) < 1 or target > source:
        raise BadData(
            f"the source has rank {source} and its target {target}; expected ranks from 1, and a "
            "target that is ranked as high as its source or higher"
        )
    gap = source - target
    if gap == 0:
        return NO
    return MINOR if gap <= max_minor else MAJOR


def pointwise_information(
    given_prompt: Sequence[float], given_prompt_and_source: Sequence[float]
) -> float:
    """Mean over target tokens of log p(y_t | x, source) - log p(y_t | x), in nats per token.

    Raises:
        BadData: no tokens, different numbers of them, or a value that is not finite.
    """
    if not given_prompt or len(given_prompt) != len(given_prompt_and_source):
        raise BadData(
            f"{len(given_prompt)} log-probabilities without the source and "
            f"{len(given_prompt_and_source)} with it; expected one of each per target token"
        )
    with_source, without = math.fsum(given_prompt_and_source), math.fsum(given_prompt)
    check_finite("the log-probability of a target", with_source - without)
    return (with_source - without) / len(given_prompt)


@dataclass(frozen=True)
class LikelihoodLabels:
    """Labels of a set of pairs with the terciles that separate them."""

    q1: float
    q2: float
    labels: tuple[Label, ...]


def label_by_likelihood(
    information: Sequence[float], gaps: Sequence[float] | None = None, *, t_no: float = 0.0
) -> LikelihoodLabels:
    """Labels from how much a source tells about its target, relative to the whole set.

    With the terciles q1, q2 (linear interpolation): up to q1 major_revise (the source does not
    help), up to q2 minor_revise, above it no_revise.

    Args:
        information: `pointwise_information` of each pair.
        gaps: target score - source score of each pair. A no_revise with a gap above `t_no` becomes
            minor_revise; None leaves all labels as they are.

    Raises:
        BadData: no pairs, or a value that is not finite.
    """
    if not information:
        raise BadData("there are no pairs to label by likelihood; expected at least one")
    for value in (*information, *(gaps or ())):
        check_finite("information or score gap of a pair", value)
    q1, q2 = (float(np.quantile(information, share)) for share in (1 / 3, 2 / 3))
    labels: list[Label] = []
    for number, value in enumerate(information):
        label = MAJOR if value <= q1 else MINOR if value <= q2 else NO
        if label == NO and gaps is not None and gaps[number] > t_no:
            label = MINOR
        labels.append(label)
    return LikelihoodLabels(q1, q2, tuple(labels))


def label_probabilities(logps: Sequence[float]) -> tuple[float, float, float]:
    """Probabilities of the three labels, renormalised over them alone.

    Args:
        logps: logits or log-probabilities of the labels in the order of `LABELS`.

    Raises:
        BadData: not three finite numbers.
    """
    if len(logps) != len(LABELS):
        raise BadData(f"{len(logps)} log-probabilities; expected one for each of {LABELS}")
    for value in logps:
        check_finite("the log-probability of a label", value)
    highest = max(logps)
    weights = [math.exp(value - highest) for value in logps]
    total = math.fsum(weights)
    no, minor, major = (weight / total for weight in weights)
    return no, minor, major


def decide(probabilities: Sequence[float], no_revise_threshold: float | None = None) -> Label:
    """The label to act on.

    Args:
        probabilities: of the labels in the order of `LABELS`.
        no_revise_threshold: copy an answer if and only if p(no_revise) is at least this; 0 copies
            every answer, a value above 1 none. None takes the most likely label.
    """
    no, minor, major = probabilities
    if no_revise_threshold is None:
        return LABELS[int(np.argmax(probabilities))]  # the first of equal ones
    if no >= no_revise_threshold:
        return NO
    return MINOR if minor >= major else MAJOR


class Gate(Record):
    """When a revision is accepted.

    Attributes:
        min_gain: least difference of the scores of revision and source; None needs no scores.
        max_length_ratio: greatest length of a revision, in lengths of its source; None for any.
        on_reject: train on the source in place of a rejected revision, or drop the row.
    """

    min_gain: float | None = None
    max_length_ratio: float | None = Field(default=None, gt=0)
    on_reject: Literal["source", "drop"] = "source"

    def accepts(
        self,
        source_score: float | None,
        revised_score: float | None,
        source_tokens: int,
        revised_tokens: int,
    ) -> bool:
        """Whether to train on the revision. Empty sources and revisions are never accepted.

        Raises:
            BadData: a score that the gate needs is missing or not finite.
        """
        if source_tokens == 0 or revised_tokens == 0:
            return False
        if self.min_gain is not None:
            if source_score is None or revised_score is None:
                raise BadData("the gate has min_gain, but there are no scores; set a scorer")
            check_finite("source_score", source_score)
            check_finite("revised_score", revised_score)
            if revised_score - source_score < self.min_gain:
                return False
        ratio = self.max_length_ratio
        return ratio is None or revised_tokens <= ratio * source_tokens


class ScoreThresholds(Record):
    """Thresholds of `label_by_score_gap` for one set of pairs."""

    t_no: float = Field(ge=0)
    t_major: float
    ceiling: float | None = None

    @model_validator(mode="after")
    def _in_order(self) -> ScoreThresholds:
        if self.t_no >= self.t_major:
            raise ValueError(f"t_no ({self.t_no}) below t_major ({self.t_major})")
        return self


def external_share(round: int, rounds: int) -> float:
    """Share of a round's prompts that the external reviser revises: k / (K - 1), 1 for K = 1.

    >>> [external_share(k, 3) for k in range(3)], external_share(0, 1)
    ([0.0, 0.5, 1.0], 1.0)
    """
    return 1.0 if rounds == 1 else round / (rounds - 1)


def check_finite(what: str, value: float) -> None:
    if not math.isfinite(value):
        raise BadData(f"{what} is {value}; expected a finite number")
