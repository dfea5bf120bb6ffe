"""Conformance: requirements on every suite; public through `harness.testing`."""

from __future__ import annotations

from harness.core.records import Record, parse
from harness.engine.plan import Handle, Plan
from harness.suites.base import Suite, System


def check_suite(suite: Suite, settings: Record | None = None) -> None:
    """Assert that a suite is described, can be planned, and that its plan is a pure function.

    Args:
        settings: settings to plan with; None for the defaults, which must not need a download.

    Raises:
        AssertionError: names the requirement that the suite does not meet.
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
