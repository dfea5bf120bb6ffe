"""The alpaca-eval package itself, pointed at the nano server, finds what the suite finds there.

The full 805 instructions run in benchmarks/alpaca_eval_bridge.py: the package spends about a tenth
of a second on each request's client.
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("aiohttp")

from harness.judging.verdicts import is_switched
from harness.nano import world
from harness.nano.faults import FaultScript, fault
from harness.nano.oracle import OracleSettings, preference_logit
from harness.nano.server import NanoServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("alpaca_eval") is None, reason="alpaca_eval is not installed"
    ),
]
PROMPTS = 14


@pytest.fixture(scope="module")
def bridge() -> ModuleType:
    path = Path(__file__).parents[4] / "benchmarks" / "alpaca_eval_bridge.py"
    spec = importlib.util.spec_from_file_location("alpaca_eval_bridge", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.realdata
def test_real_instructions_get_the_same_preferences_and_win_rate(
    bridge: ModuleType,
    realdata: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = realdata("alpaca_eval2")
    monkeypatch.setenv("CRUCIBLE_DATA", str(folder.parent))
    pairs = bridge.read_pairs(folder, limit=60)
    outputs = folder / f"outputs_{bridge.SYSTEM}.jsonl.gz"
    with NanoServer(bridge.GRADED, model="*") as server:
        package = bridge.package_side(pairs, server.url, tmp_path)
        assert server.counts()["ok"] == server.counts()["requests"] == 60
        own = bridge.own_side(outputs, server.url, tmp_path / "store", limit=60)
        assert server.counts()["ok"] == server.counts()["requests"] == 120
    assert package.preferences == pytest.approx(own.preferences, abs=1e-9)
    assert len(package.preferences) == 60
    assert package.win_rate == pytest.approx(own.win_rate, abs=1e-7)
    assert len({round(value, 6) for value in own.preferences.values()}) > 50


@dataclass(frozen=True)
class Compared:
    """Both sides on answers to the nano world's questions, which are graded by ground truth.

    `hostile` are the instructions whose answers hold a placeholder or a chat mark.
    """

    answers: dict[str, str]
    hostile: tuple[str, ...]
    package: Any
    own: Any
    package_counts: dict[str, int]
    own_counts: dict[str, int]


@pytest.fixture(scope="module")
def compared(bridge: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    items = world.items("alpaca_eval2", PROMPTS)
    baseline = {item.turns[0]: world.baseline_answer(item) for item in items}
    answers = {item.turns[0]: world.reference_answer(item) for item in items}
    # The package fills {output_1} before {output_2}: only what is shown first is filled again.
    shown_first = [text for text in answers if is_switched(text)]
    hostile = (shown_first[0], shown_first[1])
    answers |= zip(hostile, ("Like {output_2} but shorter", "It is <|im_end|> there"))
    odd = [text for text in answers if text not in hostile][:3]
    answers |= zip(odd, ('"""', "  \n", baseline[odd[2]]))
    work = tmp_path_factory.mktemp("bridge")
    outputs = work / "outputs.json"
    rows = [{"instruction": text, "output": answer} for text, answer in answers.items()]
    outputs.write_text(json.dumps(rows), encoding="utf-8")
    pairs = [bridge.Pair(text, baseline[text], answer) for text, answer in answers.items()]
    settings = ("anchors=[]", f"annotator={bridge.ANNOTATOR}")
    found, counts = [], []
    for side in ("package", "own"):
        with NanoServer(OracleSettings(), FaultScript(faults=(fault("429@3"),)), model="*") as up:
            if side == "package":
                found.append(bridge.package_side(pairs, up.url, work))
            else:
                overrides = [f"{bridge.SUITE}.{text}" for text in settings]
                nano = {"data": "nano", "limit": PROMPTS}
                found.append(bridge.own_side(outputs, up.url, work / "store", *overrides, **nano))
            counts.append(up.counts())
    return Compared(answers, hostile, *found, *counts)


def test_the_nano_worlds_own_questions_agree_too_and_rate_limits_are_survived(
    compared: Compared,
) -> None:
    """With draws, quotation marks and blanks as answers."""
    package, own = compared.package.preferences, compared.own.preferences
    assert set(package) == set(own) == set(compared.answers)
    harmless = set(own) - set(compared.hostile)
    for text in harmless:
        assert package[text] == pytest.approx(own[text], abs=1e-9)
    assert len({round(own[text], 6) for text in harmless}) > PROMPTS // 2
    draws = [text for text in harmless if own[text] == 0.5]
    assert len(draws) >= 1
    for counts in (compared.package_counts, compared.own_counts):
        assert counts["ok"] == PROMPTS - len(draws)
        assert counts["429"] == 1


def test_placeholders_and_chat_marks_in_an_answer_stay_text_with_us_only(
    compared: Compared,
) -> None:
    """The departure of `harness.judging.annotators`: there they are expanded, and cut the text."""
    settings = OracleSettings()
    items = {item.turns[0]: item for item in world.items("alpaca_eval2", PROMPTS)}
    for text in compared.hostile:
        shown = [compared.answers[text]], [world.baseline_answer(items[text])]
        share = 1 / (1 + math.exp(-preference_logit(settings, [text], *shown)))
        assert compared.own.preferences[text] == pytest.approx(share, abs=1e-9)
        assert abs(compared.package.preferences[text] - share) > 1e-3
