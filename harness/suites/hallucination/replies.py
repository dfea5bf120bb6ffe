"""Reading the replies of the hallucination and helpfulness judges.

A reply has a score on its first line, for hallucination a list of wrong spans, and an explanation:

    1
    ["1912"]
    The year is wrong.

`parse_reply` accepts what judges write instead (labels, brackets, bold marks, "8/10", several lines
of explanation) and never guesses: a reply without a score in the allowed set has none. A list is
read as JSON, then as a Python literal; nothing a judge wrote is ever executed.
`harness.suites.hallucination.replies_released` reads as the released code does.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "empty", "unparsed", "score_out_of_set"]
Task = Literal["hallucination", "helpfulness"]

PARSER = "hallucination/1"  # version of the rules below; part of the judge's fingerprint
_LABEL_WORDS = (
    "score|rating|rate|grade|points?|hallucinations?|hallucinated|helpfulness|helpful|quality|"
    "verdict|judge?ment|result|label|decision|evaluation|assessment|answer|output|line|first|final|"
    "overall|total|the|my|your|is|of|value|number|binary"
)
_LABEL = re.compile(
    rf"(?:(?:{_LABEL_WORDS})\b[\s_-]*){{1,5}}(?:\(\s*[\d.]+\s*(?:-|to|or|/)\s*[\d.]+\s*\)\s*)?"
    rf"(?:[:=]\s*|(?<=is)\s+|(?<=is )|-+>?\s+)",
    re.IGNORECASE,
)
_OPENING = re.compile(r"[\s#>*_`~\"'(\[{<]*")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?![\w]|[.,]\d)")
_NOT_A_NUMBER = re.compile(r"[+-]?(?:nan|inf|infinity)(?!\w)", re.IGNORECASE)
_CLOSING = re.compile(r"[\s*_`~\"')\]}>]*")
_OUT_OF = re.compile(r"\s*(?:/|out of|of)\s*(\d+(?:\.\d+)?)(?![\w.])", re.IGNORECASE)
_SAME_LINE = re.compile(r"[^\S\n]*(?:[:;.,|]|[-–—]+(?=\s))?[^\S\n]*")
_FENCE = re.compile(r"^[^\S\n]*(?:```|~~~)[^\n`]*$\n?", re.MULTILINE)
_SPANS_LABEL = re.compile(
    r"(?:[-*]\s+)?(?:(?:list|of|wrong|hallucinat\w*|offending|incorrect)\s+)*"
    r"(?:spans?|list|texts?|phrases?)\s*[:=]\s*",
    re.IGNORECASE,
)
_NOTHING = re.compile(r"(?:none|null)\.?", re.IGNORECASE)
_CODE = re.compile(r"[\w.]+\(.*\)")
_WIDE = str.maketrans("０１２３４５６７８９：．／－＋（）［］", "0123456789:./-+()[]")
_QUOTES = str.maketrans("“”„‟«»‘’‚‛", '""""""\'\'\'\'')
_LONGEST_LIST = 20_000  # characters
_MOST_ENDS = 200  # closing brackets tried


@dataclass(frozen=True)
class Reply:
    """What was read from a reply.

    Attributes:
        score: in the allowed set; None with every status but "ok".
        spans: texts that the judge calls wrong; None for helpfulness and without a score.
        explanation: the rest, "" without a score.
        spans_ok: False if something that should have been a list could not be read.
    """

    status: Status
    score: float | None = None
    spans: tuple[str, ...] | None = None
    explanation: str = ""
    spans_ok: bool = True


def parse_reply(text: str, task: Task, half: bool = False) -> Reply:
    """Read a judge's reply; never raises.

    Args:
        half: also allow a hallucination score of 0.5, as the published rates imply.

    >>> parse_reply("Score: 1\\n['1912']\\nThe year is wrong.", "hallucination").spans
    ('1912',)
    """
    plain = _FENCE.sub("", re.sub(r"\r\n?", "\n", text)).replace("**", "").strip()
    if not plain:
        return Reply("empty")
    found = _score(plain)
    if found is None:
        return Reply("unparsed")
    score, rest, scale = found
    if not _allowed(score, scale, task, half):
        return Reply("score_out_of_set")
    if task == "helpfulness":
        return Reply("ok", score, None, rest.strip())
    spans, rest, readable = _spans(rest)
    return Reply("ok", score, spans, rest.strip(), readable)


def _score(plain: str) -> tuple[float, str, float | None] | None:
    """Score, the text behind it, and the denominator if one is named; None without a score."""
    line = plain.partition("\n")[0].translate(_WIDE)
    start = _opened(line, 0)
    label = _LABEL.match(line, start)
    if label is not None:
        start = _opened(line, label.end())
    if (odd := _NOT_A_NUMBER.match(line, start)) is not None:
        return math.nan, plain[odd.end() :], None
    # "#" and "-" before a digit: the first marks a header, the second is the number's sign.
    number = _NUMBER.match(line, start)
    if number is None:
        return None
    at, scale = number.end(), None
    if (out_of := _OUT_OF.match(line, at)) is not None:
        at, scale = out_of.end(), float(out_of[1])
    at = _closed(line, at)
    if scale is None and (out_of := _OUT_OF.match(line, at)) is not None:  # "[8]/10"
        at, scale = _closed(line, out_of.end()), float(out_of[1])
    return float(number[0]), _same_line(plain[at:]), scale


def _opened(line: str, at: int) -> int:
    found = _OPENING.match(line, at)
    return at if found is None else found.end()


def _closed(line: str, at: int) -> int:
    """Behind the marks that close what `_OPENING` opened; a list's bracket is not one of them."""
    found = _CLOSING.match(line, at)
    return at if found is None else found.end()


def _same_line(rest: str) -> str:
    """Without the mark between a score and what follows on its line."""
    found = _SAME_LINE.match(rest)
    return rest if found is None else rest[found.end() :]


def _allowed(score: float, scale: float | None, task: Task, half: bool) -> bool:
    if not math.isfinite(score):
        return False
    if task == "helpfulness":
        return 1 <= score <= 10 and scale in (None, 10)
    return score in ((0, 0.5, 1) if half else (0, 1)) and scale in (None, 1, 10)


def _spans(rest: str) -> tuple[tuple[str, ...], str, bool]:
    """Spans, the text without them, and whether what looked like a list could be read."""
    body = rest.lstrip()
    line, _, after = body.partition("\n")
    if _NOTHING.fullmatch(line.strip()):
        return (), after, True
    if _CODE.fullmatch(line.strip()):
        return (), after, False
    label = _SPANS_LABEL.match(body)
    if label is not None and body[label.end() : label.end() + 1] == "[":
        body = body[label.end() :]
    elif label is not None and _NOTHING.fullmatch(line[label.end() :].strip()):
        return (), after, True
    if not body.startswith("["):
        return (), rest, True
    for text in (body, body.translate(_QUOTES)):
        found = _read_list(text)
        if found is not None:
            items, end = found
            spans = tuple(_text(item) for item in items if item is not None)
            return spans, _same_line(body[end:]), True
    end = _closing_bracket(body)
    return (), _same_line(body[end:]), False


def _read_list(text: str) -> tuple[list[object], int] | None:
    """The list at the beginning of a text, and where it ends."""
    try:
        found, end = json.JSONDecoder().raw_decode(text)
        return (found, end) if isinstance(found, list) else None
    except (ValueError, RecursionError):
        pass
    for end in _ends(text):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes
                found = ast.literal_eval(text[:end])
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        return (found, end) if isinstance(found, list) else None
    return None


def _ends(text: str) -> Iterator[int]:
    """Positions behind the closing brackets of a text, nearest first."""
    at = 0
    for _ in range(_MOST_ENDS):
        at = text.find("]", at, _LONGEST_LIST) + 1
        if not at:
            return
        yield at


def _closing_bracket(body: str) -> int:
    """Behind the bracket that closes an unreadable list on its line, else behind the line."""
    line = body.partition("\n")[0]
    depth = 0
    for place, character in enumerate(line):
        depth += (character == "[") - (character == "]")
        if not depth:
            return place + 1
    return len(line)


def _text(item: object) -> str:
    return item if isinstance(item, str) else json.dumps(item, default=str, ensure_ascii=False)
