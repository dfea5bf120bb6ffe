"""A paper's statement as a comparison of two systems, and what our cells say about it.

A claim reads "`better` beats `worse` on `metric` of `suite`". Its verdict comes from the paired
difference of the two scores (same prompts, seeds nested), taken in the claim's direction:

    holds         the interval lies above the margin
    contradicted  the interval lies below the margin
    not shown     the interval contains the margin
    not tested    scores are missing, or were not made on the same prompts by the same judge

The margin is 0 unless the claim sets one: positive demands a difference of at least that size,
negative states "not worse by more than".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from harness.core.errors import ClaimContradicted
from harness.core.records import Cell, Interval, Record
from leaderboards.scores import Score, ScoreKey, combine_all, difference, mismatch

ClaimOutcome = Literal["holds", "not shown", "contradicted", "not tested"]
OUTCOMES: tuple[ClaimOutcome, ...] = ("holds", "not shown", "contradicted", "not tested")


class Claim(Record):
    """One comparison a paper makes, with its own figures (None where it gives none).

    A paper that gives the difference alone has it as `paper_gain`, in the metric's unit.
    """

    id: str
    better: str
    worse: str
    suite: str
    metric: str
    paper_better: float | None = None
    paper_worse: float | None = None
    paper_gain: float | None = None
    margin: float = 0.0
    source: str = ""
    text: str = ""

    @property
    def paper_difference(self) -> float | None:
        """The paper's value for `better` minus its value for `worse`, in the metric's unit."""
        if self.paper_better is None or self.paper_worse is None:
            return self.paper_gain
        return round(self.paper_better - self.paper_worse, 9)

    @property
    def statement(self) -> str:
        return self.text or f"{self.better} beats {self.worse} on {self.suite} {self.metric}"


class ClaimResult(Record):
    """A claim, its verdict here, and the difference it rests on (value of better - worse)."""

    claim: Claim
    verdict: ClaimOutcome
    ours_better: float | None = None
    ours_worse: float | None = None
    difference: float | None = None
    interval: Interval | None = None
    higher_is_better: bool = True
    unit: str = ""
    seeds: int = 0
    reason: str = ""

    @property
    def paper_agrees(self) -> bool | None:
        """Whether our difference has the paper's sign; None where either is missing or zero."""
        paper = self.claim.paper_difference
        if not paper or not self.difference:
            return None
        return (paper > 0) == (self.difference > 0)


def judge_claim(claim: Claim, scores: Mapping[ScoreKey, Score], level: float = 0.95) -> ClaimResult:
    """Test one claim against combined scores."""
    better = scores.get((claim.better, claim.suite, claim.metric))
    worse = scores.get((claim.worse, claim.suite, claim.metric))
    if better is None or worse is None:
        absent = [
            name for name, score in ((claim.better, better), (claim.worse, worse)) if score is None
        ]
        reason = f"no {claim.suite} {claim.metric} of {' and '.join(absent)}"
        return ClaimResult(claim=claim, verdict="not tested", reason=reason)
    delta = difference(better, worse, level)
    result = ClaimResult(
        claim=claim,
        verdict="not tested",
        ours_better=better.value,
        ours_worse=worse.value,
        difference=delta.value,
        interval=delta.interval,
        higher_is_better=better.higher_is_better,
        unit=better.unit,
        seeds=min(better.n_seeds, worse.n_seeds),
        reason=mismatch(better, worse) or delta.reason,
    )
    if result.reason or delta.interval is None:
        return result.model_copy(update={"interval": None})
    verdict = outcome_of(delta.interval, claim.margin, better.higher_is_better)
    return result.model_copy(update={"verdict": verdict})


def outcome_of(
    interval: Interval, margin: float = 0.0, higher_is_better: bool = True
) -> ClaimOutcome:
    """Read an interval of (better - worse).

    >>> outcome_of(Interval(low=0.5, high=2.0, kind="paired"))
    'holds'
    >>> outcome_of(Interval(low=0.5, high=2.0, kind="paired"), higher_is_better=False)
    'contradicted'
    >>> outcome_of(Interval(low=-0.5, high=2.0, kind="paired"), margin=-1.0)
    'holds'
    """
    low, high = interval.low, interval.high
    if not higher_is_better:
        low, high = -high, -low
    if low > margin:
        return "holds"
    return "contradicted" if high < margin else "not shown"


def judge_claims(
    claims: Iterable[Claim], cells: Iterable[Cell], level: float = 0.95
) -> tuple[ClaimResult, ...]:
    """Test claims against cells; the results keep the order of the claims."""
    scores = combine_all(cells, level)
    return tuple(judge_claim(claim, scores, level) for claim in claims)


def summary(results: Iterable[ClaimResult]) -> str:
    """How many claims got each verdict, e.g. "2 hold, 1 not shown".

    >>> summary([])
    'no claims'
    """
    counts = Counter(result.verdict for result in results)
    names = {"holds": ("holds", "hold")}
    parts = []
    for verdict in OUTCOMES:
        if count := counts[verdict]:
            one, many = names.get(verdict, (verdict, verdict))
            parts.append(f"{count} {one if count == 1 else many}")
    return ", ".join(parts) or "no claims"


def require(results: Iterable[ClaimResult]) -> None:
    """Raise if any claim is contradicted: what `--strict` asks for.

    Raises:
        ClaimContradicted: naming the claims and their intervals.
    """
    failed = [result for result in results if result.verdict == "contradicted"]
    if not failed:
        return
    parts = []
    for result in failed:
        assert result.interval is not None
        low, high = result.interval.low, result.interval.high
        parts.append(f"{result.claim.id} (difference {low:+.2f} to {high:+.2f})")
    noun = "claim" if len(failed) == 1 else "claims"
    raise ClaimContradicted(f"{len(failed)} {noun} contradicted: {'; '.join(parts)}")
