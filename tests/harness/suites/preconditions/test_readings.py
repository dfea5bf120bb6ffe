"""Bits per byte of sources beside the target's, on invented readings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.core.errors import BadData
from harness.core.records import Cell, parse
from harness.engine.operations import Artifact, Row
from harness.suites.preconditions.answers import BEST
from harness.suites.preconditions.readings import AHEAD, CHOSEN

ABOUT = {"suite": "preconditions", "scale": "nano", "rounds": 50, "system": "target"}
SIZES = (10, 20, 10, 40)


def readings(*bits: float | None) -> list[Row]:
    domains = ("sort", "sort", "fact", "fact")
    return [
        {"id": str(n), "domain": domain, "content": str(n), "bits": found, "bytes": size}
        for n, (domain, found, size) in enumerate(zip(domains, bits, SIZES))
    ]


def test_documents_that_a_source_predicts_better_are_counted(
    run_operation: Callable[..., Artifact], rows_artifact: Callable[..., Artifact]
) -> None:
    made = run_operation(
        "compare_readings",
        {**ABOUT, "names": ("a", "b")},
        target=rows_artifact(readings(10, 10, 10, 10)),
        sources=(rows_artifact(readings(5, 10, 20, 20)), rows_artifact(readings(20, 20, 8, None))),
    )
    found = [parse(Cell, cell, "cells") for cell in made.read_json("cells.json")]
    cells: dict[Any, Cell] = {(cell.system, cell.metric): cell for cell in found}
    assert cells["a", AHEAD].value == 25  # an equal document is not ahead
    assert cells["b", AHEAD].value == pytest.approx(100 / 3)
    assert (cells["b", AHEAD].n_expected, cells["b", AHEAD].n_failed) == (4, 1)
    assert cells[BEST, AHEAD].value == 50
    assert cells["target", "bits_per_byte"].value == pytest.approx(40 / 80)
    assert cells["b", "bits_per_byte"].value == pytest.approx(48 / 40)
    assert cells[CHOSEN, "bits_per_byte"].value == pytest.approx((5 + 10 + 8 + 10) / 80)
    assert cells["a", "bits_per_byte:sort"].value == pytest.approx(15 / 30)
    assert cells["a", "bits_per_byte:fact"].n_scored == 2
    assert cells["a", "bits_per_byte"].higher_is_better is False
    assert not any(cell.primary for cell in found)
    assert (CHOSEN, "bits_per_byte:fact") not in cells
    assert made.rows()[2]["bits"] == {"target": 10, "a": 20, "b": 8}


def test_bits_that_a_suite_has_are_not_written_again(
    run_operation: Callable[..., Artifact], rows_artifact: Callable[..., Artifact]
) -> None:
    made = run_operation(
        "compare_readings",
        {**ABOUT, "names": ("a",), "each": False},
        target=rows_artifact(readings(10, 10, 10, 10)),
        sources=(rows_artifact(readings(5, 5, 20, 20)),),
    )
    found = {(c["system"], c["metric"]) for c in made.read_json("cells.json")}
    assert found == {(CHOSEN, "bits_per_byte"), ("a", AHEAD)}


def test_readings_of_other_documents_are_refused(
    run_operation: Callable[..., Artifact], rows_artifact: Callable[..., Artifact]
) -> None:
    with pytest.raises(BadData, match="readings of a are of other documents"):
        run_operation(
            "compare_readings",
            {**ABOUT, "names": ("a",)},
            target=rows_artifact(readings(1, 1, 1, 1)),
            sources=(rows_artifact(readings(1, 1, 1)),),
        )
