"""Filtering, searching and sorting samples."""

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
    """The samples that pass every filter and contain the searched text, sorted.

    Args:
        filters: "verdict=loss", "first=model", "flag=contradictory", or a label of the rows, e.g.
            "category=math". Several values of one name are alternatives.
        search: case-insensitive, in prompt, answers, judge replies and fields.
        sort: "stored", "preference" (ascending), "length" (excess length of the model's answer,
            descending) or "id"; prefix with "-" to reverse.

    Raises:
        UnknownName, BadRecord: a filter, value or order does not exist for these samples.
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
