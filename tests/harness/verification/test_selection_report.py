"""Selection by value: the report, the rows, the rules of the paper, ends of the gap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData
from harness.core.hashing import seed_from
from harness.verification.candidates import Candidate
from harness.verification.selection import RULES, Pair, Rule, SelectParams, choose, report, split
from tests.harness.verification.test_selection import candidate, selected

PAPER = {
    "instruction": (False, True, (0.01, 0.1), "share"),
    "mathematics": (True, True, (0.01, 0.1), "pairs_first"),
    "code": (True, True, None, "pairs_first"),
    "chinese": (False, False, (0.01, 0.1), "share"),
}


def test_the_rules_of_the_paper() -> None:
    found = {name: (r.verified, r.pairs, r.gap, r.split) for name, r in RULES.items()}
    assert found == PAPER
    for rule in RULES.values():
        assert (rule.gap_ends, rule.between_sources) == ("inclusive", "best_chosen")
        assert (rule.wrong, rule.no_verdict) == ("any", "left_out")
        assert (rule.sft_share, rule.split_of) == (0.4, "paired")
    assert SelectParams(part="sft", seed=0).rules == RULES
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError):
            Rule(sft_share=share)
    assert (Rule(sft_share=0).sft_share, Rule(sft_share=1).sft_share) == (0, 1)


def pool(prompt: str, *rewards: tuple[str, float], tokens: tuple[int, ...] = ()) -> list[Candidate]:
    return [
        candidate(
            source, number, reward, prompt_id=prompt, response=source * (number + 1),
            response_tokens=tokens[number] if tokens else None,
        )
        for number, (source, reward) in enumerate(rewards)
    ]  # fmt: skip


POOLS = {
    "inside": pool("inside", ("a", 0.15), ("a", 0.1), ("b", 0.3), ("b", 0.28)),
    "below": pool("below", ("a", 0.105), ("a", 0.1)),
    "above": pool("above", ("a", 0.9), ("a", 0.1)),
    "single": pool("single", ("b", 0.1)),
    "none": [],
}


def test_the_report_of_a_domain_by_hand() -> None:
    rule = Rule(split="pairs_first", between_sources="all")
    choices = {id: choose(rule, found) for id, found in POOLS.items()}
    parts = split(rule, choices, 0)
    assert parts == ({"below", "above", "single"}, {"inside"})
    # Chosen and rejected of the two pairs inside the gap: lengths 1, 2 (a) and 3, 4 (b).
    gaps = sorted((0.05, 0.02, 0.005, 0.8))
    assert report(rule, choices, parts) == {
        "prompts": 5, "answered": 4, "with_a_pair": 3, "with_a_kept_pair": 1, "pairs": 4,
        "pairs_inside_gap": 2, "pairs_below_gap": 1, "sft": 3, "preference": 2,
        "gap_quantiles": {
            "0": pytest.approx(gaps[0]), "5": pytest.approx(gaps[0] + 0.15 * (gaps[1] - gaps[0])),
            "25": pytest.approx(gaps[0] + 0.75 * (gaps[1] - gaps[0])),
            "50": pytest.approx((gaps[1] + gaps[2]) / 2),
            "75": pytest.approx(gaps[2] + 0.25 * (gaps[3] - gaps[2])),
            "95": pytest.approx(gaps[2] + 0.85 * (gaps[3] - gaps[2])), "100": pytest.approx(0.8),
        },
        "length_unit": "characters", "length_ratio": pytest.approx(4 / 6),
        "sft_sources": {"a": 2, "b": 1}, "preference_sources": {"a": 1, "b": 1},
    }  # fmt: skip


def test_lengths_are_tokens_if_all_are_known() -> None:
    rule = Rule(split="pairs_first")
    known = {"p": choose(rule, pool("p", ("a", 0.15), ("a", 0.1), tokens=(30, 10)))}
    told = report(rule, known, (set(), {"p"}))
    assert (told["length_unit"], told["length_ratio"]) == ("tokens", 3.0)
    (pair,) = known["p"].pairs
    half = pair.rejected.model_copy(update={"response_tokens": None})
    partly = {"p": known["p"].__class__(pair.chosen, (Pair(pair.chosen, half, pair.gap, True),))}
    told = report(rule, partly, (set(), {"p"}))
    assert (told["length_unit"], told["length_ratio"]) == ("characters", 0.5)
    empty = {"p": choose(rule, pool("p", ("a", 0.15), ("a", 0.1), tokens=(30, 0)))}
    assert report(rule, empty, (set(), {"p"}))["length_ratio"] is None


def test_a_report_without_pairs_or_gap() -> None:
    nothing = report(Rule(), {}, (set(), set()))
    assert (nothing["prompts"], nothing["gap_quantiles"], nothing["length_ratio"]) == (0, {}, None)
    rule = Rule(gap=None)
    choices = {"p": choose(rule, POOLS["below"])}
    told = report(rule, choices, ({"p"}, set()))
    assert (told["pairs_inside_gap"], told["pairs_below_gap"]) == (1, 0)


def test_a_difference_at_the_lower_end_counts_as_below_if_ends_are_excluded() -> None:
    rule = Rule(gap=(0.25, 0.5), gap_ends="exclusive")
    for low, below in ((0.25, 1), (0.0, 0), (0.125, 0)):
        choices = {"p": choose(rule, pool("p", ("a", 0.5), ("a", low)))}
        assert report(rule, choices, ({"p"}, set()))["pairs_below_gap"] == below
    assert report(rule, choices, ({"p"}, set()))["pairs_inside_gap"] == 1


def test_one_right_answer_needs_no_reward_where_no_pair_is_made() -> None:
    single = [candidate("a", 0, None)]
    rule = Rule(pairs=False)
    assert choose(rule, single).sft == single[0]
    with pytest.raises(BadData):
        choose(Rule(), single)
    with pytest.raises(BadData):
        choose(rule, [*single, candidate("a", 1, 0.1)])
    verified = Rule(verified=True, pairs=False)
    wrong = candidate("a", 1, None, correct=False)
    right = candidate("a", 0, None, correct=True)
    assert choose(verified, [right, wrong]).sft == right


def test_a_pair_has_one_source_even_if_another_is_better() -> None:
    found = choose(
        Rule(verified=True, gap=None),
        [
            candidate("a", 0, 0.5, correct=True),
            candidate("b", 1, 0.9, correct=True),
            candidate("a", 2, 0.4, correct=False),
            candidate("b", 3, 0.1, correct=None),
            candidate("a", 4, 0.4, correct=False),
        ],
    )
    ((chosen, rejected, gap),) = ((p.chosen, p.rejected, p.gap) for p in found.pairs)
    assert (chosen.sample_index, rejected.sample_index) == (0, 2)
    assert gap == pytest.approx(0.1)
    assert found.sft is not None
    assert found.sft.source_model == "b"


def test_a_draw_depends_on_the_seed_and_not_on_the_order() -> None:
    rule = Rule()
    choice = choose(rule, pool("p", ("a", 0.15), ("a", 0.1)))
    names = [f"p{n}" for n in range(10)]
    drawn = [split(rule, dict.fromkeys(names, choice), seed)[0] for seed in range(4)]
    assert len({frozenset(part) for part in drawn}) > 1
    assert all(isinstance(part, set) and len(part) == 4 for part in drawn)
    assert split(rule, dict.fromkeys(names[::-1], choice), 0)[0] == drawn[0]
    ordered = sorted(names, key=lambda id: seed_from(0, "split", id))
    assert drawn[0] == set(ordered[:4])


def test_rows_have_what_training_needs(tmp_path: Path) -> None:
    table = [
        candidate("a", n, 0.1 + n / 20, prompt_id="p", finish=("length", "stop")[n])
        for n in range(2)
    ]
    rules = {"instruction": Rule(split="pairs_first")}
    (row,), _ = selected(tmp_path, table, part="preference", rules=rules)
    origin: dict[str, Any] = {
        "messages": [{"role": "user", "content": "?"}], "source_model": "a", "sample": 1,
        "reward": 0.15000000000000002,
    }  # fmt: skip
    assert row == {
        "id": "instruction/p", **origin,
        "responses": {"chosen": "a/1", "rejected": "a/0"},
        "rewards": {"chosen": 0.15000000000000002, "rejected": 0.1},
        "finish": {"chosen": "stop", "rejected": "length"},
    }  # fmt: skip
    (row,), _ = selected(tmp_path, table[1:], part="sft", rules={"instruction": Rule(pairs=False)})
    assert row == {"id": "instruction/p", **origin, "response": "a/1", "finish": "stop"}


def test_domains_are_selected_and_reported_apart(tmp_path: Path) -> None:
    both = [
        candidate("a", n % 2, 0.1 + (n % 2) / 20, prompt_id=f"p{n // 4}", domain=domain)
        for n in range(8)
        for domain in (("instruction", "other")[n // 2 % 2],)
    ]
    rules = {"instruction": Rule(split="pairs_first"), "other": Rule(pairs=False)}
    rows, summary = selected(tmp_path, both, part="preference", rules=rules)
    assert [row["id"] for row in rows] == ["instruction/p0", "instruction/p1"]
    assert {name: told["prompts"] for name, told in summary.items()} == {
        "instruction": 2,
        "other": 2,
    }
    rows, _ = selected(tmp_path, both, part="sft", rules=rules)
    assert [row["id"] for row in rows] == ["other/p0", "other/p1"]
