"""Samples of two systems side by side: the same prompts, both answers, both verdicts.

    pairs = pair_samples(samples_of_cell(store, a), samples_of_cell(store, b))
    pairs.tallies          "A wins, B loses 31; both lose 204"
    category_lines(pairs)  both means and their paired difference for each category

The value of a sample is what its verdicts count: the share in [0, 1] of the win, the mean rating,
or the result of a row. Means of values are not the metric where that weighs rows or controls for
length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.core.errors import BadRecord, UserError, unknown
from harness.core.records import Interval
from harness.stats.bootstrap import cluster_counts, percentile_interval, replicate_means
from leaderboards.samples.records import FAILED, UNKNOWN, Sample, Samples

# Outcome -> (of one system, of both). The order is that of filters and tables.
_SAID = {
    "win": ("wins", "win"),
    "tie": ("ties", "tie"),
    "loss": ("loses", "lose"),
    "high": ("is rated high", "are rated high"),
    "middle": ("is rated middling", "are rated middling"),
    "low": ("is rated low", "are rated low"),
    "right": ("is right", "are right"),
    "wrong": ("is wrong", "are wrong"),
    FAILED: ("failed", "failed"),
    UNKNOWN: ("has no verdict", "have no verdict"),
    "absent": ("has no sample", "have no sample"),
}
ABSENT = "absent"
ORDERS = ("difference", "lead", "length", "id")
_GROUPS = ("category", "task", "dataset", "skill")  # the first with several values is the table's
ALL = "all"


@dataclass(frozen=True)
class PairedSample:
    """One prompt with the samples of both systems; None where a system has none."""

    id: str
    first: Sample | None
    second: Sample | None

    @property
    def either(self) -> Sample:
        """A sample of the prompt, for its question and labels."""
        found = self.first or self.second
        assert found is not None
        return found

    @property
    def outcomes(self) -> tuple[str, str]:
        """Outcome of each system; "absent" where it has no sample."""
        first, second = (ABSENT if s is None else s.outcome for s in (self.first, self.second))
        return first, second

    @property
    def values(self) -> tuple[float | None, float | None]:
        first, second = (None if s is None else s.value for s in (self.first, self.second))
        return first, second

    @property
    def difference(self) -> float | None:
        """Value of the first minus that of the second; None unless both have one."""
        first, second = self.values
        return None if first is None or second is None else first - second

    def texts(self) -> Iterable[str]:
        """Everything a search looks through."""
        for sample in (self.first, self.second):
            if sample is not None:
                yield from sample.texts()


@dataclass(frozen=True)
class Tally:
    """How often two outcomes occur together, and the pair in words with the letters A and B."""

    first: str
    second: str
    count: int

    @property
    def said(self) -> str:
        """
        >>> Tally("win", "loss", 31).said, Tally("loss", "loss", 204).said
        ('A wins, B loses', 'both lose')
        """
        if self.first == self.second:
            return f"both {_SAID[self.first][1]}"
        return f"A {_SAID[self.first][0]}, B {_SAID[self.second][0]}"


@dataclass(frozen=True)
class PairedSamples:
    """Two systems on one metric, in the order of the first system's rows.

    Attributes:
        a, b: the samples of each.
        note: how judge or prompts of the two differ; "" if comparable.
    """

    a: Samples
    b: Samples
    pairs: tuple[PairedSample, ...]
    note: str = ""

    @property
    def kind(self) -> str:
        return self.a.kind

    @property
    def names(self) -> tuple[str, str]:
        return _name(self.a), _name(self.b)

    @property
    def metric(self) -> str:
        """ "alpaca_eval2 win_rate"; "" for artifacts without a cell."""
        return "" if self.a.cell is None else f"{self.a.cell.suite} {self.a.cell.metric}"

    @cached_property
    def percent(self) -> bool:
        """Whether values are shares, shown in per cent; ratings and other results are not."""
        return self.kind == "pair" or all(
            value in (None, 0.0, 1.0) for pair in self.pairs for value in pair.values
        )

    @cached_property
    def tallies(self) -> tuple[Tally, ...]:
        """Pairs of outcomes that occur: those that differ first, the most frequent first."""
        counts = Counter(pair.outcomes for pair in self.pairs)
        found = [Tally(first, second, count) for (first, second), count in counts.items()]
        order = list(_SAID)
        found.sort(key=lambda t: (t.first == t.second, -t.count, order.index(t.first), t.second))
        return tuple(found)

    @property
    def summary(self) -> str:
        """ "A wins, B loses 31; both lose 204"."""
        return "; ".join(f"{tally.said} {tally.count}" for tally in self.tallies)

    @cached_property
    def label(self) -> str:
        """The label that groups the prompts; "" if there is none with several values."""
        for name in _GROUPS:
            if len({pair.either.labels.get(name) for pair in self.pairs} - {None}) > 1:
                return name
        return ""

    def categories(self) -> tuple[str, ...]:
        """Values of `label`, in order of first appearance."""
        found = (pair.either.labels.get(self.label) for pair in self.pairs)
        return tuple(dict.fromkeys(value for value in found if value is not None))


@dataclass(frozen=True)
class CategoryLine:
    """Both systems on the prompts of one category.

    Attributes:
        n_expected, n_scored: prompts, and those on which both have a value.
        first, second, difference: means over the scored ones; None without any.
        interval: of the difference, paired over prompts (or over their clusters).
        ahead: prompts on which the first has the higher value, the same, the lower.
    """

    name: str
    n_expected: int
    n_scored: int
    first: float | None
    second: float | None
    difference: float | None
    interval: Interval | None
    ahead: tuple[int, int, int]


def pair_samples(a: Samples, b: Samples) -> PairedSamples:
    """Join the samples of two systems by prompt id.

    Rows of task suites may repeat an id (tasks, filters); the n-th of each is joined.

    Raises:
        UserError: the two are of different kinds, or have no prompt in common.
    """
    if a.kind != b.kind:
        raise UserError(
            f"{a.title} holds samples of kind {a.kind}, {b.title} of kind {b.kind}; expected two "
            "cells of one metric (--metric SUITE/METRIC)"
        )
    ours, theirs = _keyed(a.samples), _keyed(b.samples)
    if not ours.keys() & theirs.keys():
        raise UserError(
            f"{a.title} and {b.title} have no prompt in common; expected both to be evaluated on "
            "the same prompts"
        )
    keys = dict.fromkeys((*ours, *theirs))
    pairs = tuple(PairedSample(key[3], ours.get(key), theirs.get(key)) for key in keys)
    return PairedSamples(a, b, pairs, _note(a, b))


def _keyed(samples: Sequence[Sample]) -> dict[tuple[str, str, int, str], Sample]:
    found: dict[tuple[str, str, int, str], Sample] = {}
    seen: Counter[tuple[str, ...]] = Counter()
    for sample in samples:
        task, filtered = sample.labels.get("task", ""), sample.labels.get("filter", "")
        own = (task, filtered, sample.id)
        found[task, filtered, seen[own], sample.id] = sample
        seen[own] += 1
    return found


def _note(a: Samples, b: Samples) -> str:
    if a.cell is None or b.cell is None:
        return ""
    parts = []
    if a.cell.judge_fingerprint != b.cell.judge_fingerprint:
        parts.append(f"the judges differ (A: {a.cell.judge}, B: {b.cell.judge})")
    if a.cell.prompt_set != b.cell.prompt_set:
        parts.append("the prompt sets differ")
    return "; ".join(parts)


def _name(samples: Samples) -> str:
    return samples.title if samples.cell is None else samples.cell.system


def category_lines(
    found: PairedSamples, level: float = 0.95, rounds: int = 1000
) -> list[CategoryLine]:
    """A line for all prompts and one for each value of the label that groups them."""
    lines = [_category(ALL, found.pairs, found.percent, level, rounds)]
    for name in found.categories():
        among = [pair for pair in found.pairs if pair.either.labels.get(found.label) == name]
        lines.append(_category(name, among, found.percent, level, rounds))
    return lines


def _category(
    name: str, pairs: Sequence[PairedSample], percent: bool, level: float, rounds: int
) -> CategoryLine:
    factor = 100.0 if percent else 1.0
    # By id, so that the resamples do not depend on the order of the rows.
    scored = sorted((p for p in pairs if p.difference is not None), key=lambda pair: pair.id)
    values = np.array([pair.values for pair in scored], dtype=np.float64).reshape(-1, 2) * factor
    if not scored:
        return CategoryLine(name, len(pairs), 0, None, None, None, None, (0, 0, 0))
    gaps = values[:, 0] - values[:, 1]
    units = [pair.either.labels.get("cluster", f"prompt {n}") for n, pair in enumerate(scored)]
    counts = cluster_counts("samples side by side", units, rounds)
    mean = float(gaps.mean())
    interval = percentile_interval(
        replicate_means(gaps, counts),
        level,
        point=mean,
        units=len(set(units)),
        span=(-factor, factor) if percent else None,
    )
    first, second = (float(column.mean()) for column in values.T)
    ahead = (int((gaps > 0).sum()), int((gaps == 0).sum()), int((gaps < 0).sum()))
    return CategoryLine(name, len(pairs), len(scored), first, second, mean, interval, ahead)


def choose_pairs(
    found: PairedSamples,
    filters: Iterable[str] = (),
    search: str = "",
    sort: str = "difference",
) -> list[PairedSample]:
    """The pairs that pass every filter and contain the searched text, sorted.

    Args:
        filters: "a=win", "b=loss" (outcomes of the first and second system), or a label of the
            rows such as "category=math". Several values of one name are alternatives.
        sort: "difference" (largest in either direction first), "lead" (that of the first system,
            descending), "length" (excess length of the first system's answer, descending) or "id";
            prefix with "-" to reverse. Pairs without a difference are last.

    Raises:
        UnknownName, BadRecord: a filter, value or order does not exist for these samples.
    """
    kept = list(found.pairs)
    chosen: dict[str, list[str]] = {}
    for text in filters:
        name, mark, value = text.partition("=")
        if not mark or not value:
            raise BadRecord(f'--filter expects NAME=VALUE as in a=win; found "{text}"')
        chosen.setdefault(name, []).append(value)
    for name, wanted in chosen.items():
        known = dict.fromkeys(value for pair in found.pairs if (value := _value(pair, name)))
        if not known:
            labels = dict.fromkeys(label for pair in found.pairs for label in pair.either.labels)
            raise unknown("filter", name, ("a", "b", *labels))
        for value in wanted:
            if value not in known:
                raise unknown(name, value, known)
        kept = [pair for pair in kept if _value(pair, name) in wanted]
    if search:
        needle = search.casefold()
        kept = [p for p in kept if any(needle in text.casefold() for text in p.texts())]
    return _sorted(kept, sort)


def _value(pair: PairedSample, name: str) -> str:
    if name in ("a", "b"):
        return pair.outcomes[name == "b"]
    return pair.either.labels.get(name, "")


def _sorted(pairs: list[PairedSample], sort: str) -> list[PairedSample]:
    order = sort.removeprefix("-")
    if order not in ORDERS:
        raise unknown("order", sort, ORDERS)
    if order == "id":
        return sorted(pairs, key=lambda pair: pair.id, reverse=sort.startswith("-"))
    measured = [(_measure(pair, order), pair) for pair in pairs]
    sign = 1 if sort.startswith("-") else -1
    known = [entry for entry in measured if entry[0] is not None]
    known.sort(key=lambda entry: sign * (entry[0] or 0.0))
    return [pair for _, pair in known] + [pair for size, pair in measured if size is None]


def _measure(pair: PairedSample, order: str) -> float | None:
    if order == "length":
        ours, theirs = (0 if s is None else s.lengths[0] or 0 for s in (pair.first, pair.second))
        return float(ours - theirs)
    gap = pair.difference
    return abs(gap) if order == "difference" and gap is not None else gap
