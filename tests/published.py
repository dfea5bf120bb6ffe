"""Boards with samples, made by the suites' own scoring from written judgments, of any size.

    store, cells = judged_systems(folder, systems=3, prompts=8, suites=("alpaca_eval2",))

Answers, verdicts and replies are invented; stage folders, rows, cells and their statistics are what
`score_alpaca`, `score_arena` and `score_mt_bench` make of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.hashing import seed_from
from harness.core.records import Cell, parse
from harness.engine.io import read_objects
from harness.engine.operations import Artifact
from harness.engine.registry import load_operation
from harness.engine.store import Store
from harness.judging.frames import Kind
from harness.judging.records import BASELINE, MODEL, Game, Judged, JudgedTurn
from tests.hand_made import HandMade, judging_params
from tests.operation_runs import FakeContext

CATEGORIES = ("math", "coding", "writing", "roleplay")
WORDS = ("the", "a", "of", "and", "to", "in", "is", "it", "for", "as", "with", "on", "by")
LABELS = ("A>>B", "A>B", "A=B", "B>A", "B>>A")


@dataclass(frozen=True)
class Form:
    """A kind of judgment: its operations and the suite it is from."""

    kind: Kind
    judge: str
    score: str
    params: dict[str, Any]


FORMS = {
    "alpaca": Form("alpaca", "judge_alpaca", "score_alpaca", {}),
    "arena": Form("arena", "judge_arena", "score_arena", {"style_features": ()}),
    "rating": Form("rating", "judge_mt_bench", "score_mt_bench", {}),
}


def form_of(suite: str) -> Form:
    """The form of a suite's judgments; other names are judged as AlpacaEval's."""
    found = {"arena_hard": "arena", "mt_bench": "rating"}
    return FORMS[next((kind for name, kind in found.items() if suite.startswith(name)), "alpaca")]


def judged_systems(
    folder: Path,
    *,
    systems: int = 2,
    prompts: int = 8,
    suites: Sequence[str] = ("alpaca_eval2", "arena_hard", "mt_bench"),
    seeds: Sequence[int] = (0,),
    words: int = 12,
) -> tuple[Store, list[Cell]]:
    """A store with the judgments of systems on suites, and their cells.

    Args:
        words: length of an answer.
    """
    made = HandMade(folder)
    cells: list[Cell] = []
    for suite in suites:
        for number in range(systems):
            for seed in seeds:
                cells += _scored(made, suite, number, seed, prompts, words)
    return made.store, cells


def system_name(number: int) -> str:
    return f"team/system-{number:02d}"


def _scored(
    made: HandMade, suite: str, number: int, seed: int, prompts: int, words: int
) -> list[Cell]:
    form = form_of(suite)
    rows = [row.row() for row in _rows(form, suite, number, seed, prompts, words)]
    judge = judging_params(form.kind)
    judgments = made.put(form.judge, rows, params={**judge, "seed": seed})
    params = {
        "suite": suite,
        "system": system_name(number),
        "scale": "nano",
        "seed": seed,
        "judge": judge["judge"],
        "judge_fingerprint": judge["fingerprint"],
        **form.params,
    }
    operation = load_operation(form.score)
    work = made.store.root / "tmp-score"
    work.mkdir(exist_ok=True)
    resolved = operation.params.model_validate(params)
    source = Artifact(judgments, made.store.folder(judgments))
    operation.function(FakeContext(work), resolved, judgments=source)
    return [parse(Cell, row, "cell") for row in read_objects(work / "cells.json")]


def _rows(
    form: Form, suite: str, number: int, seed: int, prompts: int, words: int
) -> Iterator[Judged]:
    for place in range(prompts):
        # Prompts and baseline answers are the same for all systems.
        shared = random.Random(seed_from(suite, place))
        own = random.Random(seed_from(suite, place, number, seed))
        skill = 0.2 + 0.6 * number / 30 + 0.3 * (shared.random() - 0.5)
        count = 2 if form.kind == "rating" else 1
        turns = tuple(_turn(form, own, shared, skill, words) for _ in range(count))
        category = CATEGORIES[place % len(CATEGORIES)]
        yield Judged(
            kind=form.kind,
            id=f"{suite}/p{place:04d}",
            system=system_name(number),
            turns=turns,
            preference=turns[0].games[0].model_share if form.kind == "alpaca" else None,
            prompt_fields={"category": category},
        )


def _turn(
    form: Form, own: random.Random, shared: random.Random, skill: float, words: int
) -> JudgedTurn:
    question = f"Question: {_text(shared, 12)}?"
    other = None if form.kind == "rating" else _text(shared, words)
    answer = _text(own, own.randint(words // 2, 2 * words))
    good = own.random() < skill
    failed = own.random() < 0.03
    games = tuple(_games(form, own, good, failed))
    return JudgedTurn(question, answer, other, games)


def _games(form: Form, own: random.Random, good: bool, failed: bool) -> Iterator[Game]:
    why = "no verdict found in the reply (test)" if failed else None
    if form.kind == "rating":
        verdict = None if failed else round(own.uniform(6, 10) if good else own.uniform(1, 5))
        yield Game("", verdict, f"Because {_text(own, 8)}. Rating: [[{verdict}]]", 1, why)
    elif form.kind == "alpaca":
        share = own.uniform(0.6, 0.99) if good else own.uniform(0.01, 0.4)
        yield Game(MODEL, None if failed else share, "m" if good else "M", 1, why)
    else:
        for first in (BASELINE, MODEL):
            label = LABELS[own.choice((3, 4) if good == (first == BASELINE) else (0, 1, 2))]
            text = f"My reasons: {_text(own, 8)} [[{label}]]"
            yield Game(first, None if failed else label, text, 1, why)


def _text(source: random.Random, words: int) -> str:
    # Words with a number, so that texts of different rows have little in common.
    return " ".join(f"{source.choice(WORDS)}{source.randrange(1000)}" for _ in range(words))
