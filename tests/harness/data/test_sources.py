"""The table of sources: identities, references that lead nowhere, schemes of other packages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.core.errors import BadData, UserError, check_planned
from harness.core.hashing import digest, file_digest
from harness.data.answers import ANSWERS, answers_identity
from harness.data.authors import AUTHORS, authors_identity
from harness.data.preferences import PREFERENCES
from harness.data.prompts import PROMPTS, prompts_identity
from harness.data.sources import Kind, Source, file_identity, hub_identity, registered
from harness.distillation.corpus import DOCUMENTS, documents_identity
from harness.engine import registry
from harness.engine.operations import Artifact
from harness.nano import authors, world

KINDS: tuple[Kind[Any, Any], ...] = (PROMPTS, ANSWERS, AUTHORS, PREFERENCES, DOCUMENTS)


def test_identities_are_those_in_stage_ids(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}")
    content = file_digest(path)
    assert prompts_identity("nano:train") == f"nano:train@{world.VERSION}"
    assert documents_identity("nano:train") == f"nano:train@{world.VERSION}"
    assert answers_identity("nano:plain") == f"world@{world.VERSION}"
    assert authors_identity("nano:essays") == f"nano:essays@{digest(authors.rows('essays'))}"
    for kind in (PROMPTS, ANSWERS, DOCUMENTS):
        assert kind.identity(str(path)) == content
    assert authors_identity(str(path)) == f"file@{content}"
    for hub in (PROMPTS, DOCUMENTS):
        assert hub.identity("org/name") == "hub:org/name@main"
        assert hub.identity("org/name", "abc") == "hub:org/name@abc"
    assert authors_identity("org/name:train") == "hub:org/name:train@main"
    assert prompts_identity("official:mt_bench").startswith("official:mt_bench@")
    assert answers_identity("official:mt_bench").startswith("official:mt_bench@")
    assert file_identity(str(path)) == content
    assert hub_identity("a/b", None) == "hub:a/b@main"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_references_that_lead_nowhere_say_what_is_expected(kind: Kind[Any, Any]) -> None:
    with pytest.raises(UserError, match=f'no {kind.name} "nowhere.json"; expected nano:') as found:
        kind.identity("nowhere.json")
    for source in (*kind.schemes.values(), kind.file, kind.folder, kind.hub):
        assert source is None or source.form in str(found.value)
    with pytest.raises(UserError, match=f"no {kind.name}"):
        kind.identity("nanu:train")


def test_home_folders_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.jsonl").write_text("{}")
    for kind in KINDS:
        assert kind.identity("~/a.jsonl") == kind.identity(str(tmp_path / "a.jsonl"))


def test_a_changed_input_is_refused() -> None:
    check_planned("prompts a", "1f", "1f")
    check_planned("prompts a", "1f", None)
    check_planned("prompts a", "1f", "")
    with pytest.raises(BadData, match="prompts a changed since the plan was made: found 1f, plann"):
        check_planned("prompts a", "1f", "2e")


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A scheme that another package's catalogue registers."""
    package = ModuleType("acme_catalogue")
    package.SOURCES = {"acme": "acme_catalogue:OWN"}  # type: ignore[attr-defined]
    package.OWN = {  # type: ignore[attr-defined]
        "prompts": Source[Any, Any](
            "acme:<number>",
            lambda ref, revision: f"{ref}@7",
            lambda params: [
                {"id": "a", "messages": [{"role": "user", "content": params.ref}]},
            ],
        )
    }
    monkeypatch.setitem(sys.modules, "acme_catalogue", package)
    catalogues = (*registry._catalogues(), package)
    monkeypatch.setattr(registry, "_catalogues", lambda: catalogues)
    registry.table.cache_clear()
    yield
    registry.table.cache_clear()


@pytest.mark.usefixtures("acme")
def test_a_package_adds_a_scheme(run_operation: Callable[..., Artifact]) -> None:
    assert prompts_identity("acme:1") == "acme:1@7"
    made = run_operation("import_prompts", {"ref": "acme:1", "digest": "acme:1@7"})
    assert made.rows()[0]["messages"][0]["content"] == "acme:1"
    assert registered("prompts", "acme") is not None
    assert registered("answers", "acme") is None
    assert registered("prompts", "none") is None
    with pytest.raises(UserError, match=r"nano:<split>, .*acme:<number>, official:<set>"):
        prompts_identity("nowhere")
    with pytest.raises(UserError, match="no answers"):
        answers_identity("acme:1")
