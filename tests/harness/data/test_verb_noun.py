"""Verb-noun pairs: the rule on hand-made trees, the parser on sentences, and their statistics."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import EnvironmentProblem, MissingExtra, UnknownName
from harness.data.instructions import spacy_parser as spacy_module
from harness.data.instructions.pair_statistics import pair_statistics
from harness.data.instructions.parsers import (
    LIMIT,
    Parser,
    find_verb_nouns,
    open_parser,
    sentences_of,
)
from harness.data.instructions.verb_noun import NOTHING, Sentence, VerbNoun, Word, verb_noun
from tests.golden_vectors import vectors

Golden = Callable[[str], Path]

SENTENCES = {
    "Let's plan a trip to Spain.": "plan trip",
    "Let us discuss the novel.": "discuss novel",
    "Could you help me to improve my essay?": "improve essay",
    "I would like you to write a poem about spring.": "write poem",
    "Please help us find the shortest route.": "find route",
    "Tell me how to bake a cake.": None,
    "Explain how plants make food.": None,
    "Show that the sum is even.": None,
    "Rephrase it as a question.": None,
    "Name two of the planets.": None,
    "Is this sentence correct?": None,
    "Listen carefully.": None,
    "How many apples are left?": None,
    "Keep the answer short.": "keep answer",
    "Make the text shorter.": "make text",
    "Make this report sound more analytical.": "make report",
    "Why do cats chase mice?": "chase mouse",
    "What steps should I take to learn Spanish?": "take step",
    "Which planet has the most moons?": "have moon",
    "If the text has errors, is it still good?": "have error",
    "Proofread and edit the essay.": "edit essay",
    "Read the passage and answer the questions.": "read passage",
    "Think about a topic and list ten questions.": "list question",
    "Recommend me some books.": "recommend book",
    "Send John an email about the meeting.": "send email",
    "You are a teacher. Write a lesson plan.": "write plan",
    "Given the list below, sort the numbers.": "sort number",
    "Reword this sentence.": "reword sentence",
    "Re-write this recipe in the style of a haiku.": "rewrite recipe",
    "List 5 unmanned vehicle application scenarios.": "list scenario",
    'Paraphrase this passage: "The event was cancelled due to the weather."': "paraphrase passage",
    "Task:\nTranslate the sentence into French.": "translate sentence",
    "The email contains mistakes; fix them.": "contain mistake",
}


def parser() -> Parser:
    pytest.importorskip("spacy")
    try:
        return open_parser("spacy")
    except EnvironmentProblem as error:
        pytest.skip(str(error))


def tree(*words: str) -> Sentence:
    """A sentence from "text/lemma/KIND/relation/head" with heads counted from 0."""
    parts = (word.rsplit("/", 4) for word in words)
    return [Word(text, lemma, kind, rel, int(head)) for text, lemma, kind, rel, head in parts]


def test_golden_verb_noun(golden: Golden) -> None:
    cases = vectors(golden("explore_instruct/verb_noun.json"))["cases"]
    found = find_verb_nouns([case["instruction"] for case in cases], parser())
    right = [
        reading.pair == ((case["verb"], case["noun"]) if case["counts_as_pair"] else None)
        for case, reading in zip(cases, found, strict=True)
    ]
    assert len(right) - sum(right) <= len(right) * 2 // 42


def test_pairs_of_requests_questions_and_statements() -> None:
    found = find_verb_nouns(list(SENTENCES), parser())
    pairs = [None if each.pair is None else " ".join(each.pair) for each in found]
    assert dict(zip(SENTENCES, pairs, strict=True)) == SENTENCES


def test_the_rule_on_labels_of_universal_dependencies() -> None:
    shared = tree("Find/find/VERB/root/0", "and/and/CCONJ/cc/2", "fix/fix/VERB/conj/0",
                  "errors/error/NOUN/obj/0")  # fmt: skip
    assert verb_noun([shared]) == VerbNoun("fix", "error")
    asked = tree("Help/help/VERB/root/0", "me/I/PRON/obj/0", "write/write/VERB/xcomp/0",
                 "Poems/Poem/NOUN/obj/2")  # fmt: skip
    assert verb_noun([asked]) == VerbNoun("write", "poem")


def test_a_verb_with_a_pronoun_or_number_has_no_noun() -> None:
    for word in ("it/it/PRON/obj/0", "12/12/NUM/obj/0", "f(x/f(x/PROPN/obj/0", "x/x/NOUN/obj/0"):
        found = verb_noun([tree("Divide/divide/VERB/root/0", word)])
        assert found is not None
        assert (found.verb, found.noun, found.pair) == ("divide", None, None)


def test_clauses_that_modify_nouns_are_no_part_of_the_clause_tree() -> None:
    ways = tree("What/what/PRON/attr/1", "are/be/AUX/root/1", "ways/way/NOUN/nsubj/1",
                "reduce/reduce/VERB/relcl/2", "stress/stress/NOUN/obj/3")  # fmt: skip
    assert verb_noun([ways]) is None


def test_the_first_sentence_with_a_main_clause_counts() -> None:
    go = tree("Go/go/VERB/root/0")
    write = tree("Write/write/VERB/root/0", "poems/poem/NOUN/obj/0")
    hello = tree("Hello/hello/INTJ/root/0")
    assert verb_noun([hello, write]) == VerbNoun("write", "poem")
    assert verb_noun([go, write]) == NOTHING
    assert verb_noun([]) is verb_noun([[]]) is None


def test_an_imperative_taken_for_a_noun_is_read_again() -> None:
    seen: list[str] = []

    def parse(texts: Iterable[str]) -> Iterator[Sequence[Sentence]]:
        for text in texts:
            seen.append(text)
            if text.startswith("Please "):
                yield [tree("Please/please/INTJ/intj/1", "reword/reword/VERB/root/1",
                            "this/this/NOUN/obj/1")]  # fmt: skip
            else:
                yield [tree("Reword/reword/PROPN/root/0")]

    assert find_verb_nouns(["Reword this"], Parser("hand", parse)) == [VerbNoun("reword", "this")]
    assert seen == ["Reword this", "Please reword this"]


def test_texts_without_words_have_no_pair() -> None:
    texts = ["", " \n ", "???", "(1,2)", "总结这段文字", "$x^2$", "[[]]", ":;\n:"]
    assert [each.pair for each in find_verb_nouns(texts, parser())] == [None] * len(texts)


def test_of_a_huge_instruction_the_beginning_is_read() -> None:
    huge = "Write a poem. " + "word " * 100_000
    assert sum(map(len, sentences_of(huge))) <= LIMIT
    assert sentences_of("x" * 5000) == ["x" * LIMIT]
    assert find_verb_nouns([huge], parser()) == [VerbNoun("write", "poem")]


def test_the_name_of_the_parser_has_library_model_and_versions() -> None:
    assert parser().name.startswith("spaCy 3.")
    assert spacy_module.MODEL in parser().name


def test_without_spacy_or_model_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("spacy")
    with pytest.raises(
        EnvironmentProblem, match=r'no model of spaCy named "none_sm".*\[analysis\]'
    ):
        open_parser("spacy:none_sm")
    with pytest.raises(UnknownName, match='no parser named "spacey"; did you mean "spacy"'):
        open_parser("spacey")
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "spacy":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    spacy_module._loaded.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"needs spacy: .*\[analysis\]"):
        open_parser("spacy")


def test_a_parser_of_a_plugin_is_found_by_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/parsing.py").write_text(
        "from harness.data.instructions.parsers import Parser\n"
        "class own:\n"
        "    def open(model):\n"
        "        return Parser('own 1.0', lambda texts: iter([[] for _ in texts]))\n"
        "def bad(model):\n"
        "    return 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = open_parser("pack.parsing:own.open")
    assert own.name == "own 1.0"
    assert find_verb_nouns(["Write a poem."], own) == [NOTHING]
    with pytest.raises(EnvironmentProblem, match="is a int; expected a harness"):
        open_parser("pack.parsing:bad")
    with pytest.raises(EnvironmentProblem, match="cannot be loaded: No module"):
        open_parser("pack.none:bad")


def test_golden_verb_noun_statistics(golden: Golden) -> None:
    data = vectors(golden("explore_instruct/verb_noun_statistics.json"))
    found = pair_statistics(None if p is None else (p[0], p[1]) for p in data["pairs_or_null"])
    assert found.texts == len(data["pairs_or_null"])
    assert (found.unique, found.total) == (data["unique_pairs"], data["total_pairs"])
    assert found.average == pytest.approx(data["average_occurrence"], rel=1e-12)
    assert found.deviation() == pytest.approx(data["population_std_of_occurrence"], rel=1e-12)
    assert found.deviation(sample=True) == pytest.approx(
        data["sample_std_of_occurrence"], rel=1e-12
    )
    expected = [((pair[0], pair[1]), count, share) for pair, count, share in data["top"]]
    assert found.top(len(expected)) == expected


def test_statistics_of_nothing_and_of_one_pair() -> None:
    nothing = pair_statistics([None, None])
    assert (nothing.unique, nothing.average, nothing.deviation(), nothing.top_share()) == (
        0,
        None,
        None,
        None,
    )
    one = pair_statistics([("write", "poem")])
    assert (one.average, one.deviation(), one.deviation(sample=True)) == (1.0, 0.0, None)


@given(st.lists(st.none() | st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"))))
def test_laws_of_the_statistics(pairs: list[tuple[str, str] | None]) -> None:
    found = pair_statistics(pairs)
    assert found.total == sum(found.counts.values()) == sum(pair is not None for pair in pairs)
    assert found == pair_statistics(reversed(pairs))
    if found.total:
        assert found.top_share(9) == pytest.approx(1)
