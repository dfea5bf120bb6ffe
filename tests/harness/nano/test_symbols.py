"""The world of symbols: grading, disjoint splits, and pairs in which rewriting costs something."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadData, UnknownName
from harness.nano import symbols
from harness.testing import check_suite

prompts = st.text(symbols.SYMBOLS, min_size=6, max_size=6)
answers = st.text("".join(symbols.FORMS) + "yz ", max_size=9)


@given(prompts, answers)
def test_every_symbol_is_counted_once(prompt: str, answer: str) -> None:
    found = symbols.count(prompt, answer)
    assert found.good + found.plain + found.wrong == max(6, len(answer.strip()))
    assert 0 <= found.points <= 1
    if len(answer.strip()) == 6:
        assert found.points == pytest.approx((found.net + 12) / 18)
    metrics = symbols.score({"id": "x", "messages": [{"content": prompt}]}, answer)
    assert metrics["good"] <= metrics["content"]
    assert metrics["good"] <= metrics["points"] <= metrics["content"]


def test_the_best_answer_and_an_empty_one() -> None:
    best = "".join(symbols.GOOD[symbol] for symbol in "cafbde")
    assert symbols.count("cafbde", best) == symbols.Count(6, 0, 0)
    assert symbols.count("cafbde", "").points == 0


def test_splits_are_disjoint_and_nothing_else_is_reserved() -> None:
    rows = {name: {row["id"] for row in symbols.prompts_of(name)} for name in symbols.SPLITS}
    assert {name: len(ids) for name, ids in rows.items()} == symbols.SPLITS
    assert len(set().union(*rows.values())) == sum(symbols.SPLITS.values())
    assert symbols.is_reserved(symbols.prompts_of("test")[0]["messages"][0]["content"])
    assert not symbols.is_reserved("aaaaaa") or "symbols/aaaaaa" in set().union(*rows.values())
    with pytest.raises(UnknownName, match='did you mean "train"'):
        symbols.prompts_of("trian")


def test_a_writer_makes_its_share_of_mistakes() -> None:
    rng = random.Random(0)
    counts = [symbols.count(p, symbols.DRAFT.write(p, rng)) for p in ["abcdef"] * 2000]
    assert sum(c.wrong for c in counts) / 12000 == pytest.approx(0.1, abs=0.01)
    assert sum(c.good for c in counts) / 12000 == pytest.approx(0.45, abs=0.02)


@pytest.mark.parametrize("world", list(symbols.REWRITERS))
def test_pairs_leave_good_drafts_alone_and_rewriting_costs_in_one_world(world: str) -> None:
    kept, rewritten = 0, []
    for row in symbols.pairs(world):
        draft = symbols.count(row["prompt"], row["rejected"])
        assert row["score_chosen"] >= row["score_rejected"]
        if 6 - draft.good < symbols.MEND:
            kept += 1
            assert row["chosen"] == row["rejected"]
        if 6 - draft.good >= symbols.REWRITE and row["chosen"] != row["rejected"]:
            rewritten.append(symbols.count(row["prompt"], row["chosen"]).wrong / 6)
    assert kept > 500
    wrong = sum(rewritten) / len(rewritten)
    assert wrong == 0 if world == "free" else wrong == pytest.approx(1 / 6, abs=0.05)


def test_even_pairs_are_drafts_of_one_quality_and_their_scores_say_nothing() -> None:
    rows = list(symbols.pairs("even"))
    assert {row["prompt"] for row in rows} == {row["prompt"] for row in symbols.pairs("costly")}
    better = [
        [symbols.count(row["prompt"], row[side]).points for row in rows]
        for side in ("chosen", "rejected")
    ]
    means = [sum(points) / len(points) for points in better]
    assert means == pytest.approx([0.75, 0.75], abs=0.01)
    assert all(row["score_chosen"] > row["score_rejected"] for row in rows)
    with pytest.raises(UnknownName, match="even"):
        list(symbols.pairs("evne"))


def test_the_noisy_score_is_fixed_by_prompt_and_answer_and_right_on_average() -> None:
    rows = symbols.prompts_of("test")
    rng = random.Random(0)
    texts = [symbols.DRAFT.write(row["messages"][0]["content"], rng) for row in rows]
    noisy = [symbols.noisy_net(row, text) for row, text in zip(rows, texts)]
    assert noisy == [symbols.noisy_net(row, text) for row, text in zip(rows, texts)]
    exact = [symbols.noisy_net(row, text, noise=0) for row, text in zip(rows, texts)]
    errors = [one - two for one, two in zip(noisy, exact)]
    assert abs(sum(errors) / len(errors)) < 0.1
    assert 0.4 < (sum(e * e for e in errors) / len(errors)) ** 0.5 < 0.6
    with pytest.raises(BadData, match="expected 6 of the symbols"):
        symbols.noisy_net({"id": "x", "messages": [{"content": "What is it?"}]}, "A")


def test_the_suite_can_be_planned() -> None:
    from harness.nano.symbols_suite import SUITE

    check_suite(SUITE)


@pytest.mark.parametrize("name", ["symbols", "symbols_large"])
def test_the_shipped_models_write_drafts(name: str) -> None:
    from harness.nano import zoo
    from harness.nano.zoo.sample import load
    from harness.nano.zoo.symbols import bands

    measured, written = bands(*load(zoo.path(name)), n=100), zoo.manifest()[name]["bands"]
    assert measured["content"] == pytest.approx(0.9, abs=0.05)
    for metric, value in written.items():
        assert measured[metric] == pytest.approx(value, abs=0.08)
    assert (measured["counted"] > 0.3) == ("count" in zoo.manifest()[name]["strengths"])


def test_training_data_have_no_prompt_of_a_split() -> None:
    from harness.nano.zoo.symbols import ASK, COUNTS, ECHOES, MARK, corpus

    rows = corpus("any", 2000, counts=True)
    assert rows == corpus("any", 2000, counts=True)
    asked = [row[0]["content"] for row in rows]
    assert not any(symbols.is_reserved(text[:6]) for text in asked)
    echoes = [row for row in rows if MARK in row[0]["content"]]
    assert len(echoes) / 2000 == pytest.approx(ECHOES, abs=0.04)
    assert all(row[0]["content"].endswith(row[1]["content"]) for row in echoes)
    counted = [row for row in rows if ASK in row[0]["content"]]
    assert len(counted) / 2000 == pytest.approx(COUNTS, abs=0.04)
    for question, reply in counted:
        found = symbols.count(*question["content"].split(ASK))
        assert reply["content"] == f"{found.plain}{found.wrong}"
    assert not any(ASK in row[0]["content"] for row in corpus("any", 500))
