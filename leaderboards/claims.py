"""Claims of papers as comparisons of systems, and their verdicts on our cells.

A claim reads "`better` beats `worse` on `metric` of `suite`" (`Claim`), or "`metric` improves with
the dose", of systems that differ in the amount of a cause (`DoseClaim`). The verdict follows from
the paired difference of the two scores (same prompts, and seeds), or from the slope of the
least-squares line through the scores over the doses, with the same pairing, taken in the claim's
direction:

    holds         the interval lies above the margin
    contradicted  the interval lies below the margin
    not shown     the interval contains the margin, or the bounds of failed judgments do
    not tested    scores are missing, or differ in prompts or judge

The margin is 0 unless the claim sets one: a positive margin requires a difference (or slope) of at
least that size, a negative one states "not worse by more than".

One seed does not show how much a training varies: such verdicts are about these checkpoints and say
nothing of the method beyond them (`ClaimResult.scope`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from harness.core.errors import BadRecord, ClaimContradicted, nearest
from harness.core.records import Interval, Record, parse
from harness.engine.recipe import Recipe
from harness.stats.slopes import slope_weights
from leaderboards.scores import Score, ScoreKey, contrast, mismatch_of, scope_of

ClaimOutcome = Literal["holds", "not shown", "contradicted", "not tested"]
OUTCOMES: tuple[ClaimOutcome, ...] = ("holds", "not shown", "contradicted", "not tested")


class Statement(Record, ABC):
    """What every claim has.

    Attributes:
        id: unique on the board.
        margin: see the module docstring.
        source: table or section of the paper.
        text: displayed statement; default: made from the names.
        cause_in_control: the profile `nano-control` does not take the claim's cause away, so that
            it may hold there.
    """

    id: str
    suite: str
    metric: str
    margin: float = 0.0
    source: str = ""
    text: str = ""
    cause_in_control: bool = Field(default=False, exclude_if=lambda kept: not kept)

    @property
    def statement(self) -> str:
        """The claim as a sentence, with the names of the record."""
        return self.text or self.said({}, f"{self.suite} {self.metric}")

    @abstractmethod
    def said(self, labels: Mapping[str, str], metric: str) -> str:
        """The claim as a sentence, with labels of systems by name, and a title of the metric."""


class Claim(Statement):
    """One comparison made by a paper.

    Attributes:
        better, worse: names of systems.
        paper_better, paper_worse: the paper's values, in the metric's unit; None if not given.
        paper_gain: the paper's difference, if it gives no values.
    """

    kind: Literal["difference"] = Field(default="difference", exclude_if=lambda kind: True)
    better: str
    worse: str
    paper_better: float | None = None
    paper_worse: float | None = None
    paper_gain: float | None = None

    @property
    def systems(self) -> tuple[str, ...]:
        return (self.better, self.worse)

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the scores of `systems` in the value that is judged."""
        return (1.0, -1.0)

    @property
    def paper_difference(self) -> float | None:
        """The paper's value for `better` minus its value for `worse`, in the metric's unit."""
        if self.paper_better is None or self.paper_worse is None:
            return self.paper_gain
        return round(self.paper_better - self.paper_worse, 9)

    @property
    def paper_effect(self) -> float | None:
        """The paper's figure for the value that is judged."""
        return self.paper_difference

    def said(self, labels: Mapping[str, str], metric: str) -> str:
        better, worse = (labels.get(name, name) for name in self.systems)
        return f"{better} beats {worse} on {metric}"


class DoseClaim(Statement):
    """A dose-response: the metric improves with the amount of a cause.

    Judged is the slope of the least-squares line through the scores over the doses, per unit of the
    dose; where lower scores are better, an improvement is a negative slope. A curve has a slope,
    too: the claim says that scores rise on the whole, not that they lie on a line.

    Attributes:
        doses: dose of each system, by name; at least two distinct ones.
        log_dose: take the line over log2 of the doses; the slope is per doubling.
        cause: what the dose is, for example "alpha_end"; default: "the dose".
        paper_slope: the paper's slope, per unit (or doubling) of the dose.
    """

    kind: Literal["slope"]
    doses: dict[str, float]
    log_dose: bool = False
    cause: str = ""
    paper_slope: float | None = None

    @model_validator(mode="after")
    def _doses_have_a_slope(self) -> DoseClaim:
        low = [f"{n} = {d:g}" for n, d in self.doses.items() if d <= 0]
        if self.log_dose and low:
            raise ValueError(f"doses above 0 where log_dose = true (found {', '.join(low)})")
        if len(set(self.doses.values())) < 2:
            found = ", ".join(f"{n} = {d:g}" for n, d in self.doses.items()) or "none"
            raise ValueError(f"doses of which at least two are distinct (found {found})")
        return self

    @property
    def pairs(self) -> tuple[tuple[str, float], ...]:
        """(system, dose), by dose and name."""
        return tuple(sorted(self.doses.items(), key=lambda pair: (pair[1], pair[0])))

    @property
    def systems(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.pairs)

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the scores of `systems` in the slope."""
        doses = [math.log2(dose) if self.log_dose else dose for _, dose in self.pairs]
        return tuple(slope_weights(doses).tolist())

    @property
    def paper_effect(self) -> float | None:
        """The paper's figure for the value that is judged."""
        return self.paper_slope

    @property
    def rate(self) -> str:
        """What the slope is per, e.g. "per unit of alpha_end"."""
        return f"per {'doubling' if self.log_dose else 'unit'} of {self.cause or 'the dose'}"

    def said(self, labels: Mapping[str, str], metric: str) -> str:
        return f"{metric} improves with {self.cause or 'the dose'}"


def _kind_of(data: Any) -> str:
    if isinstance(data, Claim | DoseClaim):
        return data.kind
    if not isinstance(data, Mapping):
        return ""
    return str(data.get("kind", "slope" if "doses" in data else "difference"))


KINDS: Mapping[str, type[Claim | DoseClaim]] = {"difference": Claim, "slope": DoseClaim}
AnyClaim = Annotated[
    Annotated[Claim, Tag("difference")] | Annotated[DoseClaim, Tag("slope")],
    Discriminator(
        _kind_of,
        custom_error_type="kind_of_claim",
        custom_error_message='a claim, of kind "difference" (the default) or "slope"',
    ),
]


def parse_claim(data: Mapping[str, Any], where: str) -> Claim | DoseClaim:
    """A claim of a recipe, by its `kind`.

    Raises:
        BadRecord: the kind is unknown, or as `harness.core.records.parse`.
    """
    kind = KINDS.get(_kind_of(data))
    if kind is None:
        raise BadRecord(
            f'{where}: key "kind" is {data.get("kind")!r}; expected "difference" (the default: '
            'better, worse) or "slope" (doses)'
        )
    return parse(kind, data, where)


def claims_of(recipe: Recipe, file: Iterable[str] = ()) -> tuple[Claim | DoseClaim, ...]:
    """The claims of a recipe.

    Args:
        file: names of further systems in its file: a run of fewer systems does not test all claims.

    Raises:
        BadRecord: a claim is not one, or names a system that recipe and file do not have.
    """
    names = {*file, *(system.name for system in recipe.systems)}
    where = f"{recipe.method} recipe, claim"
    claims = tuple(parse_claim(data, where) for data in recipe.claims)
    for claim in claims:
        for name in claim.systems:
            if name not in names:
                guess = nearest(name, names)
                hint = f'did you mean "{guess}"?' if guess else f"it has {', '.join(sorted(names))}"
                raise BadRecord(
                    f'{where} "{claim.id}": no system of the recipe is called "{name}"; {hint}'
                )
    return claims


class DosePoint(Record):
    """One system of a dose-response, with its score."""

    system: str
    dose: float
    value: float | None = None
    interval: Interval | None = None


class ClaimResult(Record):
    """A claim with its verdict.

    Attributes:
        ours_better, ours_worse: our values, in the metric's unit.
        difference: ours_better - ours_worse.
        points: doses and scores of a dose-response, by dose.
        slope: of the line through the points, per unit (or doubling) of the dose.
        interval: paired, of the difference or slope.
        detectable: minimum detectable effect of either, see `harness.stats.power`.
        unit: of the metric.
        seeds: number of seeds behind all scores.
        scope: what the verdict is about, see `scope_of`.
        reason: why the claim was not tested, or what its verdict does not show.
    """

    claim: AnyClaim
    verdict: ClaimOutcome
    ours_better: float | None = None
    ours_worse: float | None = None
    difference: float | None = None
    points: tuple[DosePoint, ...] = Field(default=(), exclude_if=lambda points: not points)
    slope: float | None = Field(default=None, exclude_if=lambda slope: slope is None)
    interval: Interval | None = None
    detectable: float | None = None
    higher_is_better: bool = True
    unit: str = ""
    seeds: int = 0
    scope: str = ""
    reason: str = ""

    @property
    def effect(self) -> float | None:
        """The value that is judged: the difference or the slope."""
        return self.difference if self.claim.kind == "difference" else self.slope

    @property
    def label(self) -> str:
        """The verdict with its scope, e.g. "holds (these checkpoints)"."""
        return f"{self.verdict} ({self.scope})" if self.scope else self.verdict


def judge_claim(
    claim: Claim | DoseClaim, scores: Mapping[ScoreKey, Score], level: float = 0.95
) -> ClaimResult:
    """Test one claim against combined scores."""
    known = [scores.get((name, claim.suite, claim.metric)) for name in claim.systems]
    found = [score for score in known if score is not None]
    result = ClaimResult(claim=claim, verdict="not tested", points=_points(claim, known))
    if len(found) < len(known):
        absent = " and ".join(n for n, s in zip(claim.systems, known, strict=True) if s is None)
        reason = f"no {claim.suite} {claim.metric} of {absent}"
        return result.model_copy(update={"reason": reason})
    delta = contrast(found, claim.weights, level)
    higher_is_better = found[0].higher_is_better
    result = result.model_copy(
        update={
            **_effect(claim, found, delta.value),
            "interval": delta.interval,
            "detectable": delta.detectable,
            "higher_is_better": higher_is_better,
            "unit": found[0].unit,
            "seeds": min(score.n_seeds for score in found),
            "reason": mismatch_of(found) or delta.reason,
        }
    )
    if result.reason or delta.interval is None:
        return result.model_copy(update={"interval": None, "detectable": None})
    margin = claim.margin if higher_is_better else -claim.margin
    verdict = outcome_of(delta.interval, claim.margin, higher_is_better)
    if delta.side(margin) == 0:  # the bounds of failed judgments contain the margin
        verdict = "not shown"
    remark = delta.remark(margin, claim.kind)
    more = {"verdict": verdict, "scope": scope_of(result.seeds), "reason": remark}
    return result.model_copy(update=more)


def _points(claim: Claim | DoseClaim, known: Sequence[Score | None]) -> tuple[DosePoint, ...]:
    """The doses of a dose-response with the scores that there are."""
    points = []
    pairs = claim.pairs if claim.kind == "slope" else ()
    for (name, dose), score in zip(pairs, known):
        own = {} if score is None else {"value": score.value, "interval": score.interval}
        points.append(DosePoint.model_validate({"system": name, "dose": dose, **own}))
    return tuple(points)


def _effect(
    claim: Claim | DoseClaim, found: Sequence[Score], value: float | None
) -> dict[str, float | None]:
    """The value that is judged, as fields of a result."""
    if claim.kind == "slope":
        return {"slope": value}
    better, worse = (score.value for score in found)
    return {"ours_better": better, "ours_worse": worse, "difference": value}


def outcome_of(
    interval: Interval, margin: float = 0.0, higher_is_better: bool = True
) -> ClaimOutcome:
    """The verdict that follows from an interval of (better - worse), or of a slope.

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
        ends = (result.interval.low, result.interval.high)
        low, high = (f"{end:+.{'2f' if abs(end) >= 0.1 else '2g'}}" for end in ends)
        parts.append(f"{result.claim.id} ({result.claim.kind} {low} to {high})")
    noun = "claim" if len(failed) == 1 else "claims"
    raise ClaimContradicted(f"{len(failed)} {noun} contradicted: {'; '.join(parts)}")
