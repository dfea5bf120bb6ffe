"""Agreement of a judge with reference verdicts, and each judge's position and length bias.

Verdicts on two answers are compared as win, loss or tie for the model; five-step labels and ratings
also on their scale. Every interval resamples prompts; all figures of one comparison use the same
draws. Swapping the two sides swaps the figures of judge and reference and keeps the common ones.

    agreement                   share of equal verdicts; setup 1 of MT-Bench: a tie, or two games
                                that disagree, is a verdict of its own
    agreement_without_ties      the same where neither side has a tie (setup 2)
    first_shown                 share of games won by the answer shown first; a tie counts one half
    contradictions              share of prompts whose two games have different winners
    contradictions_to_first     share of contradictions in which the answer shown first wins twice
    prefers_longer              share of decided verdicts on answers of unequal length that prefer
                                the longer one (AlpacaEval's analyzer)
    length_slope                see `harness.stats.agreement.length_slopes`
    length_slope_excess         the judge's slope minus the reference's on the same answers: effect
                                of length beyond the reference's own preference for it
    precision, recall           of binary verdicts: of the judge's positives those of the
                                reference, and the reverse
    spearman, kendall           rank correlations of systems by mean verdict

Sources: Zheng et al. 2023 (arXiv 2306.05685), tables 2 and 5, for setups and position bias; Dubois
et al. 2024 (arXiv 2404.04475) for the length term.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.core.records import Interval
from harness.judging.joining import Joined, Pair, join
from harness.judging.verdict_sets import JudgedItem, VerdictSet
from harness.stats import agreement as stats
from harness.stats.agreement import Estimate, Floats
from harness.stats.bootstrap import resample_counts

JUDGE, REFERENCE, BOTH = "judge", "reference", "both"
FEWEST_SYSTEMS = 3  # the rank correlation of two systems is always 1 or -1
_ROUNDING = 1e-9  # numbers this close are equal


@dataclass(frozen=True)
class Figure:
    """One statistic, of both judges together or of one of them.

    Attributes:
        of: "both", "judge" or "reference".
        n: number of rows (games, systems) it is computed from.
        prompts: number of prompts of these rows.
    """

    name: str
    of: str
    estimate: Estimate
    n: int
    unit: str = ""
    prompts: int = 0

    @property
    def value(self) -> float | None:
        return self.estimate.value

    @property
    def interval(self) -> Interval | None:
        return self.estimate.interval


@dataclass(frozen=True)
class Agreement:
    """A judge compared with reference verdicts.

    Attributes:
        n_scored: number of pairs with a verdict on both sides; figures are computed from these.
        n_failed: number of pairs with a verdict of the reference only.
        n_reference_failed: number of pairs without a verdict of the reference.
    """

    judged: VerdictSet
    reference: VerdictSet
    joined: Joined
    n_scored: int
    n_failed: int
    n_reference_failed: int
    prompt_set: str
    figures: tuple[Figure, ...]

    @property
    def systems(self) -> tuple[str, ...]:
        return tuple(sorted({pair.system for pair in self.joined.pairs}))

    def figure(self, name: str, of: str = BOTH) -> Figure | None:
        return next((f for f in self.figures if (f.name, f.of) == (name, of)), None)


def compare(
    judged: VerdictSet,
    reference: VerdictSet,
    *,
    tie_margin: float = 0.0,
    rounds: int = 1000,
    level: float = 0.95,
) -> Agreement:
    """Compare the verdicts of two judges on the same answers.

    Args:
        tie_margin: a preference this close to 1/2 is a tie; 0 is AlpacaEval's rule for draws.
        rounds: number of prompt resamples per interval.

    Raises:
        BadData: one side has ratings and the other verdicts on pairs, or see `join`.
    """
    what = [_WHAT.get(side.kind, _PAIRS) for side in (judged, reference)]
    if what[0] != what[1]:
        # Ratings first, then binary verdicts: the message is the same for either order.
        sides = sorted(zip(what, (judged.source, reference.source), strict=True), key=_rank)
        (first, one), (second, two) = sides
        raise BadData(
            f"{one} contains {first}, {two} {second}; expected verdicts of the same kind on both "
            "sides"
        )
    joined = join(judged, reference)
    prompts = sorted({pair.unit for pair in joined.pairs})
    prompt_set = digest(prompts)
    scored = [p for p in joined.pairs if None not in (p.judged.value, p.reference.value)]
    no_reference = sum(pair.reference.value is None for pair in joined.pairs)
    figures: list[Figure] = []
    if scored:
        counts = stats.with_point(resample_counts(prompt_set, len(prompts), rounds))
        sample = _Sample(scored, prompts, counts, level, tie_margin)
        if what[0] == _RATINGS:
            figures += _of_ratings(sample)
        elif what[0] == _BINARY:
            figures += _of_binary(sample)
        else:
            figures += _of_pairs(sample)
            if judged.kind == reference.kind == "alpaca":
                figures.append(sample.correlation())
            if judged.kind == reference.kind == "arena":
                figures += _of_labels(sample)
            for side in (JUDGE, REFERENCE):
                figures += _of_positions(sample, side)
            figures += _of_lengths(sample)
        figures += _of_systems(sample)
    return Agreement(
        judged=judged,
        reference=reference,
        joined=joined,
        n_scored=len(scored),
        n_failed=len(joined.pairs) - no_reference - len(scored),
        n_reference_failed=no_reference,
        prompt_set=prompt_set,
        figures=tuple(figures),
    )


_RATINGS, _BINARY = "ratings of one answer", "verdicts yes or no on one answer"
_PAIRS = "verdicts on two answers"
_WHAT = {"rating": _RATINGS, "binary": _BINARY}


def _rank(side: tuple[str, str]) -> int:
    return (_RATINGS, _BINARY, _PAIRS).index(side[0])


class _Sample:
    """The pairs that both judges decided, as arrays, with the resamples of their prompts."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        prompts: Sequence[str],
        counts: Floats,
        level: float,
        tie_margin: float,
    ) -> None:
        places = {prompt: place for place, prompt in enumerate(prompts)}
        self.pairs, self.counts, self.level = pairs, counts, level
        self.units = np.array([places[pair.unit] for pair in pairs], dtype=np.int64)
        self.values = {
            side: np.array([_side(pair, side).value for pair in pairs], dtype=np.float64)
            for side in (JUDGE, REFERENCE)
        }
        margin = tie_margin + _ROUNDING
        self.outcomes = {
            side: np.where(np.abs(values - 0.5) <= margin, 0, np.sign(values - 0.5)).astype(int)
            for side, values in self.values.items()
        }

    def figure(
        self,
        name: str,
        of: str,
        found: Floats,
        n: int,
        *,
        units: NDArray[np.int64] | None = None,
        share: bool = False,
    ) -> Figure:
        """A figure with its interval.

        Args:
            units: prompt of each row of the figure; default: of all pairs.
            share: the figure is a share, shown in per cent.
        """
        drawn = int(np.unique(self.units if units is None else units).size)
        scale, span, unit = (100.0, (0.0, 100.0), "%") if share else (1.0, None, "")
        estimate = stats.estimate(scale * found, self.level, units=drawn, span=span)
        return Figure(name, of, estimate, n, unit, drawn)

    def kappa(
        self,
        name: str,
        a: NDArray[Any],
        b: NDArray[Any],
        *,
        units: NDArray[np.int64] | None = None,
        quadratic: bool = False,
    ) -> Figure:
        """Cohen's kappa; no value if both sides always give the same single label (0 / 0)."""
        at = self.units if units is None else units
        if len(np.unique(np.concatenate([a, b]))) == 1:
            return Figure(name, BOTH, Estimate(None), len(a))
        if quadratic:
            found = stats.quadratic_kappa(a, b, at, self.counts)
        else:
            found = stats.kappa(stats.tables(a, b, at, self.counts))
        return self.figure(name, BOTH, found, len(a), units=at)

    def share(
        self, name: str, of: str, values: ArrayLike, units: NDArray[np.int64] | None = None
    ) -> Figure:
        """Mean of 0s and 1s in per cent; NaN values are omitted."""
        array = np.asarray(values, dtype=np.float64)
        units = self.units if units is None else units
        valid = ~np.isnan(array)
        found = stats.means(array, units, self.counts)
        return self.figure(name, of, found, int(valid.sum()), units=units[valid], share=True)

    def correlation(self) -> Figure:
        a, b = self.values[JUDGE], self.values[REFERENCE]
        return self.figure("pearson", BOTH, stats.pearson(a, b, self.units, self.counts), len(a))


def _side(pair: Pair, side: str) -> JudgedItem:
    return pair.judged if side == JUDGE else pair.reference


def _of_pairs(sample: _Sample) -> Iterator[Figure]:
    """Win, loss or tie: share of equal verdicts, kappa, and both mean verdicts."""
    a, b = sample.outcomes[JUDGE], sample.outcomes[REFERENCE]
    equal, decided = (a == b).astype(float), (a != 0) & (b != 0)
    yield sample.share("agreement", BOTH, equal)
    yield sample.share("agreement_without_ties", BOTH, np.where(decided, equal, np.nan))
    yield sample.kappa("kappa", a, b)
    for side in (JUDGE, REFERENCE):
        yield sample.share("win_rate", side, sample.values[side])


def _of_labels(sample: _Sample) -> Iterator[Figure]:
    """Arena-Hard's five labels, game by game."""
    units, a, b = [], [], []
    for unit, pair in zip(sample.units, sample.pairs, strict=True):
        theirs = dict(pair.reference.shares)
        for shown, share in pair.judged.shares:
            if shown in theirs:
                units.append(unit)
                a.append(share)
                b.append(theirs[shown])
    if not a:
        return
    at, first, second = np.array(units), np.array(a), np.array(b)
    yield sample.share("label_agreement", BOTH, (first == second).astype(float), at)
    yield sample.kappa("label_kappa", first, second, units=at)
    yield sample.kappa("label_kappa_quadratic", first, second, units=at, quadratic=True)


def _of_ratings(sample: _Sample) -> Iterator[Figure]:
    a, b = sample.values[JUDGE], sample.values[REFERENCE]
    n, gap = len(a), np.abs(a - b)
    yield sample.share("agreement", BOTH, (gap < _ROUNDING).astype(float))
    yield sample.share("agreement_within_1", BOTH, (gap < 1 + _ROUNDING).astype(float))
    yield sample.kappa("kappa", a, b)
    yield sample.kappa("kappa_quadratic", a, b, quadratic=True)
    yield sample.correlation()
    for side in (JUDGE, REFERENCE):
        found = stats.means(sample.values[side], sample.units, sample.counts)
        yield replace(sample.figure("mean_rating", side, found, n), unit="points")


def _of_binary(sample: _Sample) -> Iterator[Figure]:
    """Precision and recall of the judge, if the reference is right; exchanging both swaps them."""
    a, b = (sample.values[side] for side in (JUDGE, REFERENCE))
    yield sample.share("agreement", BOTH, (a == b).astype(float))
    yield sample.kappa("kappa", a, b)
    yield sample.share("precision", BOTH, np.where(a == 1, b, np.nan))
    yield sample.share("recall", BOTH, np.where(b == 1, a, np.nan))
    for side in (JUDGE, REFERENCE):
        yield sample.share("positives", side, sample.values[side])


def _of_positions(sample: _Sample, side: str) -> Iterator[Figure]:
    """Position bias: effect of the order in which the answers are shown."""
    units, firsts = [], []
    torn, to_first = [], []
    for unit, pair in zip(sample.units, sample.pairs, strict=True):
        shares = _side(pair, side).shares
        won = [_first_won(first, share) for first, share in shares]
        units += [unit] * len(won)
        firsts += won
        both = len({first for first, _ in shares}) == 2
        contradicts = both and 0.5 not in won and won[0] == won[1]
        torn.append(float(contradicts) if both else np.nan)
        to_first.append(won[0] if contradicts else np.nan)
    if firsts:
        at = np.array(units, dtype=np.int64)
        yield sample.share("first_shown", side, firsts, at)
    if any(not np.isnan(value) for value in torn):
        yield sample.share("contradictions", side, torn)
        yield sample.share("contradictions_to_first", side, to_first)


def _first_won(first: str, share: float) -> float:
    """1 if the answer shown first won the game, 0.5 for a tie."""
    ahead = share - 0.5 if first == "model" else 0.5 - share
    return 0.5 if abs(ahead) < _ROUNDING else float(ahead > 0)


def _of_lengths(sample: _Sample) -> Iterator[Figure]:
    """Length bias of both judges on the same answers."""
    known = [pair.judged.lengths or pair.reference.lengths for pair in sample.pairs]
    lengths = np.array([each or (np.nan, np.nan) for each in known])
    gaps = np.full(len(known), np.nan)
    _, systems = np.unique([pair.system for pair in sample.pairs], return_inverse=True)
    for system in range(systems.max() + 1):
        own = systems == system
        gaps[own] = stats.standard_gaps(lengths[own, 0], lengths[own, 1])
    n = int((~np.isnan(gaps)).sum())
    if n == 0:
        return
    slopes = {}
    for side in (JUDGE, REFERENCE):
        outcome = sample.outcomes[side]
        clear = (outcome != 0) & ~np.isnan(gaps) & (gaps != 0)
        longer = np.where(clear, (outcome > 0) == (gaps > 0), np.nan)
        yield sample.share("prefers_longer", side, longer)
        values = sample.values[side]
        slopes[side] = stats.length_slopes(values, gaps, sample.units, sample.counts, systems)
        yield sample.figure("length_slope", side, slopes[side], n)
    excess = slopes[JUDGE] - slopes[REFERENCE]
    yield sample.figure("length_slope_excess", BOTH, excess, n)


def _of_systems(sample: _Sample) -> Iterator[Figure]:
    """Rank correlations of the systems under the two judges."""
    names = [pair.system for pair in sample.pairs]
    systems = sorted(set(names))
    if len(systems) < FEWEST_SYSTEMS:
        return
    places = np.array([systems.index(name) for name in names])
    scores = {}
    for side in (JUDGE, REFERENCE):
        columns = [
            stats.means(
                np.where(places == place, sample.values[side], np.nan), sample.units, sample.counts
            )
            for place in range(len(systems))
        ]
        scores[side] = np.stack(columns, axis=1)
    whole = np.asarray(
        ~np.isnan(scores[JUDGE]).any(axis=1)
    )  # a resample may contain no prompt of a system
    for name, correlate in (("spearman", stats.spearman), ("kendall", stats.kendall)):
        found = np.full(len(whole), np.nan)
        found[whole] = correlate(scores[JUDGE][whole], scores[REFERENCE][whole])
        yield sample.figure(name, BOTH, found, len(systems))
