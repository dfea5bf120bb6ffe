"""Robust parsers of helper replies: the knowledge requirement and the exam.

    parse_requirement   reply of stage 1 -> Requirement(need, analysis, queries), or a reason
    parse_exam          reply of stage 3 -> Exam(tests, rejects)

No text makes them raise, and nothing is dropped without a reason. `parsing_released` contains the
parsers of the released code, which lose or misread many replies.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.core.records import Record
from methods.kca.json_exam import json_blocks
from methods.kca.options import answer_letter, folded, split_options

LETTERS = "ABCD"
MAX_QUESTIONS = 3  # the helper is asked for this many

Reason = Literal[
    "truncated",
    "empty_question",
    "option_count",
    "empty_option",
    "duplicate_options",
    "multiple_answers",
    "no_answer",
    "duplicate_question",
    "over_limit",
]


class Requirement(Record):
    """Whether an instruction needs facts, and the helper's reasons.

    Attributes:
        queries: search queries of an instruction that needs facts, one per line; "" for none.
    """

    need: bool
    analysis: str = ""
    queries: str = ""


class Question(Record):
    """A multiple-choice question with four options, labelled A to D, and the letter of one."""

    question: str
    options: tuple[str, str, str, str]
    answer: Literal["A", "B", "C", "D"]
    analysis: str = ""


class Reject(Record):
    """A block that is no valid question.

    Attributes:
        index: position of its header among the question headers of the reply, from 0.
    """

    index: int
    reason: Reason


class Exam(Record):
    """The valid questions of a reply, at most `max_questions`, and the rejected blocks."""

    tests: tuple[Question, ...] = ()
    rejects: tuple[Reject, ...] = ()


@dataclass(frozen=True)
class Block:
    """One question before validation; `answer` is None where the reply ends before it."""

    question: str
    options: Sequence[tuple[str, str]]
    analysis: str
    answer: str | None


# --- the knowledge requirement -------------------------------------------------------------------

_MARKUP = r"^[ \t]*(?:(?:[#*>\-•]+|\d+[.)]|<[^<>\n]{1,20}>)[ \t]*)*"
_CLOSING = r"[ \t]*(?:[*_]+|</[^<>\n]{1,20}>)*[ \t]*"
_COLON = rf"{_CLOSING}[:：]{_CLOSING}"
_FLAGS = re.IGNORECASE | re.MULTILINE
_NEXT_COMMAND = re.compile(r"^[ \t]*#+[ \t]*command[ \t]*[:：]", _FLAGS)
_PREDICTION = re.compile(rf"{_MARKUP}prediction{_COLON}", _FLAGS)
_QUERY = re.compile(rf"{_MARKUP}search[ \t]+(?:query|qeury|queries){_COLON}", _FLAGS)
_ANALYSIS = re.compile(rf"\A\s*{_MARKUP[1:]}analysis{_COLON}", re.IGNORECASE)
_TAG = re.compile(r"[\s<\[(*`\"'_]*(no[\s_-]*)?need(?![^\W_])", re.IGNORECASE)


def parse_requirement(text: str) -> Requirement | Literal["no_prediction", "bad_tag"]:
    """The requirement that a reply states, or why it states none.

    Headers are line-start tokens in any case, with optional markup. The last prediction counts, and
    a further demonstration that the helper invents (a line "#Command:") is cut off.

    >>> parse_requirement("A date.\\n**Prediction:** Need\\n#Search Query: fall of Rome")
    Requirement(need=True, analysis='A date.', queries='fall of Rome')
    """
    text = _unix(text)
    if (invented := _NEXT_COMMAND.search(text)) is not None:
        text = text[: invented.start()]
    predictions = list(_PREDICTION.finditer(text))
    if not predictions:
        return "no_prediction"
    last = predictions[-1]
    tag, *queries = _QUERY.split(text[last.end() :])
    found = _TAG.match(tag)
    if found is None:
        return "bad_tag"
    before = text[: last.start()]
    analysis = _ANALYSIS.sub("", before, count=1).strip()
    if found[1]:
        return Requirement(need=False, analysis=analysis)
    joined = "\n".join(query.strip() for query in queries)
    return Requirement(need=True, analysis=analysis, queries=joined.strip())


# --- the exam ------------------------------------------------------------------------------------

_NUMBER = r"[ \t]*(?:no\.?[ \t]*|#[ \t]*)?\d+[ \t]*[.)]?"
# A colon ends a header; a numbered one may also end its line or end in a dot or bracket.
_HEADER = re.compile(
    rf"{_MARKUP}(question|options?|analysis|answer)"
    rf"(?:[ \t.]*{_COLON}|{_NUMBER}(?:{_COLON}|{_CLOSING}$|(?<=[.)]){_CLOSING}))",
    _FLAGS,
)


def parse_exam(text: str, max_questions: int = MAX_QUESTIONS) -> Exam:
    """Questions of a reply in the format "#Question: #Options: #Analysis: #Answer:", or of JSON.

    >>> exam = parse_exam("Question: 2+2? Options: (A) 3 (B) 4")
    >>> [reject.reason for reject in exam.rejects]
    ['truncated']
    """
    text = _unix(text)
    blocks = list(_blocks(text)) or [_from_json(item) for item in json_blocks(text)]
    tests: list[Question] = []
    rejects = []
    for index, block in enumerate(blocks):
        found = _checked(block)
        if isinstance(found, Question):
            if any(_same(found.question, kept.question) for kept in tests):
                found = "duplicate_question"
            elif len(tests) >= max_questions:
                found = "over_limit"
        if isinstance(found, Question):
            tests.append(found)
        else:
            rejects.append(Reject(index=index, reason=found))
    return Exam(tests=tuple(tests), rejects=tuple(rejects))


def render_exam(tests: Sequence[Question]) -> str:
    """Text in the format that the helper is asked for; `parse_exam` reads it back."""
    return "\n".join(
        f"#Question:\n{test.question}\n\n#Options:\n"
        + "\n".join(f"({letter}) {text}" for letter, text in zip(LETTERS, test.options))
        + f"\n\n#Analysis:\n{test.analysis}\n\n#Answer:\n({test.answer})\n"
        for test in tests
    )


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _blocks(text: str) -> Iterator[Block]:
    headers = list(_HEADER.finditer(text))
    starts = [n for n, header in enumerate(headers) if header[1].lower() == "question"]
    for place, first in enumerate(starts):
        last = starts[place + 1] if place + 1 < len(starts) else len(headers)
        end = headers[last].start() if last < len(headers) else len(text)
        yield _block(text, headers[first:last], end)


def _block(text: str, headers: Sequence[re.Match[str]], end: int) -> Block:
    """The block of one question header; of repeated answers the last one counts."""
    stops = [*(header.start() for header in headers[1:]), end]
    parts: dict[str, str] = {}
    for header, stop in zip(headers, stops, strict=True):
        name = header[1].lower()
        name = "options" if name == "option" else name
        if name == "answer" or name not in parts:
            parts[name] = text[header.end() : stop]
    return Block(
        question=parts["question"].strip(),
        options=split_options(parts.get("options", "")),
        analysis=parts.get("analysis", "").strip(),
        answer=parts.get("answer"),
    )


def _from_json(item: dict[str, Any]) -> Block:
    return Block(item["question"], item["options"], item["analysis"], item["answer"])


def _checked(block: Block) -> Question | Reason:
    """The block as a question, or the first reason that applies."""
    if block.answer is None:
        return "truncated"
    if not block.question:
        return "empty_question"
    if sorted(label for label, _ in block.options) != list(LETTERS):
        return "option_count"
    texts = [text for _, text in sorted(block.options)]
    if not all(texts):
        return "empty_option"
    if len({folded(text) for text in texts}) < len(texts):
        return "duplicate_options"
    letter = answer_letter(block.answer, texts)
    if len(letter) != 1:
        return "no_answer" if letter == "no_answer" else "multiple_answers"
    return Question.model_validate(
        {
            "question": block.question,
            "options": tuple(texts),
            "answer": letter,
            "analysis": block.analysis,
        }
    )


def _same(a: str, b: str) -> bool:
    return folded(unicodedata.normalize("NFKC", a)) == folded(unicodedata.normalize("NFKC", b))
