"""Cells: values, intervals, groups, averages, and what is said of what is missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lm_eval")

from harness.core.errors import BadData
from harness.core.records import Cell
from harness.stats.bootstrap import resample_counts
from harness.suites.lm_eval.cells import ScoreParams, cells_of
from harness.suites.lm_eval.measures import measure

ROUNDS = 200


def scored(outcome: Any, **params: Any) -> dict[str, Cell]:
    given = {"suite": "s", "system": "m", "scale": "nano", "rounds": ROUNDS, **params}
    rows: dict[tuple[str, str], list[Any]] = {}
    for row in outcome.rows:
        rows.setdefault((row["task"], row["filter"]), []).append(row)
    cells = cells_of(ScoreParams(**given), outcome.results, rows, {"results": "r"})
    assert len({cell.metric for cell in cells}) == len(cells)
    return {cell.metric: cell for cell in cells}


class Half:
    """Mixed into a stub: right for even documents."""

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        return [
            (0.0 if r.idx == (1 if r.doc_id % 2 == 0 else 2) else -1.0 - r.idx, False)
            for r in requests
        ]


@pytest.fixture
def half(stub: Any) -> Any:
    return type("HalfStub", (Half, stub), {})()


def test_a_cell_says_where_it_comes_from(run: Callable[..., Any], half: Any) -> None:
    outcome = run(half, tasks=("letters", "words"), limit=30)
    cells = scored(outcome, seed=5)
    assert set(cells) == {"letters:acc", "letters:acc_norm", "words:exact_match:word"}
    cell = cells["letters:acc"]
    assert (cell.value, cell.unit, cell.seed) == (50.0, "%", 5)
    assert (cell.n_expected, cell.n_scored, cell.n_failed) == (30, 30, 0)
    assert (cell.judge, cell.judge_fingerprint) == (None, None)
    assert cell.decode_fingerprint
    assert cell.interval is not None
    assert cell.interval.low < 50.0 < cell.interval.high
    assert cell.interval.kind == "bootstrap over documents"
    assert len(cell.replicates) == ROUNDS
    assert cell.primary
    assert not cells["letters:acc_norm"].primary
    assert cell.details["limited"] is True
    assert cell.details["n_original"] == 40
    assert cell.details["chance"] == 25.0
    assert cell.details["task_version"] == 1.0
    assert cell.details["shots"] == 0
    words = cells["words:exact_match:word"]
    assert words.details["filter"] == "word"
    assert words.decode_fingerprint != cell.decode_fingerprint


def test_all_metrics_of_a_task_share_their_draws(run: Callable[..., Any], half: Any) -> None:
    cells = scored(run(half))
    assert cells["letters:acc"].prompt_set == cells["letters:acc_norm"].prompt_set
    assert cells["letters:acc"].replicates == cells["letters:acc_norm"].replicates


def test_models_that_were_asked_the_same_are_paired(
    run: Callable[..., Any], half: Any, stub: Any, folder: Path, rewrite: Callable[..., None]
) -> None:
    mine = scored(run(half, "half"))["letters:acc"]
    full = scored(run(stub(1), "full"))["letters:acc"]
    assert full.prompt_set == mine.prompt_set
    gaps = np.array(full.replicates) - np.array(mine.replicates)
    assert gaps.min() > 0  # each resample has documents that only one knows
    fewer = scored(run(stub(1), "full", limit=39))["letters:acc"]
    shots = scored(run(stub(1), "full", num_fewshot=1))["letters:acc"]
    rewrite(folder, word="other")
    edited = scored(run(stub(1), "full"))["letters:acc"]
    assert len({c.prompt_set for c in (full, fewer, shots, edited)}) == 4


def test_a_group_is_lm_evals_average_and_says_what_it_lacks(
    run: Callable[..., Any], half: Any, folder: Path
) -> None:
    lists = "aggregate_metric_list:\n  - {metric: acc, weight_by_size: %s}\n"
    text = (folder / "letters.yaml").read_text()
    short = folder / "short.jsonl"
    short.write_text("".join((folder / "data.jsonl").read_text().splitlines(True)[:1]))
    (folder / "short.yaml").write_text(
        text.replace("task: letters", "task: short").replace("data.jsonl", "short.jsonl")
    )
    for name, weighted in (("sized", "true"), ("plain", "false")):
        members = "[letters, short, words]"
        body = f"group: {name}\ntask: {members}\n{lists % weighted}"
        (folder / f"{name}.yaml").write_text(body)
    sized = scored(run(half, tasks=("sized",)))
    assert sized["sized:acc"].value == pytest.approx(100 * 21 / 41)
    assert sized["sized:acc"].details["missing"] == "words"
    assert sized["sized:acc"].primary
    assert not sized["letters:acc"].primary  # only asked for as a part
    plain = scored(run(half, tasks=("plain",)))["plain:acc"]
    assert plain.value == pytest.approx(75.0)
    assert plain.details["weighted_by_size"] is False
    assert plain.interval is not None
    assert plain.interval.kind == "bootstrap over documents within tasks"
    expanded = scored(
        run(half, tasks=("sized",)),
        headline={"sized": "acc,none"},
        averages={"mean": ("sized/*",)},
    )
    assert expanded["mean"].value == pytest.approx(75.0)
    assert expanded["mean"].details["missing"] == "words"


def test_an_average_names_its_missing_members_and_is_another_prompt_set(
    run: Callable[..., Any], half: Any
) -> None:
    outcome = run(half, tasks=("letters", "words", "crucible_amc23"))
    params = {
        "headline": {
            "letters": "acc_norm,none",
            "words": "exact_match,word",
            "crucible_amc23": "exact_match,none",
        },
        "averages": {
            "two": ("letters", "words"),
            "three": ("letters", "words", "crucible_amc23"),
            "none": ("crucible_amc23",),
        },
        "absent": {"multipl_e": "not in lm-eval"},
    }
    cells = scored(outcome, **params)
    letters, words = cells["letters:acc_norm"], cells["words:exact_match:word"]
    assert letters.primary
    assert not cells["letters:acc"].primary
    assert cells["two"].value == pytest.approx(((letters.value or 0) + (words.value or 0)) / 2)
    assert cells["three"].value == cells["two"].value
    assert "missing" not in cells["two"].details
    assert cells["three"].details["missing"] == "crucible_amc23"
    expected = (np.array(letters.replicates) + np.array(words.replicates)) / 2
    np.testing.assert_allclose(cells["two"].replicates, expected)
    gone = cells["crucible_amc23:exact_match"]
    assert gone.value is None
    assert gone.primary
    assert "give data" in str(gone.details["reason"])
    assert cells["none"].value is None
    assert cells["multipl_e"].details["reason"] == "not in lm-eval"
    whole = scored(run(half, tasks=("letters", "words")), **params)
    assert whole["two"].prompt_set == cells["two"].prompt_set


def test_a_value_that_is_not_lm_evals_is_refused(run: Callable[..., Any], half: Any) -> None:
    outcome = run(half)

    class Changed:
        rows = outcome.rows
        results = outcome.results

    Changed.results["tasks"]["letters"]["metrics"][0]["value"] = 0.6
    with pytest.raises(
        BadData, match=r"letters, acc,none: the rows give 0\.5; expected lm-eval's 0\.6"
    ):
        scored(Changed)


def test_documents_without_a_value_are_failures_with_bounds(
    run: Callable[..., Any], half: Any
) -> None:
    outcome = run(half)
    rows = outcome.rows
    for row in rows[:4]:
        row["metrics"]["acc"] = None

    class Changed:
        results = outcome.results

    Changed.rows = rows  # type: ignore[attr-defined]
    cell = scored(Changed)["letters:acc"]
    assert (cell.n_expected, cell.n_scored, cell.n_failed) == (40, 36, 4)
    assert cell.value == pytest.approx(50.0)
    assert cell.bounds == pytest.approx((45.0, 55.0))


def counts_of(number: int) -> Any:
    return resample_counts("x", number, ROUNDS)


@pytest.mark.parametrize("name", ["perplexity", "weighted_perplexity", "bits_per_byte", "mean"])
def test_aggregations_are_those_of_lm_eval(name: str) -> None:
    from lm_eval.api.registry import AGGREGATION_REGISTRY

    rng = np.random.default_rng(0)
    values: Sequence[Any] = (-rng.random(20)).tolist()
    if name in ("weighted_perplexity", "bits_per_byte"):
        values = [[value, float(n + 1)] for n, value in enumerate(values)]
    found = measure(name, values, counts_of(20))
    assert found is not None
    assert found.value == pytest.approx(AGGREGATION_REGISTRY[name](values), rel=1e-12)
    assert found.replicates is not None
    first = [values[n] for n, times in enumerate(counts_of(20)[0]) for _ in range(times)]
    assert found.replicates[0] == pytest.approx(AGGREGATION_REGISTRY[name](first), rel=1e-9)


def test_corpus_metrics_have_no_interval() -> None:
    assert measure("bleu", [["a", "b"]], counts_of(1)) is None
    assert measure("mean", [[1, 0]], counts_of(1)) is None  # a list a document
    assert measure("mean", [None, None], counts_of(2)).value is None  # type: ignore[union-attr]


def test_perplexity_falls_where_likelihood_rises() -> None:
    low, high = (measure("perplexity", [value] * 3, counts_of(3)) for value in (-2.0, -1.0))
    assert low is not None
    assert high is not None
    assert low.value == pytest.approx(math.exp(2.0))
    assert (low.value or 0) > (high.value or 0)
