"""Retrievers without training, the encoder behind the dense one, and the prompts of chat models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.core.errors import UserError
from harness.models.references import resolve
from harness.nano.dialogues import dialogues
from harness.suites.dialogue.encoding import encoder_of, token_ids
from harness.suites.dialogue.prompts import dialogue_reply, dialogue_reply_short
from harness.suites.dialogue.records import Dialogue, Knowledge, record_id, record_text
from harness.suites.dialogue.retrievers import bm25, dense, value_frequency
from harness.suites.dialogue.slots import SlotTable, hybrid, slot_matching, stemmed_tokens
from harness.suites.dialogue.text import count_runs, surface, value_runs, with_joined_values

BASE = Knowledge.of(
    [
        {"name": "curry_garden", "area": "north", "price": "cheap", "food": "north_american"},
        {"name": "Da_Vinci", "area": "south", "price": "moderate", "food": "italian"},
        {"name": "guest_house", "area": "south", "price": "expensive", "food": "italian"},
    ]
)
NOTHING = Knowledge.of([])


def say(*context: str) -> Dialogue:
    return Dialogue("1/1", "restaurant", context, {})


def ranked(scores: Any) -> list[float]:
    return [float(score) for score in scores[0]]


def test_the_value_rule_counts_whole_values_once() -> None:
    rank = value_frequency(BASE)
    assert ranked(rank([say("ITALIAN in the south , south !")])) == [0, 2, 2]
    assert ranked(rank([say("da vinci or davinci , in the northern part")])) == [0, 1, 0]
    often = value_frequency(BASE, occurrences=True)
    assert ranked(often([say("italian in the south , south")])) == [0, 3, 3]


@pytest.mark.parametrize("build", [value_frequency, bm25, slot_matching])
def test_an_empty_base_and_an_empty_context(build: Any) -> None:
    if build is bm25:
        pytest.importorskip("bm25s")
    assert build(NOTHING)([say("hello")]).shape == (1, 0)
    assert ranked(build(BASE)([say("")])) == [0, 0, 0]


def test_bm25_prefers_the_rarer_word() -> None:
    pytest.importorskip("bm25s")
    scores = ranked(bm25(BASE)([say("curry in the south")]))
    assert scores[0] > scores[1] == scores[2] > 0


def test_slots_follow_the_last_mention() -> None:
    rank = slot_matching(BASE, frequency=0)
    said = ("something cheap", "nothing found", "then a moderately priced one")
    cheap, moderate, other = ranked(rank([say(*said)]))
    assert (cheap, moderate, other) == (0.5, 1.0, 0.0)


def test_longer_values_hide_shorter_ones() -> None:
    # "north american" is a kind of food, not an area.
    assert SlotTable.of(BASE).last_mentions(["north american food"]) == {
        "food": {("north", "american"): 0}
    }


def test_values_are_found_in_other_spellings() -> None:
    assert stemmed_tokens("Guesthouses in the southern center") == [
        "guesthouse", "in", "the", "south", "centre",
    ]  # fmt: skip
    scores = ranked(slot_matching(BASE, frequency=0)([say("any guesthouses ?")]))
    assert scores == [0, 0, 1.5]


def test_a_name_fades_with_the_turns_since() -> None:
    rank = slot_matching(BASE, frequency=0)
    late = ranked(rank([say("hi", "da vinci", "yes")]))[1]
    early = ranked(rank([say("da vinci", "ok", "hm")]))[1]
    assert 1.5 > late > early > 0


def vowels(texts: Sequence[str]) -> NDArray[np.float32]:
    """An encoder for tests: the shares of five letters."""
    counts = np.array([[text.count(v) + 1e-3 for v in "aeiou"] for text in texts], np.float32)
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_dense_scores_are_cosines() -> None:
    scores = dense(BASE, vowels)([say("curry garden")])
    expected = vowels(["curry garden"]) @ vowels([record_text(r) for r in BASE.records]).T
    assert np.allclose(scores, expected)
    assert dense(NOTHING, vowels)([say("a")]).shape == (1, 0)
    with pytest.raises(UserError, match="set encoder"):
        dense(BASE)


def test_the_hybrid_asks_the_encoder_where_nothing_matches() -> None:
    rank, lexical = hybrid(BASE, vowels), slot_matching(BASE)
    asked = [say("italian please"), say("something nice")]
    found = rank(asked)
    assert np.array_equal(found[0], lexical(asked)[0])
    assert np.array_equal(np.argsort(found[1]), np.argsort(dense(BASE, vowels)(asked)[1]))
    assert not np.array_equal(hybrid(BASE, vowels, ties=True)(asked)[0], found[0])


def test_each_turn_has_the_spread_of_its_own_cosines() -> None:
    """What the encoder adds has mean 0 and the weight as standard deviation, whatever is beside."""
    asked = [say("aaaa ?"), say("eeeeeeee i u o ?")]
    both, alone = hybrid(BASE, vowels)(asked), hybrid(BASE, vowels)(asked[1:])
    assert np.allclose(both[1], alone[0])
    added = both - slot_matching(BASE)(asked)
    assert np.allclose(added.mean(axis=1), 0, atol=1e-6)


def test_a_value_of_several_words_is_found_beside_shorter_ones() -> None:
    knowledge = Knowledge.of([{"name": "the_old_oak_tea_room", "area": "north"}])
    found = SlotTable.of(knowledge).mentioned("is the old oak tea room in the north ?")
    assert [len(run) for run in found] == [5, 1]


def test_an_encoder_keeps_the_first_token_and_the_end_of_a_long_text() -> None:
    from harness.models.checkpoints import load_tokenizer

    path = resolve("nano:encoder").location
    tokenizer = load_tokenizer(path)
    text = " ".join(f"w{n}" for n in range(200))
    whole, cut = token_ids(tokenizer, text, 10**6), token_ids(tokenizer, text, 16)
    frame = tokenizer("")["input_ids"]
    assert len(cut) == 16
    assert cut[0] == whole[0] == frame[0]
    assert cut[1:] == whole[-15:]
    encode = encoder_of(path, "cpu")
    vectors = encode(["the north", text, "the north"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.array_equal(vectors[0], vectors[2])
    # A text is encoded alike alone and beside a longer one.
    assert np.allclose(encode(["the north"])[0], vectors[0], atol=1e-5)


ROW = {
    "records": [dict(record) for record in BASE.records],
    "facts": {"ref": "x1", "choice": "3"},
    "context": ["hello", "good_day", "cheap food ?"],
}


def test_the_prompt_shows_k_records_the_facts_and_the_dialogue() -> None:
    (message,) = dialogue_reply(ROW, k=2)
    text = message["content"]
    assert text.startswith("Records:\n1. name: curry garden, area: north")
    assert "2. name: Da Vinci" in text
    assert "guest" not in text
    assert "This session: booking reference: x1, number of matches: 3" in text
    assert "user: hello\nsystem: good day\nuser: cheap food ?\n\nWrite the system's" in text
    assert "Records:\nnone" in dialogue_reply({**ROW, "records": []}, k=2)[0]["content"]


def test_the_short_prompt_fits_small_models() -> None:
    (message,) = dialogue_reply_short(ROW, k=1)
    assert message["content"] == (
        "curry garden, north, cheap, north american\n"
        "user: hello\nsystem: good day\nuser: cheap food ?"
    )


def test_ids_of_records_depend_on_their_content_alone() -> None:
    assert record_id({"a": "1", "b": "2"}) == record_id({"b": "2", "a": "1"})
    assert record_id({"a": "1"}) != record_id({"a": "2"})
    ids = [record_id(record) for record in dialogues("dialogues").records or ()]
    assert len(set(ids)) == len(ids)


def test_tokens_and_values() -> None:
    assert surface("a_b") == "a b"
    assert count_runs(["a", "b"], []) == 0
    runs = value_runs(["pizza_hut", "pizza_hut_centre", "_"])
    assert with_joined_values("Pizza Hut Centre, or pizza hut?", runs) == [
        "pizza_hut_centre", ",", "or", "pizza_hut", "?",
    ]  # fmt: skip
