"""Differences over the prompts that both systems have, failed judgments, one seed, one prompt."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.hashing import canonical_json
from harness.core.records import Cell
from harness.suites.scoring import CellMaker, CellParams
from leaderboards.board import build_board
from leaderboards.claims import Claim, judge_claim, summary
from leaderboards.compare import compare_systems
from leaderboards.render import FORMATS, render
from leaderboards.scores import combine, combine_all, difference
from leaderboards.spec import BoardSpec, ColumnSpec

N = 120
HARD = np.sort(np.random.default_rng(0).random(N))  # from the hardest prompt to the easiest


def made(
    system: str, values: np.ndarray, failed: list[int] | None = None, seed: int = 0, **more: object
) -> Cell:
    """A cell as the suites make it; failed prompts have no value."""
    params = CellParams(suite="suite", system=system, scale="nano", seed=seed)
    lost = set(failed or ())
    shares = [None if n in lost else float(v) for n, v in enumerate(values)]
    clusters = more.pop("clusters", range(len(shares)))
    return CellMaker(params, "prompts", {}).mean_cell("score", shares, clusters, factor=100, **more)


def claim(first: Cell, second: Cell) -> object:
    stated = Claim(id="c", better=first.system, worse=second.system, suite="suite", metric="score")
    return judge_claim(stated, combine_all([first, second]))


def test_failed_hard_prompts_give_no_advantage() -> None:
    a, b = made("a", HARD, failed=list(range(20))), made("b", HARD)
    assert a.value > b.value + 5
    delta = difference(combine([a]), combine([b]))
    assert (delta.value, delta.interval.low, delta.interval.high) == (0, 0, 0)
    assert "over the 100 judgments that both have (of a: 100, b: 120)" in delta.note
    result = claim(a, b)
    assert result.verdict == "not shown"
    assert "over the 100 judgments" in result.reason
    (line,) = compare_systems([a, b], "a", "b").lines
    assert (line.difference, line.ahead) == (0, "")
    assert "over the 100 judgments" in line.note
    spec = BoardSpec(name="x", title="x", columns=(ColumnSpec(suite="suite", metric="score"),))
    marks = {row.system.name: row.entries[0].standing for row in build_board(spec, [a, b]).rows}
    assert marks == {"a": "best", "b": "tied"}


def test_common_prompts_are_those_of_each_seed() -> None:
    generator = np.random.default_rng(1)
    runs = [generator.random(N) for _ in range(3)]
    first = [made("a", run, failed=[seed], seed=seed) for seed, run in enumerate(runs)]
    second = [made("b", run - 0.1, seed=seed) for seed, run in enumerate(runs)]
    delta = difference(combine(first), combine(second))
    assert delta.value == pytest.approx(10)
    assert delta.interval.low == pytest.approx(10)
    assert "(of a: 357, b: 360)" in delta.note


def test_clusters_and_weights_are_kept() -> None:
    """Restricting to all rows of a cell gives its own value and replicates again."""
    generator = np.random.default_rng(2)
    clusters = [number // 3 for number in range(N)]
    a = made("a", generator.random(N), failed=[5], clusters=clusters)
    b = made("b", generator.random(N), failed=[5, 6], clusters=clusters)
    assert a.resampled.units == 40
    delta = difference(combine([a]), combine([b]))
    own = made("a", np.array([v / 100 if v is not None else 0 for v in a.resampled.values]), [5, 6])
    assert delta.value == pytest.approx(own.value - b.value)


def test_bounds_that_would_change_the_sign_withhold_the_verdict() -> None:
    generator = np.random.default_rng(3)
    base = generator.random(N) * 0.8
    a, b = made("a", base + 0.05, failed=list(range(20))), made("b", base)
    result = claim(a, b)
    assert result.interval.low > 0
    assert result.verdict == "not shown"
    assert "failed judgments could change the sign: their bounds give" in result.reason
    few = claim(made("a", base + 0.05, failed=[3]), b)
    assert few.verdict == "holds"


def test_metrics_that_are_not_means_are_judged_by_their_bounds() -> None:
    generator = np.random.default_rng(4)
    base = generator.random(N) * 0.8
    cells = [made("a", base + 0.05, failed=list(range(20))), made("b", base)]
    bare = [c.resampled.model_copy(update={"values": (), "clusters": ()}) for c in cells]
    a, b = (c.model_copy(update={"resampled": r}) for c, r in zip(cells, bare))
    result = claim(a, b)
    assert result.verdict == "not shown"
    assert "each over its own scored judgments (a: 100, b: 120)" in result.reason
    assert "could change the sign" in result.reason
    unbounded = claim(a.model_copy(update={"bounds": None}), b)
    assert "the failed ones have no bounds" in unbounded.reason


def test_abstentions_that_count_are_no_missing_values() -> None:
    generator = np.random.default_rng(5)
    base = generator.random(N) * 0.8
    a, b = made("a", base + 0.1, failed=list(range(20))), made("b", base)
    counted = a.resampled.model_copy(update={"values": (), "failed_scored": True})
    assert claim(a.model_copy(update={"resampled": counted}), b).verdict == "holds"


def test_no_common_prompt_is_said() -> None:
    a = made("a", HARD, failed=list(range(60)))
    delta = difference(combine([a]), combine([made("b", HARD, failed=list(range(60, N)))]))
    assert delta.reason == "no paired interval: no prompt has a value of both systems"


def test_other_prompts_are_said_with_both_counts() -> None:
    b = made("b", HARD[:80]).model_copy(update={"prompt_set": "others"})
    assert claim(made("a", HARD), b).reason == (
        "prompt set differs (a: prompts of 120 prompts; b: others of 80 prompts)"
    )


def test_one_prompt_has_no_interval_and_decides_nothing() -> None:
    a, b = made("a", np.ones(1)), made("b", np.zeros(1))
    assert a.interval is None
    assert combine([a]).interval is None
    result = claim(a, b)
    assert result.verdict == "not tested"
    assert "only one prompt is common" in result.reason


def test_two_prompts_decide_nothing() -> None:
    assert claim(made("a", np.ones(2)), made("b", np.zeros(2))).verdict == "not shown"


def test_a_level_is_honoured_for_one_seed() -> None:
    cell = made("a", HARD)
    wide, stored, narrow = (combine([cell], level).interval for level in (0.99, 0.95, 0.8))
    assert stored == combine([cell]).interval
    assert (wide.level, narrow.level) == (0.99, 0.8)
    assert wide.low < stored.low < narrow.low < narrow.high < stored.high < wide.high


def test_a_score_that_is_not_identified_is_not_compared() -> None:
    a, b = made("a", HARD), made("b", HARD)
    unknown = a.interval.model_copy(update={"low": 0.0, "high": 100.0, "kind": "not identified"})
    a = a.model_copy(update={"interval": unknown, "replicates": ()})
    seeds = [a, made("a", HARD, seed=1)]
    assert combine(seeds).interval == unknown
    result = claim(a, b)
    assert result.verdict == "not tested"
    assert "score of a is not identified" in result.reason


def test_one_seed_is_about_these_checkpoints() -> None:
    ahead = [made(s, HARD * 0.8 + gain) for s, gain in (("a", 0.1), ("b", 0.0))]
    result = claim(*ahead)
    assert (result.verdict, result.scope) == ("holds", "these checkpoints")
    assert result.label == "holds (these checkpoints)"
    assert summary([result]) == "1 holds (these checkpoints)"
    assert "one seed: these checkpoints only" in compare_systems(ahead, "a", "b").summary
    stated = Claim(id="c", better="a", worse="b", suite="suite", metric="score")
    column = ColumnSpec(suite="suite", metric="score")
    spec = BoardSpec(name="x", title="x", columns=(column,), claims=(stated,))
    board = build_board(spec, ahead)
    for name in FORMATS:
        assert "these checkpoints" in render(board, name)
    several = [c.model_copy(update={"seed": seed}) for c in ahead for seed in (0, 1)]
    for name in FORMATS:
        assert "these checkpoints" not in render(build_board(spec, several), name)


def test_cells_without_a_sample_keep_their_bytes() -> None:
    cell = made("a", HARD).model_copy(update={"resampled": None})
    assert "resampled" not in cell.model_dump(mode="json")
    assert b"resampled" not in canonical_json(cell.model_dump(mode="json"))
    assert Cell.model_validate(cell.model_dump(mode="json")) == cell
    full = made("a", HARD)
    assert Cell.model_validate(full.model_dump(mode="json")) == full
