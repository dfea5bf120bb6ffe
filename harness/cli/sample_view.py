"""Samples in a terminal: a list, or one in full; their text cannot style the terminal."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from harness.core.errors import UserError, unknown
from harness.core.text import line, plain

if TYPE_CHECKING:
    from rich.console import Console

    from harness.judging.records import Game
    from leaderboards.samples import Sample, Samples

STYLES = {"win": "green", "high": "green", "right": "green", "failed": "bold red"} | dict.fromkeys(
    ("loss", "low", "wrong"), "red"
)


def print_json(samples: Samples, row: str = "") -> None:
    """Print samples as JSON, all or the one with an id."""
    from harness.cli.contents import as_json

    found = [asdict(sample) for sample in samples.samples if row in ("", sample.id)]
    if row and not found:
        raise unknown("sample", row, (sample.id for sample in samples.samples))
    cell = None if samples.cell is None else samples.cell.model_dump(mode="json")
    about = {"title": samples.title, "kind": samples.kind, "artifacts": samples.artifacts}
    typer.echo(as_json({**about, "cell": cell, "samples": found}))


def list_samples(console: Console, samples: Samples, total: int, limit: int, target: str) -> None:
    _head(console, samples)
    shown = samples.samples[: limit or None]
    rows: list[tuple[Text, ...]] = []
    for sample in shown:
        value = "—" if sample.value is None else f"{sample.value:.2f}"
        verdict = Text(sample.outcome, style=STYLES.get(sample.outcome, ""))
        for flag in sample.flags:
            if flag != "failed":
                verdict.append(f" {flag}", style="yellow")
        ours, theirs = (None if n is None else f"{n:,}" for n in sample.lengths)
        lengths = ours or "—" if theirs is None else f"{ours or '—'} / {theirs}"
        begins = f"{sample.failures[0]}: {sample.gist}" if sample.failures else sample.gist
        rows.append(
            (Text(line(sample.id)), verdict, Text(value), Text(lengths), Text(line(begins)))
        )
    console.print(_table(rows))
    counted = ", ".join(f"{word} {count}" for word, count in samples.outcomes().items())
    among = "" if len(samples.samples) == total else f" of {total:,}"
    console.out(
        f"\n{len(shown):,} listed of {len(samples.samples):,} found{among}"
        f"{': ' + counted if counted else ''}\n"
        f"one in full: crucible show {target} --row ID; a page of all: --html",
        highlight=False,
    )


def _table(rows: list[tuple[Text, ...]]) -> Table:
    """Table in which id and text are cut on narrow terminals, figures never."""
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    names = ("id", "verdict", "value", "chars", "begins")
    for place, name in enumerate(names):
        widest = max([len(name), *(row[place].cell_len for row in rows)])
        table.add_column(
            name,
            justify="right" if name in ("value", "chars") else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=12 if name in ("id", "begins") else widest,
            max_width=30 if name == "id" else None,
            ratio=1 if name == "begins" else None,
        )
    for row in rows:
        table.add_row(*row)
    return table


def _head(console: Console, samples: Samples) -> None:
    from harness.suites.scoring import ENDINGS
    from leaderboards.render.samples import facts

    cell = samples.cell
    title = Text(plain(samples.title), style="bold")
    if cell is not None:
        value = "—" if cell.value is None else f"{cell.value:.2f}"
        span = f" [{cell.interval.low:.2f}, {cell.interval.high:.2f}]" if cell.interval else ""
        unit = " %" if cell.unit == "%" else ""
        title.append(f"  {value}{unit}{span}", style="bold cyan")
        title.append(f"  {cell.n_scored} of {cell.n_expected} scored, {cell.n_failed} failed")
    console.print(title, highlight=False)
    wanted = ("judge", "baseline", "judge fingerprint", "interval", "bounds")
    endings = {name.replace("_", " ") for name in ENDINGS}
    for name, value in facts(samples):
        if name in wanted or name in endings or name.startswith(("artifact:", "failed: ")):
            console.out(f"{name.removeprefix('artifact: '):<18} {plain(value)}", highlight=False)
    console.out("")


def show_sample(console: Console, samples: Samples, row: str) -> None:
    """Print one sample in full, by its id or a unique part of it."""
    sample = _find(samples, row)
    console.print(bold(f"{sample.id}  {sample.outcome}"), highlight=False)
    if sample.value is not None:
        _fact(console, "value", f"{sample.value:.4f}")
    for name, value in sample.labels.items():
        _fact(console, name, value)
    for reason in sample.suspicions:
        _fact(console, "suspicious", reason)
    many = len(sample.turns) > 1
    for place, turn in enumerate(sample.turns):
        mark = f" {place + 1}" if many else ""
        _text(console, f"prompt{mark}", turn.question)
        _text(console, f"answer of the model{mark}", turn.answer)
        if turn.baseline is not None:
            _text(console, f"answer of the baseline{mark}", turn.baseline)
        if turn.reference:
            _text(console, f"reference{mark}", turn.reference)
        for number, game in enumerate(turn.games):
            title = f"judge{mark}" if len(turn.games) == 1 else f"game {number + 1}{mark}"
            _show_game(console, title, game)
    for name, value in sample.fields.items():
        _text(console, name, value)
    if sample.rendered:
        _text(console, "prompt as the model read it", sample.rendered)
    if samples.kind != "rows":
        _show_prompts(console, samples, sample)


def _show_prompts(console: Console, samples: Samples, sample: Sample) -> None:
    """Print the prompts of the judge; a message shared by several games is printed once."""
    from leaderboards.samples.prompts import prompt_writer

    writer = prompt_writer(samples)
    if writer.write is None:
        _text(console, "prompt as the judge read it", f"(not shown: {writer.reason})")
        return
    told: set[str] = set()
    for place, turn in enumerate(sample.turns):
        for number in range(len(turn.games)):
            for message in writer.write(sample, place, number):
                if message["content"] not in told:
                    where = f"turn {place + 1}, game {number + 1}, {message['role']}"
                    _text(console, f"prompt as the judge read it ({where})", message["content"])
                told.add(message["content"])


def _show_game(console: Console, title: str, game: Game) -> None:
    from leaderboards.samples import game_outcome, verdict_text

    console.print(bold(f"\n{title}"), highlight=False)
    for name, value in (
        ("shown first", game.first),
        ("read", verdict_text(game)),
        ("outcome", game_outcome(game)),
        ("attempts", str(game.attempts)),
        ("failure", game.failure),
        ("tokens", ", ".join(f"{token!r} {logp:.3f}" for token, logp in game.logprobs or ())),
    ):
        if value:
            _fact(console, name, value)
    if game.reply:
        _text(console, f"{title}: reply", game.reply)


def _find(samples: Samples, row: str) -> Sample:
    """The sample with this id, else the only one whose id ends with it or contains it."""
    found = [sample for sample in samples.samples if sample.id == row]
    found = found or [sample for sample in samples.samples if sample.id.endswith(f"/{row}")]
    found = found or [sample for sample in samples.samples if row in sample.id]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(line(sample.id) for sample in found[:6])
        raise UserError(f'"{line(row)}" is part of {len(found)} ids: {listed}; type one of them')
    known = (line(sample.id) for sample in samples.samples)
    raise unknown("sample", line(row), known, "crucible show CELL lists them")


def _fact(console: Console, name: str, value: str) -> None:
    console.out(f"{plain(name):<12} {plain(value)}", highlight=False)


def _text(console: Console, name: str, text: str | None) -> None:
    console.print(bold(f"\n{name}"), highlight=False)
    said = "(no answer)" if text is None else plain(text)
    console.out("\n".join(f"  {part}" for part in said.split("\n")), highlight=False)


def bold(text: str) -> Text:
    """A heading, without markup."""
    return Text(plain(text), style="bold")
