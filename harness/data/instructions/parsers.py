"""Dependency parsers by name: "spacy", "spacy:en_core_web_trf", or one that a plugin registers.

A table PARSERS of a catalogue maps a name to "module:function"; the function gets what follows the
colon (the model) and returns a `Parser`. "package.module:function" names any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.core.errors import EnvironmentProblem, unknown
from harness.data.instructions.verb_noun import (
    NOTHING,
    Sentence,
    VerbNoun,
    may_be_imperative,
    verb_noun,
)
from harness.engine import registry

DEFAULT = "spacy"
LIMIT = 2000  # characters of an instruction that are parsed: the rule needs its first sentences
PARTS = 8
PLEASE = "Please "
_GIVEN = re.compile(r"given\b[^,]*,\s*", re.IGNORECASE)
_RE = re.compile(r"(?<=\b[Rr]e)-(?=[a-z])")  # "re-write" is three words to some parsers
_END = re.compile(r"\s*\n\s*|\s*[:;]\s+")


@dataclass(frozen=True)
class Parser:
    """A parser.

    Attributes:
        name: shown on boards, with versions: "spaCy 3.8.18, en_core_web_sm 3.8.0".
        parse: texts -> the sentences of each, in order.
    """

    name: str
    parse: Callable[[Iterable[str]], Iterator[Sequence[Sentence]]]


def open_parser(ref: str = DEFAULT) -> Parser:
    """The parser of a reference "name" or "name:model".

    Raises:
        UnknownName: no such parser.
        MissingExtra: its library is not installed.
        EnvironmentProblem: its model is not installed, or it is no parser.
    """
    name, _, model = ref.partition(":")
    table: dict[str, str] = registry.table("PARSERS")
    target = table.get(name)
    if target is None:
        if "." not in name:
            raise unknown("parser", name, table)
        target, model = ref, ""
    try:
        make = registry.load_target(target)
    except (ImportError, AttributeError) as error:
        raise EnvironmentProblem(f'the parser "{ref}" cannot be loaded: {error}') from None
    parser = make(model)
    if not isinstance(parser, Parser):
        raise EnvironmentProblem(
            f'the parser "{ref}" is a {type(parser).__name__}; expected a '
            "harness.data.instructions.parsers.Parser"
        )
    return parser


def find_verb_nouns(texts: Sequence[str], parser: Parser) -> list[VerbNoun]:
    """Verb and noun of each text; of a long one, the first `LIMIT` characters are read.

    The end of a line, a colon and a semicolon end a sentence: what follows is often a quotation.
    Parsers take many imperatives for nouns ("Reword this.", "List five."): a sentence without an
    object is read again after "Please", and without a phrase "Given ...,", and that reading counts
    if its first word governs the object.
    """
    found = [NOTHING] * len(texts)
    open_ = {place: sentences_of(text) for place, text in enumerate(texts)}
    while open_ := {place: parts for place, parts in open_.items() if parts}:
        first = _read(parser, {place: parts[0] for place, parts in open_.items()})
        again = {
            p: _imperative(open_[p][0], parsed) for p, parsed in first.items() if _lacks(parsed)
        }
        second = _read(parser, {place: text for place, text in again.items() if text})
        for place, parsed in first.items():
            polite = verb_noun(second.get(place, [])[:1])
            if polite is not None and polite.place == 1:
                found[place], open_[place] = polite, []
            elif (reading := verb_noun(parsed)) is not None:
                found[place], open_[place] = reading, []
            else:
                open_[place] = open_[place][1:]
    return found


def _read(parser: Parser, texts: Mapping[int, str]) -> dict[int, Sequence[Sentence]]:
    return dict(zip(texts, parser.parse(texts.values()), strict=True))


def _lacks(parsed: Sequence[Sentence]) -> bool:
    """Whether no object was found."""
    reading = verb_noun(parsed)
    return reading is None or reading == NOTHING


def _imperative(text: str, parsed: Sequence[Sentence]) -> str:
    """The sentence as a request, or "" if it cannot be one."""
    given = _GIVEN.match(text)
    if not given and not may_be_imperative(parsed):
        return ""
    rest = text[given.end() :] if given else text
    return PLEASE + rest[:1].lower() + rest[1:]


def sentences_of(text: str) -> list[str]:
    """The first lines and parts of a text, at most `PARTS`, without surrounding blanks.

    >>> sentences_of('Task: re-write this at 3:15.\\n"To be"')
    ['Task', 'rewrite this at 3:15.', '"To be"']
    """
    if len(text) > LIMIT:
        text = (text[:LIMIT].rsplit(maxsplit=1) or [""])[0]
    text = text.encode(errors="replace").decode()  # parsers refuse lone surrogates
    parts = (_RE.sub("", " ".join(part.split())) for part in _END.split(text))
    return [part for part in parts if part][:PARTS]
