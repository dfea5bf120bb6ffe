"""Advantages of spans from teachers: log-ratios of tokens, boundaries, weights, by hand."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.core.errors import BadData
from harness.distillation.advantage.spans import (
    END,
    SpanAdvantagesParams,
    _cost,
    _log_ratios,
    boundaries,
    span_advantages,
    span_weights,
)
from harness.distillation.align.tokens import vocabulary
from harness.distillation.shards import token_check
from harness.engine import costs
from harness.engine.operations import Artifact, Estimate, Row
from harness.models.tokenize import join
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[..., Any]
ROW: Row = {
    "id": "r", "messages": [{"role": "user", "content": "ab"}],
    "responses": {"chosen": "c", "answer": "dde", "other": "f"},
}  # fmt: skip
IDS = [1, 3, 6, 7, 4, 9, 9, 10, 2]  # <s> <u> a b <a> d d e </s>


def ratios_of(teacher: Any, reference: Any | None) -> list[float]:
    """Of the last four tokens of IDS; the uniform distribution has 43 ids."""
    with torch.no_grad():
        q = teacher(torch.tensor([IDS])).logits[0].log_softmax(-1)
        if reference is None:
            r = torch.full_like(q, -torch.tensor(43.0).log().item())
        else:
            r = reference(torch.tensor([IDS])).logits[0].log_softmax(-1)
    return [float((q - r)[place - 1, IDS[place]]) for place in range(5, 9)]


@pytest.fixture
def spans(context: Make, rows_artifact: Make, checkpoint: Make) -> Make:
    """`spans(rows, reference, **params)`: rows, and the context of the run."""

    def run(rows: list[Row], reference: Artifact | None = None, **changes: Any) -> Any:
        made, how = context("run"), SpanAdvantagesParams(**{"level": "span", **changes})
        (found,) = span_advantages(
            made, how, [rows], rows=rows_artifact(rows), teacher=checkpoint("tied"),
            student=checkpoint("llama"), reference=reference,
        )  # fmt: skip
        return found, made

    return run


def test_tokens_in_common_have_the_log_ratio_of_the_teachers(spans: Make, checkpoint: Make) -> None:
    empty = {**ROW, "id": "s", "responses": {"chosen": "c", "answer": ""}}
    found, run = spans([empty, ROW], checkpoint("llama"))
    expected = ratios_of(make_model("tied"), make_model("llama"))
    assert found[0] == {"id": "s", "weights": [], "advantages": [], "check": token_check([])}
    assert found[1]["weights"] == found[1]["advantages"] == pytest.approx(expected, abs=1e-4)
    assert (found[1]["id"], found[1]["check"]) == ("r", token_check([9, 9, 10, 2]))
    assert run.tokens == 2 * len(IDS)  # both teachers read it


def test_without_a_reference_the_uniform_distribution_is_compared(
    spans: Make, checkpoint: Make
) -> None:
    expected = ratios_of(make_model("tied"), None)
    for reference in (None, checkpoint("llama")):
        found, run = spans([ROW], reference, uniform=True)
        assert found[0]["weights"] == pytest.approx(expected, abs=1e-4)
        assert run.tokens == len(IDS)
    with pytest.raises(BadData, match="advantages need a reference teacher"):
        spans([ROW])


def test_another_answer_and_level_are_settings(spans: Make, checkpoint: Make) -> None:
    found, _ = spans([ROW], checkpoint("llama"), level="sequence")
    mean = sum(ratios_of(make_model("tied"), make_model("llama"))) / 4
    assert found[0]["weights"] == pytest.approx([mean] * 4, abs=1e-4)
    assert found[0]["advantages"] == pytest.approx([mean], abs=1e-4)
    other, _ = spans([ROW], checkpoint("llama"), response="other")
    assert len(other[0]["weights"]) == 2
    short, _ = spans([ROW], checkpoint("llama"), max_length=7, max_prompt_length=5)
    assert len(short[0]["weights"]) == 2  # the end of the answer is cut


def test_teachers_of_two_tokenizers_are_refused(spans: Make, context: Make, tmp_path: Any) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["zz"])
    make_model("llama", vocabulary=44).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(BadData, match="the reference and the teacher have different tokenizers"):
        spans([ROW], Artifact("other", tmp_path / "other"))


def test_log_ratios_are_those_of_scored_tokens(context: Make) -> None:
    models, run = [make_model("tied"), make_model("llama")], context("run")
    short, long = join(IDS[:5], [9, 2]), join(IDS[:5], IDS[5:])
    found = list(_log_ratios(models, [short, long], run))
    assert [len(each) for each in found] == [2, 4]
    assert found[1] == pytest.approx(ratios_of(*models), abs=1e-4)
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    assert run.tokens == 2 * (7 + 9)
    assert list(_log_ratios(models, [], run)) == []
    models[1].lm_head.weight.data[9] = torch.nan
    with pytest.raises(BadData, match="log-probabilities that are not finite"):
        list(_log_ratios(models, [short], run))


def test_the_end_of_each_token_in_bytes() -> None:
    words = vocabulary(make_tokenizer())
    assert boundaries([9, 10, 2], words, "de") == [1, 2, END]
    assert boundaries([9, 10], words, "de") == [1, 2]
    assert boundaries([2], words, "") == [END]
    assert boundaries([], words, "") == []
    assert boundaries([9, 11, 2], words, "de") == [None, None, END]  # another spelling
    assert END == -1


@pytest.mark.parametrize(
    ("mine", "theirs", "ratios", "weights", "spans"),
    [
        ([1, 2, END], [1, 2, END], [1.0, 2.0, 4.0], [1.0, 2.0, 4.0], [1.0, 2.0, 4.0]),
        ([2, 4, END], [1, 2, 3, 4, END], [1.0, 2.0, 4.0, 8.0, 16.0], [3.0, 12.0, 16.0],
         [3.0, 12.0, 16.0]),
        ([1, 2, 4, END], [2, 4, END], [1.0, 2.0, 4.0], [1.0, 1.0, 2.0, 4.0], [1.0, 2.0, 4.0]),
        ([1, 3], [2, 4], [1.0, 2.0], [0.0, 0.0], []),
        ([None, 2, 3], [None, 2, 4], [1.0, 2.0, 4.0], [3.0, 3.0, 0.0], [3.0]),
        ([2, 2, 3], [1, 2, 3], [1.0, 2.0, 4.0], [3.0, 4.0, 4.0], [3.0, 4.0]),
        ([3, 1, 4], [1, 3, 4], [1.0, 2.0, 4.0], [3.0, 4.0, 4.0], [3.0, 4.0]),
    ],
)  # fmt: skip
def test_spans_between_common_ends(
    mine: list[Any], theirs: list[Any], ratios: list[float], weights: list[float],
    spans: list[float],
) -> None:  # fmt: skip
    assert span_weights(mine, theirs, ratios) == (weights, spans)


def test_a_sequence_is_one_span_with_its_mean() -> None:
    assert span_weights([1, 2], [1], [3.0, 1.0], "sequence") == ([2.0, 2.0], [2.0])
    assert span_weights([1], [], [], "sequence") == ([0.0], [0.0])


def test_spans_cost_a_pass_of_the_teacher() -> None:
    rows, teacher = Estimate(rows=3, tokens=9), Estimate(parameters_b=2.0)
    params = SpanAdvantagesParams(level="span")
    found = _cost(params, rows, teacher, reference=SimpleNamespace(), student=None)
    assert found == costs.reference(params, rows, teacher)
