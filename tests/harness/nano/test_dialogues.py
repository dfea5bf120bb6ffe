"""Nano dialogues: look-alikes by construction, splits apart, a control without look-alikes."""

from __future__ import annotations

import pytest

from harness.core.errors import UnknownName
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


@pytest.mark.parametrize("world", WORLDS)
def test_splits_have_dialogues_of_their_own(world: str) -> None:
    test, train, valid = (dialogues(f"{world}{end}").turns for end in ("", "/train", "/valid"))
    check_apart(train, test, world)
    check_apart(valid, test, world)
    check_apart(train, valid, world)


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
