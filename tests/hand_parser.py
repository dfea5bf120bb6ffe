"""A dependency parser for tests: the first word is a verb, the last one its object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from harness.data.instructions.parsers import Parser
from harness.data.instructions.verb_noun import Sentence, Word


def open_hand_parser(model: str) -> Parser:
    return Parser("first and last word 1.0", parse)


def parse(texts: Iterable[str]) -> Iterator[Sequence[Sentence]]:
    for text in texts:
        words = text.strip(" .?!").split()
        found = [Word(word, word.lower(), "X", "dep", 0) for word in words]
        if len(words) > 1 and text.startswith(("Write", "List", "Fix")):
            found[0] = Word(words[0], words[0].lower(), "VERB", "root", 0)
            found[-1] = Word(words[-1], words[-1].lower(), "NOUN", "obj", 0)
        yield [found] if found else []
