"""Traits of labelled authors: their poles, and the pole that a choice shows first.

The order of the options follows the released code: the high pole first, except for neuroticism,
whose first option is the stable pole although label 1 means neurotic. There, reading "A" as 1
inverts the trait; only `Trait.label` handles this.
"""

from __future__ import annotations

from harness.core.errors import unknown
from harness.core.records import Record


class Trait(Record):
    """A binary trait.

    Attributes:
        name: column of the labels, without a prefix.
        title: heading in tables.
        high, low: wording of label 1 and label 0 in a choice.
        low_first: whether the choice shows `low` first.
    """

    name: str
    title: str
    high: str
    low: str
    low_first: bool = False

    def options(self, reverse: bool = False) -> tuple[str, str]:
        """Wording of options A and B; `reverse` exchanges them.

        >>> BIG_FIVE[3].options()
        ('Emotionally stable', 'Emotionally unstable')
        """
        shown = (self.low, self.high) if self.low_first else (self.high, self.low)
        return (shown[1], shown[0]) if reverse else shown

    def label(self, letter: str, reverse: bool = False) -> int:
        """Label of the answer "A" or "B".

        >>> BIG_FIVE[3].label("A"), BIG_FIVE[3].label("A", reverse=True)
        (0, 1)
        """
        return int(self.options(reverse)["AB".index(letter)] == self.high)


def _high_low(name: str, title: str) -> Trait:
    return Trait(name=name, title=title, high=f"High {title}", low=f"Low {title}")


BIG_FIVE = (
    _high_low("agr", "Agreeableness"),
    _high_low("con", "Conscientiousness"),
    _high_low("ext", "Extraversion"),
    Trait(
        name="neu",
        title="Neuroticism",
        high="Emotionally unstable",
        low="Emotionally stable",
        low_first=True,
    ),
    _high_low("opn", "Openness"),
)
MBTI = (
    Trait(name="ei", title="E/I", high="Extraversion", low="Introversion"),
    Trait(name="sn", title="S/N", high="Sensing", low="Intuition"),
    Trait(name="tf", title="T/F", high="Thinking", low="Feeling"),
    Trait(name="jp", title="J/P", high="Judging", low="Perceiving"),
)
SCHEMES = {"big_five": BIG_FIVE, "mbti": MBTI}


def scheme(name: str) -> tuple[Trait, ...]:
    """Traits of a scheme.

    Raises:
        UnknownName: the scheme is neither "big_five" nor "mbti".
    """
    if name not in SCHEMES:
        raise unknown("scheme of traits", name, SCHEMES)
    return SCHEMES[name]
