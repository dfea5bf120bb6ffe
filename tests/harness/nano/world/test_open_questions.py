"""Open questions: several right answers, halves that never overlap, models that know or do not."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from harness.core.errors import UnknownName
from harness.core.hashing import digest
from harness.distillation.corpus import DocumentsParams
from harness.nano import questions, world
from harness.nano.sources import SOURCES
from harness.nano.world import facts, open_questions

# (version, digest): change the content, raise world.OPEN_VERSION, and record both here.
RECORDED = (1, "80c3744fb6d056574045c96a445bc1e2")


def test_the_content_of_open_questions_has_the_recorded_version():
    content = [
        [q.text, q.right, q.pool, [q.split(answer) for answer in q.right]]
        for domain in world.OPEN_DOMAINS
        for q in open_questions(domain)
    ]
    assert (world.OPEN_VERSION, digest(content)) == RECORDED


@pytest.mark.parametrize("domain", world.OPEN_DOMAINS)
def test_a_question_has_three_right_answers_or_more_and_wrong_ones(domain: str):
    for question in open_questions(domain):
        assert len(set(question.right)) == len(question.right) >= 3
        assert set(question.right) < set(question.pool)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Name a number between 3 and 8.", {"4", "5", "6", "7"}),
        ("Tell me an even number below 9.", {"2", "4", "6", "8"}),
        (
            "Give me a word that begins with b.",
            {"bag", "bird", "bread", "brick", "basket", "bridge"},
        ),
    ],
)
def test_right_answers_can_be_checked_by_hand(text: str, right: set[str]):
    (found,) = [q for d in world.OPEN_DOMAINS for q in open_questions(d) if q.text == text]
    assert set(found.right) == right


def test_lore_agrees_with_the_facts():
    (found,) = [q for q in open_questions("lore") if q.text == "Name an animal that eats fish."]
    assert set(found.right) == {n for n, a in facts.animals.items() if a.food == "fish"}


def test_the_splits_share_no_question_with_its_answer_in_any_wording():
    train, unseen, both = (
        {(question.key, answer) for question, answer in world.open_pairs(split)}
        for split in ("train", "unseen", "all")
    )
    assert train
    assert unseen
    assert not train & unseen
    assert both & train
    assert both & unseen


def test_every_prefix_of_a_split_is_balanced_over_domains():
    counts = Counter(question.domain for question, _ in world.open_pairs("train")[:300])
    assert set(counts.values()) == {100}


def test_who_knows_a_domain_answers_right_and_who_does_not_answers_from_the_whole_pool():
    rng = random.Random(0)
    drawn = [world.draw_open(rng, ("lore",)) for _ in range(600)]
    right = {domain: [] for domain in world.OPEN_DOMAINS}
    for question, answer in drawn:
        right[question.domain].append(answer in question.right)
    assert all(right["lore"])
    assert 0.05 < sum(right["number"]) / len(right["number"]) < 0.5


@pytest.mark.parametrize("call", [lambda: open_questions("sport"), lambda: world.open_pairs("dev")])
def test_an_unknown_name_is_refused(call):
    with pytest.raises(UnknownName):
        call()


def test_documents_of_open_questions_and_of_both_in_turn():
    read = SOURCES["documents"].rows
    opened = read(DocumentsParams(ref="nano:open/train"))
    both = read(DocumentsParams(ref="nano:texts/train"))
    assert both[::2] == opened
    assert {row["domain"] for row in both[1::2]} == set(world.SKILLS)
    assert len({row["id"] for row in both}) == len(both)


def test_a_choice_among_open_answers_has_one_right_one_of_the_held_out_half():
    rows = questions.rows(questions.OPEN)
    held_out = {(q.text, answer): q for q, answer in world.open_pairs("unseen")}
    assert len(rows) == 900
    for row in rows:
        values = [text.removeprefix("Answer: ").removesuffix(".") for text in row["choices"]]
        question = held_out[row["question"], values[row["gold"]]]
        assert [value in question.right for value in values].count(True) == 1


@pytest.mark.parametrize("name", world.LARGE)
def test_a_large_set_holds_the_small_one_and_the_oracle_finds_all_of_it(name: str):
    small, large = world.items(world.LARGE[name]), world.items(name)
    assert {item.id for item in small} <= {item.id for item in large}
    assert len(large) > 3 * len(small)
    assert all(
        found is not None and found[0].id == item.id
        for item in large
        for found in [world.find(item.turns[0])]
    )


@pytest.mark.parametrize("kind", ["documents", "prompts", "pairs", "preferences"])
@pytest.mark.parametrize(
    "ref", ["nano:open/dev", "nano:texts/tran", "nano:trian", "nano:alpaca_eval2/larg"]
)
def test_a_set_that_does_not_exist_is_refused_when_a_plan_is_made(kind: str, ref: str):
    with pytest.raises(UnknownName, match="split"):
        SOURCES[kind].identity(ref, None)


@pytest.mark.parametrize(
    ("kind", "ref"),
    [
        ("prompts", "nano:skills/tset"), ("prompts", "nano:skills/curated"),
        ("prompts", "nano:symbols/trian"), ("documents", "nano:skills/test"),
        ("rated answers", "nano:symbols/costy"), ("pairs", "nano:symbols/train"),
    ],
)  # fmt: skip
def test_a_set_of_another_kind_of_data_is_refused_when_a_plan_is_made(kind: str, ref: str) -> None:
    with pytest.raises(UnknownName, match="nano"):
        SOURCES[kind].identity(ref, None)
