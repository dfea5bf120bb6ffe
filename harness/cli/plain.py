"""Texts of models and strangers on a terminal: they neither style it nor move its cursor."""

from __future__ import annotations

import re

# Control characters (line ends and tabs are kept), half characters, private and tag characters,
# and what is invisible or turns the direction of the text after it.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\ue000-\uf8ff\U000e0000-\U000e007f]"
)


def plain(value: object) -> str:
    """`value` as text, with every character that a terminal would obey shown as its code.

    >>> plain("a\\x1b[31mb\\u202ec")
    'a<U+001B>[31mb<U+202E>c'
    """
    text = value if isinstance(value, str) else repr(value)
    return _HIDDEN.sub(lambda found: f"<U+{ord(found[0]):04X}>", text.replace("\r\n", "\n"))


def line(value: object, limit: int = 300) -> str:
    """The beginning of `value` as one line.

    >>> line("two\\n lines")
    'two lines'
    """
    text = value if isinstance(value, str) else repr(value)
    return plain(" ".join(text[: 4 * limit].split()))[:limit]
