"""The benchmark of an ADPA step at a tiny size: every way to read teachers equals full logits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SIZES = "--length 24 --prompt 8 --vocabulary 96 --hidden 64 --teacher-hidden 64 --pairs 2"


def test_every_variant_gives_the_loss_of_full_logits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "adpa_step", raising=False)
    import adpa_step  # type: ignore[import-not-found]

    monkeypatch.setattr(adpa_step, "K", 96)  # a list of the whole vocabulary is exact
    found = {}
    for name in adpa_step.VARIANTS:
        options = adpa_step.parser().parse_args([*SIZES.split(), "--child", name])
        found[name] = adpa_step.measure(options)
    for name in ("live", "hidden", "lists"):
        for value in ("loss", "gradient"):
            assert found[name][value] == pytest.approx(found["dense"][value], rel=2**-8), name
    adpa_step.report({name: [found[name]] for name in found}, options)
    assert "dense" in capsys.readouterr().out


def test_lists_are_timed_in_batches_and_as_released(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import adpa_step

    adpa_step.report_lists(adpa_step.parser().parse_args([]), positions=512, vocabulary=200)
    assert "302 bytes per position" in capsys.readouterr().out
