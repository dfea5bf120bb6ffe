"""Nano authors: seeded, balanced, disjoint, and their texts say what their labels make likely."""

from collections import Counter
from itertools import combinations

import pytest

from harness.core.errors import UnknownName
from harness.core.hashing import digest
from harness.data.traits import scheme
from harness.nano import authors
from harness.suites.personality.questionnaires import load

SCHEMES = {"essays": "big_five", "posts": "mbti"}


def _texts(row: authors.Row) -> str:
    return row["text"] if "text" in row else "\n".join(row["posts"])


def test_an_unknown_split_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownName, match='did you mean "essays"'):
        authors.rows("esays")


# Digests of the first published texts, which no new set may change.
PUBLISHED = {
    "essays": "dbe291814501a7d847d1b5c3c70077e4",
    "essays/train": "6a5a046c9a338072d6f67ac47061ab53",
    "posts": "ad41a0b65b267c7d29e37301bfff12e0",
    "posts/train": "17ccff402f9fc624b35f5727fca6002f",
}


@pytest.mark.parametrize(("split", "known"), PUBLISHED.items())
def test_published_texts_stay_as_they_are(split: str, known: str):
    assert digest(authors.rows(split)) == known


@pytest.mark.parametrize("split", authors.SPLITS)
def test_a_split_is_always_the_same_balanced_and_has_the_traits_of_its_scheme(split: str):
    rows = authors.rows(split)
    assert rows == authors.rows(split)
    assert len(rows) == authors.SPLITS[split] == len({row["id"] for row in rows})
    assert rows[0]["id"] == f"nano-{split.replace('/', '-')}-0001"
    names = [trait.name for trait in scheme(SCHEMES[split.split("/")[0]])]
    for row in rows:
        assert list(row["labels"]) == names
    for name in names:
        assert sum(row["labels"][name] for row in rows) == len(rows) / 2
    for first, second in combinations(names, 2):
        both = sum(row["labels"][first] == row["labels"][second] for row in rows)
        assert 0.35 < both / len(rows) < 0.65, "traits are independent"


def test_no_text_is_in_two_splits_nor_among_what_the_models_read():
    said = [_texts(row) for split in authors.SPLITS for row in authors.rows(split)]
    read = [_texts(row) for kind in SCHEMES for row in authors.write(f"{kind}/read", 500)]
    assert len(set(said)) == len(said)
    assert not set(said) & set(read)


@pytest.mark.parametrize("split", authors.SIZES)
def test_the_majority_of_what_a_text_tells_is_mostly_the_label(split: str):
    told, right, asked = Counter(), 0.0, 0
    for row in authors.rows(split):
        found = authors.evidence(row)
        for name, label in row["labels"].items():
            labels = [e.label for e in found if e.trait == name]
            assert len(labels) in authors.EVIDENCE_ITEMS
            told.update(one == label for one in labels)
            for_it = labels.count(label) - labels.count(1 - label)
            right += 0.5 if for_it == 0 else for_it > 0
            asked += 1
    assert told[True] / told.total() == pytest.approx(authors.FAITH, abs=0.03)
    assert 0.85 <= right / asked <= 0.93


@pytest.mark.parametrize("split", [name for name in authors.SPLITS if name.endswith("unrelated")])
def test_unrelated_texts_tell_nothing_of_the_same_authors_labels(split: str):
    rows, others = authors.rows(split), authors.rows(split.removesuffix("/unrelated"))
    assert [row["labels"] for row in rows] == [row["labels"] for row in others]
    assert not {*map(_texts, rows)} & {*map(_texts, others)}
    told = Counter(
        found.label == row["labels"][found.trait] for row in rows for found in authors.evidence(row)
    )
    assert told.total() > 1000
    assert told[True] / told.total() == pytest.approx(0.5, abs=0.02)
    counts = [
        sorted(Counter(e.trait for row in some for e in authors.evidence(row)).values())
        for some in (rows, others)
    ]
    assert counts[0] == pytest.approx(counts[1], rel=0.05), "as much is said about each trait"


def test_what_a_sentence_tells_follows_the_items_key_and_its_verdict():
    told = authors.sentences("essays")
    assert told["About arguments, yes indeed."] == authors.Evidence("agr", 12, 5, True, 0)
    assert told["On arguments, hardly."] == authors.Evidence("agr", 12, 2, False, 1)
    assert told["As for together, never."] == authors.Evidence("agr", 42, 1, False, 0)
    told = authors.sentences("posts")
    assert (told["About tidy, never."].label, told["About mess, never."].label) == (0, 1)


@pytest.mark.parametrize(("kind", "form"), authors.QUESTIONNAIRES.items())
def test_every_item_is_told_about_both_ways_by_sentences_that_share_a_word_with_it(
    kind: authors.Kind, form: str
):
    items = {(item.trait, item.number): item for item in load(form).items}
    ways = set()
    for sentence, told in authors.sentences(kind).items():
        item = items[told.trait, told.number]
        words = [word for word in authors.keywords() if word in sentence]
        assert any(word in f"{item.text} {item.options}" for word in words), sentence
        assert told.agrees == (told.label == (item.keyed > 0))
        ways.add((told.trait, told.number, told.label))
    assert ways == {(*key, label) for key in items for label in (0, 1)}


def test_posts_are_some_short_and_never_all():
    posts = [row["posts"] for row in authors.rows("posts")]
    assert all(6 <= len(row) <= 10 for row in posts)
    assert any(not post.strip() for row in posts for post in row)
    assert all(sum(len(post) > 10 for post in row) >= 6 for row in posts)
