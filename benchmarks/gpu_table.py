"""Lines and tables of `gpu.py`: what is written, and what is printed at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gpu_measures import Measurement, Outcome, Row, Side

from harness.core.records import Record

FEW = 32  # values that both sides must agree on; more are compared but not written
UNMEASURED = "not measured yet"


class Line(Record):
    """One comparison: a row, a case of it, and one peer.

    Attributes:
        ours, peer: seconds.
        ratio: of the times; above 1, ours is faster.
        tokens_per_second: ours, then the peer's.
        gib: peak memory, ours, then the peer's.
        agreement: whether both sides gave the same.
        outcomes: what ours gave, then the peer, where these are few values.
    """

    row: str
    case: str
    against: str
    ours: float | None = None
    peer: float | None = None
    ratio: float | None = None
    tokens_per_second: tuple[float | None, float | None] = (None, None)
    gib: tuple[float | None, float | None] = (None, None)
    agreement: str = ""
    outcomes: tuple[Outcome, Outcome] | None = None
    reason: str = ""
    small: bool = False
    date: str = ""
    card: str = ""
    driver: str = ""
    other_processes: str = ""
    versions: dict[str, str] = {}


def row_lines(
    row: Row, found: dict[tuple[str, str], Measurement], otherwise: str, shared: Line
) -> Iterator[Line]:
    """The lines whose sides are both known; with `otherwise`, all of them with that reason."""
    for case, sides in row.cases.items():
        ours = found.get((case, sides[0].name))
        for side in sides[1:] or (None,):
            peer = found.get((case, side.name)) if side else None
            if not otherwise and (ours is None or (side and peer is None)):
                continue
            named = {"row": row.name, "case": case, "against": side.name if side else ""}
            said = [known.reason if known else otherwise for known in (ours, peer)]
            reason = why(side, *said) if side else said[0]
            yield shared.model_copy(update={**named, **figures(ours, peer), "reason": reason})


def why(peer: Side, ours: str, theirs: str) -> str:
    """Reasons of both sides; a common one once."""
    if ours == theirs:
        return ours
    both = (("ours", ours), (peer.name, theirs))
    return "; ".join(f"{name}: {reason}" for name, reason in both if reason)


def figures(ours: Measurement | None, peer: Measurement | None) -> dict[str, Any]:
    both = [side or Measurement(case="", side="") for side in (ours, peer)]
    times = [side.seconds for side in both]
    outcomes = [side.outcome for side in both]
    made: dict[str, Any] = {
        "ours": times[0],
        "peer": times[1],
        "ratio": times[1] / times[0] if times[0] and times[1] else None,
        "tokens_per_second": tuple(
            side.tokens / side.seconds if side.tokens and side.seconds else None for side in both
        ),
        "gib": tuple(side.gib for side in both),
        "agreement": agreement(*outcomes) if all(outcomes) else "",
    }
    if any(outcomes) and len(outcomes[0]) <= FEW:
        made["outcomes"] = tuple(outcomes)
    return made


def agreement(ours: Outcome, peer: Outcome) -> str:
    """
    >>> agreement({"loss": 2.0}, {"loss": 2.001})
    'loss differs by 0.05 %'
    >>> agreement({"a": "holds", "b": "holds"}, {"a": "holds", "b": "not shown"})
    '1 of 2 equal'
    """
    said, texts = [], []
    for key, value in ours.items():
        other = peer.get(key)
        if isinstance(value, float) and isinstance(other, float):
            gap = abs(value - other) / max(abs(other), 1e-12)
            said.append(f"{key} differs by {100 * gap:.2g} %")
        else:
            texts.append(value == other)
    if texts:
        said.append(f"{sum(texts)} of {len(texts)} equal")
    return ", ".join(said)


def unmeasured(rows: Sequence[Row]) -> list[Line]:
    """The lines of rows that nobody has run."""
    return [line for row in rows for line in row_lines(row, {}, UNMEASURED, EMPTY)]


def markdown(lines: Sequence[Line]) -> str:
    """One line per comparison, under the card and the versions that it was measured with."""
    head = ("row", "against", "ours", "peer", "ratio", "peak GiB", "peer's GiB", "note")
    made = [f"| {' | '.join(head)} |", f"|{'---|' * 2}{'---:|' * 5}---|"]
    for line in lines:
        named = line.row + (f", {line.case}" if line.case else "")
        note = "; ".join(text for text in (line.agreement, line.reason) if text)
        cells = [named, line.against or "(no peer)", *values(line), note.replace("|", "/")]
        made.append(f"| {' | '.join(cells)} |")
    facts = sorted({provenance(line) for line in lines if line.date})
    return "\n".join([*facts, "", *made] if facts else made)


def values(line: Line) -> list[str]:
    times = [
        "" if time is None else f"{time:.3g} s" + (f" ({rate:,.0f} tokens/s)" if rate else "")
        for time, rate in zip((line.ours, line.peer), line.tokens_per_second)
    ]
    ratio = "" if line.ratio is None else f"{line.ratio:.2f}x"
    return [*times, ratio, *("" if gib is None else f"{gib:.2f}" for gib in line.gib)]


def provenance(line: Line) -> str:
    named = ", ".join(f"{name} {version}" for name, version in line.versions.items())
    driver = f", driver {line.driver}" if line.driver else ""
    sizes = ", small sizes" if line.small else ""
    others = f" {line.other_processes}." if line.other_processes else ""
    return f"{line.date}, {line.card}{driver}{sizes}; {named}.{others}"


def text_of(line: Line) -> str:
    """A line for the progress on a terminal."""
    named = " ".join(part for part in (line.row, line.case) if part)
    against = f" against {line.against}" if line.against else ""
    shown = " | ".join(value for value in values(line) if value)
    told = [part for part in (shown, line.agreement, line.reason) if part]
    return f"{named}{against}: {'; '.join(told)}"


def plan(rows: Sequence[Row], seconds: float, reason: str) -> str:
    """What would run on a GPU, in this order."""
    head = ("row", "what", "sides, with the GPU memory each needs", "also needs")
    made = [f"No GPU: {reason}. On one, this would run in at most {seconds:g} s:", ""]
    made += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        sides = "; ".join(
            ", ".join(f"{side.name} {side.gib:g} GiB" for side in each)
            + (f" ({case})" if case else "")
            for case, each in row.cases.items()
        )
        more = {name: None for each in row.cases.values() for side in each for name in side.modules}
        made.append(f"| {row.name} | {row.title} | {sides} | {', '.join(more)} |")
    made += ["", "With --small, every row runs on this CPU at tiny sizes."]
    return "\n".join(made)


EMPTY = Line(row="", case="", against="")
