"""Catalogues of hand-made distributions: which count, in which order, what is said of others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from harness.core.errors import EnvironmentProblem, UnknownName, UserError
from harness.engine import plugins, registry
from harness.engine.plugins import Offer
from harness.engine.registry import Entry

CACHED = (registry._catalogues, registry._foreign_catalogues, registry.table, registry._resolved,
          registry.added_targets, registry.schemes)  # fmt: skip
Make = Callable[..., None]


@pytest.fixture
def catalogues(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """`catalogues(name={...}, ...)`: distributions with one catalogue each, in this order."""
    points: list[Any] = []

    def add(distribution: str | None, module: str, **tables: Any) -> None:
        made = ModuleType(module)
        vars(made).update(tables)
        monkeypatch.setitem(sys.modules, module, made)
        dist = SimpleNamespace(name=distribution) if distribution is not None else None
        points.append(SimpleNamespace(name="point", value=module, dist=dist))

    monkeypatch.setattr(registry, "_points", lambda: tuple(points))
    monkeypatch.setattr(plugins, "offers", lambda: (OFFERS, ()))
    for cached in CACHED:
        cached.cache_clear()
    yield add
    for cached in CACHED:
        cached.cache_clear()


OFFERS: tuple[Offer, ...] = ()


def test_tables_of_all_rooms_are_one_and_others_add_to_it(catalogues: Make) -> None:
    catalogues("other", "cat_c", SOURCES={"a": "other", "c": "other"})
    catalogues("Crucible.Bench", "cat_a", SOURCES={"a": 1, "b": 2}, BASES={"x": "y"})
    catalogues(None, "cat_b", SOURCES={"d": 4})  # of no distribution: files on the path
    catalogues("more", "cat_d", SOURCES={"c": "more", "e": "more"})
    assert registry.table("SOURCES") == {"a": 1, "b": 2, "d": 4, "c": "other", "e": "more"}
    assert registry.table("BASES") == {"x": "y"}
    assert registry.table("NONE") == {}


def test_a_key_in_two_rooms_is_an_error(catalogues: Make) -> None:
    catalogues("crucible-bench", "cat_a", SOURCES={"z": 1, "a": 2, "b": 3})
    catalogues("crucible-bench", "cat_b", SOURCES={"z": 1, "a": 2, "c": 3})
    with pytest.raises(ValueError, match="SOURCES: a, z is in two catalogues"):
        registry.table("SOURCES")


def test_without_catalogues_crucible_is_not_installed(catalogues: Make) -> None:
    catalogues("other", "cat_c")
    with pytest.raises(EnvironmentProblem, match="crucible-bench is not installed, so its"):
        registry.table("SOURCES")


def test_a_catalogue_that_cannot_be_loaded_is_named_and_the_others_work(
    catalogues: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogues("crucible-bench", "cat_a")
    catalogues("broken", "cat_b")
    catalogues("sound", "cat_c", SOURCES={"c": 1})
    monkeypatch.setitem(sys.modules, "cat_b", None)
    assert registry.table("SOURCES") == {"c": 1}
    (problem,) = registry.catalogue_problems()
    assert problem.startswith("catalogue cat_b of broken cannot be loaded: ModuleNotFoundError: ")


def test_targets_of_other_distributions_are_their_texts(
    catalogues: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    offers = (
        Offer("judges", "mine", "m.j:x", "other", ""),
        Offer("suites", "s", "m.s:x", "other", ""),
    )
    monkeypatch.setattr(plugins, "offers", lambda: (offers, ()))
    catalogues("crucible-bench", "cat_a", LOSSES={"own": "o:o"}, SOURCES={"nano": "x"},
               JUDGES=(Entry("gpt", "g:g", "s"),), CHECKPOINTS={"hub": "h"})  # fmt: skip
    catalogues("other", "cat_b", LOSSES={"theirs": "t:t", 3: "n", "n": 4}, lower={"l": "l:l"},
               TUPLE=("x",), SOURCES={"acme": "a:a"})  # fmt: skip
    found = {"theirs": "t:t", "acme": "a:a", "mine": "m.j:x"}
    assert registry.added_targets() == found
    assert registry.schemes() == {"nano", "acme", "hub", "gpt", "mine"}
    assert list(registry.entries("judges")) == ["gpt", "mine"]
    assert registry.entry("judges", "mine").origin == "other"


def test_a_plugin_is_known_by_the_package_of_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    offers = tuple(
        Offer(group, name, target, "d", "")
        for group, name, target in (("methods", "one", "pack.a:x"), ("suites", "two", "pack.b:x"),
                                    ("judges", "one", "pack:x"), ("judges", "j", "packs:x"))
    )  # fmt: skip
    monkeypatch.setattr(plugins, "offers", lambda: (offers, ()))
    assert registry.plugin_name("pack.deep.module") == "one, two"
    assert registry.plugin_name("packs") == "j"
    assert registry.plugin_name("other.module") == "other.module"


def test_versions_are_those_of_the_plugins_that_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["zz", registry.BUILT_IN, "aa", "zz", "mm", "kk", "cc", "xx"]
    origins = dict(zip("abcdefgh", names))
    monkeypatch.setattr(
        registry, "entry", lambda group, name: SimpleNamespace(origin=origins[name])
    )
    monkeypatch.setattr(registry.metadata, "version", lambda name: f"1.{name}")
    found = registry.plugin_versions([("g", name) for name in origins])
    assert list(found.items()) == [
        (name, f"1.{name}") for name in ("aa", "cc", "kk", "mm", "xx", "zz")
    ]


def test_names_that_do_not_exist_are_refused_with_the_nearest(catalogues: Make) -> None:
    catalogues("crucible-bench", "cat_a", METHODS=(Entry("wrpo", "m:x", "s"),),
               OPERATIONS={"far_away": "cat_a"})  # fmt: skip
    with pytest.raises(UnknownName, match=r'no method named "wrp"; did you mean "wrpo"'):
        registry.entry("methods", "wrp")
    with pytest.raises(UnknownName, match=r'no operation named "far_awa"; did you mean "far_away"'):
        registry.load_operation("far_awa")
    with pytest.raises(UnknownName):  # its module does not define it
        registry.load_operation("far_away")


def test_overrides_and_remarks_name_group_and_place(
    catalogues: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    offers = (Offer("methods", "wrpo", "p:x", "Pack", "shorter"),
              Offer("methods", "new", "q:x", "q", ""),
              Offer("methods", "new", "r:x", "r", ""), Offer("methods", "two", "t:a", "t", ""),
              Offer("methods", "two", "t:b", "t", ""))  # fmt: skip
    monkeypatch.setattr(plugins, "offers", lambda: (offers, ()))
    catalogues("crucible-bench", "cat_a", METHODS=(Entry("wrpo", "m:x", "own", ("merge",)),))
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    found = registry.entries("methods")
    assert found["wrpo"] == Entry("wrpo", "m:x", "own", ("merge",))
    assert registry.notes("methods") == (
        'the method "wrpo" of Pack is inactive: a built-in has the same name '
        "(CRUCIBLE_OVERRIDE=methods:wrpo=Pack selects the plugin)",
    )
    assert found["new"].origin == "q and r"
    assert found["new"].problem == (
        'the method "new" is registered by q and by r; uninstall one of them, or choose: '
        "CRUCIBLE_OVERRIDE=methods:new=q"
    )
    assert found["two"].problem == 't registers the method "two" twice; expected one entry'
    monkeypatch.setenv(plugins.VARIABLE, "methods:new=s")
    registry._resolved.cache_clear()
    with pytest.raises(UserError, match=r'"new" from s, which does not provide it; q, r does'):
        registry.entries("methods")
    monkeypatch.setenv(plugins.VARIABLE, "methods:wrpo=pack,suites:new=x, methods:new=R")
    registry._resolved.cache_clear()
    chosen = registry.entries("methods")
    assert chosen["wrpo"] == Entry("wrpo", "p:x", "shorter", ("merge",), origin="Pack")
    assert (chosen["new"].target, chosen["new"].problem) == ("r:x", "")
    assert registry.notes("methods") == (
        '"wrpo" comes from pack, not from the built-in (CRUCIBLE_OVERRIDE)',
        '"new" comes from r, not from other plugins of that name (CRUCIBLE_OVERRIDE)',
    )
