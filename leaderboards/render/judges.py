"""The agreement of a board's judges as a table, for all formats."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.records import Interval
from harness.core.text import visible
from leaderboards.judge_agreement import JudgePair
from leaderboards.render.text import MISSING, NAME_LIMIT, number, span

TITLE = "Agreement of the judges"
NOTE = (
    "Spearman and Kendall: ranks of the systems that both judges scored. kappa: Cohen's, of their "
    "verdicts on the same prompts (quadratic weights for ratings). Brackets: over prompts."
)
HEADS = ("Suite", "Judges", "Systems", "Spearman", "Kendall", "Verdicts", "equal", "kappa")


def rows(pairs: Sequence[JudgePair]) -> list[tuple[str, ...]]:
    """One line per two judges and metric."""
    return [
        (
            visible(f"{pair.suite} {pair.metric.replace('_', ' ')}", NAME_LIMIT),
            visible(f"{pair.first}, {pair.second}", NAME_LIMIT),
            str(pair.systems),
            _figure(pair.spearman, pair.spearman_interval),
            _figure(pair.kendall),
            f"{pair.verdicts:,}" if pair.verdicts else MISSING,
            MISSING if pair.equal is None else f"{number(pair.equal, 1)} %",
            _figure(pair.kappa, pair.kappa_interval),
        )
        for pair in pairs
    ]


def sentences(pairs: Sequence[JudgePair]) -> list[tuple[str, str]]:
    """The rows as a heading and a sentence each, for narrow screens."""
    found = []
    for suite, who, systems, spearman, kendall, verdicts, equal, kappa in rows(pairs):
        said = f"{systems} systems: Spearman {spearman}, Kendall {kendall}"
        if verdicts != MISSING:
            said += f"; {verdicts} verdicts: {equal} equal, kappa {kappa}"
        found.append((f"{suite}: {who}", said))
    return found


def _figure(value: float | None, interval: Interval | None = None) -> str:
    if value is None:
        return MISSING
    return f"{number(value, 2)}{'' if interval is None else f' {span(interval, 2)}'}"
