"""Claims of papers as comparisons of two systems, and their verdicts on our cells.

A claim reads "`better` beats `worse` on `metric` of `suite`". Its verdict follows from the paired
difference of the two scores (same prompts, and seeds), taken in the claim's direction:

    holds         the interval lies above the margin
    contradicted  the interval lies below the margin
    not shown     the interval contains the margin, or the bounds of failed judgments do
    not tested    scores are missing, or differ in prompts or judge

The margin is 0 unless the claim sets one: a positive margin requires a difference of at least that
size, a negative one states "not worse by more than".

One seed does not show how much a training varies: such verdicts are about these checkpoints and say
nothing of the method beyond them (`ClaimResult.scope`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from harness.core.errors import ClaimContradicted
from harness.core.records import Interval, Record
from leaderboards.scores import Score, ScoreKey, difference, mismatch, scope_of

ClaimOutcome = Literal["holds", "not shown", "contradicted", "not tested"]
OUTCOMES: tuple[ClaimOutcome, ...] = ("holds", "not shown", "contradicted", "not tested")


class Claim(Record):
    """One comparison made by a paper.

    Attributes:
        id: unique on the board.
        better, worse: names of systems.
        paper_better, paper_worse: the paper's values, in the metric's unit; None if not given.
        paper_gain: the paper's difference, if it gives no values.
        margin: see the module docstring.
        source: table or section of the paper.
        text: displayed statement; default: made from the names.
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
    """A claim with its verdict.

    Attributes:
        ours_better, ours_worse: our values, in the metric's unit.
        difference: ours_better - ours_worse, with its paired interval.
        detectable: minimum detectable effect of the difference, see `harness.stats.power`.
        seeds: number of seeds behind both scores.
        scope: what the verdict is about, see `scope_of`.
        reason: why the claim was not tested, or what its verdict does not show.
    """

    claim: Claim
    verdict: ClaimOutcome
    ours_better: float | None = None
    ours_worse: float | None = None
    difference: float | None = None
    interval: Interval | None = None
    detectable: float | None = None
    higher_is_better: bool = True
    unit: str = ""
    seeds: int = 0
    scope: str = ""
    reason: str = ""

    @property
    def label(self) -> str:
        """The verdict with its scope, e.g. "holds (these checkpoints)"."""
        return f"{self.verdict} ({self.scope})" if self.scope else self.verdict


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
        detectable=delta.detectable,
        higher_is_better=better.higher_is_better,
        unit=better.unit,
        seeds=min(better.n_seeds, worse.n_seeds),
        reason=mismatch(better, worse) or delta.reason,
    )
    if result.reason or delta.interval is None:
        return result.model_copy(update={"interval": None, "detectable": None})
    margin = claim.margin if better.higher_is_better else -claim.margin
    verdict = outcome_of(delta.interval, claim.margin, better.higher_is_better)
    if delta.side(margin) == 0:  # the bounds of failed judgments contain the margin
        verdict = "not shown"
    more = {"verdict": verdict, "scope": scope_of(result.seeds), "reason": delta.remark(margin)}
    return result.model_copy(update=more)


def outcome_of(
    interval: Interval, margin: float = 0.0, higher_is_better: bool = True
) -> ClaimOutcome:
    """The verdict that follows from an interval of (better - worse).

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


def summary(results: Iterable[ClaimResult]) -> str:
    """The number of claims per verdict, e.g. "2 hold, 1 not shown".

    >>> summary([])
    'no claims'
    """
    results = list(results)
    counts = Counter(result.verdict for result in results)
    names = {"holds": ("holds", "hold")}
    parts = []
    for verdict in OUTCOMES:
        if count := counts[verdict]:
            one, many = names.get(verdict, (verdict, verdict))
            parts.append(f"{count} {one if count == 1 else many}")
    scopes = {result.scope for result in results if result.verdict != "not tested"}
    scope = f" ({scopes.pop()})" if len(scopes) == 1 and "" not in scopes else ""
    return (", ".join(parts) or "no claims") + scope


def require(results: Iterable[ClaimResult]) -> None:
    """Raise an error if any claim is contradicted (`--strict`).

    Raises:
        ClaimContradicted: names the claims and their intervals.
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
