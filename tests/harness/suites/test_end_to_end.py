"""The three judge suites from answers to cells, on systems of known quality."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from harness.backends.base import Backend, Completion, Request, Response, Score, ScoreRequest
from harness.core.hashing import seed_from
from harness.core.records import Cell
from harness.engine import registry
from harness.nano.oracle import OracleBackend, OracleSettings
from harness.suites.alpaca_eval2 import suite as alpaca_eval2
from harness.suites.arena_hard import suite as arena_hard
from harness.suites.mt_bench import suite as mt_bench

ALPACA, ARENA, MT = alpaca_eval2.SUITE, arena_hard.SUITE, mt_bench.SUITE
SUITES = [ALPACA, ARENA, MT]
FAIR = "nano:oracle?position_bias=0&verbosity_bias=0&noise=0&rating_noise=0"


class Broken(Backend):
    """A judge that is the oracle for a share of the questions and talks nonsense for the rest."""

    fingerprint = ""

    def __init__(self, share: float) -> None:
        self.share, self.oracle = share, OracleBackend(OracleSettings())
        self.fingerprint = f"broken {share}"

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        for request in requests:
            question = request.id.partition("#")[0]
            if seed_from(question) % 1000 < 1000 * self.share:
                yield from self.oracle.generate([request])
            else:
                nonsense = Completion(text="Both have merits: 7/10.", finish="stop")
                yield Response(id=request.id, completions=(nonsense,))

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        raise NotImplementedError


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin judge "broken?share=0.8"."""
    known = registry.entries("judges")
    plugin = registry.Entry("broken", "tests:broken", "", origin="plugin")
    load = registry.load

    def opened(group: str, name: str) -> Any:
        if (group, name) != ("judges", "broken"):
            return load(group, name)
        return lambda options, services: Broken(float(options["share"]))

    monkeypatch.setattr(registry, "entries", lambda group: {**known, "broken": plugin})
    monkeypatch.setattr(registry, "load", opened)


def sound(cell: Cell, rounds: int) -> None:
    """What every cell promises."""
    assert cell.n_expected == cell.n_scored + cell.n_failed
    if cell.value is None:
        assert cell.interval is None
        assert cell.replicates == ()
        return
    assert cell.interval is not None
    assert cell.interval.low <= cell.value <= cell.interval.high
    assert len(cell.replicates) == rounds
    assert (cell.bounds is not None) == (cell.n_failed > 0)
    if cell.bounds is not None:
        assert cell.bounds[0] - 1e-9 <= cell.value <= cell.bounds[1] + 1e-9


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_better_answers_score_better_and_every_cell_is_sound(suite, evaluate) -> None:  # type: ignore[no-untyped-def]
    found = {quality: evaluate(suite, quality) for quality in ("excellent", "mixed", "evasive")}
    primary = next(metric.name for metric in suite.metrics if metric.primary)
    assert (
        found["excellent"].value(primary)
        > found["mixed"].value(primary) + 1
        > found["evasive"].value(primary) + 2
    )
    declared = {metric.name.split("*")[0] for metric in suite.metrics}
    for outcome in found.values():
        for metric, cell in outcome.cells.items():
            sound(cell, 60)
            assert metric in declared or any(metric.startswith(d) for d in declared if ":" in d)
            assert cell.judge == "nano:oracle"
            assert cell.judge_fingerprint
            assert cell.decode_fingerprint
            assert {"generations", "judgments"} <= set(cell.artifacts)
    same = {cell.prompt_set for outcome in found.values() for cell in outcome.cells.values()}
    assert len(same) == 1
    assert evaluate(suite, "mixed", limit=20).cells[primary].prompt_set not in same


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_a_second_run_executes_nothing(suite, evaluate) -> None:  # type: ignore[no-untyped-def]
    first = evaluate(suite, "good", limit=6)
    assert first.summary.executed
    assert evaluate(suite, "good", limit=6).summary.executed == ()


def test_the_baseline_against_itself_is_fifty(evaluate) -> None:  # type: ignore[no-untyped-def]
    alpaca = evaluate(ALPACA, "baseline")
    assert alpaca.value("win_rate") == alpaca.value("lc_win_rate") == 50
    assert alpaca.cells["win_rate"].details["n_draws"] == 24
    for judge in ("nano:oracle", "nano:oracle?position_bias=1.5"):
        arena = evaluate(ARENA, "baseline", judge=judge)
        assert arena.value("score") == 50
        assert arena.value("bt_win_rate") == pytest.approx(50)
        assert arena.value("style_controlled") == pytest.approx(50)
    pairwise = evaluate(MT, "baseline", pairwise=True)
    assert pairwise.value("win_rate_adjusted") == 50
    assert pairwise.value("win_rate") == 0


def test_a_judgment_row_says_what_the_judge_saw_and_said(evaluate) -> None:  # type: ignore[no-untyped-def]
    row = evaluate(ALPACA, "good", limit=4).rows("judge_alpaca")[0]
    (game,) = row["games"]
    assert set(row["answers"]) == {"model", "baseline"}
    assert game["first"] in ("model", "baseline")
    assert len(game["logprobs"]) == 5
    wins = game["verdict"] if game["first"] == "model" else 1 - game["verdict"]
    assert row["preference"] == pytest.approx(wins)
    row = evaluate(ARENA, "good", limit=4).rows("judge_arena")[0]
    assert [game["first"] for game in row["games"]] == ["baseline", "model"]
    assert all(game["reply"].endswith(f"[[{game['verdict']}]]") for game in row["games"])
    outcome = evaluate(MT, "good", limit=8)
    by_category = {row["category"]: row for row in outcome.rows("judge_mt_bench")}
    assert [turn["turn"] for turn in by_category["math"]["turns"]] == [1, 2]
    assert all(turn["guided"] for turn in by_category["math"]["turns"])
    assert not any(turn["guided"] for turn in by_category["writing"]["turns"])


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_a_judge_that_never_gives_a_verdict_yields_no_score(suite, evaluate) -> None:  # type: ignore[no-untyped-def]
    outcome = evaluate(suite, "good", limit=6, judge="broken?share=0")
    for cell in outcome.cells.values():
        sound(cell, 60)
        assert cell.value is None
        assert cell.n_scored == 0
        assert cell.n_failed == cell.n_expected > 0
    primary = outcome.cells[next(metric.name for metric in suite.metrics if metric.primary)]
    assert any(reason.startswith("failed:") for reason in primary.details)


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_some_lost_judgments_are_counted_and_bounded(suite, evaluate) -> None:  # type: ignore[no-untyped-def]
    outcome = evaluate(suite, "mixed", judge="broken?share=0.8")
    primary = next(metric.name for metric in suite.metrics if metric.primary)
    for cell in outcome.cells.values():
        sound(cell, 60)
    cell = outcome.cells[primary]
    assert 0 < cell.n_failed < cell.n_expected
    assert sum(n for name, n in cell.details.items() if name.startswith("failed:")) > 0


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_answers_that_were_never_generated_count_as_failed(suite, evaluate) -> None:  # type: ignore[no-untyped-def]
    outcome = evaluate(suite, "failing")
    primary = next(metric.name for metric in suite.metrics if metric.primary)
    cell = outcome.cells[primary]
    assert 0 < cell.n_failed < cell.n_expected
    reasons = [name for name in cell.details if name.startswith("failed:")]
    assert reasons == ["failed: no answer was generated: the prompt is too long"]
    sound(cell, 60)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_empty_answers_are_judged_as_such(suite, evaluate) -> None:  # type: ignore[no-untyped-def]
    outcome = evaluate(suite, "empty")
    primary = next(metric.name for metric in suite.metrics if metric.primary)
    assert outcome.cells[primary].n_failed == 0
    assert outcome.value(primary) < 35


def test_exchanging_system_and_baseline_mirrors_the_scores(evaluate, tmp_path) -> None:  # type: ignore[no-untyped-def]
    def as_baseline(outcome: Any, operation: str) -> str:
        path = tmp_path / f"{operation}.json"
        import json

        rows = outcome.rows(operation)
        stored = [{"id": row["id"], "answers": _said(row)} for row in rows]
        path.write_text(json.dumps(stored), encoding="utf-8")
        return str(path)

    def _said(row: Mapping[str, Any]) -> list[str]:
        if "answers" in row:
            return [row["answers"]["model"]]
        return [turn["answer"] for turn in row["turns"]]

    for judge in ("nano:oracle", FAIR):
        there = evaluate(ARENA, "mixed", judge=judge)
        back = evaluate(ARENA, "baseline", judge=judge, baseline=as_baseline(there, "judge_arena"))
        assert there.value("score") + back.value("score") == pytest.approx(100)
    there = evaluate(MT, "mixed", pairwise=True, limit=16)
    source = as_baseline(there, "judge_mt_bench")
    back = evaluate(MT, "baseline", pairwise=True, limit=16, baseline=source)
    both = [outcome.value("win_rate_adjusted") for outcome in (there, back)]
    assert sum(both) == pytest.approx(100)
    fair = "nano:oracle?position_bias=0"
    there = evaluate(ALPACA, "mixed", judge=fair)
    back = evaluate(ALPACA, "baseline", judge=fair, baseline=as_baseline(there, "judge_alpaca"))
    assert there.value("win_rate") + back.value("win_rate") == pytest.approx(100)


def test_both_orders_cancel_the_position_bias(evaluate) -> None:  # type: ignore[no-untyped-def]
    biased = "nano:oracle?position_bias=2&noise=0"
    outcome = evaluate(ALPACA, "good", judge=biased, orders="both", anchors=[])
    rows = outcome.rows("judge_alpaca")
    judged = [row for row in rows if row["games"]]
    assert all({g["first"] for g in row["games"]} == {"model", "baseline"} for row in judged)
    firsts = [game["verdict"] for row in judged for game in row["games"]]
    assert sum(firsts) / len(firsts) > 0.7


def test_position_bias_shows_as_contradictions(evaluate) -> None:  # type: ignore[no-untyped-def]
    fair = evaluate(ARENA, "good", judge=FAIR)
    biased = evaluate(ARENA, "good", judge="nano:oracle?position_bias=3")
    assert fair.value("contradiction_rate") == 0
    assert biased.value("contradiction_rate") > 20
    assert biased.cells["score"].details["first_shown_share"] > 0.6


def test_length_control_takes_back_what_verbosity_gained(evaluate) -> None:  # type: ignore[no-untyped-def]
    wordy = "nano:oracle?verbosity_bias=3&position_bias=0&noise=0&tie_width=1"
    outcome = evaluate(ALPACA, "verbose baseline", judge=wordy, limit=80)
    gained = outcome.value("win_rate")
    assert gained > 65
    assert abs(outcome.value("lc_win_rate") - 50) < gained - 50
    details = outcome.cells["lc_win_rate"].details
    assert details["formula"] == "length_controlled_v1"
    assert details["weight:length"] < 0
    assert outcome.cells["win_rate"].details["avg_length"] > 0


@pytest.mark.parametrize("mode", ["compat-stable", "compat-legacy"])
def test_the_compat_modes_agree_roughly_with_the_exact_one(mode: str, evaluate) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("sklearn")
    exact = evaluate(ALPACA, "mixed", limit=80)
    compat = evaluate(ALPACA, "mixed", limit=80, lc_mode=mode)
    assert compat.cells["lc_win_rate"].details["lc_mode"] == mode
    assert compat.value("lc_win_rate") == pytest.approx(exact.value("lc_win_rate"), abs=8)
    assert compat.value("win_rate") == exact.value("win_rate")


def test_arena_intervals_resample_topics_unless_rows_are_asked_for(evaluate) -> None:  # type: ignore[no-untyped-def]
    clusters = evaluate(ARENA, "mixed", rounds=400).cells["score"]
    rows = evaluate(ARENA, "mixed", rounds=400, bootstrap="rows").cells["score"]
    assert clusters.value == rows.value
    assert clusters.interval.kind == "bootstrap over prompt clusters"
    assert rows.interval.kind == "bootstrap over rows"


def test_any_subset_of_style_features_may_be_controlled(evaluate) -> None:  # type: ignore[no-untyped-def]
    only = evaluate(ARENA, "mixed", style_features=["length"]).cells["style_controlled"]
    assert [name for name in only.details if name.startswith("slope:")] == ["slope:length"]
    assert "style_controlled" not in evaluate(ARENA, "mixed", style_features=[]).cells


def test_mt_bench_averages_fit_together(evaluate) -> None:  # type: ignore[no-untyped-def]
    outcome = evaluate(MT, "mixed")
    turns = [outcome.value("turn_1"), outcome.value("turn_2")]
    assert outcome.value("score") == pytest.approx(sum(turns) / 2)
    categories = [cell for name, cell in outcome.cells.items() if name.startswith("category:")]
    assert len(categories) == 8
    assert sum(cell.n_expected for cell in categories) == outcome.cells["score"].n_expected == 48
    weighted = sum(cell.value * cell.n_scored for cell in categories) / 48
    assert outcome.value("score") == pytest.approx(weighted)
    assert not any(cell.primary for name, cell in outcome.cells.items() if name != "score")
