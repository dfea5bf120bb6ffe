"""Code that is not built in is part of the id of a stage; changes of it are said."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.engine import registry
from harness.engine.code import changed, code_of, module_digest
from harness.engine.operations import OPERATIONS
from harness.engine.plan import Handle, Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from tests.plugin_sites import plugin

OPERATION = """
from harness.core.records import Record
from harness.engine.io import write_json
from harness.engine.operations import operation
from acme_parts import rules
from .words import WORDS

class Params(Record):
    rule: str = ""
    judge: str = ""

@operation("acme_count", version=1, params=Params)
def acme_count(context, params):
    write_json(context.directory / "count.json", [len(WORDS), rules.RULE])

@operation("acme_use", version=1, params=Params)
def acme_use(context, params, *, count):
    write_json(context.directory / "use.json", count.read_json("count.json"))
"""
Files = Callable[[str, str], None]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """Writes a file of the plugin and forgets what was imported, as a new process would."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))

    def write(name: str, text: str) -> None:
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        forget()

    def forget() -> None:
        for name in [n for n in sys.modules if n.startswith("acme")]:
            del sys.modules[name]
        for name in ("acme_count", "acme_use"):
            OPERATIONS.pop(name, None)
        importlib.invalidate_caches()
        for found in (registry.added_targets, registry.schemes, registry._foreign_catalogues):
            found.cache_clear()
        registry._points.cache_clear()
        registry.plugins.offers.cache_clear()
        registry._resolved.cache_clear()
        registry.table.cache_clear()

    write("acme/__init__.py", "")
    write("acme/words.py", "WORDS = ['a']\n")
    write("acme/operations.py", OPERATION)
    write("acme/unused.py", "X = 1\n")
    write("acme_parts/__init__.py", "")
    write("acme_parts/rules.py", "RULE = open(__file__[:-8] + 'rule.txt').read()  # 'rule.txt'\n")
    write("acme_parts/rules.py", "NAME = 'rule.txt'\nRULE = open(__file__[:-8] + NAME).read()\n")
    write("acme_parts/rule.txt", "first")
    yield write
    forget()


def code(name: str = "acme_count", **params: Any) -> dict[str, str]:
    importlib.import_module("acme.operations")
    found = OPERATIONS[name]
    return code_of(found, found.params(**params))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("acme/operations.py", OPERATION + "# edited\n"),
        ("acme/words.py", "WORDS = ['a', 'b']\n"),
        ("acme/__init__.py", "X = 2\n"),
        ("acme_parts/rules.py", "RULE = 'other'\n"),
        ("acme_parts/rule.txt", "second"),
    ],
)
def test_an_edit_of_anything_that_is_imported_changes_the_digest(
    files: Files, file: str, text: str
) -> None:
    before = code()
    assert list(before) == ["acme.operations"]
    files(file, text)
    assert code() != before


def test_what_is_not_used_changes_nothing(files: Files) -> None:
    before = code()
    files("acme/unused.py", "X = 2\n")
    files("acme/recipe.toml", "x = 1\n")
    assert code() == before


def test_objects_that_parameters_name_count(files: Files) -> None:
    files("acme_other.py", "def rule(): return 1\n")
    before = code(rule="acme_other:rule")
    assert sorted(before) == ["acme.operations", "acme_other"]
    files("acme_other.py", "def rule(): return 2\n")
    assert code(rule="acme_other:rule") != before
    assert list(code(rule="acme_other:absent")) == ["acme.operations"]
    for text in ("nano:target", "openai:gpt4@http://x", "no module:at all", "harness.core:x", ""):
        assert list(code(rule=text)) == ["acme.operations"]


def test_names_that_a_plugin_adds_count(files: Files, tmp_path: Path) -> None:
    files("acme_judge.py", "def judge(options, services): ...\n")
    files("acme_tables.py", 'LOSSES = {"acme_loss": "acme_loss_of:loss"}\n')
    files("acme_loss_of.py", "loss = 1\n")
    plugin(tmp_path / "site", "dist-acme", {
        "judges:acme_judge": "acme_judge:judge", "catalogues:acme": "acme_tables",
    })  # fmt: skip
    files("acme/unused.py", "X = 3\n")
    assert "acme_judge" in code(judge="acme_judge:model?x=1")
    assert "acme_loss_of" in code(rule="acme_loss")


def run(store: Store) -> tuple[Plan, Handle, list[str], int]:
    importlib.import_module("acme.operations")
    plan = Plan()
    plan.stage("import_prompts", ref="nano:train", limit=2)
    target = plan.stage("acme_use", count=plan.stage("acme_count"))
    todo = plan.needed([target], [id for id in plan.stages if store.has(id)])
    said = changed(store.root, todo)
    summary = InlineExecutor().execute(plan, [target], store)
    return plan, target, said, len(summary.executed)


def test_a_changed_plugin_is_named_and_its_stages_run_again(files: Files, tmp_path: Path) -> None:
    plugin(tmp_path / "site", "dist-acme", {"methods:my_method": "acme.method:METHOD"})
    files("acme/unused.py", "X = 4\n")
    store = Store(tmp_path / "store")
    assert run(store)[2:] == ([], 2)
    assert run(store)[2:] == ([], 0)
    files("acme/words.py", "WORDS = ['a', 'b']\n")
    plan, target, said, executed = run(store)
    assert said == ["my_method changed: 2 stages run again"]
    assert executed == 2
    assert store.artifact(target.id).read_json("use.json") == [2, "first"]
    assert store.manifest(target.id)["code"] == dict(plan.stages[target.id].code)
    files("acme/words.py", "WORDS = ['a']\n")
    assert run(store)[2:] == ([], 0)  # the earlier result is still there


def test_built_in_stages_have_no_code() -> None:
    plan = Plan()
    rows = plan.stage("import_prompts", ref="nano:train", limit=2)
    model = plan.stage("import_model", ref="nano:target")
    asked = plan.stage("ask", rows=rows, model=model, into="answer", max_tokens=30)
    for handle in (rows, model, asked):
        stage = plan.stages[handle.id]
        assert (stage.code, stage.plain) == ({}, stage.id)


def test_a_module_without_source_has_no_digest() -> None:
    assert module_digest("sys") == module_digest("acme.absent") == ""
