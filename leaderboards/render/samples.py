"""The samples of a cell as one self-contained HTML page with list, detail view and search.

The page contains the samples as JSON, which browsers do not execute; its script displays them as
text, never as markup. Each text is stored once and referred to by index; a judge's prompt is a list
of indices, so it is small although it repeats question and answers.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.core.hashing import finite
from harness.core.records import Cell
from harness.judging.records import Game, JudgedTurn
from leaderboards.render import text
from leaderboards.render.page import embedded_json
from leaderboards.render.parts import Part, divide, fill
from leaderboards.samples.addresses import address
from leaderboards.samples.prompts import PromptWriter, prompt_writer
from leaderboards.samples.records import Sample, Samples, game_outcome, verdict_text
from leaderboards.samples.withholding import without_texts

_SHORT = 24  # shorter texts are not replaced by an index within a prompt
_PICKED = ("category", "task", "dataset", "skill")  # the first with several values gets a menu
_METRICS = 4  # further scores in the head
_FLAGS = ("contradictory", "suspicious", "retried")


@dataclass(frozen=True)
class Around:
    """What the page of a published folder says of the folder.

    Attributes:
        back: address of the system's row on the board.
        seeds: (seed, address) of the same samples for each seed; "" for this page.
        cells: all scores that were made from these samples.
        withheld: show lengths in place of texts.
    """

    back: str = ""
    seeds: tuple[tuple[int, str], ...] = ()
    cells: tuple[Cell, ...] = ()
    withheld: bool = False


ALONE = Around()


def render(samples: Samples, around: Around = ALONE) -> str:
    """All samples as one page, ending in a newline."""
    return _page(samples, around, None)


def pages(samples: Samples, name: str, around: Around = ALONE) -> Iterator[tuple[str, str]]:
    """File names and contents of as many pages as the samples need; the first file is `name`.

    The pages are made one at a time, as they are asked for.
    """
    for file, part in divide(name, len(samples.samples)):
        yield file, _page(samples, around, part)


def _page(samples: Samples, around: Around, part: Part | None) -> str:
    shown = samples if part is None else replace(samples, samples=samples.samples[part.span])
    data = page_data(shown)
    if part is not None:
        data["elsewhere"] = part.elsewhere(samples.samples)
    return fill(
        "samples",
        ("samples",),
        part,
        title=samples.title,
        tiles=_tiles(samples, around.cells),
        around=around,
        facts=facts(samples),
        command=_command(samples),
        data=embedded_json(without_texts(data) if around.withheld else data),
    )


def _command(samples: Samples) -> str:
    cell = samples.cell
    target = samples.judging.id[:10] if cell is None else address(cell)
    return f"crucible show {shlex.quote(target)}"


def facts(samples: Samples) -> list[tuple[str, str]]:
    """Provenance of the cell as (name, value) pairs."""
    cell = samples.cell
    found: list[tuple[str, str]] = []
    if cell is not None:
        if cell.interval is not None:
            found.append(("interval", f"{100 * cell.interval.level:g} %, {cell.interval.kind}"))
        if cell.bounds is not None:
            low, high = (text.number(end, 2) for end in cell.bounds)
            found.append(("bounds", f"{low} if all failed were lost, {high} if all were won"))
        found += [
            ("judge", cell.judge or ""),
            ("baseline", samples.baseline),
            ("judge fingerprint", cell.judge_fingerprint or ""),
            ("decode fingerprint", cell.decode_fingerprint or ""),
            ("prompt set", cell.prompt_set),
            ("seed", str(cell.seed)),
            ("scale", cell.scale),
        ]
        details = text.shown_details(cell.details)
        found += [(name, text.detail(value)) for name, value in details.items()]
    found += [(f"artifact: {role}", id) for role, id in sorted(samples.artifacts.items())]
    return [(name.replace("_", " "), value) for name, value in found if value]


def _tiles(samples: Samples, others: Sequence[Cell]) -> list[tuple[str, str, str]]:
    """Tiles in the page's header: (name, value, small print)."""
    cell = samples.cell
    counts = f"{len(samples.samples):,}"
    if cell is None:
        return [("samples", counts, samples.judging.operation)]
    shown = [one for one in others if one.primary and one is not cell][:_METRICS]
    scored = f"{cell.n_scored:,} of {cell.n_expected:,}"
    failed = f"{cell.n_failed} failed" if cell.n_failed else ""
    tiles = [*map(_metric, (cell, *shown)), ("scored", scored, failed), ("samples", counts, "")]
    if cell.judge:
        tiles.append(("judge", cell.judge, ""))
    return tiles


def _metric(cell: Cell) -> tuple[str, str, str]:
    value = text.MISSING if cell.value is None else text.number(cell.value, 2)
    unit = " %" if cell.unit == "%" and cell.value is not None else ""
    span = "" if cell.interval is None else text.span(cell.interval, 2)
    return cell.metric.replace("_", " "), value + unit, span


def page_data(samples: Samples) -> dict[str, Any]:
    """The data that the script reads: texts, and samples that refer to them by index."""
    writer, table = prompt_writer(samples), Texts()
    label = next((name for name in _PICKED if len(samples.label_values(name)) > 1), "")
    views = [_sample(sample, writer, table) for sample in samples.samples]
    return {
        "kind": samples.kind,
        "system": samples.cell.system if samples.cell else "",
        "baseline": samples.baseline,
        "outcomes": samples.outcomes(),
        "label": label,
        "categories": samples.label_values(label),
        "flags": {
            name: count
            for name in _FLAGS
            if (count := sum(name in sample.flags for sample in samples.samples))
        },
        "prompt_reason": writer.reason,
        "samples": views,
        "texts": table.texts,
    }


class Texts:
    """Distinct texts with their indices."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number


def _sample(sample: Sample, writer: PromptWriter, table: Texts) -> dict[str, Any]:
    ours, theirs = sample.lengths
    view = {
        "id": sample.id,
        "outcome": sample.outcome,
        "value": None if sample.value is None else finite(sample.value),
        "lengths": [ours, theirs],
        "first": sample.first,
        "flags": sample.flags,
        "labels": sample.labels,
        "suspicions": sample.suspicions,
        "rendered": table.number(sample.rendered) if sample.rendered else None,
        "fields": [[name, table.number(value)] for name, value in sample.fields.items()],
        "turns": [
            {
                **turn_view(turn, table),
                "games": [
                    {
                        **game_view(game, table),
                        "prompt": _prompt(sample, writer, table, place, number),
                    }
                    for number, game in enumerate(turn.games)
                ],
            }
            for place, turn in enumerate(sample.turns)
        ],
    }
    # Most samples lack most of these.
    return {name: value for name, value in view.items() if value not in (None, [], (), {}, "")}


def turn_view(turn: JudgedTurn, table: Texts) -> dict[str, Any]:
    """A turn without its games; texts are indices."""

    def number(text: str | None) -> int | None:
        return None if text is None else table.number(text)

    return {
        "question": table.number(turn.question),
        "answer": number(turn.answer),
        "other": number(turn.baseline),
        "reference": number(turn.reference or None),
    }


def game_view(game: Game, table: Texts) -> dict[str, Any]:
    """One question to the judge, without its prompt."""
    return {
        "first": game.first,
        "verdict": verdict_text(game),
        "outcome": game_outcome(game),
        "reply": table.number(game.reply),
        "attempts": game.attempts,
        "failure": game.failure or "",
        "logprobs": [[token, finite(logp)] for token, logp in game.logprobs or ()],
    }


def _prompt(
    sample: Sample, writer: PromptWriter, table: Texts, turn: int, game: int
) -> list[tuple[str, list[int]]]:
    """The judge's messages as (role, indices of the texts that make up the content)."""
    if writer.write is None:
        return []
    turns = sample.turns[: turn + 1]
    known = [text for t in turns for text in (t.question, t.answer, t.baseline, t.reference)]
    return [
        (message["role"], [table.number(piece) for piece in _pieces(message["content"], known)])
        for message in writer.write(sample, turn, game)
    ]


def _pieces(content: str, known: Sequence[str | None]) -> list[str]:
    """`content` split at the first occurrence of each known text.

    >>> _pieces("<<a>> the quick brown fox jumps <</a>>", ["the quick brown fox jumps"])
    ['<<a>> ', 'the quick brown fox jumps', ' <</a>>']
    """
    pieces = [content]
    for text_ in sorted({t for t in known if t and len(t) >= _SHORT}, key=len, reverse=True):
        for place, piece in enumerate(pieces):
            before, found, after = piece.partition(text_)
            if found and piece != text_:
                pieces[place : place + 1] = [part for part in (before, found, after) if part]
                break
    return pieces
