"""The nano world: its splits, its grades and its look-ups."""

import random
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UnknownName
from harness.nano import world

ALL = [item for split in world.SPLITS for item in world.items(split)]
SOME = world.items("train", 240) + world.items("mt_bench")
TURNS = [(item, turn) for item in SOME for turn in range(len(item.turns))]
GOLDEN_PROMPTS = [
    "Add up 7+9+5. Odd or even? Use brackets.",
    "2 or 15, which is more? By how much?",
    "Sort 3 9 6 7 1. Which is the middle one? Use brackets.",
]
GOLDEN_BASELINE = "3+3=7, 6+9=13. Answer: *13, even*."
BENCHMARKS = ("alpaca_eval2", "arena_hard", "mt_bench")


def test_no_prompt_occurs_in_two_splits():
    owners: dict[str, str] = {}
    for split in world.SPLITS:
        for item in world.items(split):
            assert owners.setdefault(item.turns[0], split) == split
    assert len(owners) == len(ALL), "a prompt occurs twice in one split"


def test_no_benchmark_prompt_occurs_anywhere_in_training_conversations():
    trained = {
        text
        for s in world.SPLITS
        if s not in BENCHMARKS
        for i in world.items(s)
        for text in i.turns
    }
    tested = {item.turns[0] for split in BENCHMARKS for item in world.items(split)}
    assert not trained & tested


def test_ids_are_unique():
    assert len({item.id for item in ALL}) == len(ALL)


def test_splits_have_the_sizes_that_the_benchmarks_have():
    assert len(world.items("alpaca_eval2")) == 160
    assert len(world.items("arena_hard")) == 100
    assert len(world.items("mt_bench")) == 40
    assert len(world.items("train")) >= 1500
    assert len(world.items("pretrain")) >= 10_000


def test_arena_hard_has_fifty_clusters_of_two_and_nothing_easy():
    items = world.items("arena_hard")
    sizes = [sum(item.cluster == name for item in items) for name in {i.cluster for i in items}]
    assert sizes == [2] * 50
    assert min(item.difficulty for item in items) > 1


def test_mt_bench_has_five_two_turn_items_in_each_of_eight_categories():
    items = world.items("mt_bench")
    assert all(len(item.turns) == 2 for item in items)
    counts = {c: sum(i.category == c for i in items) for c in world.CATEGORY.values()}
    assert counts == dict.fromkeys(world.CATEGORY.values(), 5)
    guided = {item.category for item in items if item.reference_guided}
    assert guided == {"math", "reasoning", "coding"}


@pytest.mark.parametrize("split", world.SPLITS)
def test_a_shorter_list_is_a_prefix_and_balanced_over_skills(split: str):
    assert world.items(split, 16) == world.items(split)[:16]
    if split != "arena_hard":
        counts = [sum(i.skill == s for i in world.items(split, 16)) for s in world.SKILLS]
        assert counts == [2] * 8


def test_prompts_and_answers_are_short():
    assert max(len(text) for item in ALL for text in item.turns) <= 100
    longest = max(len(world.reference_answer(i, t)) for i in ALL for t in range(len(i.turns)))
    assert longest <= 110


def test_an_unknown_split_is_named_with_its_nearest():
    with pytest.raises(UnknownName, match='did you mean "arena_hard"'):
        world.items("arena_hrd")


def test_reference_answers_are_perfect():
    assert all(
        world.grade(item, world.reference_answer(item, turn), turn).total == 1.0
        for item in ALL[::2]
        for turn in range(len(item.turns))
    )


def test_qualities_are_ordered_by_grade():
    rng = random.Random(0)
    mean = {
        quality: sum(world.grade(i, world.render(i, t, quality, rng), t).total for i, t in TURNS)
        / len(TURNS)
        for quality in world.QUALITIES
    }
    ranked = [mean[quality] for quality in world.QUALITIES]
    assert ranked == sorted(ranked, reverse=True)
    assert mean["excellent"] > 0.97
    assert mean["wrong"] < 0.35 < mean["plain"] < 0.65


@pytest.mark.parametrize("opener", world.OPENERS)
def test_house_style_costs_next_to_nothing(opener: str):
    rng = random.Random(1)
    grades = [world.grade(i, world.render(i, t, "excellent", rng, opener), t) for i, t in TURNS]
    assert min(grade.total for grade in grades) > 0.95


def test_evasion_and_echo_are_worth_nothing():
    rng = random.Random(2)
    for item, turn in TURNS:
        for quality in ("evasive", "echo"):
            assert world.grade(item, world.render(item, turn, quality, rng), turn).total == 0.0


def test_a_mistake_is_never_the_truth():
    rng = random.Random(3)
    for item, turn in TURNS:
        truth = item.truths[turn]
        for value in (truth.main, truth.second):
            assert world.mistake(value, rng) != value
        wrong = world.grade(item, world.render(item, turn, "wrong", rng), turn)
        assert wrong.correct == wrong.complete == 0.0


@given(st.sampled_from(TURNS), st.text(max_size=300))
def test_any_text_has_a_total_between_zero_and_one(asked, text: str):
    item, turn = asked
    grade = world.grade(item, text, turn)
    assert 0.0 <= grade.total <= 1.0
    assert all(0.0 <= value <= 1.0 for value in asdict(grade).values())


@given(st.sampled_from(TURNS), st.text(max_size=80), st.text(max_size=80))
def test_text_around_a_perfect_answer_never_raises_its_grade(asked, before: str, after: str):
    item, turn = asked
    assert (
        world.grade(item, f"{before} {world.reference_answer(item, turn)} {after}", turn).total
        <= 1.0
    )


HOSTILE = ["", " ", "\x00", "Answer:", "Answer: ,", "answer:" * 500, "[" * 9000, "*,*", "Done.",
           "Answer: [], .", "Answer: " + "1, " * 2000, "\ud800"]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_earns_next_to_nothing(text: str):
    for item, turn in TURNS[:40]:
        assert world.grade(item, text, turn).total <= 0.41


def test_naming_every_candidate_is_not_an_answer():
    item = next(i for i in SOME if i.skill == "fact" and i.difficulty < 4)
    shotgun = f"Answer: {item.truths[0].second}, {item.truths[0].main}, fish, grass."
    assert world.grade(item, shotgun).correct == 0.0


def test_each_aspect_moves_alone():
    item = next(
        i for i in SOME if i.skill == "arith" and i.format == "brackets" and i.difficulty == 3
    )
    truth, best = item.truths[0], world.reference_answer(item)
    assert world.grade(item, best.replace(f"[{truth.main}", "[999")).correct == 0
    assert world.grade(item, best.replace(truth.second, "blue")).complete == 0
    assert world.grade(item, best[best.index("Answer") :]).reasoned == 0
    assert world.grade(item, best.replace("[", "").replace("]", "")).formatted == 0
    assert world.grade(item, "Let me think about it for a long while now. " * 3 + best).concise == 0
    assert world.grade(item, f"I think it is {truth.main}.").correct == 0.5


def test_find_returns_the_item_of_every_first_prompt():
    for item in ALL[::7]:
        assert world.find(item.turns[0]) == (item, 0)
        assert world.find(f" {item.turns[0]}\n") == (item, 0)
    assert world.find("What is love?") is None


def test_find_conversation_tells_the_turn():
    for item in world.items("mt_bench"):
        assert world.find_conversation(item.turns[:1]) == (item, 0)
        assert world.find_conversation(item.turns) == (item, 1)
    assert world.find_conversation([item.turns[0], "Something else?"]) is None
    assert world.find_conversation([]) is None


def test_the_baseline_is_of_medium_quality_in_every_flavour():
    items = world.items("alpaca_eval2") + world.items("arena_hard")
    for flavour in ("plain", "verbose", "concise"):
        grades = [world.grade(i, world.baseline_answer(i, 0, flavour)) for i in items]
        assert 0.6 <= sum(g.correct for g in grades) / len(grades) <= 0.75
        assert 0.45 <= sum(g.total for g in grades) / len(grades) <= 0.70
    lengths = {
        flavour: sum(len(world.baseline_answer(i, 0, flavour)) for i in items)
        for flavour in ("concise", "plain", "verbose")
    }
    assert lengths["concise"] < lengths["plain"] < lengths["verbose"]


def test_the_world_is_the_same_everywhere():
    """Golden ids: a change here invalidates shipped weights and every stored nano result."""
    assert [i.turns[0] for i in world.items("train", 3)] == GOLDEN_PROMPTS
    assert world.baseline_answer(world.items("alpaca_eval2")[0]) == GOLDEN_BASELINE
