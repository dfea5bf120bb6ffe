"""What every cell says of itself: defaults, origin, counts of answers, samples, plain numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from harness.backends.saying import UNENDED
from harness.core.errors import BadRecord, UnknownName
from harness.core.hashing import digest
from harness.core.records import Interval, Resampled
from harness.engine.plan import Handle
from harness.judging.records import Game, Judged, JudgedTurn
from harness.stats.bootstrap import resample_counts
from harness.suites.arena_hard.suite import SUITE as ARENA
from harness.suites.arena_hard.suite import V01_SUITE
from harness.suites.base import Decode, Metric, Suite, System
from harness.suites.conformance import check_suite
from harness.suites.editions import default_edition, resolve_settings, scale_of
from harness.suites.perplexity.suite import PerplexitySettings
from harness.suites.ratios import ratio_cell
from harness.suites.scoring import (
    ENDINGS,
    CellMaker,
    CellParams,
    Tally,
    cell_maker,
    endings,
    failures,
    percent,
    prompt_set_hash,
    sample_of,
    served,
    suspicious,
    with_columns,
)
from tests.operation_runs import rows_artifact

__all__ = ["rows_artifact"]

KNOWN: dict[str, Any] = {"suite": "s", "system": "m", "scale": "nano"}


def maker(**more: Any) -> CellMaker:
    return CellMaker(CellParams(**KNOWN, **{"rounds": 20, **more}), "set", {"judgments": "j"})


def test_a_scoring_stage_has_these_defaults_and_limits() -> None:
    assert CellParams(**KNOWN).model_dump() == {
        **KNOWN, "seed": 0, "judge": None, "judge_fingerprint": None, "decode_fingerprint": None,
        "rounds": 1000, "level": 0.95, "data": "", "stored": False, "cut": False,
    }  # fmt: skip
    for wrong in ({"rounds": 0}, {"level": 0.0}, {"level": 1.0}):
        with pytest.raises(ValidationError):
            CellParams(**KNOWN, **wrong)
    assert CellParams(**KNOWN, rounds=1).rounds == 1


def test_a_cell_has_its_fields_and_no_sample_without_a_value() -> None:
    made = maker(seed=4, judge="j", judge_fingerprint="f", decode_fingerprint="d", data="d@1",
                 stored=True, cut=True)  # fmt: skip
    details = {"a": np.float64(1.5), "b": float("nan"), "c": np.int64(2), "d": True, "e": "x"}
    sample, ends = Resampled(units=3), Interval(low=0, high=1, level=0.5, kind="k")
    cell = made.cell("share", 0.5, Tally(5, 3), replicates=[0.5, 0.25], interval=ends,
                     bounds=(0.0, 1.0), resampled=sample, details=details,
                     primary=False)  # fmt: skip
    assert (cell.system, cell.suite, cell.metric, cell.scale, cell.seed) == (
        "m", "s", "share", "nano", 4
    )  # fmt: skip
    assert (cell.judge, cell.judge_fingerprint, cell.decode_fingerprint) == ("j", "f", "d")
    assert (cell.value, cell.n_expected, cell.n_scored, cell.n_failed) == (0.5, 5, 3, 2)
    assert (cell.prompt_set, cell.artifacts) == ("set", {"judgments": "j"})
    assert (cell.interval, cell.bounds, cell.resampled) == (ends, (0.0, 1.0), sample)
    assert (cell.replicates, cell.primary) == ((0.5, 0.25), False)
    assert cell.details == {
        "a": 1.5, "b": None, "c": 2, "d": True, "e": "x", "data": "d@1",
        "answers": "stored outputs", "long prompts": "cut to the model's context",
    }  # fmt: skip
    for value in (None, float("nan"), float("inf")):
        none = made.cell("share", value, Tally(5, 0), replicates=[0.5], interval=ends,
                         resampled=sample)  # fmt: skip
        assert (none.value, none.interval, none.replicates, none.resampled) == (
            None,
            None,
            (),
            None,
        )
    assert maker().cell("share", 0.0, Tally(1, 1)).details == {}


def test_an_interval_is_made_of_the_replicates_and_units() -> None:
    draws = np.random.default_rng(0).normal(0.5, 0.1, 400)
    wide = maker().cell("x", 0.5, Tally(9, 9), replicates=draws, resampled=Resampled(units=3))
    narrow = maker().cell("x", 0.5, Tally(9, 9), replicates=draws)
    ended = maker().cell("x", 0.5, Tally(9, 9), replicates=draws, kind="over",
                         resampled=Resampled(units=3, span=(0.4, 0.6)))  # fmt: skip
    assert wide.interval.low < narrow.interval.low < 0.5 < narrow.interval.high
    assert (ended.interval.low, ended.interval.high) == (0.4, 0.6)
    assert (ended.interval.kind, narrow.interval.kind) == ("over", "bootstrap over prompts")
    assert maker().cell("x", 0.5, Tally(1, 1), replicates=draws).interval is None


def test_columns_go_with_their_clusters() -> None:
    columns = np.array([[1, 2], [3, 4], [5, 6]])
    found = with_columns(Resampled(units=2), "percent", columns, "aba")
    assert (found.columns, found.clusters) == (((1.0, 3.0, 5.0), (2.0, 4.0, 6.0)), (0, 1, 0))
    assert with_columns(found, "percent", columns, "abc").clusters == ()
    assert with_columns(found, "percent", columns).clusters == ()
    weighed = sample_of(np.array([1.0, np.nan]), "ab", np.array([2.0, 3.0]), (0, 9))
    assert (weighed.weights, weighed.units, weighed.span) == ((2.0, 3.0), 1, (0, 9))


def test_contents_are_part_of_the_prompt_set(rows_artifact: Any) -> None:
    texts = {"a": ["x"]}
    answers = rows_artifact([
        {"id": "a", "responses": [""], "finish": ["stop"], "served_by": "other"},
        {"id": "b", "responses": ["x"], "finish": ["length"]},
    ])  # fmt: skip
    plain = cell_maker(CellParams(**KNOWN), texts, generations=answers, model=None)
    assert plain.prompt_set == prompt_set_hash(texts)
    assert plain.artifacts == {"generations": answers.id}
    assert plain.answers == {"n_cut_answers": 1, "n_empty_answers": 1, "answered by other": 1}
    told = cell_maker(CellParams(**KNOWN, data="d@1"), texts, judgments=answers)
    assert told.prompt_set == digest([prompt_set_hash(texts), "d@1"])
    assert (told.artifacts, told.answers) == ({"judgments": answers.id}, {})


def test_endings_of_answers_are_counted_by_reason() -> None:
    def row(finish: str | None, text: str | None = "x", **more: Any) -> dict[str, Any]:
        return {
            **({} if finish is None else {"finish": [finish]}),
            **({} if text is None else {"responses": [text]}), **more,
        }  # fmt: skip

    rows = [
        row("content_filter", ""), row("refusal"), row("tool_calls"), row("length"), row("length"),
        row("stop", " \n"), row("stop"), row(None), row(None, None), row("length", no_answer=True),
        row("stop", first_error=UNENDED), row("stop", first_finish="length"),
        row("stop", first_finish="refusal", first_error="late"),
        {"finish": [], "responses": []},
    ]  # fmt: skip
    assert endings(rows) == {
        "n_unended_thoughts": 2, "n_filtered_answers": 1, "n_refused_answers": 1,
        "n_tool_call_answers": 1, "n_cut_answers": 3, "n_empty_answers": 1,
    }  # fmt: skip
    assert list(endings(rows)) == list(ENDINGS)
    assert endings([row("stop")]) == {}
    assert served([row("stop"), row("stop", served_by="a"), row("stop", served_by="a")]) == {
        "answered by a": 2
    }


def test_the_limits_of_a_usual_mass() -> None:
    games = [Game("model", 0.5, mass=mass) for mass in (0.9, 0.91, 0.89, 0.5, 0.51, 0.49)]
    games += [Game("model", None, failure="", mass=0.1), Game("model", 0.5)]
    row = Judged("alpaca", "a", "s", (JudgedTurn("q", "a", "b", tuple(games)),))
    assert suspicious([row]) == {
        "identifiers' mass 0.5 to 0.9": 3, "identifiers' mass below 0.5": 1
    }  # fmt: skip
    assert failures([row]) == {}


def test_percent_scales_both_ends() -> None:
    interval = Interval(low=0.25, high=0.5, level=0.9, kind="k")
    assert percent(interval) == Interval(low=25, high=50, level=0.9, kind="k")
    assert percent(None) is None


def test_a_ratio_of_three_questions_by_hand() -> None:
    made = maker(rounds=300)
    cell = ratio_cell(made, "f", ["a", "b", "c", "d"], [2.0, None, 0.0, 1.0], [2.0, 1.0, 1.0, 2.0],
                      details={"x": 1})  # fmt: skip
    assert cell.value == pytest.approx(60)  # 3 of 5
    assert (cell.n_expected, cell.n_scored, cell.n_failed) == (4, 3, 1)
    assert cell.bounds == pytest.approx((100 * 3 / 7, 100 * 5 / 7))
    sample = cell.resampled
    assert (sample.units, sample.span, sample.clusters) == (3, (0.0, 100.0), ())
    assert sample.values == (200.0, None, 0.0, 100.0)
    assert sample.weights == (2.0, 0.0, 1.0, 2.0)
    assert cell.details == {"x": 1}
    drawn = resample_counts("set", 4, 300).astype(float)
    above, below = drawn @ [2, 0, 0, 1], drawn @ [2, 0, 1, 2]
    expected = np.where(below > 0, 100 * above / np.maximum(below, 1), 60)
    assert cell.replicates == pytest.approx(expected)
    assert (below == 0).any()
    fewer = ratio_cell(made, "f", ["a", "b"], [1.0, None], [1.0, 1.0], most=1.0, units=7)
    assert (fewer.bounds, fewer.resampled.units) == ((50, 100), 7)
    whole = ratio_cell(made, "f", ["a"], [1.0], [4.0])
    assert (whole.value, whole.bounds) == (25, None)


def test_decoding_settings_and_their_fingerprints() -> None:
    plain = Decode()
    assert plain.model_dump() == {"temperature": 0.0, "top_p": 1.0, "max_tokens": 4096}
    kept = Decode(thoughts="keep")
    assert kept.fingerprint == digest([plain.fingerprint, "thoughts", "keep"])[:16]
    assert len({plain.fingerprint, kept.fingerprint, Decode(top_p=0.9).fingerprint}) == 3
    for wrong in ({"temperature": -0.1}, {"top_p": 0.0}, {"top_p": 1.1}, {"max_tokens": 0}):
        with pytest.raises(ValidationError):
            Decode(**wrong)
    assert Decode(max_tokens=1, top_p=1).max_tokens == 1
    assert System("s", None).decode_fingerprint(plain) == plain.fingerprint
    assert System("s", None).links() == {}
    assert (System("s", None).scale, System("s", None).seed) == ("nano", 0)


def test_editions_are_overridden_by_settings() -> None:
    assert (default_edition(ARENA), default_edition(V01_SUITE)) == ("nano", "official")
    bare = Suite("bare", 1, "s", (), PerplexitySettings, lambda *_: None)  # type: ignore[arg-type, return-value]
    assert default_edition(bare) == ""
    found: Any = resolve_settings(
        ARENA, "official", {"judge": "nano:oracle", "decode": {"top_p": 0.5}}
    )
    assert (found.prompts, found.judge) == ("official:arena_hard_v0.1", "nano:oracle")
    assert found.decode == Decode(top_p=0.5)
    with pytest.raises(UnknownName, match="edition of suite arena_hard"):
        resolve_settings(ARENA, "offical", {})
    with pytest.raises(UnknownName, match="edition of suite bare"):
        resolve_settings(bare, "nano", {})
    assert resolve_settings(bare, "", {"limit": 3}) == PerplexitySettings(limit=3)
    with pytest.raises(BadRecord, match="decod"):
        resolve_settings(ARENA, "", {"decod": {"top_p": 0.5}})


@pytest.mark.parametrize(
    ("settings", "scale"),
    [({}, "nano"), ({"documents": "a.jsonl"}, "small"), ({"documents": "my-nano:x"}, "small")],
)
def test_a_nano_source_gives_the_scale(settings: dict[str, str], scale: str) -> None:
    assert scale_of(PerplexitySettings(**settings), "small") == scale  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prompts", "judge", "scale"),
    [("nano:x", "a", "nano"), ("a", "nano:oracle", "nano"), ("a", "http://nano-oracle", "nano"),
     ("a", "b", "paper")],
)  # fmt: skip
def test_one_nano_source_of_several_is_enough(prompts: str, judge: str, scale: str) -> None:
    settings = ARENA.settings.model_validate({"prompts": prompts, "judge": judge})
    assert scale_of(settings, "paper") == scale


def described(**changes: Any) -> Suite:
    return replace(ARENA, **changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": ""}, "name, summary or version is missing"),
        ({"summary": ""}, "name, summary or version is missing"),
        ({"version": 0}, "name, summary or version is missing"),
        ({"metrics": ()}, "metrics missing or named twice"),
        ({"metrics": (ARENA.metrics[0],) * 2}, "metrics missing or named twice"),
        ({"metrics": (Metric("a", "%", "s", primary=False),)}, "no primary metric"),
        ({"settings": Decode}, "settings lack limit"),
        ({"plan": lambda *_: None}, "plan must return a handle"),
    ],
)
def test_a_suite_that_does_not_conform_is_told_why(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        check_suite(described(**changes))


def test_a_plan_is_a_pure_function_of_system_and_settings() -> None:
    def ignoring(what: str) -> Any:
        def plan(system: System, settings: Any, stage: Any) -> Handle:
            if what == "seed":
                system = System(system.name, system.model)
            if what == "limit":
                settings = settings.model_copy(update={"limit": None})
            made = ARENA.plan(system, settings, stage)
            if what == "rows":
                return stage("follow_up", responses=made)  # type: ignore[no-any-return]
            return Handle("elsewhere") if what == "handle" else made

        return plan

    for what, reason in (
        ("seed", "the seed changes nothing"),
        ("limit", "the limit changes nothing"),
        ("rows", "must be a file operation"),
        ("handle", "a handle it did not make"),
    ):
        with pytest.raises(AssertionError, match=reason):
            check_suite(described(plan=ignoring(what)))
