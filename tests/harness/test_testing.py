"""The conformance kit refuses what would only fail after hours of sampling."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.engine.recipe import Method, load_recipe
from harness.testing import check_method
from harness.training import from_responses
from harness.training.losses import preference_loss, with_metrics
from harness.training.pair_losses import PairSettings
from methods.wrpo.method import WRPO


def good(h: Any) -> Any:
    return with_metrics(-torch.nn.functional.logsigmoid(h[:, 0] - h[:, -1]), h)


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (good, ""),
        (lambda h: (good(h)[0], {"margin": h[:, 0]}), "its metrics lack rewards"),
        (lambda h: (good(h)[0].mean(), good(h)[1]), "expected a loss per row"),
        (lambda h: good(h)[0].mean(), r"returned a scalar tensor; expected a tuple \(losses"),
        (lambda h: [good(h)[0]], "returned a list; expected a tuple"),
        (lambda h: (good(h)[0] * float("nan"), good(h)[1]), "not finite"),
        (lambda h: (good(h)[0] + h.mean().detach() / 0, good(h)[1]), "not finite"),
    ],
)
def test_a_loss_that_the_trainer_cannot_use_is_found_by_the_kit(
    function: Callable[..., Any], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @preference_loss(PairSettings)
    def tried(logps: Any, reference: Any, lengths: Any, *, settings: PairSettings) -> Any:
        return function(settings.beta * (logps - reference))

    monkeypatch.setitem(sys.modules, "their_package", SimpleNamespace(tried=tried))

    method = Method(
        "tried",
        from_responses.FusionRecipe,
        lambda r, s: from_responses.preference_model(r, s, loss="their_package:tried"),
    )
    assert WRPO.recipe_file is not None
    recipe = load_recipe(from_responses.FusionRecipe, WRPO.recipe_file, "nano")
    if not complaint:
        check_method(method, recipe)
        return
    with pytest.raises(AssertionError, match=complaint):
        check_method(method, recipe)


def test_a_recipe_of_another_method_is_noticed() -> None:
    renamed = Method("renamed", WRPO.recipe, WRPO.plan, WRPO.recipe_file)
    with pytest.raises(AssertionError, match='the recipe is for method "wrpo"'):
        check_method(renamed)
