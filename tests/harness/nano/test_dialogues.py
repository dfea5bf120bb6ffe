"""Nano dialogues: look-alikes by construction, splits apart, a control without look-alikes."""

from __future__ import annotations

from itertools import combinations

import pytest

from harness.core.errors import UnknownName
from harness.core.hashing import digest
from harness.data.dialogue_files import check_apart
from harness.nano.dialogues import DOMAINS, WORLDS, dialogues, records

KEYS = ("area", "price")


def shared(a: dict[str, str], b: dict[str, str]) -> int:
    keys = (*KEYS, DOMAINS[a["type"]].attribute)
    return sum(a[key] == b[key] for key in keys)


def test_every_place_has_look_alikes_and_none_is_another() -> None:
    for place in records("dialogues"):
        others = [r for r in records("dialogues") if r["type"] == place["type"] and r != place]
        assert max(shared(place, other) for other in others) == 2


def test_in_the_control_one_value_identifies_a_place() -> None:
    for kind, domain in DOMAINS.items():
        places = [r for r in records("distinct_dialogues") if r["type"] == kind]
        assert len({r[domain.attribute] for r in places}) == len(places) > 1


# Digests of the first published sets, which no new set may change.
PUBLISHED = {
    "dialogues": "4acda287f724e24dc0ae2e2f8e834e2f",
    "dialogues/train": "11dda7c219956b44500b63284248959e",
    "dialogues/valid": "fddf514059af6b112ce830cc7c712a6c",
    "distinct_dialogues": "d97b57f8a7fc4b60eb7d092de96e5a6d",
    "distinct_dialogues/train": "b662f144266debe4a5a29eea11d8488b",
    "distinct_dialogues/valid": "8042eebad7965da2ffbdb4d3b57f4a88",
}


@pytest.mark.parametrize(("name", "known"), PUBLISHED.items())
def test_published_sets_stay_as_they_are(name: str, known: str) -> None:
    found = dialogues(name)
    assert digest([found.turns, list(found.records or ())]) == known


@pytest.mark.parametrize("world", WORLDS)
def test_splits_have_dialogues_of_their_own(world: str) -> None:
    sets = {end: dialogues(f"{world}{end}").turns for end in ("", "/valid", "/train", "/large")}
    for one, other in combinations(sets, 2):
        check_apart(sets[one], sets[other], world)
    ids = [{turn["dialogue"] for turn in turns} for turns in sets.values()]
    assert list(map(len, ids)) == [40, 40, 240, 120]
    assert len(set().union(*ids)) == 440


def test_every_reply_needs_a_record_of_its_session() -> None:
    for turn in dialogues("dialogues").turns:
        values = {value for record in turn["kb"] for value in record.values()}
        assert set(turn["gold"]) <= values
        assert all(value in turn["reference"] for value in turn["gold"])
        assert len({record["name"] for record in turn["kb"]}) > 1


def test_users_say_some_values_in_other_words() -> None:
    first = [t for t in dialogues("dialogues").turns if t["turn"] == 1]
    place = {record["name"]: record for record in records("dialogues")}
    plain = [place[t["gold"][0]]["area"] in t["context"][0].split() for t in first]
    assert 0 < plain.count(False) < len(plain)


def test_an_unknown_set_is_named() -> None:
    with pytest.raises(UnknownName, match="dialogues/train"):
        dialogues("dialogues/trian")
