"""Choosing among samples: filters by name, a search through all texts, an order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from harness.core.errors import BadRecord, unknown
from leaderboards.samples.records import Sample

ORDERS = ("stored", "preference", "length", "id")


def choose(
    samples: Sequence[Sample],
    filters: Iterable[str] = (),
    search: str = "",
    sort: str = "stored",
) -> list[Sample]:
    """The samples that pass every filter and hold the searched text, sorted.

    Args:
        filters: "verdict=loss", "first=model", "flag=contradictory", or a label of the rows as in
            "category=math". Several values of one name are alternatives.
        search: found anywhere in prompt, answers, judge's replies or fields, in any case.
        sort: "stored", "preference" (worst first), "length" (the model's most surplus first), "id";
            with "-" in front the other way round.

    Raises:
        UnknownName, BadRecord: a filter, value or order that the samples do not have.
    """
    found = list(samples)
    for name, values in _parsed(filters).items():
        read = _reader(name, samples)
        known = dict.fromkeys(value for sample in samples for value in read(sample))
        for value in values:
            if value not in known:
                raise unknown(name, value, known)
        found = [sample for sample in found if set(read(sample)) & set(values)]
    if search:
        wanted = search.casefold()
        found = [s for s in found if any(wanted in text.casefold() for text in s.texts())]
    order = sort.removeprefix("-")
    if order not in ORDERS:
        raise unknown("order", sort, ORDERS)
    if order != "stored":
        found.sort(key=_KEYS[order])
    return found[::-1] if sort.startswith("-") else found


def _parsed(filters: Iterable[str]) -> dict[str, list[str]]:
    chosen: dict[str, list[str]] = {}
    for text in filters:
        name, mark, value = text.partition("=")
        if not mark or not value:
            raise BadRecord(f'--filter expects NAME=VALUE as in verdict=loss; found "{text}"')
        chosen.setdefault(name, []).append(value)
    return chosen


def _reader(name: str, samples: Sequence[Sample]) -> Callable[[Sample], tuple[str, ...]]:
    if name in _OWN:
        return _OWN[name]
    labels = dict.fromkeys(label for sample in samples for label in sample.labels)
    if name not in labels:
        raise unknown("filter", name, (*_OWN, *labels))
    return lambda sample: (sample.labels[name],) if name in sample.labels else ()


_OWN: dict[str, Callable[[Sample], tuple[str, ...]]] = {
    "verdict": lambda sample: (sample.outcome,),
    "first": lambda sample: (sample.first,) if sample.first else (),
    "flag": lambda sample: sample.flags,
}


def _gap(sample: Sample) -> int:
    ours, theirs = sample.lengths
    return (theirs or 0) - (ours or 0)


_KEYS: dict[str, Callable[[Sample], tuple[float | str, ...]]] = {
    "preference": lambda s: (s.value is None, s.value or 0.0, s.id),
    "length": lambda s: (_gap(s), s.id),
    "id": lambda s: (s.id,),
}
