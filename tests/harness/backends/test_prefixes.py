"""Kept states: the same answers from fewer tokens read, in bounded memory, only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.backends.base import Request, Response, Sampling, messages_of
from harness.backends.hf import HFBackend
from harness.backends.prefixes import Prefixes, sample_states

GREEDY = Sampling(max_tokens=6)
WORDS = ["red", "green", "blue", "sum", "twelve", "thirty", "name", "three", "colours", "hello"]


@dataclass
class Count:
    tokens: int = 0
    passes: int = 0


@contextmanager
def counted(model: Any) -> Iterator[Count]:
    """Tokens that go through the model inside, pads included."""
    found = Count()

    def note(module: Any, args: Any, given: dict[str, Any]) -> None:
        found.tokens += given["input_ids"].numel()
        found.passes += 1

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


def words(rng: np.random.Generator, count: int) -> str:
    return " ".join(rng.choice(WORDS, count))


def talks(texts: int, about_each: int, length: int) -> list[list[dict[str, str]]]:
    rng = np.random.default_rng(0)
    heads = [words(rng, int(rng.integers(length // 2, length + 1))) for _ in range(texts)]
    return [
        [{"role": "user", "content": f"{head} {words(rng, 2)}?"}]
        for head in heads
        for _ in range(about_each)
    ]


def requests_of(talks: list[list[dict[str, str]]], sampling: Sampling = GREEDY) -> list[Request]:
    return [
        Request(id=f"r{n}", messages=messages_of(talk), sampling=sampling)
        for n, talk in enumerate(talks)
    ]


def rounds(
    backend: HFBackend, texts: int, about_each: int, turns: int, length: int = 24
) -> list[dict[str, Response]]:
    """Dialogues that advance together; what each call of `generate` gave."""
    rng = np.random.default_rng(1)
    open_talks = talks(texts, about_each, length)
    found = []
    for _ in range(turns):
        answers = {r.id: r for r in backend.generate(requests_of(open_talks))}
        found.append(answers)
        for number, talk in enumerate(open_talks):
            assert answers[f"r{number}"].error is None
            reply = answers[f"r{number}"].completions[0].text
            talk.append({"role": "assistant", "content": reply})
            talk.append({"role": "user", "content": words(rng, int(rng.integers(1, 4)))})
    return found


@pytest.fixture
def open_backend(
    make_tiny_model: Callable[..., Any], make_byte_tokenizer: Callable[..., Any]
) -> Callable[..., HFBackend]:
    def open_now(kind: str = "llama", **options: Any) -> HFBackend:
        tokenizer = make_byte_tokenizer()
        extra = {"sliding_window": None} if kind == "plain mistral" else {}
        kind = kind.removeprefix("plain ")
        return HFBackend(make_tiny_model(kind, len(tokenizer), **extra), tokenizer, **options)

    return open_now


@pytest.mark.parametrize("rows", [320, 7], ids=["fixed batches", "rolling"])
@pytest.mark.parametrize("kind", ["llama", "neox", "qwen", "plain mistral"])
def test_dialogues_get_the_same_answers_from_fewer_tokens(
    open_backend: Callable[..., HFBackend], kind: str, rows: int
) -> None:
    backend = open_backend(kind, max_rows=rows)
    with counted(backend.model) as without:
        expected = rounds(backend, texts=8, about_each=3, turns=4)
    with counted(backend.model) as kept, backend.keeping_prefixes():
        found = rounds(backend, texts=8, about_each=3, turns=4)
    assert found == expected
    assert kept.tokens < 0.4 * without.tokens


def test_what_prompts_of_one_call_share_is_read_once(
    open_backend: Callable[..., HFBackend],
) -> None:
    backend = open_backend()
    requests = requests_of(talks(texts=3, about_each=5, length=60))
    expected = list(backend.generate(requests))
    with counted(backend.model) as kept, backend.keeping_prefixes():
        found = list(backend.generate([*requests, requests[0].model_copy(update={"id": "again"})]))
    again = next(response for response in found if response.id == "again")
    assert again.completions == next(r for r in expected if r.id == "r0").completions
    assert {r.id: r for r in found if r.id != "again"} == {r.id: r for r in expected}
    longest = max(response.tokens_in for response in found)
    assert kept.tokens < 6 * longest + 16 * 20  # three texts, and little more; not sixteen


@pytest.mark.parametrize(("n", "top_logprobs"), [(3, None), (1, 4)])
def test_samples_and_top_logprobs_too(
    open_backend: Callable[..., HFBackend], n: int, top_logprobs: int | None
) -> None:
    backend = open_backend()
    sampling = Sampling(temperature=0.9, max_tokens=5, n=n, top_logprobs=top_logprobs)
    requests = requests_of(talks(texts=4, about_each=2, length=30), sampling)
    expected = {r.id: r for r in backend.generate(requests)}
    with backend.keeping_prefixes():
        for _ in range(2):
            for response in backend.generate(requests):
                for mine, theirs in zip(response.completions, expected[response.id].completions):
                    assert mine.text == theirs.text
                    if top_logprobs:
                        assert mine.top_logprobs is not None
                        assert theirs.top_logprobs is not None
                        logps = [[pair[1] for pair in step] for step in mine.top_logprobs]
                        others = [[pair[1] for pair in step] for step in theirs.top_logprobs]
                        np.testing.assert_allclose(logps, others, atol=1e-4)


def test_the_same_states_on_any_number_of_cores(
    open_backend: Callable[..., HFBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for cores in (1, 3):
        monkeypatch.setattr("harness.models.threads.cores", lambda cores=cores: cores)
        backend = open_backend(max_rows=5)
        sampling = GREEDY.model_copy(update={"top_logprobs": 3})
        with backend.keeping_prefixes():
            calls = [
                list(backend.generate(requests_of(talks(6, 3, length), sampling)))
                for length in (30, 31, 30)
            ]
        found.append(calls)
    assert found[0] == found[1]


def test_a_small_models_dialogues_are_cut_into_chunks_of_much_the_same_size(
    open_backend: Callable[..., HFBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_backend()
    expected = rounds(backend, texts=9, about_each=3, turns=3)
    monkeypatch.setattr("harness.backends.hf.SIDE_BY_SIDE", 10)
    sizes = []
    decode = backend._decode_chunk
    monkeypatch.setattr(
        backend, "_decode_chunk", lambda chunk: sizes.append(len(chunk)) or decode(chunk)
    )
    with backend.keeping_prefixes():
        assert rounds(backend, texts=9, about_each=3, turns=3) == expected
    assert max(sizes) == 9
    assert sum(sizes) == 3 * 27


def test_nothing_is_kept_unless_asked_for_nor_afterwards(
    open_backend: Callable[..., HFBackend],
) -> None:
    backend = open_backend()
    requests = requests_of(talks(texts=2, about_each=1, length=60))
    costs = []
    for keeping in (nullcontext(), nullcontext(), backend.keeping_prefixes(), nullcontext()):
        with keeping, counted(backend.model) as count:
            list(backend.generate(requests))
        costs.append(count.tokens)
    assert costs[1:] == costs[:1] * 3
    assert backend._prefixes is None


@pytest.mark.parametrize(("kind", "budget"), [("mistral", 1 << 30), ("llama", 0)])
def test_caches_with_a_window_and_no_budget_read_everything(
    open_backend: Callable[..., HFBackend], kind: str, budget: int
) -> None:
    backend = open_backend(kind, prefix_bytes=budget)
    with counted(backend.model) as without:
        expected = rounds(backend, texts=2, about_each=2, turns=2)
    with counted(backend.model) as kept, backend.keeping_prefixes():
        assert rounds(backend, texts=2, about_each=2, turns=2) == expected
    assert kept == without


def held(store: Prefixes) -> tuple[int, int]:
    """Bytes of all states in the tree, and of their storage."""
    nodes, states = [store._root], []
    for node in nodes:
        nodes += node.children.values()  # the list grows while it is walked
        if node.states is not None:
            states.append(node.states)
    used = sum(state.numel() * state.element_size() for state in states)
    return used, sum(state.untyped_storage().nbytes() for state in states)


def test_the_memory_stays_within_the_budget_and_the_answers_the_same(
    open_backend: Callable[..., HFBackend],
) -> None:
    expected = rounds(open_backend(), texts=6, about_each=3, turns=4)
    token = sample_states(open_backend().model)
    assert token is not None
    for tokens in (10, 150, 400, 900):
        backend = open_backend(prefix_bytes=tokens * token.numel() * token.element_size())
        with backend.keeping_prefixes():
            store = backend._prefixes
            assert store is not None
            assert rounds(backend, texts=6, about_each=3, turns=4) == expected
            used, storage = held(store)
            assert used == storage == store.bytes <= store.budget
            assert used > 0.5 * store.budget or tokens == 10


def test_rounds_over_more_dialogues_than_fit_keep_what_they_have(
    open_backend: Callable[..., HFBackend],
) -> None:
    """Plain least-recently-used order would give up each state right before its next use."""
    requests = requests_of(talks(texts=10, about_each=1, length=40))
    backend = open_backend()
    with backend.keeping_prefixes():
        list(backend.generate(requests))
        assert backend._prefixes is not None
        whole = backend._prefixes.bytes
    backend = open_backend(prefix_bytes=whole // 2)
    costs = []
    with backend.keeping_prefixes():
        for _ in range(3):
            with counted(backend.model) as count:
                list(backend.generate(requests))
            costs.append(count.tokens)
    assert costs[1] < 0.75 * costs[0]
    assert costs[2] == costs[1]


def read(store: Prefixes, *prompts: list[int]) -> list[int]:
    """Plan a call and fill its nodes; how many tokens of each prompt had states before."""
    stages = store.plan(prompts)
    for reading in (reading for stage in stages for reading in stage):
        reading.fill(torch.tensor(list(reading.ids), dtype=torch.float32).expand(2, 1, 1, 1, -1).mT)
    for reading in (reading for stage in stages for reading in stage):
        room = torch.full((2, 1, 1, reading.known + 1, 1), torch.nan)
        reading.load(room)
        assert room[0, 0, 0, 1:, 0].tolist() == list(reading.ids[: reading.known])
    return [reading.known for reading in stages[-1]]


def test_what_was_unused_longest_makes_room() -> None:
    store = Prefixes(torch.zeros(2, 1, 1, 1, 1), budget=8 * 25)
    first, second, third = (list(range(start, start + 10)) for start in (0, 20, 40))
    assert read(store, first) == [0]
    assert read(store, second) == [0]
    assert read(store, [*first, 11]) == [10]
    assert read(store, third) == [0]  # takes the place of the second
    assert read(store, [*first, 11, 12], [*third, 51]) == [11, 10]
    assert read(store, second) == [0]
    assert store.bytes <= store.budget


@given(
    st.lists(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=80), max_size=6), max_size=8)
)
def test_states_belong_to_the_tokens_they_are_used_for(calls: list[list[list[int]]]) -> None:
    """The state of a token here is its id: `read` compares all that is loaded."""
    store = Prefixes(torch.zeros(2, 1, 1, 1, 1), budget=8 * 100)
    for prompts in calls:
        knowns = read(store, *prompts)
        assert all(known < len(prompt) for known, prompt in zip(knowns, prompts))
        used, storage = held(store)
        assert used == storage == store.bytes <= store.budget


def test_an_abandoned_call_leaves_nothing_half_read(
    open_backend: Callable[..., HFBackend],
) -> None:
    backend = open_backend(max_rows=2)
    requests = requests_of(talks(texts=5, about_each=2, length=30))
    expected = {r.id: r for r in open_backend(max_rows=2).generate(requests)}
    with backend.keeping_prefixes():
        next(backend.generate(requests))
        for _ in range(2):
            assert {r.id: r for r in backend.generate(requests)} == expected


def test_weights_that_are_no_numbers_fail_the_row_alone(
    open_backend: Callable[..., HFBackend],
) -> None:
    backend = open_backend()
    requests = requests_of(talks(texts=2, about_each=2, length=40))
    bad = requests[0].model_copy(
        update={"id": "bad", "messages": messages_of([{"role": "user", "content": "~" * 40}])}
    )
    token = backend.tokenizer.convert_tokens_to_ids("~")
    with torch.no_grad():
        backend.model.model.embed_tokens.weight[token] = torch.nan
    expected = {r.id: r for r in backend.generate([*requests, bad])}
    assert "not finite" in (expected["bad"].error or "")
    with backend.keeping_prefixes():
        for _ in range(2):
            assert {r.id: r for r in backend.generate([*requests, bad])} == expected
