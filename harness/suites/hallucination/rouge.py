"""ROUGE of answers against references, with the library rouge-score.

Scores are F1 in [0, 1] without stemming. rouge-score keeps only the characters a to z and 0 to 9:
a text in another script scores 0, whatever it says. `harness.core.words` keeps the words of every
script, under other metric names.

ROUGE-L reads a text as one sentence, ROUGE-Lsum splits it at newlines; both are reported, because
the published "ROUGE-L" of ACI-Bench may be either.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

from harness.core.errors import MissingExtra
from harness.core.words import tokenize_words

Rule = Literal["last", "max", "mean"]
NAMES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
_LATIN = re.compile("[a-z0-9]")


def rouge(
    answer: str, references: Sequence[str], rule: Rule = "last", unicode: bool = False
) -> dict[str, float] | None:
    """F1 of each name in `NAMES`; None without a reference.

    Args:
        rule: "last" uses the last reference, as released; "max" the best one for each score;
            "mean" their mean.
        unicode: use `tokenize_words`.

    Raises:
        MissingExtra: rouge-score is not installed.
    """
    if not references:
        return None
    used = references[-1:] if rule == "last" else references
    scores = [_score(reference, answer, unicode) for reference in used]
    if rule == "mean":
        return {name: sum(score[name] for score in scores) / len(scores) for name in NAMES}
    return {name: max(score[name] for score in scores) for name in NAMES}


def _score(reference: str, answer: str, unicode: bool) -> dict[str, float]:
    found = _scorer(unicode).score(reference, answer)
    return {name: float(found[name].fmeasure) for name in NAMES}


@lru_cache(maxsize=2)
def _scorer(unicode: bool) -> Any:
    try:
        from rouge_score import rouge_scorer
    except ImportError:
        raise MissingExtra("rouge-score", "rouge") from None
    tokenizer = _Words() if unicode else None
    return rouge_scorer.RougeScorer(list(NAMES), use_stemmer=False, tokenizer=tokenizer)


class _Words:
    """Tokenizer of rouge-score's interface."""

    def tokenize(self, text: str) -> list[str]:
        return tokenize_words(text)


def is_unscorable(text: str) -> bool:
    """Whether rouge-score finds no token in a text that has words."""
    return not _LATIN.search(text.lower()) and bool(tokenize_words(text))
