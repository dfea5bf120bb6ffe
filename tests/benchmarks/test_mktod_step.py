"""The benchmark of a step of MK-TOD at a tiny size: one encoder call, equal losses."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SIZES = "--turns 2 --records 2 --context 8 --record 4 --reply 3 --hidden 24 --layers 1 --passes 1"


def test_both_variants_give_one_loss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "mktod_step", raising=False)
    import mktod_step  # type: ignore[import-not-found]

    found = {}
    for name in mktod_step.VARIANTS:
        options = mktod_step.parser().parse_args([*SIZES.split(), "--child", name])
        found[name] = mktod_step.measure(options)
    assert found["shared"]["loss"] == pytest.approx(found["separate"]["loss"])
    assert (found["shared"]["calls"], found["separate"]["calls"]) == (1, 2)
    mktod_step.report({name: [found[name]] for name in found})
    assert "losses equal: True" in capsys.readouterr().out
