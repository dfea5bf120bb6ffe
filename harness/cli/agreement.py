"""`crucible judge-agreement`: whether one judge can replace another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import screen
from harness.cli.once import OPTIONAL_VALUE, ValueOptionalCommand
from harness.core.errors import StoreProblem, UserError
from harness.core.text import plain
from harness.engine.io import write_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from harness.core.records import Cell
    from harness.engine.store import Store
    from harness.judging.agreement import Agreement, Figure
    from harness.judging.verdict_sets import VerdictSet

# Name of a figure -> its title in the table.
TITLES = {
    "agreement": "equal verdicts",
    "agreement_without_ties": "equal verdicts, without ties",
    "agreement_within_1": "ratings within one point",
    "kappa": "Cohen's kappa",
    "kappa_quadratic": "Cohen's kappa, quadratic weights",
    "label_agreement": "equal labels, by game",
    "label_kappa": "kappa of labels, by game",
    "label_kappa_quadratic": "kappa of labels, quadratic weights",
    "pearson": "Pearson correlation",
    "win_rate": "mean share of the model",
    "mean_rating": "mean rating",
    "precision": "precision: judge's positives confirmed",
    "recall": "recall: reference's positives found",
    "positives": "share of positives",
    "first_shown": "the answer shown first wins",
    "contradictions": "both orders name different winners",
    "contradictions_to_first": "... each time the first shown",
    "prefers_longer": "the longer answer wins",
    "length_slope": "length slope (log odds)",
    "length_slope_excess": "length slope beyond the reference",
    "spearman": "Spearman, ranks of systems",
    "kendall": "Kendall, ranks of systems",
}
_FILES = (".json", ".jsonl", ".gz", ".parquet")


def register(app: typer.Typer) -> None:
    app.command("judge-agreement", cls=ValueOptionalCommand, rich_help_panel="Boards")(
        judge_agreement
    )


def judge_agreement(
    judged: Annotated[
        str,
        typer.Argument(
            metavar="JUDGED",
            help="Judgments of the judge to test: a cell of the store (SYSTEM/SUITE/METRIC), the "
            "beginning of an artifact's id, a file or a folder. Commas separate several systems.",
        ),
    ],
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REFERENCE", help="Verdicts to compare with, given in the same ways."
        ),
    ],
    judge: Annotated[
        str | None, typer.Option("--judge", help="Use only this judge of the files of JUDGED.")
    ] = None,
    reference_judge: Annotated[
        str | None, typer.Option("--reference-judge", help="Use only this judge of REFERENCE.")
    ] = None,
    tie_margin: Annotated[
        float,
        typer.Option(
            "--tie-margin", min=0, max=0.5, help="A preference at most this far from 1/2 is a tie."
        ),
    ] = 0.0,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Number of prompt resamples for intervals.")
    ] = 1000,
    json_file: Annotated[
        str | None,
        typer.Option(
            "--json",
            metavar="[FILE]",
            help="Also write all figures to this file; without it, print them as JSON.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Also write a board of judges, or extend an existing one.",
        ),
    ] = None,
    store: Annotated[Path | None, typer.Option("--store", help="Store folder.")] = None,
) -> None:
    """Compare a judge with reference verdicts on the same answers.

    Prints equal verdicts, Cohen's kappa, and position and length bias. Intervals resample prompts.
    Rows are joined by id, else by the text of the prompt, never by position.

    crucible eval nano:target --judge "nano:oracle?position_bias=2"      judges the same answers

    crucible judge-agreement ID-OF-ITS-JUDGMENTS ID-OF-THE-OTHERS        (crucible show lists ids)

    crucible judge-agreement mine/annotations.json theirs/annotations.json --out judges

    Files: AlpacaEval annotations (.json, .parquet, or a folder of models), Arena-Hard and MT-Bench
    model_judgment (.jsonl), judgment rows of Crucible, answers labelled by people (HaluEval).
    """
    from harness.engine.store import Store
    from harness.judging.agreement import compare
    from harness.judging.agreement_cells import cells

    screen.begin(f"reading {judged} and {reference}")
    found = Store(store)
    sides = _side(found, judged, judge), _side(found, reference, reference_judge)
    screen.say(f"resampling {rounds:,} times")
    result = compare(*sides, tie_margin=tie_margin, rounds=rounds)
    made = cells(result)
    if json_file == OPTIONAL_VALUE:
        screen.switch_to_json()
    _print(screen.results(), result)
    record = _record(result, made)
    screen.data(record)
    if json_file not in (None, OPTIONAL_VALUE):
        _write_json(Path(json_file), record)
    if out is not None:
        from leaderboards.judge_board import add_to_board

        board = add_to_board(out, made)
        said = f"{out}: board of {len(board.rows)} judges (crucible board {out})"
        screen.results().out(said, highlight=False)


def _side(store: Store, text: str, judge: str | None) -> VerdictSet:
    from harness.judging.verdict_sets import merge

    return merge([_part(store, part.strip(), judge) for part in text.split(",") if part.strip()])


def _part(store: Store, text: str, judge: str | None) -> VerdictSet:
    from harness.judging.verdict_sets import read_verdicts
    from leaderboards.samples.addresses import is_address

    path = Path(text)
    if path.exists():
        from harness.suites.alpaca_eval2.annotation_verdicts import (
            holds_annotations,
            read_annotation_verdicts,
        )

        read = read_annotation_verdicts if holds_annotations(path) else read_verdicts
        return read(path, judge)
    if text.endswith(_FILES):
        raise UserError(
            f'"{text}": no such file; expected AlpacaEval annotations, Arena-Hard or MT-Bench '
            "judgments, or a cell or artifact of the store (crucible show lists them)"
        )
    return _stored_cell(store, text) if is_address(text) else _stored(store, store.find(text))


def _stored_cell(store: Store, text: str) -> VerdictSet:
    from harness.cli.show import board_folder
    from leaderboards.samples.addresses import find_cell

    cell = find_cell(store, text, board_folder)
    id = cell.artifacts.get("judgments")
    if id is None or not store.has(id):
        raise UserError(
            f"the cell {text} refers to no judgments in the store {store.root}; expected a cell of "
            "a judged suite in this store (--store chooses another)"
        )
    return replace(_stored(store, id), suite=cell.suite, scale=cell.scale)


def _stored(store: Store, id: str) -> VerdictSet:
    from harness.judging.verdict_sets import verdicts_of_rows
    from leaderboards.samples.addresses import cells_of_store

    artifact = store.artifact(id)
    if not (artifact.path / "rows.jsonl").is_file():
        places = cells_of_store(store, id)
        hint = f" (one of its cells: {places[0].full})" if places else ""
        raise UserError(
            f"artifact {id[:10]} ({artifact.operation}) contains no judgments; expected an id of "
            f"judgments as in crucible show{hint}"
        )
    judge = str(artifact.params.get("judge") or _asked(store, id) or artifact.operation)
    about: dict[str, Any] = {
        "judge": judge,
        "fingerprint": str(artifact.params.get("fingerprint") or ""),
        "scale": "nano" if judge.startswith("nano:") else "small",
    }
    for place in cells_of_store(store):
        if place.cell.artifacts.get("judgments") == id:
            about |= {"suite": place.cell.suite, "scale": place.cell.scale}
            about["system"] = place.cell.system
            break
    return verdicts_of_rows(
        artifact.rows(), f"artifact {id[:10]}", operation=artifact.operation, **about
    )


def _asked(store: Store, id: str) -> str:
    """Reference of the model that a stage of `ask` asked, "" if its artifact is gone."""
    from harness.models.references import pointer_of

    model = store.manifest(id)["inputs"].get("model")
    pointer = pointer_of(store.folder(model)) if isinstance(model, str) else None
    return "" if pointer is None else f"{pointer.engine}:{pointer.ref}"


# Output


def _print(console: Console, result: Agreement) -> None:
    joined, judged, reference = result.joined, result.judged, result.reference
    console.out(f"{plain(judged.judge)} against {plain(reference.judge)} on {plain(judged.suite)}")
    systems = f", {len(result.systems)} systems" if len(result.systems) > 1 else ""
    console.out(
        f"{len(joined.pairs):,} verdicts joined{systems}: {result.n_scored:,} compared, "
        f"{result.n_failed} without a verdict of the judge, {result.n_reference_failed} without "
        f"one of the reference\nonly judged {joined.only_judged}, only in the reference "
        f"{joined.only_reference}, on other answers {joined.other_answers}, repeated rows "
        f"{judged.repeated + reference.repeated}\n",
        highlight=False,
    )
    if not result.figures:
        console.out("nothing to compare: no pair has two verdicts")
        return
    console.print(_table(result))
    console.out("")
    for note in _notes(result):
        console.out(note, highlight=False)


def _table(result: Agreement) -> Table:
    from rich.table import Table
    from rich.text import Text

    from harness.judging.agreement import REFERENCE

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "judge", "95 % interval", "reference", "n"):
        table.add_column(name, justify="left" if name in ("", "95 % interval") else "right")
    for figure in result.figures:
        if figure.of == REFERENCE:
            continue
        other = result.figure(figure.name, REFERENCE)
        table.add_row(
            Text(TITLES.get(figure.name, figure.name)),
            Text(_value(figure), style="bold"),
            Text(_span(figure)),
            Text("" if other is None else _value(other)),
            Text(f"{figure.n:,}"),
        )
    return table


def _value(figure: Figure) -> str:
    if figure.value is None:
        return "—"
    return f"{figure.value:.1f} %" if figure.unit == "%" else f"{figure.value:.3f}"


def _span(figure: Figure) -> str:
    if figure.interval is None:
        return ""
    digits = 1 if figure.unit == "%" else 3
    return f"[{figure.interval.low:.{digits}f}, {figure.interval.high:.{digits}f}]"


def _notes(result: Agreement) -> list[str]:
    names = {figure.name for figure in result.figures}
    notes = []
    if "first_shown" in names:
        notes.append(
            "The answer shown first should win half of the games if the order is random or swapped."
        )
    if "length_slope" in names:
        notes.append(
            "Length slope: gain in log odds of a much longer answer; beyond the reference: slope "
            "of the judge minus slope of the reference."
        )
    return notes


def _record(result: Agreement, cells: list[Cell]) -> dict[str, Any]:
    joined = result.joined
    return {
        "judge": result.judged.judge,
        "reference": result.reference.judge,
        "suite": result.judged.suite,
        "systems": list(result.systems),
        "n_joined": len(joined.pairs),
        "n_scored": result.n_scored,
        "n_failed": result.n_failed,
        "n_reference_failed": result.n_reference_failed,
        "n_only_judged": joined.only_judged,
        "n_only_reference": joined.only_reference,
        "n_other_answers": joined.other_answers,
        "figures": [
            {
                "name": figure.name,
                "of": figure.of,
                "value": figure.value,
                "unit": figure.unit,
                "interval": None if figure.interval is None else figure.interval.model_dump(),
                "n": figure.n,
            }
            for figure in result.figures
        ],
        "cells": [cell.model_dump(mode="json", exclude={"replicates"}) for cell in cells],
    }


def _write_json(path: Path, data: dict[str, Any]) -> None:
    try:
        write_json(path, data, sort_keys=False)
    except OSError as error:
        raise StoreProblem(f"{path} cannot be written: {error.strerror}") from None
