"""Samples of two systems side by side as one self-contained HTML page.

As `leaderboards.render.samples`: the samples are JSON, each text is stored once, the script
displays them as text. Prompts of the judge are on the page of each system alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from harness.core.hashing import finite
from harness.judging.records import JudgedTurn
from leaderboards.compare import Comparison, ComparisonLine
from leaderboards.render import text
from leaderboards.render.page import embedded_json
from leaderboards.render.parts import Part, divide, fill
from leaderboards.render.samples import Texts, game_view, turn_view
from leaderboards.render.samples import facts as facts_of
from leaderboards.samples.pairs import CategoryLine, PairedSample, PairedSamples, category_lines
from leaderboards.samples.records import Sample

HEADS = ("prompts", "A", "B", "A minus B", "A ahead", "equal", "B ahead")
NOTE = (
    "Means over the prompts of what the verdicts count; the interval of the difference is paired "
    "over prompts, 95 %, without correction for the number of rows. Metrics that weigh verdicts or "
    "control for length differ from these means."
)


def render(found: PairedSamples, comparison: Comparison | None = None) -> str:
    """All prompts as one page, ending in a newline.

    Args:
        comparison: of the two systems, for the difference of their scores in the head.
    """
    return _page(found, None, _head(found, comparison))


def pages(
    found: PairedSamples, name: str, comparison: Comparison | None = None
) -> Iterator[tuple[str, str]]:
    """File names and contents of as many pages as the prompts need; the first file is `name`.

    The pages are made one at a time, as they are asked for.
    """
    head = _head(found, comparison)
    for file, part in divide(name, len(found.pairs)):
        yield file, _page(found, part, head)


def _page(found: PairedSamples, part: Part | None, head: dict[str, Any]) -> str:
    shown = found if part is None else replace(found, pairs=found.pairs[part.span])
    data = page_data(shown)
    if part is not None:
        # Whether values are shares is a property of all.
        data |= {"percent": found.percent, "elsewhere": part.elsewhere(found.pairs)}
    return fill("pairs", ("samples", "pairs"), part, **head, data=embedded_json(data))


def _head(found: PairedSamples, comparison: Comparison | None) -> dict[str, Any]:
    """What all pages of the two systems share."""
    return {
        "names": [text.visible(name, text.NAME_LIMIT) for name in found.names],
        "metric": found.metric or "samples",
        "tiles": _tiles(found, _line(found, comparison)),
        "label": found.label,
        "heads": HEADS,
        "lines": [line_texts(line, found.percent) for line in category_lines(found)],
        "lines_note": NOTE,
        "note": found.note,
        "facts": _facts(found),
    }


def line_texts(line: CategoryLine, percent: bool) -> tuple[str, ...]:
    """Name and columns of `HEADS` as text."""
    digits = 1 if percent else 2

    def shown(value: float | None) -> str:
        return text.MISSING if value is None else text.number(value, digits)

    counted = f"{line.n_scored}"
    if line.n_scored != line.n_expected:
        counted += f" of {line.n_expected}"
    gap = text.signed(line.difference, digits)
    if line.interval is not None:
        gap += f" {text.span(line.interval, digits, signed=True)}"
    ahead = (str(count) for count in line.ahead)
    name = text.visible(line.name, text.NAME_LIMIT)
    return (name, counted, shown(line.first), shown(line.second), gap, *ahead)


def _line(found: PairedSamples, comparison: Comparison | None) -> ComparisonLine | None:
    cell = found.a.cell
    if comparison is None or cell is None:
        return None
    wanted = (cell.suite, cell.metric)
    return next((line for line in comparison.lines if (line.suite, line.metric) == wanted), None)


def _tiles(found: PairedSamples, line: ComparisonLine | None) -> list[tuple[str, str, str]]:
    tiles = []
    for letter, samples in zip("AB", (found.a, found.b), strict=True):
        cell = samples.cell
        if cell is not None:
            value = text.MISSING if cell.value is None else text.number(cell.value, 2)
            span = "" if cell.interval is None else text.span(cell.interval, 2)
            scored = f"{cell.n_scored} of {cell.n_expected}"
            tiles.append((letter, value, " ".join(filter(None, (span, scored)))))
    if line is not None:
        seeds = f"{line.seeds} seeds" if line.seeds > 1 else ""
        span = "" if line.interval is None else text.span(line.interval, 2, signed=True)
        small = ", ".join(filter(None, (span, seeds, text.visible(line.note, 300))))
        tiles.append(("A minus B", text.signed(line.difference, 2), small))
    tiles.append(("prompts", f"{len(found.pairs):,}", ""))
    if found.a.cell is not None and found.a.cell.judge:
        tiles.append(("judge", found.a.cell.judge, ""))
    return tiles


def _facts(found: PairedSamples) -> list[tuple[str, str]]:
    return [
        (f"{letter}: {name}", value)
        for letter, samples in zip("AB", (found.a, found.b), strict=True)
        for name, value in facts_of(samples)
    ]


def page_data(found: PairedSamples) -> dict[str, Any]:
    """The data that the script reads: texts, and pairs that refer to them by index."""
    table = Texts()
    return {
        "kind": found.kind,
        "percent": found.percent,
        "names": found.names,
        "baseline": found.a.baseline if found.a.baseline == found.b.baseline else "",
        "tallies": {f"{t.first},{t.second}": t.count for t in found.tallies},
        "said": {f"{t.first},{t.second}": t.said for t in found.tallies},
        "label": found.label,
        "categories": found.categories(),
        "samples": [_pair(pair, table) for pair in found.pairs],
        "texts": table.texts,
    }


def _pair(pair: PairedSample, table: Texts) -> dict[str, Any]:
    gap = pair.difference
    return {
        "id": pair.id,
        "outcomes": pair.outcomes,
        "values": [None if value is None else finite(value) for value in pair.values],
        "difference": None if gap is None else finite(gap),
        "lengths": [None if s is None else s.lengths[0] for s in (pair.first, pair.second)],
        "labels": pair.either.labels,
        "turns": _turns(pair, table),
        "fields": _fields(pair, table),
    }


def _turns(pair: PairedSample, table: Texts) -> list[dict[str, Any]]:
    sides = [() if sample is None else sample.turns for sample in (pair.first, pair.second)]
    views = []
    for place, turn in enumerate(pair.either.turns):
        shown = turn_view(turn, table)
        views.append(
            {
                "question": shown["question"],
                "reference": shown["reference"],
                "sides": [
                    _side(turns[place] if place < len(turns) else None, table) for turns in sides
                ],
            }
        )
    return views


def _side(turn: JudgedTurn | None, table: Texts) -> dict[str, Any]:
    if turn is None:
        return {"answer": None, "other": None, "games": []}
    shown = turn_view(turn, table)
    games = [
        {name: value for name, value in game_view(game, table).items() if name != "logprobs"}
        for game in turn.games
    ]
    return {"answer": shown["answer"], "other": shown["other"], "games": games}


def _fields(pair: PairedSample, table: Texts) -> list[list[str | int | None]]:
    """Other fields of the rows, and labels in which the two differ: [name, of A, of B]."""
    sides = [_told(sample) for sample in (pair.first, pair.second)]
    shared = set(pair.either.labels.items())
    names = dict.fromkeys(name for side in sides for name in side)
    found: list[list[str | int | None]] = []
    for name in names:
        said = [side.get(name) for side in sides]
        if said[0] == said[1] and (name, said[0]) in shared:
            continue
        found.append([name, *(None if one is None else table.number(one) for one in said)])
    return found


def _told(sample: Sample | None) -> dict[str, str]:
    return {} if sample is None else {**sample.labels, **sample.fields}
