"""The table of preconditions: lines that a board's specification lists, with the scores they name.

A line is shown once for each system, and for each part of a family such as the domains, that has a
score. Cells of the suite `preconditions` that no line names are shown by the name of their metric,
so that nothing that was measured is hidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.core.records import Record
from harness.engine.preconditions import SUITE, Precondition
from leaderboards.scores import Score


class Measured(Record):
    """One row of the table: a figure of one system, and what the effect needs of it."""

    text: str
    needs: str
    score: Score

    @property
    def items(self) -> str:
        """Number of items with a value, and of those expected, if some have none."""
        scored, expected = self.score.n_scored, self.score.n_expected
        return str(scored) if scored == expected else f"{scored} of {expected}"


def measured(lines: Sequence[Precondition], scores: Iterable[Score]) -> tuple[Measured, ...]:
    """The rows of the table: by line, then by part, then by system."""
    known = list(scores)
    rows: list[Measured] = []
    shown: set[tuple[str, str, str]] = set()
    for line in lines:
        own = [score for score in known if line.shows(score.system, score.suite, score.metric)]
        own = [score for score in own if _key(score) not in shown]
        shown |= {_key(score) for score in own}
        rows += [_row(line, score) for score in sorted(own, key=lambda s: (s.metric, s.system))]
    rest = [score for score in known if score.suite == SUITE and _key(score) not in shown]
    for score in sorted(rest, key=lambda s: (s.metric, s.system)):
        text = score.metric.replace("_", " ")
        rows.append(Measured(text=text, needs="", score=score))
    return tuple(rows)


def _row(line: Precondition, score: Score) -> Measured:
    part = line.part(score.metric)
    text = f"{line.text}: {part}" if part else line.text
    return Measured(text=text, needs=line.needs, score=score)


def _key(score: Score) -> tuple[str, str, str]:
    return score.system, score.suite, score.metric
