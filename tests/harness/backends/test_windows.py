"""Windows of batches: everything is asked once, each batch comes back whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from harness.backends.windows import in_windows
from harness.engine.operations import Row


@dataclass(frozen=True)
class Item:
    id: str


def requests(batch: list[Row]) -> list[Item]:
    return [Item(f"{row['id']}/{number}") for row in batch for number in range(row["n"])]


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), max_size=8),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_each_batch_gets_exactly_its_answers(counts, size, random) -> None:  # type: ignore[no-untyped-def]
    batches = [
        [{"id": f"{number}-{place}", "n": n} for place, n in enumerate(batch)]
        for number, batch in enumerate(counts)
    ]
    calls: list[int] = []

    def answer(asked: Sequence[Item]) -> Iterator[Item]:
        calls.append(len(asked))
        shuffled = list(asked)
        random.shuffle(shuffled)
        yield from shuffled

    found = list(in_windows(batches, requests, answer, size))
    assert sorted(batch[0]["id"] for batch, _ in found) == sorted(b[0]["id"] for b in batches)
    for batch, answers in found:
        assert sorted(answers) == sorted(item.id for item in requests(batch))
    assert 0 not in calls


def test_a_batch_comes_back_as_soon_as_its_last_answer_arrives() -> None:
    batches = [[{"id": "a", "n": 2}], [{"id": "b", "n": 1}]]
    order: list[str] = []

    def answer(asked: Sequence[Item]) -> Iterator[Item]:
        for item in reversed(asked):
            order.append(item.id)
            yield item

    for batch, _ in in_windows(batches, requests, answer, 100):
        order.append(f"batch {batch[0]['id']}")
    assert order == ["b/0", "batch b", "a/1", "a/0", "batch a"]


def test_a_window_of_one_takes_one_batch_at_a_time() -> None:
    taken: list[str] = []

    def batches() -> Iterator[list[Row]]:
        for name in "abc":
            taken.append(name)
            yield [{"id": name, "n": 2}]

    for batch, _ in in_windows(batches(), requests, iter, 1):
        assert taken[-1] == batch[0]["id"]
