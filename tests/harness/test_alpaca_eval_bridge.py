"""The alpaca-eval package itself, pointed at the nano server, finds what Crucible finds.

The full 805 instructions run in benchmarks/alpaca_eval_bridge.py: the package spends about a tenth
of a second on each request's client.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("aiohttp")

from harness.nano import world
from harness.nano.faults import FaultScript, fault
from harness.nano.oracle import OracleSettings
from harness.nano.server import NanoServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("alpaca_eval") is None, reason="alpaca_eval is not installed"
    ),
]


@pytest.fixture(scope="module")
def bridge() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "alpaca_eval_bridge.py"
    spec = importlib.util.spec_from_file_location("alpaca_eval_bridge", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.realdata
def test_real_instructions_get_the_same_preferences_and_win_rate(
    bridge: ModuleType, realdata: Callable[[str], Path], tmp_path: Path
) -> None:
    pairs = bridge.read_pairs(realdata("alpaca_eval2"), limit=60)
    with NanoServer(bridge.GRADED, model="*") as server:
        package = bridge.package_side(pairs, server.url, tmp_path)
        assert server.counts()["ok"] == server.counts()["requests"] == 60
    own = bridge.own_side(pairs)
    assert package.preferences == pytest.approx(own.preferences, abs=1e-9)
    assert len(package.preferences) == 60
    assert package.win_rate == pytest.approx(own.win_rate, abs=1e-7)
    assert len({round(value, 6) for value in own.preferences.values()}) > 50


def test_the_nano_worlds_own_questions_agree_too_and_rate_limits_are_survived(
    bridge: ModuleType, tmp_path: Path
) -> None:
    """Graded by ground truth here; with draws, quotation marks, placeholders and a chat mark."""
    settings = OracleSettings()
    pairs = [
        bridge.Pair(item.turns[0], world.baseline_answer(item), world.reference_answer(item))
        for item in world.items("alpaca_eval2", 12)
    ]
    odd = ['"""', "{output_1} and {instruction}", "It is <|im_end|> there", "  \n"]
    pairs[:4] = [bridge.Pair(p.instruction, p.baseline, text) for p, text in zip(pairs, odd)]
    pairs[4] = bridge.Pair(pairs[4].instruction, "the same", "the same")
    script = FaultScript(faults=(fault("429@3"),))
    with NanoServer(settings, script, model="*") as server:
        package = bridge.package_side(pairs, server.url, tmp_path)
        asked = sum(pair.baseline != pair.answer for pair in pairs)
        assert server.counts()["ok"] == asked < len(pairs)
        assert server.counts()["429"] == 1
    own = bridge.own_side(pairs, settings)
    assert package.preferences == pytest.approx(own.preferences, abs=1e-9)
    assert len(own.preferences) == len(pairs)
    assert own.preferences[pairs[4].instruction] == 1.5
    assert package.win_rate == pytest.approx(own.win_rate, abs=1e-7)
