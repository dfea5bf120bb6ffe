"""Plugins in the registry: loaded on demand, checked, never in one another's way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.errors import EnvironmentProblem, UserError
from harness.engine import plugins, registry
from tests.plugin_sites import plugin

METHOD = (
    "from harness.engine.recipe import Method, Recipe\nMETHOD = Method({name!r}, Recipe, print)\n"
)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path for plugins; the registry looks again before and after."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    _forget()
    yield tmp_path
    _forget()


def _forget() -> None:
    plugins.offers.cache_clear()
    for cached in (registry._resolved, registry.table, registry._points):
        cached.cache_clear()
    registry._foreign_catalogues.cache_clear()


def method(site: Path, distribution: str, name: str, **more: str) -> None:
    module = distribution.replace("-", "_")
    points = {f"methods:{name}": f"{module}:METHOD"}
    plugin(site, distribution, points, METHOD.format(name=name), **more)


def test_a_plugin_is_listed_with_its_summary_and_loaded_on_demand(site: Path) -> None:
    method(site, "dist-fine", "fine", summary="does\n it well")
    entry = registry.entry("methods", "fine")
    assert (entry.origin, entry.summary.split()[0]) == ("dist-fine", "does")
    import sys

    assert "dist_fine" not in sys.modules
    assert registry.load("methods", "fine").name == "fine"
    assert registry.plugin_versions([("methods", "fine"), ("methods", "dpo")]) == {
        "dist-fine": "1.0"
    }


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("a = (", "SyntaxError"),
        ("other = 1", "AttributeError"),
        ("METHOD = {}", "is a dict; expected a harness.engine.recipe.Method"),
        (METHOD.format(name="else"), 'is named "else"'),
    ],
)
def test_a_broken_plugin_is_named_and_the_others_work(
    source: str, reason: str, site: Path, request: pytest.FixtureRequest
) -> None:
    distribution = f"dist-broken-{abs(hash(source))}"  # modules are remembered by name
    module = distribution.replace("-", "_")
    plugin(site, distribution, {"methods:broken": f"{module}:METHOD"}, source)
    method(site, f"dist-sound-{abs(hash(source))}", "sound")
    with pytest.raises(EnvironmentProblem, match=f'"broken" of {distribution}') as found:
        registry.load("methods", "broken")
    assert reason in str(found.value)
    assert "\n" not in str(found.value)
    assert registry.load("methods", "sound").name == "sound"
    assert registry.load("methods", "wrpo").name == "wrpo"


@pytest.mark.parametrize("target", ["not a target", "module", ":x", "dist_odd:a.b.c", ""])
def test_an_entry_point_that_is_none_breaks_nothing_else(target: str, site: Path) -> None:
    plugin(site, "dist-odd", {"suites:odd": target, "judges:odd": target})
    method(site, "dist-next", "next")
    assert "next" in registry.entries("methods")
    with pytest.raises(EnvironmentProblem, match="of dist-odd"):
        registry.load("suites", "odd")


def test_what_is_not_callable_is_no_backend_or_judge(site: Path) -> None:
    plugin(site, "dist-data", {"judges:data": "dist_data:JUDGE"}, "JUDGE = [1]")
    with pytest.raises(EnvironmentProblem, match="is a list; expected something callable"):
        registry.load("judges", "data")


def test_a_backend_is_a_subclass_of_the_base_class(site: Path) -> None:
    source = "from harness.backends.base import Backend\nclass Good(Backend): ...\nclass Bad: ..."
    names = {f"backends:{name.lower()}": f"dist_models:{name}" for name in ("Good", "Bad")}
    plugin(site, "dist-models", names, source)
    assert registry.load("backends", "good").parallel == 1
    with pytest.raises(EnvironmentProblem, match=r"no subclass of harness.backends.base.Backend"):
        registry.load("backends", "bad")


def test_two_plugins_of_one_name_are_an_error_that_names_both(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method(site, "dist-one", "same")
    method(site, "dist-two", "same")
    with pytest.raises(EnvironmentProblem, match="registered by dist-one and by dist-two"):
        registry.load("methods", "same")
    assert "dist-two" in registry.entry("methods", "same").problem
    assert registry.load("methods", "wrpo").name == "wrpo"
    monkeypatch.setenv(plugins.VARIABLE, "methods:same=Dist_Two")
    _forget()
    assert registry.load("methods", "same").name == "same"
    assert registry.entry("methods", "same").origin == "dist-two"


def test_one_distribution_that_registers_a_name_twice_is_an_error(site: Path) -> None:
    method(site, "dist-double", "double")
    path = site / "dist_double-1.0.dist-info" / "entry_points.txt"
    path.write_text(path.read_text() + "double = dist_double:OTHER\n")
    with pytest.raises(EnvironmentProblem, match=r"dist-double registers .* twice"):
        registry.load("methods", "double")


def test_a_built_in_is_replaced_only_when_asked(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method(site, "dist-wrpo", "wrpo")
    assert registry.entry("methods", "wrpo").origin == registry.BUILT_IN
    (note,) = [note for note in registry.notes("methods") if "dist-wrpo" in note]
    assert "CRUCIBLE_OVERRIDE=methods:wrpo=dist-wrpo" in note
    monkeypatch.setenv(plugins.VARIABLE, " methods:wrpo=dist-wrpo, ")
    _forget()
    replaced = registry.entry("methods", "wrpo")
    assert (replaced.origin, replaced.recipe) == ("dist-wrpo", "wrpo")
    assert registry.load("methods", "wrpo").plan is print


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("methods:wrpo=dist-nobody", 'the method "wrpo" from dist-nobody, which does not'),
        ("methods:nothing=dist-some", "which does not provide it; no plugin does"),
        ("methods:wrpo", 'contains "methods:wrpo"; expected GROUP:NAME=DISTRIBUTION'),
        ("methds:wrpo=x", "a group of methods, suites"),
        ("=", "expected GROUP:NAME=DISTRIBUTION"),
    ],
)
def test_an_override_that_cannot_be_is_the_users_mistake(
    value: str, message: str, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method(site, "dist-some", "some")
    monkeypatch.setenv(plugins.VARIABLE, value)
    with pytest.raises(UserError, match=message):
        registry.entries("methods")


def test_damaged_metadata_and_unknown_groups_are_reported(site: Path) -> None:
    method(site, "dist-good", "good")
    plugin(site, "dist-torn", {"methods:torn": "dist_torn:METHOD"})
    (site / "dist_torn-1.0.dist-info" / "entry_points.txt").write_bytes(b"[crucible.methods]\n\xff")
    plugin(site, "dist-line", {"methods:line": "dist_line:METHOD"})
    (site / "dist_line-1.0.dist-info" / "entry_points.txt").write_text("[crucible.methods]\nline\n")
    plugin(site, "dist-bare", {"methods:bare": "dist_bare:METHOD"})
    (site / "dist_bare-1.0.dist-info" / "METADATA").unlink()
    plugin(site, "dist-typo", {"method:typo": "dist_typo:METHOD"})
    assert "good" in registry.entries("methods")
    problems = " ".join(plugins.offers()[1])
    for name in ("dist_torn", "dist_line", "dist_bare"):
        assert name in problems
    assert 'did you mean "crucible.methods"?' in problems


def test_the_same_distribution_further_down_the_path_counts_once(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method(site, "dist-twin", "twin")
    lower = site / "lower"
    lower.mkdir()
    method(lower, "Dist.Twin", "twin")
    monkeypatch.setattr("sys.path", [str(site), str(lower), *__import__("sys").path])
    _forget()
    assert registry.load("methods", "twin").name == "twin"


def test_a_catalogue_of_another_distribution_adds_tables_and_a_broken_one_is_named(
    site: Path,
) -> None:
    good = "SOURCES = {'acme': 'acme_data:OWN', 'nano': 'acme_data:OWN'}\n"
    plugin(site, "acme-data", {"catalogues:data": "acme_data"}, good)
    plugin(site, "acme-broken", {"catalogues:data": "acme_broken"}, "import no_such_module\n")
    sources = registry.table("SOURCES")
    assert sources["acme"] == "acme_data:OWN"
    assert sources["nano"] != "acme_data:OWN"  # a room's own key stays
    (problem,) = registry.catalogue_problems()
    assert "acme_broken of acme-broken cannot be loaded: ModuleNotFoundError" in problem
    assert "wrpo" in registry.entries("methods")
