"""How preference losses are declared, found by name, and told their settings."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from pydantic import Field

from harness.core.errors import BadRecord, UnknownName
from harness.core.records import Record
from harness.engine.registry import table
from harness.training.losses import (
    LossChoice,
    PreferenceLoss,
    get_loss,
    loss_settings,
    preference_loss,
    with_metrics,
)
from harness.training.pair_losses import SmoothedSettings


class ScaledSettings(Record):
    scale: float = Field(default=2.0, gt=0)


@preference_loss(
    ScaledSettings,
    responses=("first", "second", "rejected"),
    needs_reference=False,
    scheduled={"share": lambda settings, step, total: settings.scale * step / total},
)
def scaled(logps: Any, reference: Any, lengths: Any, *, settings: Any, share: float) -> Any:
    return with_metrics(-settings.scale * share * logps[:, 0], logps)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> str:
    """A third party's module with the loss above."""
    module = ModuleType("their_package")
    module.scaled = scaled  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


@pytest.mark.parametrize("name", table("LOSSES"))
def test_every_loss_of_a_catalogue_loads_and_has_defaults(name: str) -> None:
    loss = get_loss(name)
    assert isinstance(loss, PreferenceLoss)
    assert isinstance(loss_settings(name, {}), loss.settings)
    assert len(loss.responses) >= 2


def test_only_losses_that_mix_have_an_alpha() -> None:
    mixing = {"wrpo", "wrpo_simpo", "wrpo_ipo"}
    for name in table("LOSSES"):
        loss = get_loss(name)
        assert (set(loss.scheduled) == {"alpha"}) == (name in mixing), name
        assert ("alpha_end" in loss.settings.model_fields) == (name in mixing), name


def test_a_declared_loss_is_called_like_its_function(plugin: str) -> None:
    loss = get_loss(f"{plugin}:scaled")
    assert loss is scaled
    settings = loss_settings(f"{plugin}:scaled", {"scale": 4})
    scheduled = loss.scheduled_at(settings, 1, 2)
    assert scheduled == {"share": 2.0}
    losses, metrics = loss(torch.ones(2, 3), None, torch.ones(2, 3), settings=settings, **scheduled)
    assert losses.tolist() == [-8, -8]
    assert metrics["margins"].tolist() == [0, 0]


def test_an_unknown_name_is_answered_with_the_nearest(plugin: str) -> None:
    with pytest.raises(UnknownName, match='did you mean "dpo"'):
        get_loss("dpoo")
    with pytest.raises(UnknownName, match='did you mean "wrpo_simpo"'):
        get_loss("wrpo_simp")
    with pytest.raises(UnknownName, match="no preference loss named"):
        get_loss("no.such.module:dpo2")
    with pytest.raises(UnknownName, match='of their_package named "scale"; did you mean "scaled"'):
        get_loss(f"{plugin}:scale")
    with pytest.raises(UnknownName, match="known: scaled"):
        get_loss(f"{plugin}:__name__")


def test_a_loss_without_a_record_of_settings_is_refused() -> None:
    with pytest.raises(TypeError, match="record of the loss's settings first; found 'my_loss'"):
        preference_loss("my_loss", responses=("a", "b"))  # type: ignore[arg-type]


def test_settings_are_those_of_the_loss() -> None:
    assert loss_settings("dpo", {"beta": 3}) == SmoothedSettings(beta=3.0)
    assert loss_settings("sft", {}).model_dump() == {}
    with pytest.raises(BadRecord, match='no setting of loss "dpo" named "alpha_end"; known: beta'):
        loss_settings("dpo", {"alpha_end": 0.1})
    with pytest.raises(BadRecord, match='loss "simpo" named "gama_over_beta"; did you mean "gamma'):
        loss_settings("simpo", {"gama_over_beta": 0.1})
    for name, wrong in (
        ("dpo", {"beta": 0}),
        ("dpo", {"label_smoothing": 0.5}),
        ("ipo", {"tau": -1.0}),
        ("wrpo", {"alpha_end": 1.5}),
    ):
        with pytest.raises(BadRecord, match=f'settings of loss "{name}".*expected'):
            loss_settings(name, wrong)


def test_a_record_with_a_loss_holds_its_settings(plugin: str) -> None:
    assert LossChoice().settings == SmoothedSettings()
    name = f"{plugin}:scaled"
    chosen = LossChoice.model_validate({"loss": name, "settings": {"scale": 3}})
    assert chosen.settings == ScaledSettings(scale=3.0)
    assert chosen.model_dump() == {"loss": name, "settings": {"scale": 3.0}}


def test_the_module_loads_without_torch() -> None:
    import sys

    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        "import harness.training.losses, harness.training.preference_operations\n"
        "import harness.training.sft, methods.wrpo.loss\n"
        "import harness.distillation.operations, harness.distillation.shards\n"
        "assert harness.training.losses.get_loss('wrpo').responses[0] == 'source'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
