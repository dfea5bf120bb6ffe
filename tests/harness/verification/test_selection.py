"""Rules of selection: the hand-made vectors, the laws of the protocol, and every open point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import BadData, UnknownName
from harness.core.hashing import canonical_json
from harness.engine.operations import Artifact, Row
from harness.verification.candidates import Candidate
from harness.verification.selection import (
    RULES,
    Choice,
    Rule,
    SelectParams,
    choose,
    report,
    select_training_rows,
    split,
)
from tests.golden_vectors import vectors

FEW = settings(max_examples=30)
DOMAINS = {"if": "instruction", "math": "mathematics", "code": "code"}


def candidate(source: str, sample: int, rm: float | None, **more: Any) -> Candidate:
    fields: dict[str, Any] = {
        "domain": "instruction",
        "prompt_id": "p",
        "messages": ({"role": "user", "content": "?"},),
        "source_model": source,
        "sample_index": sample,
        "response": f"{source}/{sample}",
        "rm_score": rm,
    }
    return Candidate(**{**fields, **more})


def test_golden_hand_made_choices(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden("fusechat3/pair_selection.json"))["cases"]:
        found = []
        for each in case["candidates"]:
            verdict: dict[str, Any] = {}
            if "correct" in each and case["domain"] == "code":
                passed = int(each["correct"])
                verdict = {"static_ok": True, "tests_total": 1, "tests_passed": passed}
            elif "correct" in each:
                verdict = {"correct": each["correct"]}
            found.append(candidate(each["source"], each["sample"], each["rm"], **verdict))
        rule = RULES[DOMAINS[case["domain"]]]
        choice = choose(rule, found)
        best = choice.sft and {"source": choice.sft.source_model, "sample": choice.sft.sample_index}
        assert best == case["sft_choice"], case["name"]
        pairs = [
            {
                "source": pair.chosen.source_model,
                "chosen_sample": pair.chosen.sample_index,
                "rejected_sample": pair.rejected.sample_index,
                "rm_gap": round(pair.gap, 4),
                "kept": pair.kept,
                "gap_rule_applies": rule.gap is not None,
            }
            for pair in choice.pairs
        ]
        key = lambda pair: pair["source"]  # noqa: E731
        assert sorted(pairs, key=key) == sorted(case["per_source_pairs"], key=key), case["name"]


# Laws (rewards are multiples of 0.001, so that differences are exact enough to compare).

VERDICTS = st.sampled_from([True, False, None])
POOLS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 200), VERDICTS), min_size=1, max_size=14
).map(
    lambda rows: [
        candidate(source, number, reward / 1000, correct=verdict)
        for number, (source, reward, verdict) in enumerate(rows)
    ]
)
RULE = st.builds(
    Rule,
    verified=st.booleans(),
    gap=st.sampled_from([None, (0.01, 0.1), (0.0, 0.05)]),
    gap_ends=st.sampled_from(["inclusive", "exclusive"]),
    between_sources=st.sampled_from(["best_chosen", "widest_gap", "all"]),
    no_verdict=st.sampled_from(["left_out", "wrong"]),
    split=st.sampled_from(["share", "pairs_first"]),
    split_of=st.sampled_from(["paired", "answered"]),
)


@FEW
@given(RULE, POOLS)
def test_pairs_have_one_source_and_obey_the_rule(rule: Rule, pool: list[Candidate]) -> None:
    choice = choose(rule, pool)
    for pair in choice.kept(rule):
        assert pair.chosen.source_model == pair.rejected.source_model
        assert pair.chosen is not pair.rejected
        if rule.gap is not None:
            assert rule.gap[0] - 1e-9 <= pair.gap <= rule.gap[1] + 1e-9
        if rule.verified:
            assert pair.chosen.right
            assert not pair.rejected.right
    kept = len(choice.kept(rule))
    assert rule.between_sources == "all" or kept <= 1


@FEW
@given(RULE, POOLS, st.randoms())
def test_the_order_of_candidates_does_not_matter(
    rule: Rule, pool: list[Candidate], rng: Any
) -> None:
    shuffled = list(pool)
    rng.shuffle(shuffled)  # samples have numbers of their own, so nothing ties across sources
    first, second = choose(rule, pool), choose(rule, shuffled)
    assert first.sft == second.sft
    assert {p.chosen.source_model: p for p in first.pairs} == {
        p.chosen.source_model: p for p in second.pairs
    }
    if rule.between_sources != "all":
        assert first.kept(rule) == second.kept(rule)


@FEW
@given(RULE, POOLS)
def test_a_candidate_of_middle_reward_changes_no_pair(rule: Rule, pool: list[Candidate]) -> None:
    choice = choose(rule, pool)
    for pair in choice.pairs:
        if pair.gap > 0:
            middle = candidate(
                pair.chosen.source_model,
                99,
                (pair.chosen.rm_score + pair.rejected.rm_score) / 2,  # type: ignore[operator]
                correct=pair.chosen.correct,
            )
            assert choose(rule, [*pool, middle]).pairs == choice.pairs


@FEW
@given(RULE, POOLS, st.sampled_from([0.125, 3.0, 1024.0]))
def test_scaling_rewards_scales_the_gap(rule: Rule, pool: list[Candidate], factor: float) -> None:
    scaled = [c.model_copy(update={"rm_score": c.rm_score * factor}) for c in pool]  # type: ignore[operator]
    gap = rule.gap and (rule.gap[0] * factor, rule.gap[1] * factor)
    first, second = choose(rule, pool), choose(rule.model_copy(update={"gap": gap}), scaled)
    assert [(p.chosen.response, p.rejected.response, p.kept) for p in first.pairs] == [
        (p.chosen.response, p.rejected.response, p.kept) for p in second.pairs
    ]


@FEW
@given(POOLS, st.booleans())
def test_all_right_or_all_wrong_gives_no_pair(pool: list[Candidate], right: bool) -> None:
    same = [c.model_copy(update={"correct": right}) for c in pool]
    choice = choose(RULES["mathematics"], same)
    assert choice.pairs == ()
    assert (choice.sft is not None) == right


@FEW
@given(RULE, st.lists(POOLS, max_size=6), st.integers(0, 9))
def test_parts_are_disjoint_and_counted(
    rule: Rule, pools: list[list[Candidate]], seed: int
) -> None:
    choices = {str(n): choose(rule, pool) for n, pool in enumerate(pools)}
    sft, preference = split(rule, choices, seed)
    assert not sft & preference
    assert all(choices[id].sft for id in sft)
    assert all(choices[id].kept(rule) for id in preference)
    assert (sft, preference) == split(rule, dict(reversed(choices.items())), seed)
    told = report(rule, choices, (sft, preference))
    assert told["sft"] == len(sft)
    assert told["preference"] == sum(told["preference_sources"].values())
    if rule.split == "share" and rule.split_of == "paired":
        assert len(sft) == 4 * told["with_a_kept_pair"] // 10
        assert len(sft | preference) == told["with_a_kept_pair"]


@pytest.mark.parametrize(("total", "sft"), [(20374, 8149), (9435, 3774), (5, 2), (0, 0)])
def test_the_published_counts_are_four_to_six_rounded_down(total: int, sft: int) -> None:
    pool = [candidate("a", 0, 0.15), candidate("a", 1, 0.1)]
    choice = choose(RULES["instruction"], pool)
    found = split(RULES["instruction"], {str(n): choice for n in range(total)}, seed=0)
    assert (len(found[0]), len(found[1])) == (sft, total - sft)


# The open points, one by one.


def kept(rule: Rule, *pool: Candidate) -> list[str]:
    return [pair.chosen.response for pair in choose(rule, pool).kept(rule)]


def test_ends_of_the_gap() -> None:
    for low, high in ((0.1, 0.11), (0.2, 0.3), (0.1, 0.2)):
        pool = [candidate("a", 0, high), candidate("a", 1, low)]
        assert kept(Rule(), *pool) == ["a/0"]
        assert kept(Rule(gap_ends="exclusive"), *pool) == []
    assert kept(Rule(), candidate("a", 0, 0.5), candidate("a", 1, 0.1)) == []
    assert kept(Rule(gap=None), candidate("a", 0, 0.5), candidate("a", 1, 0.1)) == ["a/0"]


def test_between_sources() -> None:
    pool = [
        candidate("a", 0, 0.30),
        candidate("a", 1, 0.28),
        candidate("b", 0, 0.20),
        candidate("b", 1, 0.12),
        candidate("c", 0, 0.90),
        candidate("c", 1, 0.10),
    ]
    assert kept(Rule(), *pool) == ["a/0"]
    assert kept(Rule(between_sources="widest_gap"), *pool) == ["b/0"]
    assert kept(Rule(between_sources="all"), *pool) == ["a/0", "b/0"]
    assert choose(Rule(), pool).sft == pool[4]


def test_ties_go_to_the_lower_sample_then_to_the_first_source() -> None:
    pool = [candidate("b", 1, 0.2), candidate("a", 0, 0.2), candidate("b", 0, 0.2)]
    assert choose(Rule(), pool).sft == pool[1]
    assert choose(Rule(), pool[::-1]).sft == pool[2]
    assert choose(Rule(), [candidate("a", 0, 0.1), candidate("a", 1, 0.1)]).pairs == ()


def test_kinds_of_wrong_code() -> None:
    def code(number: int, static: bool, passed: int) -> Candidate:
        verdict = {"static_ok": static, "tests_passed": passed, "tests_total": 2}
        return candidate("a", number, 0.1 + number / 10, **verdict)

    pool = [code(0, False, 0), code(1, True, 1), code(2, True, 2)]
    rejected = {
        wrong: choose(RULES["code"].model_copy(update={"wrong": wrong}), pool).pairs[0].rejected
        for wrong in ("any", "tests", "static")
    }
    assert rejected == {"any": pool[0], "tests": pool[1], "static": pool[0]}
    assert choose(RULES["code"], pool).sft == pool[2]
    worse = [code(1, True, 2), code(2, True, 0)]  # passes with the lower reward: still a pair
    assert choose(RULES["code"], worse).pairs[0].gap < 0


def test_answers_without_a_verdict() -> None:
    pool = [candidate("a", 0, 0.15, correct=True), candidate("a", 1, 0.1)]
    assert kept(RULES["mathematics"], *pool) == []
    wrong = RULES["mathematics"].model_copy(update={"no_verdict": "wrong"})
    assert kept(wrong, *pool) == ["a/0"]


def test_what_a_share_is_of_and_pairs_first() -> None:
    pair = [candidate("a", 0, 0.15), candidate("a", 1, 0.1)]
    single = [candidate("a", 0, 0.15)]
    pools = {"p": pair, "q": pair, "r": single, "s": single}
    choices = {id: choose(Rule(), pool) for id, pool in pools.items()}
    assert split(Rule(split="pairs_first"), choices, 0) == ({"r", "s"}, {"p", "q"})
    sft, preference = split(Rule(sft_share=0.5), choices, 0)
    assert len(sft) == len(preference) == 1
    sft, preference = split(Rule(sft_share=0.5, split_of="answered"), choices, 0)
    assert len(sft) == 2
    assert preference <= {"p", "q"}


def test_a_domain_without_pairs_needs_no_reward() -> None:
    choice = choose(RULES["chinese"], [candidate("q", 0, None)])
    assert choice.pairs == ()
    assert split(RULES["chinese"], {"p": choice}, 0) == ({"p"}, set())
    assert choose(RULES["chinese"], []) == Choice(None, ())


def test_a_missing_reward_is_named() -> None:
    with pytest.raises(BadData, match=r'prompt "p", sample 1 of a'):
        choose(Rule(), [candidate("a", 0, 0.1), candidate("a", 1, None)])


# The operation.


class Context:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)


def selected(tmp_path: Path, table: list[Candidate], **params: Any) -> tuple[list[Row], Row]:
    lines = [canonical_json({"id": str(n), **c.model_dump()}) for n, c in enumerate(table)]
    (tmp_path / "table").mkdir(exist_ok=True)
    (tmp_path / "table" / "rows.jsonl").write_bytes(b"\n".join(lines))
    context: Any = Context(tmp_path / params["part"])
    artifact = Artifact("t", tmp_path / "table")
    select_training_rows(context, SelectParams(seed=0, **params), candidates=(artifact,))
    found = Artifact("r", context.directory)
    return found.rows(), found.read_json("summary.json")


TABLE = [
    candidate(
        "a", n % 2, 0.1 + (n % 2) / 20, prompt_id=str(n // 2), response_tokens=10 + 10 * (n % 2)
    )
    for n in range(10)
]


def test_rows_for_training_and_the_report(tmp_path: Path) -> None:
    sft, summary = selected(tmp_path, TABLE, part="sft")
    preference, again = selected(tmp_path, TABLE, part="preference")
    assert summary == again
    assert (len(sft), len(preference)) == (2, 3)
    assert {row["id"] for row in sft}.isdisjoint(row["id"] for row in preference)
    row = preference[0]
    assert row["responses"] == {"chosen": "a/1", "rejected": "a/0"}
    assert row["messages"] == [{"role": "user", "content": "?"}]
    assert row["source_model"] == "a"
    told = summary["instruction"]
    assert told["length_ratio"] == 2.0
    assert told["gap_quantiles"]["50"] == pytest.approx(0.05)
    assert told["preference_sources"] == {"a": 3}


def test_pairs_of_several_sources_have_ids_of_their_own(tmp_path: Path) -> None:
    both = TABLE + [c.model_copy(update={"source_model": "b"}) for c in TABLE]
    both.sort(key=lambda c: c.prompt_id)
    rules = {"instruction": Rule(between_sources="all", sft_share=0.0)}
    rows, _ = selected(tmp_path, both, part="preference", rules=rules)
    assert len({row["id"] for row in rows}) == len(rows) == 10


def test_nothing_left_and_unknown_domains_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="select no preference row"):
        selected(tmp_path, TABLE[:1], part="preference")
    odd = [c.model_copy(update={"domain": "instructoin"}) for c in TABLE]
    with pytest.raises(UnknownName, match='did you mean "instruction"'):
        selected(tmp_path, odd, part="sft")
