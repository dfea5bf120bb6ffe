"""Two small boards in every format, byte for byte: what a reader sees is what was read and checked.

The texts are in `expected/`, see `expected_pages`. Style and script of pages are not in them.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from harness.core.records import Cell, Interval
from harness.engine.preconditions import SUITE, Precondition
from leaderboards.board import Board, build_board
from leaderboards.claims import Claim, DoseClaim
from leaderboards.compare import compare_systems
from leaderboards.render import FORMATS, render, terminal
from leaderboards.spec import BoardSpec, ColumnSpec, Provenance, Reference, SystemSpec
from tests.leaderboards.expected_pages import differs

LINE = np.linspace(-5, 5, 101)
ENDINGS = {"terminal": "txt"}


def made(system: str, metric: str, value: float | None, seed: int = 0, **changes: Any) -> Cell:
    """A cell of 300 prompts whose replicates are a line of width 10 around its value."""
    fields: dict[str, Any] = {
        "system": system, "suite": "talk", "metric": metric, "value": value, "seed": seed,
        "n_expected": 300, "n_scored": 300, "n_failed": 0, "scale": "nano", "judge": "oracle",
        "judge_fingerprint": "f1", "decode_fingerprint": "d1", "prompt_set": "p1",
        "artifacts": {"judgments": f"{system}-{seed}", "checkpoint": f"model-{system}"},
        "details": {"standard_error": 1.25, "length": 1200 + len(system), "exact": True},
        "replicates": () if value is None else tuple((LINE + value).tolist()),
        "interval": None if value is None else Interval(low=value - 4, high=value + 4, kind="own"),
    }  # fmt: skip
    return Cell.model_validate({**fields, **changes})


def nano() -> Board:
    """One seed at nano: failures, a dose-response, an unranked and a missing system."""
    lower = {"higher_is_better": False, "unit": "points"}
    cells = [
        made("wrpo", "win_rate", 55.0),
        made(
            "dpo",
            "win_rate",
            43.0,
            n_scored=280,
            n_failed=20,
            bounds=(41.5, 47.5),
            replicates=tuple((43 - 0.2 * LINE).tolist()),
        ),
        made("teacher", "win_rate", 80.0),
        made("wrpo", "errors", 2.5, **lower),
        made("dpo", "errors", 2.375, **{**lower, "replicates": tuple((2.375 - LINE).tolist())}),
        made("dpo", "win_rate_rock", 10.0, primary=False, interval=None, replicates=()),
        made("teacher", "above", 12.25, suite=SUITE, judge=None, n_scored=290, n_failed=10),
    ]
    said = {"suite": "talk", "metric": "win_rate"}
    spec = BoardSpec(
        name="small", title="A small board", description="Three systems & a plan.",
        systems=(
            SystemSpec(name="teacher", label="Teacher", group="others", ranked=False),
            SystemSpec(name="dpo", group="ours"),
            SystemSpec(name="wrpo", label="WRPO", group="ours", notes=("ours", "0.1")),
            SystemSpec(name="later"),
        ),
        columns=(
            ColumnSpec(**said, label="score", group="Talk", spread="standard_error", rank=True),
            ColumnSpec(**said, group="Talk", detail="length", label="length"),
            ColumnSpec(suite="talk", metric="errors", digits=2, interval=False),
            ColumnSpec(**said, detail="exact"),
        ),
        claims=(
            Claim(id="c1", better="wrpo", worse="dpo", **said, paper_better=55.9,
                  paper_worse=50.7, source="table 1", margin=1.0),
            DoseClaim(id="c2", kind="slope", doses={"dpo": 0.0, "wrpo": 0.5}, cause="alpha",
                      paper_slope=3.0, source="figure 2", **said),
            Claim(id="c3", better="dpo", worse="wrpo", **said, paper_gain=0.4, text="More is less"),
            Claim(id="c4", better="wrpo", worse="nobody", **said),
            Claim(id="c5", better="dpo", worse="wrpo", suite="talk", metric="errors"),
        ),
        references=(Reference(system="wrpo", **said, value=55.9, source="table 1"),),
        provenance=Provenance(recipe="wrpo/nano", recipe_id="1234", command="crucible run",
                              libraries={"torch": "2.1", "numpy": "1.2"}),
        stage_notes=("sample 3: cut",),
        preconditions=(Precondition(text="better sources", metric="above", needs="many"),),
    )  # fmt: skip
    return build_board(spec, cells)


def paper() -> Board:
    """Three seeds at the paper's scale, listed in groups, ties, mixed judges."""
    cells = [
        made(system, metric, value + seed, seed, scale="paper", judge_fingerprint=judge,
             replicates=tuple((value + seed + sign * LINE).tolist()),
             details={"length": 10.5 * (seed + 1), "mode": f"m{seed}", "kind": "one"})
        for system, value, judge, sign in (("a", 50.0, "f1", 1), ("b", 49.0, "f1", -1),
                                           ("c", 20.0, "f2", 1))
        for metric in ("lc", "raw")
        for seed in range(3)
    ]  # fmt: skip
    cells.append(made("d", "lc", None, scale="paper", n_scored=0, n_failed=300, details={}))
    spec = BoardSpec(
        name="paper", title="The table.", order="spec", allow_mixed=True, digits=2, level=0.9,
        systems=tuple(
            SystemSpec(name=name, group=group)
            for name, group in (("b", "one"), ("a", "one"), ("c", "two"), ("d", "two"))
        ),
        columns=(ColumnSpec(suite="talk", metric="lc"), ColumnSpec(suite="talk", metric="raw"),
                 ColumnSpec(suite="talk", metric="lc", detail="length"),
                 ColumnSpec(suite="talk", metric="lc", detail="kind", group="Facts")),
        references=(Reference(system="a", suite="talk", metric="lc", value=51.0, source="t 1"),),
    )  # fmt: skip
    return build_board(spec, cells)


BOARDS = {"nano": nano, "paper": paper}
WIDTHS = [("nano", 100), ("nano", 89), ("paper", 95), ("paper", 60)]


def shown(name: str, format: str) -> str:
    page = render(BOARDS[name](), format)
    return re.sub(r"(<(style|script)>).*?(</\2>)|sha256-[^']*", r"\1\3", page, flags=re.DOTALL)


def in_terminal(name: str, width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(terminal.render_board(BOARDS[name]()))
        if name == "nano":
            console.print(terminal.render_comparison(compare_systems(nano().cells, "wrpo", "dpo")))
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


EXPECTED = {
    f"{name}.{ENDINGS.get(format, format)}": partial(shown, name, format)
    for name in BOARDS
    for format in (*FORMATS, "terminal")
} | {f"{name}-{width}.txt": partial(in_terminal, name, width) for name, width in WIDTHS}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_board_looks_as_it_was_checked(name: str) -> None:
    assert differs(name, EXPECTED[name]()) == ""


def test_columns_that_fit_nowhere_have_a_table_each() -> None:
    every = list(range(len(nano().columns)))
    assert len(every) > 1
    assert terminal._chunks(nano(), "half width", 1) == [[column] for column in every]
    assert terminal._chunks(nano(), "half width", 1000) == [every]
