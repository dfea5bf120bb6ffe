"""Text of models and strangers made safe to show: nothing in it hides, moves or restyles the rest.

`visible` replaces control characters, escape sequences, direction marks, invisible characters,
spaces other than the ordinary one, lone surrogates, private and unassigned code points by their
code, as in <U+202E>. Terminal, html and every other format use it. Emoji keep their joiners and
their variation selector.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

# `str.isprintable` knows the categories C* and Z*. These are of other categories and invisible:
# the default-ignorable code points among letters and marks, and the braille pattern without dots.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
_JOINER, _EMOJI_STYLE = "\u200d", "\ufe0f"
_KEYS, _KEYCAP = tuple("0123456789#*"), "\u20e3"
_SKIN_TONES = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"


def visible(text: str, limit: int | None = None, keep: str = "") -> str:
    """The text with every hidden character shown as its code; longer than `limit` is cut.

    Args:
        keep: characters that stay as they are, such as line ends.

    >>> visible("a\\nb\\u202ec\\u3164")
    'a<U+000A>b<U+202E>c<U+3164>'
    >>> visible("abcdef", limit=4)
    'abc…'
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable() and not _INVISIBLE.search(text):
        return text
    shown: list[str] = []
    for place, character in enumerate(text):
        if (
            character in keep
            or not _is_hidden(character)
            or _is_part_of_emoji(character, shown[-1:], text[place + 1 : place + 2])
        ):
            shown.append(character)
        else:
            shown.append(f"<U+{ord(character):04X}>")
    return "".join(shown)


def plain(value: object) -> str:
    """A value as text of several lines; line ends and tabs stay.

    >>> plain("a\\r\\n\\tb\\x1b[31m")
    'a\\n\\tb<U+001B>[31m'
    """
    text = value if isinstance(value, str) else repr(value)
    return visible(text.replace("\r\n", "\n"), keep="\n\t")


def line(value: object, limit: int = 300) -> str:
    """The beginning of a value as one line; line ends and runs of blanks become one blank.

    >>> line("two\\n lines")
    'two lines'
    """
    text = value if isinstance(value, str) else repr(value)
    return visible(re.sub(r"[ \t\r\n]+", " ", text[: 4 * limit].strip(" \t\r\n")))[:limit]


# Markdown. At the start of a line the last would begin a list, a heading underline or a rule.
_SPECIAL = re.compile(r"([\\`*_{}\[\]|~$!#@])")
_LINK = re.compile(r"(https?|ftp|mailto|xmpp):|\bwww\.", re.IGNORECASE)
_BLOCK = re.compile(r"^(\s*\d*)([-+.)](?=\s|$|--)|=)")


def markdown(value: str, limit: int | None = None) -> str:
    """`value` escaped so that Markdown and HTML display it literally, in a table cell too.

    >>> markdown("a_b | <script>")
    'a\\\\_b \\\\| &lt;script&gt;'
    """
    safe = visible(value, limit)
    # Entities first: the escapes added below contain no "&", "<" or ">".
    safe = safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    safe = _SPECIAL.sub(r"\\\1", safe)
    # Break automatic links: a name must not become clickable.
    safe = _LINK.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", safe)
    return _BLOCK.sub(r"\1\\\2", safe)


def code_span(value: str) -> str:
    """A Markdown code span whose fence is longer than any run of backticks inside it."""
    value = visible(value)
    longest = max((len(run) for run in re.findall("`+", value)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if value.startswith("`") or value.endswith("`") else ""
    return f"{fence}{pad}{value}{pad}{fence}"


def encodable(value: Any) -> Any:
    """A JSON value whose texts have no lone surrogates: these are shown as their escapes.

    >>> encodable({"a": ["\\ud83d!"]})
    {'a': ['\\\\ud83d!']}
    """
    if isinstance(value, str):
        return value.encode("utf-8", errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {encodable(key): encodable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [encodable(part) for part in value]
    return value


def _is_hidden(character: str) -> bool:
    return not character.isprintable() or _INVISIBLE.match(character) is not None


def _is_part_of_emoji(character: str, before: list[str], after: str) -> bool:
    """Whether a joiner joins two symbols, or a variation selector follows one."""
    last = before[0] if before else ""
    if character == _EMOJI_STYLE:
        return _is_symbol(last) or (last in _KEYS and after == _KEYCAP)
    joined = _is_symbol(last) or last in (_EMOJI_STYLE, *_SKIN_TONES)
    return character == _JOINER and joined and _is_symbol(after)


def _is_symbol(character: str) -> bool:
    return (
        len(character) == 1
        and unicodedata.category(character) == "So"
        and not _INVISIBLE.match(character)
    )
