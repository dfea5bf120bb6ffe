"""Windows: several batches of rows whose requests are sent together.

A row operation gets small batches, so that little is repeated after an interruption; a hosted model
needs many requests at once, so that none of its workers waits. A window of several batches serves
both: all its requests are sent together, and each batch is returned when its last answer has
arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar


class Identified(Protocol):
    """A request, or an answer with the id of its request."""

    @property
    def id(self) -> str: ...


Item = TypeVar("Item")  # a row, or a record made from one
Asked = TypeVar("Asked", bound=Identified)
Answer = TypeVar("Answer", bound=Identified)


def in_windows(
    batches: Iterable[list[Item]],
    requests: Callable[[list[Item]], Sequence[Asked]],
    answer: Callable[[Sequence[Asked]], Iterator[Answer]],
    size: int,
) -> Iterator[tuple[list[Item], dict[str, Answer]]]:
    """Yield each batch with the answers to its requests, by id, in order of completion.

    Args:
        requests: the requests of a batch; ids are unique within a window.
        answer: yields each request's answer once, in any order.
        size: number of requests that closes a window; 1 takes one batch at a time.
    """
    window: list[tuple[list[Item], Sequence[Asked]]] = []
    waiting = 0
    for batch in batches:
        asked = requests(batch)
        window.append((batch, asked))
        waiting += len(asked)
        if waiting >= size:
            yield from _answered(window, answer)
            window, waiting = [], 0
    yield from _answered(window, answer)


def _answered(
    window: list[tuple[list[Item], Sequence[Asked]]],
    answer: Callable[[Sequence[Asked]], Iterator[Answer]],
) -> Iterator[tuple[list[Item], dict[str, Answer]]]:
    batch_of = {item.id: number for number, (_, asked) in enumerate(window) for item in asked}
    missing = [len(asked) for _, asked in window]
    found: list[dict[str, Answer]] = [{} for _ in window]
    for batch, asked in window:
        if not asked:
            yield batch, {}
    requests = [item for _, asked in window for item in asked]
    for given in answer(requests) if requests else ():
        number = batch_of[given.id]
        found[number][given.id] = given
        missing[number] -= 1
        if not missing[number]:
            yield window[number][0], found[number]
            found[number] = {}
