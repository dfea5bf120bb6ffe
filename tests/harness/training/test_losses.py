"""How preference losses are declared, found by name, and told their settings."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from pydantic import Field

from harness.core.errors import BadData, BadRecord, UnknownName
from harness.core.records import Record, parse
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


def test_a_declared_loss_has_these_properties_unless_told_otherwise() -> None:
    @preference_loss(SmoothedSettings)
    def plain(*tables: Any, settings: Any) -> Any: ...

    @preference_loss(SmoothedSettings, needs_reference=False, batch_coupled=True)
    def other(*tables: Any, settings: Any) -> Any: ...

    for loss in (plain, PreferenceLoss(print, SmoothedSettings)):
        assert loss.responses == ("target", "rejected")
        assert (loss.needs_reference, loss.batch_coupled, loss.scheduled) == (True, False, {})
        assert loss.scheduled_at(SmoothedSettings(), 1, 2) == {}
    assert (other.needs_reference, other.batch_coupled) == (False, True)
    for wrong in (SmoothedSettings(), int, None):
        with pytest.raises(TypeError, match="takes the record of the loss's settings first"):
            preference_loss(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        (torch.zeros(3), r"a tensor of shape \(3,\); expected a tuple \(losses, metrics\)"),
        (torch.tensor(1.0), "returned a scalar tensor; expected a tuple"),
        ((torch.zeros(3),), "returned a tuple; expected a tuple"),
        ((torch.zeros(3), {}, {}), "returned a tuple; expected a tuple"),
        ((torch.zeros(3), []), "returned a tuple; expected a tuple"),
        ([torch.zeros(3), {}], "returned a list; expected a tuple"),
        ((torch.zeros(()), {}), r"losses that are a scalar tensor; expected .* shape \(3,\)"),
        ((torch.zeros(2), {}), r"losses that are a tensor of shape \(2,\)"),
        ((0.5, {}), "losses that are a float"),
    ],
)
def test_what_a_loss_must_return(returned: Any, complaint: str) -> None:
    made = preference_loss(SmoothedSettings)(lambda *tables, settings: returned)
    with pytest.raises(BadData, match=complaint):
        made(torch.zeros(3, 2), None, torch.ones(3, 2), settings=SmoothedSettings())
    good = (torch.zeros(3), {"margins": torch.zeros(3)})
    made = preference_loss(SmoothedSettings)(lambda *tables, settings: good)
    found = made(torch.zeros(3, 2), None, torch.ones(3, 2), settings=SmoothedSettings())
    assert (found[0] is good[0], found[1] is good[1]) == (True, True)


def test_tables_reach_the_function_in_their_order() -> None:
    seen: list[Any] = []

    def function(*tables: Any, **named: Any) -> Any:
        seen.append((tables, named))
        return torch.zeros(2), {}

    settings, tables = SmoothedSettings(), (torch.zeros(2, 2), torch.ones(2, 2), torch.ones(2, 2))
    preference_loss(SmoothedSettings)(function)(*tables, settings=settings, share=0.5)
    assert all(one is other for one, other in zip(seen[0][0], tables, strict=True))
    assert seen[0][1] == {"settings": settings, "share": 0.5}


@pytest.mark.parametrize("error", ['ModuleNotFoundError("no name")', None])
def test_a_module_of_theirs_that_lacks_another_one_says_so_itself(
    error: str | None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"raise {error}" if error else "import module_that_is_not_there"
    (tmp_path / f"theirs_{error is None}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError):
        get_loss(f"theirs_{error is None}:loss")


def test_metrics_of_three_responses_by_hand() -> None:
    rewards = torch.tensor([[1.0, 2.0, 0.5], [1.0, 2.0, 1.0], [0.0, 5.0, 1.0]], requires_grad=True)
    losses, metrics = with_metrics(torch.zeros(3), rewards)
    assert metrics["margins"].tolist() == [0.5, 0.0, -1.0]
    assert metrics["accuracy"].tolist() == [1.0, 0.0, 0.0]
    _, other = with_metrics(losses, rewards, preferred=rewards[:, 1])
    assert other["margins"].tolist() == [1.5, 1.0, 4.0]
    assert not any(value.requires_grad for value in (*metrics.values(), *other.values()))


def test_settings_that_are_no_table_are_refused_by_their_field() -> None:
    with pytest.raises(BadRecord, match="settings"):
        parse(LossChoice, {"settings": 3}, "test")
    with pytest.raises(UnknownName, match="no preference loss"):
        parse(LossChoice, {"loss": "unheard", "settings": {}}, "test")
    given = SmoothedSettings(beta=0.7)
    assert LossChoice(settings=given).settings == given
