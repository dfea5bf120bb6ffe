"""Construction of preference data, row by row against tables made by hand."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from harness.core.errors import BadData
from harness.engine.operations import Artifact, Row
from harness.training.preference_data import (
    BestResponsesParams,
    PreferencePairsParams,
    PreferredResponsesParams,
    SplitPromptsParams,
    best_responses,
    preference_pairs,
    preferred_responses,
    split_prompts,
)

Make = Callable[..., Any]


def made(context: Any) -> tuple[list[Row], dict[str, Any]]:
    """Rows and summary that an operation wrote."""
    artifact = Artifact("made", context.directory)
    return artifact.rows(), artifact.read_json("summary.json")


def asked(id: str) -> Row:
    return {"id": id, "messages": [{"role": "user", "content": f"say {id}"}]}


def answered(system: str, id: str, rewards: list[float], **more: Any) -> Row:
    texts = [f"{system} {id} {place}" for place in range(len(rewards))]
    return {**asked(id), "system": system, "responses": texts, "rewards": rewards, **more}


@pytest.fixture
def split(context: Make, rows_artifact: Make) -> Make:
    """`split(ids, part, fraction, seed)`: ids of one part, and its summary."""

    def run(ids: list[str], **how: Any) -> tuple[list[str], dict[str, Any]]:
        stage = context(f"split-{len(runs)}")
        runs.append(stage)
        prompts = rows_artifact([asked(id) for id in ids], f"prompts-{len(runs)}")
        split_prompts(stage, SplitPromptsParams(**how), prompts=prompts)
        rows, summary = made(stage)
        assert rows == [asked(row["id"]) for row in rows]  # unchanged
        return [row["id"] for row in rows], summary

    runs: list[Any] = []
    return run


IDS = [f"p{number}" for number in (5, 3, 9, 0, 7, 1, 8, 2, 6, 4)]


@pytest.mark.parametrize(
    ("fraction", "expected"), [(0.0, 0), (0.04, 0), (0.25, 2), (1 / 3, 3), (0.66, 7), (1.0, 10)]
)
def test_the_part_sft_has_the_fraction_and_the_part_preference_the_rest(
    fraction: float, expected: int, split: Make
) -> None:
    sft, summary = split(IDS, part="sft", fraction=fraction, seed=1)
    rest, of_rest = split(IDS, part="preference", fraction=fraction, seed=1)
    assert len(sft) == expected
    assert summary == {"rows": expected, "of": 10}
    assert of_rest == {"rows": 10 - expected, "of": 10}
    assert sorted(sft + rest) == sorted(IDS)
    for part in (sft, rest):  # in the order of the prompts
        assert part == [id for id in IDS if id in part]


def test_a_third_is_for_sft_unless_said_otherwise(split: Make) -> None:
    assert split(IDS, part="sft", seed=1)[1] == {"rows": 3, "of": 10}


def test_the_split_depends_on_seed_and_ids_alone(split: Make) -> None:
    def sft(ids: list[str], seed: int) -> set[str]:
        return set(split(ids, part="sft", fraction=0.5, seed=seed)[0])

    parts = [sft(IDS, seed) for seed in range(4)]
    assert len({frozenset(part) for part in parts}) == 4
    assert sft(IDS[::-1], 0) == parts[0]
    assert sft(sorted(IDS), 0) == parts[0]
    counts = [sum(id in part for part in parts) for id in IDS]
    assert 0 < sum(counts) == 20  # half of ten, four times
    assert len(set(counts)) > 1  # no prompt is fixed in a part


def test_the_split_of_a_seed_is_that_of_earlier_versions(split: Make) -> None:
    assert split(IDS, part="sft", seed=0)[0] == ["p0", "p6", "p4"]
    assert split(IDS, part="sft", seed=7)[0] == ["p0", "p1", "p4"]


def test_a_larger_fraction_keeps_the_prompts_of_a_smaller_one(split: Make) -> None:
    few, more = (set(split(IDS, part="sft", fraction=f, seed=3)[0]) for f in (0.2, 0.6))
    assert few < more


def test_the_best_response_is_that_of_the_highest_reward_over_sources_and_samples(
    context: Make, rows_artifact: Make
) -> None:
    first = [
        answered("a", "p0", [0.1, 0.9, 0.3], finish=["stop", "length", "stop"]),
        answered("a", "p1", [0.2, 0.4]),
        answered("a", "p2", [0.5, 0.7, 0.7]),
        answered("a", "p3", [-2.0, -1.0]),
    ]
    second = [
        answered("b", "p3", [-3.0, -0.5, -0.5]),
        answered("b", "p1", [0.3, 0.5, 0.1]),
        answered("b", "p2", [0.7]),
        answered("b", "p4", [0.0]),
    ]
    sources = (rows_artifact(first, "a"), rows_artifact(second, "b"))
    prompts = rows_artifact([asked(f"p{n}") for n in (4, 2, 0, 1, 3)], "prompts")
    run = context("best")
    best_responses(run, BestResponsesParams(), scored=sources, prompts=prompts)
    rows, summary = made(run)
    chosen = [(row["id"], row["response"], row["reward"], row["sample"]) for row in rows]
    assert chosen == [
        ("p4", "b p4 0", 0.0, 0),
        ("p2", "a p2 1", 0.7, 1),  # a tie: the source named first, then the earlier sample
        ("p0", "a p0 1", 0.9, 1),
        ("p1", "b p1 1", 0.5, 1),
        ("p3", "b p3 1", -0.5, 1),
    ]
    assert [row["source_model"] for row in rows] == ["b", "a", "a", "b", "b"]
    assert [row.get("finish") for row in rows] == [None, None, "length", None, None]
    assert all(row["messages"] == asked(row["id"])["messages"] for row in rows)
    assert summary["wins"] == {"a": 2, "b": 3}
    assert summary["mean_reward"] == pytest.approx({"a": 0.8 / 10, "b": -2.4 / 8})


def test_a_prompt_that_no_source_answered_stops_the_choice(
    context: Make, rows_artifact: Make
) -> None:
    source = rows_artifact([answered("a", "p0", [1.0])], "a")
    prompts = rows_artifact([asked("p0"), asked("p1")], "prompts")
    with pytest.raises(BadData, match='no source answered prompt "p1"'):
        best_responses(context("best"), BestResponsesParams(), scored=(source,), prompts=prompts)


def source_row(id: str, reward: float, **more: Any) -> Row:
    return {
        **asked(id), "response": f"best {id}", "reward": reward, "source_model": "s", **more
    }  # fmt: skip


OWN = [
    answered("t", "p0", [0.4, 0.9, 0.1, 0.9, 0.1], finish=["a", "b", "c", "d", "e"]),
    answered("t", "p1", [0.5, 0.5]),
    answered("t", "p2", [3.0, 2.0, 1.0], response_ids=[[7, 8], [9], [1]], tokenizer="digest"),
    answered("t", "p3", [-1.0, 2.0]),
]
BEST = [
    source_row("p3", 2.5),
    source_row("p0", 0.8, finish="length"),
    source_row("p1", 0.6),
    source_row("p2", 3.0),
]


@pytest.fixture
def pairs(context: Make, rows_artifact: Make) -> Make:
    def run(own: list[Row] = OWN, **how: Any) -> tuple[list[Row], dict[str, Any]]:
        stage = context("pairs")
        inputs = {"best": rows_artifact(BEST, "best"), "own": rows_artifact(own, "own")}
        preference_pairs(stage, PreferencePairsParams(**how), **inputs)
        return made(stage)

    return run


def test_the_target_is_the_first_best_own_response_and_the_rejected_one_the_first_worst(
    pairs: Make,
) -> None:
    rows, summary = pairs()
    assert [(row["id"], row["responses"], row["rewards"]) for row in rows] == [
        (
            "p0",
            {"source": "best p0", "target": "t p0 1", "rejected": "t p0 2"},
            {"source": 0.8, "target": 0.9, "rejected": 0.1},
        ),
        (
            "p2",
            {"source": "best p2", "target": "t p2 0", "rejected": "t p2 2"},
            {"source": 3.0, "target": 3.0, "rejected": 1.0},
        ),
        (
            "p3",
            {"source": "best p3", "target": "t p3 1", "rejected": "t p3 0"},
            {"source": 2.5, "target": 2.0, "rejected": -1.0},
        ),
    ]
    assert all(row["messages"] == asked(row["id"])["messages"] for row in rows)
    assert {row["source_model"] for row in rows} == {"s"}
    # p1 is a tie; of the three others, the source is strictly better for p3 alone.
    assert summary == {"rows": 3, "ties": 1, "source_above_target": pytest.approx(1 / 3)}


def test_what_is_known_of_a_response_follows_it_into_the_pair(pairs: Make) -> None:
    with_finish, with_ids, bare = pairs()[0]
    assert with_finish["finish"] == {"source": "length", "target": "b", "rejected": "c"}
    assert "response_ids" not in with_finish
    assert with_ids["response_ids"] == {"target": [7, 8], "rejected": [1]}
    assert with_ids["tokenizer"] == "digest"
    assert not {"finish", "response_ids", "tokenizer"} & bare.keys()


def test_a_tie_is_kept_on_request_with_its_first_response_on_both_sides(pairs: Make) -> None:
    rows, summary = pairs(ties="keep")
    assert [row["id"] for row in rows] == ["p0", "p1", "p2", "p3"]
    assert rows[1]["responses"] == {"source": "best p1", "target": "t p1 0", "rejected": "t p1 0"}
    assert summary == {"rows": 4, "ties": 1, "source_above_target": pytest.approx(2 / 4)}


def test_rewards_that_separate_nothing_stop_the_construction(pairs: Make) -> None:
    ties = [answered("t", "p0", [1.0, 1.0]), answered("t", "p1", [0.0])]
    with pytest.raises(BadData, match="all 2 preference rows are ties"):
        pairs(own=ties)


def test_the_preferred_response_is_the_source_s_else_the_target_s(
    context: Make, rows_artifact: Make
) -> None:
    rows = [
        {**asked("p0"), "responses": {"rejected": "r", "target": "t", "source": "s"}},
        {**asked("p1"), "responses": {"rejected": "r", "target": "t"}},
    ]
    run = context("preferred")
    preferred_responses(run, PreferredResponsesParams(), rows=rows_artifact(rows))
    found, summary = made(run)
    assert found == [{**asked("p0"), "response": "s"}, {**asked("p1"), "response": "t"}]
    assert summary == {"rows": 2}


def test_memory_does_not_grow_with_sources_and_samples(context: Make, rows_artifact: Make) -> None:
    ids = [f"p{number}" for number in range(20)]
    texts = ["x" * 50_000, "y" * 50_000]
    sources = tuple(
        rows_artifact([answered(name, id, [0.2, 0.1], responses=texts) for id in ids], name)
        for name in "abcdefgh"
    )
    prompts = rows_artifact([asked(id) for id in ids], "prompts")
    stage, size = context("best"), sum((s.path / "rows.jsonl").stat().st_size for s in sources)
    tracemalloc.start()
    best_responses(stage, BestResponsesParams(), scored=sources, prompts=prompts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    rows, summary = made(stage)
    assert (len(rows), summary["wins"]) == (20, {"a": 20})
    assert peak < 3_000_000 < 16_000_000 < size
