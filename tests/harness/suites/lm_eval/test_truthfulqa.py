"""TruthfulQA's formulas: computed without underflow, and delegated to lm-eval."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("lm_eval")

from harness.suites.lm_eval.truthfulqa import mc1, mc2
from tests.golden_vectors import vectors

LOGPS = st.lists(st.tuples(st.floats(-2000, 0), st.integers(0, 1)), min_size=1, max_size=8)


def test_choices_match_the_vectors(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden("kca/truthfulqa_metrics.json"))["mc"]:
        logps = case["loglikelihoods"]
        assert mc2(logps, case["labels"]) == pytest.approx(case["expected_mc2"], rel=1e-9)
        assert mc1(logps) == case["mc1_if_first_is_gold"]


def test_generation_is_delegated_to_the_formulas_of_the_vectors(
    golden: Callable[[str], Path],
) -> None:
    utils = pytest.importorskip("lm_eval.tasks.truthfulqa.utils")
    for case in vectors(golden("kca/truthfulqa_metrics.json"))["gen"]:
        row = {
            "question": "q",
            "correct_answers": case["correct_answers_in"],
            "incorrect_answers": case["incorrect_answers_in"],
        }
        made = utils.preprocess_function(row)
        assert made == case["processed"]
        found = utils.process_results_gen(made, [case["completion"]])
        assert {name: float(found[name]) for name in case["scores"]} == pytest.approx(
            case["scores"], abs=1e-9
        )


def test_bleu_is_delegated_to_the_formula_of_the_vectors(golden: Callable[[str], Path]) -> None:
    utils = pytest.importorskip("lm_eval.tasks.truthfulqa.utils")
    for pair in vectors(golden("kca/metrics.json"))["pairs"]:
        found = utils.bleu([[pair["reference"]]], [pair["prediction"]])
        assert found == pytest.approx(pair["sacrebleu_sentence_intl_exp"], abs=1e-9)


@given(LOGPS, st.floats(-500, 500))
def test_shifting_all_changes_nothing(choices: list[tuple[float, int]], shift: float) -> None:
    logps, labels = [c[0] for c in choices], [c[1] for c in choices]
    found = mc2(logps, labels)
    assert 0 <= found <= 1 + 1e-12
    assert mc2([logp + shift for logp in logps], labels) == pytest.approx(found, abs=1e-6)
    assert mc2(logps, [1] * len(logps)) == pytest.approx(1)


def test_a_question_with_long_choices_has_a_score(
    run: Callable[..., Any], stub: Any, tmp_path: Path
) -> None:
    class Unlikely(stub):  # type: ignore[misc]
        """Log-likelihoods that underflow."""

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[Any]:
            return [(-900.0 - len(request.args[1]), False) for request in requests]

    choices = {"choices": ["a", "bb"], "labels": [1, 0]}
    row = {"question": "Q?", "mc1_targets": choices, "mc2_targets": choices}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    outcome = run(
        Unlikely(), tasks=("truthfulqa_mc2",), include=(), data={"truthfulqa_mc2": str(path)}
    )
    assert outcome.value("truthfulqa_mc2") == pytest.approx(1 / (1 + math.exp(-1)))
