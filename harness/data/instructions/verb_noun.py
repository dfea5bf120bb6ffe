"""Verb of an instruction and noun of its direct object: "Write a polite email" -> write email.

Self-Instruct (Wang et al. 2022, section 3.2) describes the variety of instructions by such pairs.
The rule, on a dependency tree:

    verb   of the main clause of the first sentence that has one. The requested verb in a request
           ("can you X", "help me X", "let us X"); in a conjunction of verbs, the one that governs
           the object; if the main clause has no verb but "be", that of its nearest clause.
    noun   head of the direct object, the first of several. Indirect objects are skipped; pronouns,
           numbers and clauses give no noun.

Both are lemmas in lower case. A pair counts only if both exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Word:
    """A word of a sentence as a parser sees it.

    Attributes:
        kind: universal part of speech (NOUN, PROPN, VERB, AUX, PRON, NUM, ...).
        relation: to its head, in the labels of CLEAR or of Universal Dependencies: "dobj" or "obj".
        head: index of the word it depends on; its own for the root.
    """

    text: str
    lemma: str
    kind: str
    relation: str
    head: int


@dataclass(frozen=True)
class VerbNoun:
    """A verb and the noun of its direct object; both absent if there is no object.

    Attributes:
        place: index of the verb in its sentence.
    """

    verb: str | None
    noun: str | None
    place: int = field(default=-1, compare=False)

    @property
    def pair(self) -> tuple[str, str] | None:
        """Both, or None."""
        return None if self.verb is None or self.noun is None else (self.verb, self.noun)


NOTHING = VerbNoun(None, None)
Sentence = Sequence[Word]

_OBJECTS = ("dobj", "obj")
_CLAUSES = ("advcl", "ccomp", "xcomp", "csubj", "conj", "parataxis")
_COMPLEMENTS = ("ccomp", "xcomp")
_FINITE = ("aux", "auxpass", "cop", "mark")  # relations of words that only clauses have
_REQUESTS = ("help", "let", "want", "need", "like", "love", "wish", "require", "ask")
_CAUSES = ("make", "have", "get", "keep")
_NOUNS = ("NOUN", "PROPN")
_NOMINALS = ("prep", "pobj", "dobj", "obj", "obl", "attr", "acomp")


def verb_noun(sentences: Sequence[Sentence]) -> VerbNoun | None:
    """Verb and noun of parsed sentences; None if none has a main clause with a verb but "be"."""
    for sentence in sentences:
        tree = _Tree(sentence)
        verb = tree.main_verb()
        if verb is not None:
            return tree.read(verb)
    return None


def may_be_imperative(sentences: Sequence[Sentence]) -> bool:
    """Whether the first word is of a kind that parsers take imperatives for."""
    first = sentences[0][0] if sentences and sentences[0] else None
    return first is not None and first.kind in ("VERB", "NOUN", "PROPN", "ADJ", "ADV")


@dataclass
class _Tree:
    """A sentence with the dependents of each word."""

    words: Sentence
    below: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.below = [[] for _ in self.words]
        for place, word in enumerate(self.words):
            if word.head != place:
                self.below[word.head].append(place)

    def main_verb(self) -> int | None:
        """The verb nearest to the root, over clauses only; None without one."""
        level = [place for place, word in enumerate(self.words) if word.head == place]
        while level:
            for place in level:
                if self._is_verb(place):
                    return place
            level = [child for place in level for child in self._related(place, _CLAUSES)]
        return None

    def read(self, verb: int) -> VerbNoun:
        """Verb and noun, from the main verb on."""
        for candidate in self._requested(verb):
            found = self._object(candidate)
            if found is not None:
                noun = self.words[found].lemma.lower() if self._is_noun(found) else None
                place = self._governor(candidate, found)
                return VerbNoun(self.words[place].lemma.lower(), noun, place)
        return NOTHING

    def _requested(self, verb: int) -> Iterator[int]:
        """The verb or, of a request, its complement; then the verbs joined to it by "and"."""
        complements = [c for c in self._related(verb, _COMPLEMENTS) if not self._is_small(c)]
        nominal = self._object(verb)
        asks = self.words[verb].lemma.lower() in _REQUESTS
        if complements and asks and (nominal is None or not self._is_noun(nominal)):
            for complement in complements:
                yield from self._requested(complement)
        elif self._is_verb(verb):
            yield verb
        for other in self._joined(verb):
            if self._is_verb(other):
                yield from self._requested(other)

    def _joined(self, verb: int) -> list[int]:
        """Verbs joined by "and", also where a clause or noun before "and" has drawn them."""
        found = self._related(verb, ("conj",))
        inside = self._related(verb, _COMPLEMENTS + _NOMINALS)
        while inside:
            place = inside.pop()
            found += [c for c in self._related(place, ("conj",)) if self.words[c].kind == "VERB"]
            inside += self._related(place, _NOMINALS)
        return found

    def _object(self, verb: int) -> int | None:
        """Head of the direct object; of two, an indirect one is a pronoun ("give me ideas")."""
        found = self._related(verb, _OBJECTS)
        for place in [p for p in found if self._is_noun(p)] or found:
            subject = self._subject_below(place)
            return place if subject is None else subject
        for clause in self._related(verb, _COMPLEMENTS):
            if self._is_small(clause) or self._is_caused(verb, clause):
                return self._related(clause, ("nsubj",))[0]
        return None

    def _is_noun(self, place: int) -> bool:
        """A noun, or an adjective with an article: parsers take "the tense" for one."""
        word = self.words[place]
        named = word.kind in _NOUNS or (word.kind == "ADJ" and bool(self._related(place, ("det",))))
        return named and _is_word(word)

    def _governor(self, verb: int, object_: int) -> int:
        """Of verbs that share an object, the last one before it ("identify and correct errors")."""
        between = [
            other
            for other in self._related(verb, ("conj",))
            if verb < other < object_ and self._is_verb(other) and self._object(other) is None
        ]
        return between[-1] if between else verb

    def _subject_below(self, place: int) -> int | None:
        """Subject inside an object: the two form a small clause, whose subject is the object."""
        for child in self.below[place]:
            if self.words[child].relation == "nsubj":
                return child
            if self.words[child].relation == "amod" and (s := self._related(child, ("nsubj",))):
                return s[0]
        return None

    def _is_small(self, clause: int) -> bool:
        """Whether a complement has a subject and no verb: "make the text shorter"."""
        return self.words[clause].kind not in ("VERB", "AUX") and self._is_bare(clause)

    def _is_caused(self, verb: int, clause: int) -> bool:
        """Whether the subject of a complement is the object: "make the text sound better"."""
        return self.words[verb].lemma.lower() in _CAUSES and self._is_bare(clause)

    def _is_bare(self, clause: int) -> bool:
        subjects = self._related(clause, ("nsubj",))
        return not self._related(clause, _FINITE) and any(map(self._is_noun, subjects[:1]))

    def _is_verb(self, place: int) -> bool:
        """A verb other than "be", or what has an object: imperatives are often taken for nouns."""
        word = self.words[place]
        governs = bool(self._related(place, _OBJECTS))
        if not _is_word(word) or word.lemma.lower() == "be":
            return False
        if word.text.lower() == "given":  # "given a text, ..." is no main clause
            return governs
        return word.kind == "VERB" or governs

    def _related(self, place: int, relations: Sequence[str]) -> list[int]:
        """Dependents with one of the relations; subtypes of Universal Dependencies count."""
        return [
            child
            for child in self.below[place]
            if self.words[child].relation.partition(":")[0] in relations
        ]


def _is_word(word: Word) -> bool:
    """Whether it is spelt in letters: "f(x" and "x" are symbols."""
    return len(word.text) > 1 and word.text.replace("-", "").replace("'", "").isalpha()
