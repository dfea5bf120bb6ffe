"""Model cards, and uploads against a fake hub."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.api import hub
from harness.api.cards import model_card, write_model_card
from harness.core.errors import CrucibleError, EnvironmentProblem, UserError
from harness.engine.plan import Handle
from harness.engine.store import Store
from harness.reproduce import Reproduction, reproduce
from tests.hand_made import HandMade

HOSTILE = "evil | <script>\u202e `x`\n---\nlicense: mit"


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Reproduction, Handle, Store]:
    """A planned reproduction, and a store with empty artifacts of its checkpoint's stages."""
    made = reproduce("sft", limit=4, suites=["alpaca_eval2"], overrides={"title": HOSTILE})
    handle = made.models[made.recipe.seed, "sft"]
    assert handle is not None
    store = Store(tmp_path / "store")
    for stage in made.plan.needed([handle], []):
        store.fresh_output(stage.id)
        inputs = {
            key: [one.id for one in value] if isinstance(value, tuple) else value.id
            for key, value in stage.inputs.items()
        }
        manifest = {
            "id": stage.id,
            "operation": stage.operation.name,
            "version": stage.operation.version,
            "label": stage.label,
            "params": stage.params.model_dump(mode="json"),
            "inputs": inputs,
            "libraries": {"torch": "2.13.0"},
            "host": "a-secret-host",
            "finished": "2026-01-01T00:00:00Z",
        }
        store.commit(stage.id, manifest)
    return made, handle, store


def test_a_card_has_recipe_data_scores_and_provenance(
    trained: tuple[Reproduction, Handle, Store],
) -> None:
    made, handle, store = trained
    card = model_card(made, handle.id, store, "crucible train sft --out x")
    header = card.split("---")[1]
    assert 'library_name: "transformers"' in header
    assert "base_model" not in header  # an embedded model is on no hub
    assert "nano: a tiny model" in card
    assert made.recipe.id() in card
    assert "| model | nano:target\\@2 |" in card
    assert "| prompts | " in card
    assert "None yet: `crucible reproduce sft` evaluates it." in card
    assert json.loads(card.split("```json\n")[1].split("\n```")[0])["systems"]
    assert f"- artifact: `{handle.id}`" in card
    assert "- command: `crucible train sft --out x`" in card
    assert "a-secret-host" not in card


def test_texts_of_a_recipe_stay_texts(trained: tuple[Reproduction, Handle, Store]) -> None:
    card = model_card(trained[0], trained[1].id, trained[2])
    outside = card.split("## Recipe")[0] + card.split("```")[-1]
    assert "<script>" not in outside
    assert "\u202e" not in card
    assert card.count("\n---\n") == 1  # the end of the header
    assert "\nlicense: mit" not in card


def test_scores_of_the_store_are_in_the_card(
    trained: tuple[Reproduction, Handle, Store],
) -> None:
    made, handle, store = trained
    run = next(run for run in made.runs if run.system.name == "sft")
    cell = HandMade(store.root).cell(system="sft", suite="alpaca_eval2", metric="lc|win")
    folder = store.fresh_output(run.cells.id)
    (folder / "cells.json").write_text(json.dumps([cell.model_dump(mode="json")]))
    about = {"id": run.cells.id, "operation": "score_alpaca", "label": "scores"}
    store.commit(run.cells.id, {**about, "version": 1, "params": {}, "inputs": {}})
    card = model_card(made, handle.id, store)
    assert "| alpaca\\_eval2 | lc\\|win | 50.00 | — | 4/4 | nano:oracle |" in card
    (store.folder(run.cells.id) / "cells.json").write_text("[")  # damaged: left out, no error
    assert "None yet: " in model_card(made, handle.id, store)


def test_the_card_is_written_beside_the_weights(
    trained: tuple[Reproduction, Handle, Store], tmp_path: Path
) -> None:
    made, handle, store = trained
    path = write_model_card(tmp_path, made, handle.id, store)
    assert path == tmp_path / "README.md"
    assert path.read_text("utf-8") == model_card(made, handle.id, store)


class FakeHub:
    """Stands for huggingface_hub: takes what the real calls take, and records it."""

    def __init__(
        self, real: Any = None, token: str | None = "hf_x", error: Exception | None = None
    ) -> None:
        self.real = real
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.error = error
        self.module = ModuleType("huggingface_hub")
        self.module.get_token = lambda: token  # type: ignore[attr-defined]
        self.module.HfApi = lambda: self  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any, **named: Any) -> str:
            bound = inspect.signature(getattr(self.real, name)).bind(None, *given, **named)
            self.calls.append((name, dict(bound.arguments)))
            if self.error is not None and name == "upload_folder":
                raise self.error
            return f"https://hub/{bound.arguments['repo_id']}"

        return call


@pytest.fixture
def real() -> Any:
    """The real class, whose signatures the fake keeps to; imported before the fake is."""
    return pytest.importorskip("huggingface_hub", reason="the extra train is not installed").HfApi


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_folder_is_uploaded_to_a_private_repository(
    kind: hub.Kind, real: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeHub(real)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake.module)
    assert hub.push(tmp_path, "me/mine-1.0", kind, "made") == "https://hub/me/mine-1.0"
    (created, first), (uploaded, second) = fake.calls
    assert (created, uploaded) == ("create_repo", "upload_folder")
    assert (first["repo_id"], first["repo_type"]) == ("me/mine-1.0", kind)
    assert first["private"] is True
    assert first["exist_ok"] is True
    assert (second["folder_path"], second["repo_type"]) == (str(tmp_path), kind)
    assert second["commit_message"] == "made"


def test_a_refusal_says_how_to_upload_later(
    real: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeHub(real, error=RuntimeError("403\nForbidden"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake.module)
    with pytest.raises(
        EnvironmentProblem, match=r"is complete, but .*403 Forbidden.*hf upload me/"
    ):
        hub.push(tmp_path, "me/mine", "model")


@pytest.mark.parametrize("name", ["mine", "me/", "/mine", "me/a/b", "me/a b", "https://h/me/a", ""])
def test_a_name_that_is_no_repository_is_refused_before_a_training(name: str) -> None:
    with pytest.raises(UserError, match="expected OWNER/NAME"):
        hub.check_push(name)


def test_a_missing_token_or_package_is_noticed_before_a_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", FakeHub(token=None).module)
    with pytest.raises(EnvironmentProblem, match="hf auth login"):
        hub.check_push("me/mine")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CrucibleError, match=r"needs huggingface_hub: pip install"):
        hub.check_push("me/mine")
