"""Domains: what a prompt asks for, and which examples are rejected.

Three domains are the paper's; "general" is any other, with the rules that depend on no domain.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from typing import Literal

from harness.core.records import Record
from methods.explore_instruct.tree import Example

DomainName = Literal["brainstorming", "rewriting", "math", "general"]

# Words of tasks that a text model cannot do; released code. Plurals are rejected too.
_WORDS = (
    "image", "picture", "file", "draw", "plot", "go to", "video", "audio", "music", "flowchart",
    "diagram",
)  # fmt: skip
_PLOTS = ("graph", "map")


class Rejects(Record):
    """Rules that reject an example; each can be switched off.

    Attributes:
        min_words, max_words: length of an instruction; None sets no limit.
        words: whole words, or plurals of them, that an instruction must not contain.
        programs: reject "Write a program ...".
        first_character: reject an instruction that begins with punctuation or a character that is
            not ASCII.
        placeholders: reject an input such as "<your text>" or "(a short mail)"; points, intervals
            and other bracketed values are kept.
        empty: reject an empty instruction or output.
    """

    min_words: int | None = 3
    max_words: int | None = 150
    words: tuple[str, ...] = (*_WORDS, *_PLOTS)
    programs: bool = True
    first_character: bool = True
    placeholders: bool = True
    empty: bool = True

    def reason(self, example: Example) -> str | None:
        """Name of the first rule that rejects an example; None for a good one."""
        return next(self._reasons(example), None)

    def _reasons(self, example: Example) -> Iterator[str]:
        said, words = example.instruction.strip(), example.instruction.split()
        if self.empty and not (said and example.output.strip()):
            yield "empty"
        if not said:
            return
        if self.min_words is not None and len(words) < self.min_words:
            yield "too short"
        if self.max_words is not None and len(words) > self.max_words:
            yield "too long"
        if self.words and contains_word(said, self.words):
            yield "not for a text model"
        if self.programs and said.lower().startswith("write a program"):
            yield "a program"
        if self.first_character and (said[0] in string.punctuation or not said[0].isascii()):
            yield "first character"
        if self.placeholders and is_placeholder(example.input):
            yield "placeholder"


def contains_word(text: str, words: tuple[str, ...]) -> bool:
    """Whether a text contains one of some words or its plural, as whole words.

    >>> contains_word("Describe the Pictures.", ("picture",)), contains_word("Remap it.", ("map",))
    (True, False)
    """
    found = "|".join(map(re.escape, words))
    return re.search(rf"\b(?:{found})s?\b", text, re.IGNORECASE) is not None


_PAIRS = {"<": ">", "(": ")"}
_COMMANDS = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{3,}")


def is_placeholder(text: str) -> bool:
    """Whether an input is wholly one pair of brackets with words inside, not a value.

    >>> [is_placeholder(text) for text in ("<insert memo>", "(a short mail)", "(1,2)", "(a)(bcd)")]
    [True, True, False, False]
    """
    said = text.strip()
    if len(said) < 2 or _PAIRS.get(said[0]) != said[-1]:
        return False
    depth = 0
    for place, character in enumerate(said):
        depth += (character == said[0]) - (character == said[-1])
        if depth == 0 and place < len(said) - 1:
            return False  # "(a) and (b)"
    return _WORD.search(_COMMANDS.sub(" ", said)) is not None


class Domain(Record):
    """What is particular to a domain.

    Attributes:
        guidance: further rules for the explorer, one sentence each.
        rejects: default reject rules.
        box: wrap a final answer without a box, see `methods.explore_instruct.parsing.boxed`.
    """

    name: DomainName
    guidance: tuple[str, ...] = ()
    rejects: Rejects = Rejects()
    box: bool = False


DOMAINS: dict[DomainName, Domain] = {
    "brainstorming": Domain(
        name="brainstorming",
        guidance=("An instruction asks for ideas, suggestions or points of view.",),
        rejects=Rejects(words=(*_WORDS, "graph")),
    ),
    "rewriting": Domain(
        name="rewriting",
        guidance=(
            "An instruction changes a given text; the input is the text, the output its new form.",
        ),
    ),
    "math": Domain(
        name="math",
        guidance=(
            "Formulas are in LaTeX.",
            "An output explains the solution step by step and ends with `Answer: ` and the result "
            "in \\boxed{}.",
        ),
        rejects=Rejects(min_words=None, max_words=None, words=_WORDS),
        box=True,
    ),
    "general": Domain(name="general"),
}
