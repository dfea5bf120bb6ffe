"""What retriever and generator read: limits, markers, phrases of equal length."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.errors import BadData
from methods.mktod.meta_knowledge import meta_knowledge
from methods.mktod.reading import GeneratorReader, QueryReader, classes, named_in, new_tokens
from methods.mktod.scratch import word_tokenizer
from methods.mktod.settings import Layout
from tests.methods.mktod_world import RECORDS, TURNS, encoder, generator


def reader(**layout: Any) -> GeneratorReader:
    made = Layout(**layout)
    _, tokenizer = generator()
    tokenizer.add_special_tokens({"additional_special_tokens": new_tokens(made)})
    return GeneratorReader(tokenizer, made)


def shown(made: GeneratorReader, ids: list[int]) -> list[str]:
    found: list[str] = made.tokenizer.convert_ids_to_tokens(ids)
    return found


def test_a_context_has_role_markers_and_keeps_its_end() -> None:
    said = ["some thai food ?", "try sala_thong .", "north ?"]
    made = reader(values="joined")
    expected = "<user> some thai food ? <system> try sala_thong . <user> north ?"
    assert shown(made, made.context(said)) == expected.split()
    short = reader(values="joined", max_context=4)
    assert short.context(said) == made.context(said)[-4:]


def test_values_are_joined_or_in_surface_form() -> None:
    record = RECORDS[2]
    joined, surface = reader(values="joined"), reader(values="surface")
    assert "sala_thong" in shown(joined, joined.record(record))
    assert {"sala", "thong"} <= {*shown(surface, surface.record(record))}
    assert len(reader(max_record=4).record(record)) == 4


def test_prefix_tokens_are_one_token_each() -> None:
    made = reader(meta="prefix")
    ids = made.meta(meta_knowledge(2, 0.5, "", ""))
    assert shown(made, ids) == ["<new-entity>", "<mid-confidence>", "<2th-entity>"]
    assert len(new_tokens(Layout(meta="prefix"))) == 3 + 11
    assert made.text([*ids, *made.reply("try efes .")]) == "try efes ."


def test_phrases_of_a_kind_have_equal_length() -> None:
    made = reader(meta="prompt")
    lengths = {
        len(made.meta(meta_knowledge(rank, score, "efes", said)))
        for rank in (1, 2, 3, 4, 5, 6, None)
        for score in (0.1, 0.5, 0.9)
        for said in ("", "efes")
    }
    assert len(lengths) == 1
    assert reader(meta="none").meta(meta_knowledge(1, 1.0, "", "")) == []


def test_the_negative_record_is_told_nothing_of_its_score() -> None:
    layout = Layout()
    assert classes(None, 0.99, True, layout) == classes(None, -1.0, False, layout)
    assert classes(1, 0.9, True, layout).cooccurrence == "old"
    assert classes(1, 0.3, False, Layout(edges="footnote")).confidence == "low"


def test_a_long_reply_is_cut_and_has_no_end() -> None:
    made = reader(max_reply=3)
    whole = reader().reply("try curry garden .")
    assert whole[-1] == made.end
    assert made.reply("try curry garden .") == whole[:3]
    assert made.end not in made.reply("try curry garden .")


def test_a_long_context_keeps_the_first_special_token_of_the_retriever() -> None:
    from harness.suites.dialogue.encoding import token_ids

    _, tokenizer = encoder()
    long = " ".join(["indian food"] * 40)
    made = QueryReader(tokenizer, 8)
    assert made.context([long]) == token_ids(tokenizer, long, 8)
    released = QueryReader(tokenizer, 8, released=True)
    assert released.context([long]) == tokenizer(long)["input_ids"][-8:]


def test_named_records_are_found_as_whole_words() -> None:
    assert named_in(RECORDS, ["is curry garden open ?", "efess is"]) == {0}
    assert named_in([{"area": "north"}, *RECORDS], ["north efes"]) == {2}
    assert named_in(RECORDS, []) == frozenset()


def test_a_tokenizer_without_an_end_is_refused() -> None:
    _, tokenizer = generator()
    tokenizer.eos_token = None
    with pytest.raises(BadData, match="no end token"):
        GeneratorReader(tokenizer, Layout())


def test_words_of_the_base_always_have_a_token() -> None:
    tokenizer = word_tokenizer(["rare word word"], ["curry_garden 01223.5 it's"], min_count=2)
    known = {*tokenizer.get_vocab()}
    assert {"word", "curry_garden", "01223.5", "it's"} <= known
    assert "rare" not in known
    assert tokenizer.decode(tokenizer("Word curry_garden")["input_ids"][:-1]) == "word curry_garden"


def test_every_word_of_the_training_turns_is_read() -> None:
    made = reader(values="joined", meta="prompt")
    unknown = made.tokenizer.unk_token_id
    for row in TURNS:
        assert unknown not in made.context(row["context"]) + made.reply(row["reference"])
    for rank in (1, None):
        assert unknown not in made.meta(meta_knowledge(rank, 0.5, "", ""))
