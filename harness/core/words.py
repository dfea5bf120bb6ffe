"""Words of texts in any script."""

from __future__ import annotations

import re
import unicodedata

# Scripts without blanks between words count by character.
_WORD = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"
    "|[^\\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f"
    "\u1780-\u17ff]+"
)


def tokenize_words(text: str) -> list[str]:
    """Words of any script in folded case; characters where a script has no blanks.

    >>> tokenize_words("Über 3 富士山")
    ['über', '3', '富', '士', '山']
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
