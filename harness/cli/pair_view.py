"""Samples of two systems side by side in a terminal; their text cannot style the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from harness.cli.sample_view import STYLES, bold
from harness.core.errors import UserError, unknown
from harness.core.text import line, plain

if TYPE_CHECKING:
    from rich.console import Console

    from leaderboards.samples import PairedSample, PairedSamples

ROOMY = 100  # columns from which two answers fit beside each other
NARROW = 76  # columns below which a list has no text of the prompt


def list_pairs(
    console: Console, found: PairedSamples, chosen: Sequence[PairedSample], limit: int, again: str
) -> None:
    """Print both systems, how often which verdicts meet, categories, and the chosen pairs.

    Args:
        again: the command without options that choose, for the line on what to type next.
    """
    _head(console, found)
    _categories(console, found)
    shown = chosen[: limit or None]
    console.print(_list(found, shown, console.width))
    among = "" if len(chosen) == len(found.pairs) else f" of {len(found.pairs):,}"
    console.out(
        f"\n{len(shown):,} listed of {len(chosen):,} found{among}\n"
        f"one in full: {plain(again)} --row ID; a page of all: --html; fewer: --filter a=win",
        highlight=False,
    )


def _head(console: Console, found: PairedSamples) -> None:
    console.print(bold(found.metric or "samples"), highlight=False)
    for letter, samples in zip("AB", (found.a, found.b), strict=True):
        cell = samples.cell
        said = Text(f"{letter}  {line(_name(found, letter))}", style="bold")
        if cell is not None:
            value = "—" if cell.value is None else f"{cell.value:.2f}"
            span = f" [{cell.interval.low:.2f}, {cell.interval.high:.2f}]" if cell.interval else ""
            said.append(f"  {value}{span}", style="cyan")
            said.append(f"  {cell.n_scored} of {cell.n_expected} scored", style="dim")
        console.print(said, highlight=False)
    if found.note:
        console.print(Text(plain(found.note), style="yellow"), highlight=False)
    console.print(Text(plain(found.summary)), highlight=False)


def _name(found: PairedSamples, letter: str) -> str:
    return found.names["AB".index(letter)]


def _categories(console: Console, found: PairedSamples) -> None:
    from leaderboards.render.pairs import HEADS, line_texts
    from leaderboards.samples import category_lines

    table = Table(box=None, pad_edge=False, header_style="dim")
    # Narrow terminals keep the difference, which the other columns only explain.
    heads = (found.label or "prompts", *HEADS)
    brief = (*heads[:2], "A minus B")
    kept = [n for n, head in enumerate(heads) if console.width >= NARROW or head in brief]
    for place in kept:
        table.add_column(
            heads[place],
            justify="right" if place else "left",
            no_wrap=place > 0,
            overflow="fold" if place == 0 else "ellipsis",
        )
    for entry in category_lines(found):
        texts = line_texts(entry, found.percent)
        table.add_row(*(Text(texts[place]) for place in kept))
    console.print()
    console.print(table)
    console.print()


def _list(found: PairedSamples, pairs: Sequence[PairedSample], width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", expand=width >= NARROW)
    widest = max(4, min(30, width - 26))  # verdicts and the difference are never cut
    table.add_column("id", no_wrap=True, overflow="ellipsis", max_width=widest, min_width=4)
    for letter in "AB":
        table.add_column(letter, no_wrap=True, overflow="ellipsis", min_width=6)
    table.add_column("A-B", justify="right", no_wrap=True, min_width=5)
    if width >= NARROW:
        table.add_column("begins", no_wrap=True, overflow="ellipsis", ratio=1)
    for pair in pairs:
        gap = pair.difference
        said = [_verdict(found, pair, side) for side in (0, 1)]
        id = line(pair.id) if width >= NARROW else line(pair.id).rpartition("/")[2]
        cells = [Text(id), *said, Text("—" if gap is None else _signed(found, gap))]
        if width >= NARROW:
            cells.append(Text(line(pair.either.gist[:400])))
        table.add_row(*cells)
    return table


def _verdict(found: PairedSamples, pair: PairedSample, side: int) -> Text:
    outcome, value = pair.outcomes[side], pair.values[side]
    said = Text(outcome, style=STYLES.get(outcome, ""))
    if value is not None:
        said.append(f" {_value(found, value)}", style="dim")
    return said


def _value(found: PairedSamples, value: float) -> str:
    return f"{100 * value:.0f}" if found.percent else f"{value:.2f}"


def _signed(found: PairedSamples, gap: float) -> str:
    return f"{100 * gap:+.0f}" if found.percent else f"{gap:+.2f}"


def show_pair(console: Console, found: PairedSamples, row: str) -> None:
    """Print one prompt with both answers and both judgments."""
    pair = _find(found, row)
    console.print(bold(pair.id), highlight=False)
    for name, value in pair.either.labels.items():
        console.out(f"{plain(name):<12} {plain(value)}", highlight=False)
    turns = pair.either.turns
    for place, turn in enumerate(turns):
        mark = f" {place + 1}" if len(turns) > 1 else ""
        _block(console, f"prompt{mark}", turn.question)
        _beside(console, found, [list(_told(pair, side, place)) for side in (0, 1)], pair)
        sides = [s.turns[place] for s in (pair.first, pair.second) if s and len(s.turns) > place]
        others = dict.fromkeys(t.baseline for t in sides if t.baseline is not None)
        for other in others:
            _block(console, f"answer of the baseline{mark}", other)
        if turn.reference:
            _block(console, f"reference{mark}", turn.reference)
    if not turns:
        _beside(console, found, [list(_told(pair, side, None)) for side in (0, 1)], pair)


def _told(pair: PairedSample, side: int, place: int | None) -> Iterator[tuple[str, str]]:
    """Texts of one system: (name, text)."""
    sample = (pair.first, pair.second)[side]
    if sample is None:
        yield "", "(no sample)"
        return
    if place is None:
        yield from sample.fields.items()
        return
    if place >= len(sample.turns):
        yield "", "(no such turn)"
        return
    from leaderboards.samples import game_outcome, verdict_text

    turn = sample.turns[place]
    yield "", "(no answer)" if turn.answer is None else turn.answer
    for number, game in enumerate(turn.games, 1):
        head = f"game {number}: " if len(turn.games) > 1 else "judge: "
        said = (verdict_text(game), game_outcome(game), game.failure or "")
        first = f"{game.first} shown first; " if game.first else ""
        yield head + first + " ".join(filter(None, said)), game.reply


def _beside(
    console: Console,
    found: PairedSamples,
    sides: Sequence[Sequence[tuple[str, str]]],
    pair: PairedSample,
) -> None:
    """Both systems' texts, beside each other in a wide terminal, else one below the other."""
    bodies = []
    for side, texts in enumerate(sides):
        body = Text(f"{'AB'[side]}  {line(found.names[side])}  ", style="bold")
        body.append_text(_verdict(found, pair, side))
        for name, said in texts:
            if name:
                body.append(f"\n{plain(name)}", style="cyan not bold")
            body.append(f"\n{plain(said)}", style="not bold")
        bodies.append(body)
    console.print()
    if console.width < ROOMY:
        for body in bodies:
            console.print(body, highlight=False)
            console.print()
        return
    table = Table(box=None, pad_edge=False, show_header=False, expand=True, padding=(0, 3, 0, 0))
    for _ in bodies:
        table.add_column(ratio=1, overflow="fold")
    table.add_row(*bodies)
    console.print(table)


def _block(console: Console, name: str, text: str) -> None:
    console.print(bold(f"\n{name}"), highlight=False)
    console.out("\n".join(f"  {part}" for part in plain(text).split("\n")), highlight=False)


def _find(found: PairedSamples, row: str) -> PairedSample:
    """The pair with this id, else the only one whose id contains it."""
    same = [pair for pair in found.pairs if pair.id == row]
    same = same or [pair for pair in found.pairs if row in pair.id]
    if len(same) == 1:
        return same[0]
    if same:
        listed = ", ".join(line(pair.id) for pair in same[:6])
        raise UserError(f'"{line(row)}" is part of {len(same)} ids: {listed}; type one of them')
    raise unknown("sample", line(row), (line(pair.id) for pair in found.pairs))


def pair_records(found: PairedSamples, chosen: Sequence[PairedSample]) -> dict[str, object]:
    """The comparison for other programs: counts, categories, and the chosen pairs in full."""
    from leaderboards.samples import category_lines

    return {
        "a": found.names[0],
        "b": found.names[1],
        "metric": found.metric,
        "note": found.note,
        "tallies": [{**asdict(tally), "said": tally.said} for tally in found.tallies],
        "categories": [
            {**asdict(entry), "interval": entry.interval and entry.interval.model_dump()}
            for entry in category_lines(found)
        ],
        "samples": [
            {
                "id": pair.id,
                "outcomes": pair.outcomes,
                "values": pair.values,
                "difference": pair.difference,
                "a": None if pair.first is None else asdict(pair.first),
                "b": None if pair.second is None else asdict(pair.second),
            }
            for pair in chosen
        ],
    }
