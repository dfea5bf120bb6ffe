r"""Plain forms of mathematical answers: the text without what does not change its value.

Removed are formula marks and boxes, sizes and spaces of LaTeX, units, degree, percent and currency
marks, digit grouping, and a full stop at the end. Fractions get braces, decimals become exact
fractions (0.5 is \frac{5}{10}, 0.\overline{3} is \frac{3}{9}), so that a rounded decimal is not
equal to the exact value. `rational` gives the value of a number, `parts_of` the elements of a
tuple, an interval, a set, a list or a matrix.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from harness.verification.final_answers import braced

LONGEST = 1000  # characters of an answer; longer ones are none

_WRAPPED = (
    re.compile(r"\$\$(.*)\$\$", re.DOTALL),
    re.compile(r"\$([^$]*)\$", re.DOTALL),
    re.compile(r"\\\[(.*)\\\]", re.DOTALL),
    re.compile(r"\\\((.*)\\\)", re.DOTALL),
)
_SYMBOLS = str.maketrans(
    {"−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "≤": r"\le ",
     "≥": r"\ge ", "≠": r"\ne ", "∞": r"\infty ", "π": r"\pi ", "∪": r"\cup ", "∩": r"\cap ",
     "∈": r"\in ", "∅": r"\emptyset ", "±": r"\pm ", "°": r"^\circ ", "√": r"\sqrt ",
     "θ": r"\theta ", "²": "^2", "³": "^3", "£": "", "€": "", "¥": "", "⁄": "/", "′": "'",
     "…": r"\ldots ", "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}",
     "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}"}
)  # fmt: skip
_DROPPED = re.compile(
    r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits|mathstrut)(?![a-zA-Z])"
    r"|(?<!\\)\\[!,;:> ]|~|\\q?quad(?![a-zA-Z])|\\(?:hspace|vspace|phantom)\{[^{}]*\}"
)
_DEGREES = re.compile(r"\^\{?\s*\\(?:circ|degree)\s*\}?|\\degree(?![a-zA-Z])|\\(?:deg)(?![a-zA-Z])")
_TURNED = re.compile(
    r"(\\(?:sin|cos|tan|sec|csc|cot)\s*\(?\s*)(\d+(?:\.\d+)?)\s*(?:\^\{?\s*\\circ\s*\}?)"
)
_ENDLESS = re.compile(r"(\.\d*?)(\d)\2\2+(?:\.\.\.|\\(?:l|c)?dots(?![a-zA-Z]))")
_CURRENCY = re.compile(r"\\\$|\$|\\(?:pounds|euro)(?![a-zA-Z])")
_PERCENT = re.compile(r"\\?%|\bper ?cent\b")
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:,?\\!|\{,\}|\\,|,\\ |\\ |,\\,)\s*\d{3})+(?![\d])")
_COMMAS = re.compile(r"[+-]? ?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
_TEXT = re.compile(
    r"\\(?:text|mbox|textrm|textbf|textit|textnormal|mathrm|mathbf|operatorname)\s*\{"
)
_WORD = re.compile(r"[A-Za-z][A-Za-z .'-]*[A-Za-z]")
_AND = re.compile(r"(?:,\s*)?\s(?:and|or)\s|\\(?:text|mbox|textrm)\s*\{\s*,?\s*(?:and|or)\s*\}")
# A unit behind a value: words with a blank before them, or a usual unit directly behind a digit.
_UNIT_WORDS = (
    r"(?:cm|mm|km|in|ft|yd|mph|kg|mg|lbs?|oz|ml|sec|min|hrs?|sq|cu|units?|degrees?"
    r"|radians?|inch(?:es)?|feet|foot|yards?|miles?|met(?:er|re)s?|dollars?|cents?|percent)"
)
_NAMES = (
    r"(?:alpha|beta|gamma|delta|epsilon|theta|lambda|sigma|phi|psi|omega|sqrt|sin|cos|tan|sec|csc"
    r"|cot|log|exp|mod|inf)"
)
_UNIT = re.compile(
    rf"(?<=[\d}})\]])(?:\s*{_UNIT_WORDS}\b|\s+(?!{_NAMES})[a-z]{{3,}})"
    r"(?:[ /.]+[a-z]+)*\.?(?:\^\{?[23]\}?)?$",
    re.IGNORECASE,
)
_REPEATING = re.compile(r"(\d*)\.(\d*)(?:\\(?:overline|bar|dot)\s*(?:\{(\d+)\}|(\d))|\((\d+)\))")
_SCIENTIFIC = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([+-]?\d+)(?!\w)")
_DECIMAL = re.compile(r"(?<![\d.])(?:\d+\.\d+|\.\d+)(?![\d.])")
_BASED = re.compile(r"(?<![\w}])(\d+)_(?:\{(\d{1,2})\}|(\d))(?!\d)")
_INFINITY = re.compile(r"(?<![a-zA-Z\\])(?:infinity|infty|inf|oo)(?![a-zA-Z])", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?:(?P<whole>\d+)(?=\\frac|\s+\d+/))?\s*"
    r"(?:\\frac\{(?P<minus>-?)(?P<a>\d+)\}\{(?P<b>\d+)\}|(?P<c>\d+)/(?P<d>\d+)|(?P<e>\d+)\.?)"
)
_MATRIX = re.compile(
    r"\\begin\{(pmatrix|bmatrix|matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}", re.S
)
_OPENING, _CLOSING = {"(": 1, "[": 1, "{": 1}, {")": 1, "]": 1, "}": 1}


@dataclass(frozen=True)
class Parts:
    """Elements of a composed answer.

    Attributes:
        kind: brackets of a tuple or an interval such as "(]", "{}" for a set, "," for a list
            without brackets, "matrix 2x1".
        ordered: whether the order of the elements matters.
    """

    kind: str
    elements: tuple[str, ...]
    ordered: bool


def plain_form(answer: str) -> str:
    r"""The plain form of an answer; "" if nothing is left.

    >>> plain_form(r"\boxed{\$1{,}000}"), plain_form("5\\text{ cm}"), plain_form("0.5")
    ('1000', '5', '\\frac{5}{10}')
    """
    text = _unwrapped(answer[: LONGEST + 1])
    if len(text) > LONGEST:
        return ""
    text = unicodedata.normalize("NFC", text.translate(_SYMBOLS))
    text = _TURNED.sub(r"\1\\frac{\2\\pi}{180}", text)  # degrees matter inside a function
    text = _ENDLESS.sub(r"\1\\overline{\2}", text).replace("\\approx", "=").lstrip("= ")
    text = _GROUPED.sub(lambda found: re.sub(r"\D", "", found[0]), text)
    text = _DROPPED.sub(" ", _DEGREES.sub(" ", _CURRENCY.sub(" ", text)))
    text = _PERCENT.sub(" ", text)
    text = re.sub(r"\\[dtc]frac(?![a-zA-Z])", r"\\frac", text)
    text = _without_texts(_AND.sub(" , ", f" {text} ").strip())
    text = " ".join(text.split()).rstrip(".;,: ").strip()
    # Blanks between digits mean nothing in a formula, but for a mixed number such as "1 1/2".
    text = re.sub(r"(?<=\d) (?=\d)(?!\d+/\d)", "", text)
    text = re.sub(r"^([A-Za-z])\)$", r"\1", text)  # "B)"
    text = _UNIT.sub("", text).strip()
    if _COMMAS.fullmatch(text):
        text = text.replace(",", "")
    return _numbers(_fractions(text))


def _unwrapped(text: str) -> str:
    """The answer without the marks around it: formula, box, stars, full stop."""
    while True:
        before, text = text, text.strip().strip("*`").strip()
        text = text[:-1] if text.endswith((".", ";")) and not text.endswith(("\\;", "..")) else text
        box = re.match(r"\\(?:boxed|fbox)\s*\{", text)
        if box is not None and braced(text, box.end()) == text[box.end() : -1]:
            text = text[box.end() : -1]
        for pattern in _WRAPPED:
            found = pattern.fullmatch(text)
            text = found[1] if found is not None else text
        if text == before:
            return text


def _without_texts(text: str) -> str:
    r"""The answer without `\text`: its words, or the value without a unit behind it."""
    at = 0
    while (found := _TEXT.search(text, at)) is not None:
        content = braced(text, found.end())
        if content is None:
            return text
        end = found.end() + len(content) + 1
        before, after = text[: found.start()].rstrip(), text[end:]
        unit = re.fullmatch(r"\s*(?:\^\{?[23]\}?)?\s*[.,]?\s*", after) is not None
        if before and unit and before[-1] not in "+-*/=^_,([{<>" and re.search(r"\w", before):
            return before
        word = content.strip()
        kept = word.lower() if len(word) > 1 and before + after.strip() == "" else word
        if (before and not unit) or (before and before[-1] in "+-*/^"):
            kept = f"\\text{{{word.lower()}}}"  # words inside an expression have no value
        text, at = f"{before}{kept}{after}", len(before) + len(kept)
    return text


def _fractions(text: str) -> str:
    """Every fraction and root with braces around its single characters."""
    text = re.sub(r"\\sqrt\s*([0-9a-zA-Z])", r"\\sqrt{\1}", text)
    found = re.compile(r"\\frac\s*(\{|[0-9a-zA-Z])")
    at, parts = 0, []
    while (start := found.search(text, at)) is not None:
        parts.append(text[at : start.start()])
        above, at = _argument(text, start.end() - 1)
        below, at = _argument(text, at)
        parts.append(f"\\frac{{{_fractions(above)}}}{{{_fractions(below)}}}")
    return "".join(parts) + text[at:]


def _argument(text: str, at: int) -> tuple[str, int]:
    """The argument of a command at a position, and where it ends."""
    while at < len(text) and text[at] == " ":
        at += 1
    if at < len(text) and text[at] == "{":
        content = braced(text, at + 1)
        if content is not None:
            return content.strip(), at + len(content) + 2
    command = re.compile(r"\\[a-zA-Z]+(?:\{[^{}]*\})?").match(text, at)
    return (command[0], command.end()) if command else (text[at : at + 1], at + 1)


def _numbers(text: str) -> str:
    """Decimals and numbers in another base as exact values, infinity by its sign."""
    text = re.sub(r"\\(?:emptyset|varnothing)(?![a-zA-Z])", r"\\{\\}", text)
    text = _SCIENTIFIC.sub(r"\1 \\times 10^{\2}", text)
    text = _REPEATING.sub(_repeating, text)
    text = _DECIMAL.sub(_decimal, text)
    text = re.sub(r"(?<![\d.])(\d+)\.(?!\d)", r"\1", text)
    text = _BASED.sub(_based, text)
    return _INFINITY.sub(r"\\infty", text)


def _decimal(found: re.Match[str]) -> str:
    whole, _, decimals = found[0].partition(".")
    top = (whole + decimals).lstrip("0") or "0"
    if not decimals.strip("0"):
        return whole or "0"
    return f"\\frac{{{top}}}{{1{'0' * len(decimals)}}}"


def _repeating(found: re.Match[str]) -> str:
    period = found[3] or found[4] or found[5]
    head = Fraction(int((found[1] + found[2]) or "0"), 10 ** len(found[2]))
    value = head + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(found[2]))
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def _based(found: re.Match[str]) -> str:
    base = int(found[2] or found[3])
    try:
        return str(int(found[1], base)) if base >= 2 else found[0]
    except ValueError:
        return found[0]


def rational(text: str) -> Fraction | None:
    r"""Value of an integer, a fraction or a mixed number in plain form; None for anything else.

    >>> rational(r"-1\frac{1}{2}"), rational("03"), rational("x")
    (Fraction(-3, 2), Fraction(3, 1), None)
    """
    found = _NUMBER.fullmatch(text.replace("- ", "-"))
    if found is None or len(text) > 200:
        return None
    above = found["a"] or found["c"] or found["e"]
    below = int(found["b"] or found["d"] or 1)
    if not below or (found["whole"] and found["minus"]):
        return None
    value = int(found["whole"] or 0) + Fraction(int(above), below)
    return -value if (found["sign"] == "-") != (found["minus"] == "-") else value


def is_words(text: str) -> bool:
    """Whether a plain form is one or more words rather than mathematics."""
    return _WORD.fullmatch(text) is not None


def assigned(text: str) -> tuple[str, str] | None:
    """Name and value of "name = value"; None for anything else.

    >>> assigned("x = 3"), assigned("x + y = 3")
    (('x', '3'), None)
    """
    sides = re.split(r"(?<![<>!\\])=", text)
    if len(sides) < 2 or not all(side.strip() for side in sides):
        return None
    name = sides[0].strip()
    if len(sides) > 2 or not re.fullmatch(
        r"\\?[a-zA-Z]+(?:_\{?\w+\}?)?'?(?:\([a-zA-Z](?:, ?[a-zA-Z])*\))?", name
    ):
        return None
    return name, sides[1].strip()


def parts_of(text: str) -> Parts | None:
    """The elements of a composed answer in plain form; None for a single one.

    >>> parts_of("(1, 2]").kind, parts_of("3, 4").elements
    ('(]', ('3', '4'))
    """
    matrix = _MATRIX.fullmatch(text)
    if matrix is not None:
        rows = [row.split("&") for row in re.split(r"\\\\", matrix[2]) if row.strip()]
        size = f"matrix {len(rows)}x{'/'.join(sorted({str(len(row)) for row in rows}))}"
        return Parts(size, tuple(cell.strip() for row in rows for cell in row), True)
    inner = re.sub(r"\\l(?:brace|bracket)(?![a-zA-Z])", r"\\{", text)
    inner = re.sub(r"\\r(?:brace|bracket)(?![a-zA-Z])", r"\\}", inner)
    braces = inner.startswith("\\{") and inner.endswith("\\}")
    if braces and _closes(inner[1:-2] + "}"):
        return Parts("{}", _elements(inner[2:-2]), False)
    if text[:1] in _OPENING and text[-1:] in _CLOSING and _closes(text):
        elements = _elements(text[1:-1])
        kind = text[0] + text[-1]
        if len(elements) > 1:
            return Parts(kind, elements, kind != "{}")
        return None
    elements = _elements(text)
    return Parts(",", elements, False) if len(elements) > 1 else None


def unbracketed(text: str) -> str:
    """The text without brackets around the whole of it: "(5)" is 5, "(A)" is A."""
    while (
        text[:1] + text[-1:] in ("()", "{}") and _closes(text) and len(_elements(text[1:-1])) == 1
    ):
        text = text[1:-1].strip()
    return text


def _closes(text: str) -> bool:
    """Whether the first bracket is closed by the last, of whatever kind."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth <= 0:
            return place == len(text) - 1
    return False


def _elements(text: str) -> tuple[str, ...]:
    """Parts between commas that are in no bracket; () for an empty text."""
    found, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and depth == 0:
            found.append(text[start:place])
            start = place + 1
    found.append(text[start:])
    return tuple(part.strip() for part in found) if text.strip() else ()
