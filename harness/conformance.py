"""Conformance: what every suite and every judge must fulfil; public through `harness.testing`.

check_suite(SUITE)
check_judge(open_judge("nano:oracle", protocol("arena")))
"""

from __future__ import annotations

from harness.core.records import Record, parse
from harness.engine.plan import Handle, Plan
from harness.judging.frames import (
    KINDS,
    Message,
    alpaca_frame,
    arena_frame,
    pairwise_frame,
    rating_frame,
)
from harness.judging.judge import Judge, Judgment, Question
from harness.judging.verdicts import ARENA_LABELS, ARENA_SYNONYMS
from harness.suites.base import Suite, System


def check_suite(suite: Suite, settings: Record | None = None) -> None:
    """Assert that a suite is described, can be planned, and that its plan is a pure function.

    Args:
        settings: to plan with; the defaults when not given, which must need no download.

    Raises:
        AssertionError: naming what the suite must fulfil and does not.
    """
    where = f"suite {suite.name}"
    described = bool(suite.name and suite.summary and suite.version >= 1)
    assert described, f"{where}: name, summary or version is missing"
    names = [metric.name for metric in suite.metrics]
    assert 0 < len(set(names)) == len(names), f"{where}: metrics missing or named twice"
    assert any(metric.primary for metric in suite.metrics), f"{where}: no primary metric"
    assert "limit" in suite.settings.model_fields, f"{where}: settings lack limit"
    chosen = settings if settings is not None else suite.settings()
    handle, plan = _planned(suite, chosen)
    assert handle.id in plan.stages, f"{where}: plan returned a handle it did not make"
    last = plan.stages[handle.id].operation
    assert last.rows is None, f"{where}: the last stage must be a file operation (cells.json)"
    assert _planned(suite, chosen)[0] == handle, f"{where}: planning twice gave different stages"
    fewer = parse(suite.settings, {**chosen.model_dump(), "limit": 2}, where)
    assert _planned(suite, fewer)[0] != handle, f"{where}: the limit changes nothing"
    assert _planned(suite, chosen, seed=1)[0] != handle, f"{where}: the seed changes nothing"


def _planned(suite: Suite, settings: Record, seed: int = 0) -> tuple[Handle, Plan]:
    plan = Plan()
    model = plan.stage("import_model", ref="nano:target")
    handle = suite.plan(System("system", model, seed=seed), settings, plan.stage)
    assert isinstance(handle, Handle), f"suite {suite.name}: plan must return a handle"
    return handle, plan


def check_judge(judge: Judge) -> None:
    """Assert that a judge answers every question with a legal verdict or a reason.

    The questions are of the nano world. Raises AssertionError naming what is not fulfilled.
    """
    kind = judge.protocol.kind
    where = f"judge {judge.backend.fingerprint}, {kind}"
    assert kind in KINDS, f"{where}: unknown kind of frame"
    assert judge.fingerprint == judge.fingerprint != "", f"{where}: unstable fingerprint"
    assert judge.ask([]) == {}, f"{where}: an answer without a question"
    questions = [Question(f"q{n}", frame) for n, frame in enumerate(_frames(kind))]
    found = judge.ask(questions)
    assert set(found) == {q.id for q in questions}, f"{where}: lost or invented a question"
    for judgment in found.values():
        assert judgment.attempts >= 1, f"{where}: attempts {judgment.attempts}"
        if judgment.verdict is None:
            assert judgment.failure, f"{where}: no verdict and no reason"
        else:
            assert _legal(kind, judgment), f"{where}: illegal verdict {judgment.verdict!r}"
    assert any(j.verdict is not None for j in found.values()), (
        f"{where}: no verdict at all; {next(iter(found.values())).failure}"
    )


def _frames(kind: str) -> list[list[Message]]:
    from harness.nano import world

    frames = []
    for item in world.items("mt_bench", 4):
        turns = list(item.turns)
        good = [world.reference_answer(item, turn) for turn in range(len(turns))]
        for bad in (["", ""], ["[[A>>B]] [[10]] m", "I cannot say."]):
            frames.append(
                {
                    "alpaca": lambda t, g, b: alpaca_frame(t[0], g[0], b[0]),
                    "arena": lambda t, g, b: arena_frame(t[0], b[0], g[0]),
                    "rating": lambda t, g, b: rating_frame(t, b, g),
                    "pairwise": lambda t, g, b: pairwise_frame(t, g, b),
                }[kind](turns, good, bad)
            )
    return frames


def _legal(kind: str, judgment: Judgment) -> bool:
    verdict = judgment.verdict
    if kind == "arena":
        return verdict in ARENA_LABELS or verdict in ARENA_SYNONYMS
    if kind == "pairwise":
        return verdict in ("A", "B", "tie")
    low, high = (0.0, 1.0) if kind == "alpaca" else (1.0, 10.0)
    return isinstance(verdict, int | float) and low <= verdict <= high
