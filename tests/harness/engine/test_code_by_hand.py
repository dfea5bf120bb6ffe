"""Digests of code worked out by hand: which files count, which names are modules, what is said."""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

from harness.core.hashing import digest
from harness.core.records import Record
from harness.engine import code, registry
from harness.engine.code import (
    LARGEST,
    changed,
    code_of,
    imported,
    module_digest,
    named_files,
    path_of,
    remember,
)
from harness.engine.operations import Operation

FILES = {
    "zeta/__init__.py": "from . import late\n",
    "zeta/late.py": "",
    "zeta/sub/__init__.py": "",
    "zeta/sub/run.py": (
        "import json, numpy, harness.core\nfrom ..near import thing\nfrom . import beside\n"
        "from zeta_other.deep import name\nTEXT = 'zeta.told:part'\nDATA = 'words.txt'\n"
    ),
    "zeta/near.py": "thing = 1\n",
    "zeta/told.py": "part = 1\n",
    "zeta/unused.py": "x = 1\n",
    "zeta/sub/beside.py": "import zeta.broken\n",
    "zeta/broken.py": "this is no python\n",
    "zeta/sub/words.txt": "words",
    "zeta_other/__init__.py": "",
    "zeta_other/deep.py": ("name = 1\ndef make(f):\n    def inner(): return f\n    return inner\n"),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    importlib.invalidate_caches()
    code._DIGESTS.clear()
    code._is_there.cache_clear()
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("zeta")]:
        del sys.modules[name]
    code._is_there.cache_clear()


def of(site: Path, *names: str) -> str:
    """The digest of some files, by the name of their module, or of the file."""
    found = {}
    for name in names:
        path = site / name
        parts = path.relative_to(site).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        key = module if path.suffix == ".py" else path.name
        found[key] = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    return digest(found)


def test_a_digest_covers_what_is_imported_and_named_and_nothing_else(site: Path) -> None:
    everything = [name for name in FILES if name != "zeta/unused.py"]
    assert module_digest("zeta.sub.run") == of(site, *everything)
    assert module_digest("zeta.near") == of(
        site, "zeta/near.py", "zeta/__init__.py", "zeta/late.py"
    )
    assert module_digest("zeta_other.deep") == of(
        site, "zeta_other/deep.py", "zeta_other/__init__.py"
    )
    assert module_digest("zeta.absent") == module_digest("absent.zeta") == ""


def test_a_digest_is_that_of_the_import(site: Path) -> None:
    first = module_digest("zeta_other")
    (site / "zeta_other/__init__.py").write_text("x = 1\n")
    assert module_digest("zeta_other") == first  # known as long as nothing is imported anew
    importlib.import_module("zeta_other")
    second = module_digest("zeta_other")
    assert second == of(site, "zeta_other/__init__.py") != first
    (site / "zeta_other/__init__.py").write_text("x = 2\n")
    assert module_digest("zeta_other") == second


@pytest.mark.parametrize(
    ("source", "package", "names"),
    [
        ("import a, b.c as d", "p", ["a", "b.c"]),
        ("from a.b import c, d", "p", ["a.b", "a.b.c", "a.b.d"]),
        ("from . import c", "p.q", ["p.q", "p.q.c"]),
        ("from .c import d", "p.q", ["p.q.c", "p.q.c.d"]),
        ("from ..c import d", "p.q", ["p.c", "p.c.d"]),
        ("from .. import d", "p.q.r", ["p.q", "p.q.d"]),
        ("x = ['top.a:b.c', 'top.a', 'top', 'topper.a', 'not top.a', 'top.a b', 3]", "p",
         ["top.a", "top.a"]),
    ],
)  # fmt: skip
def test_imports_and_names_in_text_are_modules(source: str, package: str, names: list[str]) -> None:
    assert list(imported(ast.parse(source), package, "top")) == names


def test_files_beside_a_module_count_if_it_names_them(tmp_path: Path) -> None:
    names = ["b.txt", "a b/c.json", "x.toml", "x.py", "x.pyc", "none.txt", ".x", "no", "odd;.txt",
             f"{'l' * 197}.tx", f"{'l' * 196}.tx", "large.bin", "limit.bin", "f.d"]  # fmt: skip
    for name in (n for n in names if n != "none.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch() if name != "f.d" else (tmp_path / name).mkdir()
    for name, size in (("large.bin", LARGEST + 1), ("limit.bin", LARGEST)):
        os.truncate(tmp_path / name, size)
    tree = ast.parse("\n".join(f"x = {name!r}" for name in [*names, "nul\0.txt", 3, b"b.txt"]))
    found = [str(path.relative_to(tmp_path)) for path in named_files(tree, tmp_path)]
    assert found == ["a b/c.json", "b.txt", "limit.bin", f"{'l' * 196}.tx"]
    assert LARGEST == 1_048_576


def test_files_of_modules_are_found_without_importing_them(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert path_of("zeta.near") == site / "zeta" / "near.py"
    assert path_of("zeta") == site / "zeta" / "__init__.py"
    assert "zeta.near" not in sys.modules
    for none in ("sys", "zeta.absent", "absent", "zeta.near.thing", "", "a..b"):
        assert path_of(none) is None
    (site / "zeta" / "near.py").unlink()
    importlib.invalidate_caches()
    assert path_of("zeta.near") is None
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__file__=str(site / "main.py")))
    assert path_of("__main__") == site / "main.py"
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace())
    assert path_of("__main__") is None


def test_libraries_are_no_part_of_the_code(site: Path) -> None:
    assert numpy.__file__
    counted = [
        name
        for name in (
            "zeta.x",
            "zeta_other.deep",
            "numpy",
            "json",
            "harness.core",
            "methods",
            "",
            ".x",
            "absent",
            "pytest",
        )
        if code._counts(name, "zeta")
    ]
    assert counted == ["zeta.x", "zeta_other.deep"]
    packages = site / "site-packages"
    (packages / "zeta_lib").mkdir(parents=True)
    (packages / "zeta_lib" / "__init__.py").touch()
    sys.path.insert(0, str(packages))
    importlib.invalidate_caches()
    try:
        assert not code._counts("zeta_lib", "zeta")
    finally:
        sys.path.remove(str(packages))


class Named(Record):
    value: Any = None
    path: Path = Path("x")


def names_of(**params: Any) -> list[str]:
    return list(code_of(Operation("o", 1, Named, os.getcwd), Named(**params)))


def test_modules_that_parameters_name_are_found_at_any_depth(site: Path) -> None:
    for value in ("zeta.near:thing", ["zeta.near:thing"], {"k": ("x", {"zeta.near:thing": 1})},
                  {"k": [["zeta.near:thing"]]}):  # fmt: skip
        assert names_of(value=value) == ["zeta.near"]
    assert names_of(path=Path("zeta.near:thing")) == ["zeta.near"]
    both = names_of(value=["zeta.told:part", "zeta.near:thing", "zeta.near:thing"])
    assert both == ["zeta.near", "zeta.told"]
    for other in ("zeta.near:absent", "zeta.near", "zeta.near:thing x", "json:loads", 3, None,
                  "os.path:join", "harness.core.hashing:digest", "nano:target",
                  "zeta.broken:x"):  # fmt: skip
        assert names_of(value=other) == []


@pytest.mark.parametrize(("letters", "counted"), [(999, True), (1000, False)])
def test_long_texts_are_no_names(site: Path, letters: int, counted: bool) -> None:
    attribute = "t" * (letters - len("zeta.near:"))
    (site / "zeta" / "near.py").write_text(f"{attribute} = 1\n")
    assert names_of(value=f"zeta.near:{attribute}") == (["zeta.near"] if counted else [])


def test_names_and_schemes_that_plugins_add_are_their_targets(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = {"own": "zeta.near:thing", "scheme": "zeta.told:part"}
    monkeypatch.setattr(registry, "added_targets", lambda: added)
    monkeypatch.setattr(registry, "schemes", lambda: frozenset(["zeta.told"]))
    assert names_of(value="own") == ["zeta.near"]
    assert names_of(value="scheme:anything?x=1") == ["zeta.told"]
    assert names_of(value="zeta.told:part") == []  # a reference, as it begins with a scheme
    assert names_of(value="other") == []


def test_functions_that_a_function_closes_over_count(site: Path) -> None:
    deep = importlib.import_module("zeta_other.deep")

    def own() -> None: ...

    own.__module__ = "zeta.near"
    odd = SimpleNamespace(__module__="zeta.told")  # cannot be called
    for inside, names in ((own, ["zeta.near", "zeta_other.deep"]),
                          (odd, ["zeta_other.deep"]),
                          (3, ["zeta_other.deep"])):  # fmt: skip
        made = Operation("o", 1, Named, deep.make(inside))
        assert list(code_of(made, Named())) == names

    def empty() -> Any:
        def inner() -> Any:
            return absent, own  # cells in the order of their names

        if len(sys.argv) < 0:
            absent = 1
        return inner

    empty.__module__ = "harness.x"
    inner = empty()
    inner.__module__ = "harness.x"
    assert list(code_of(Operation("o", 1, Named, inner), Named())) == ["zeta.near"]


# What a store knows about earlier code


def stage(id: str, plain: str, **code: str) -> SimpleNamespace:
    return SimpleNamespace(id=id, plain=plain, code=code)


def test_code_that_changed_is_named_with_the_number_of_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "plugin_name", lambda module: module.partition(".")[0])
    remember(tmp_path, "abcd", "id1", {"m.a": "1", "n": "1", "m.b": "1"})
    assert json.loads((tmp_path / "code" / "ab" / "abcd.json").read_bytes()) == {
        "id": "id1", "code": {"m.a": "1", "n": "1", "m.b": "1"}
    }  # fmt: skip
    remember(tmp_path, "abce", "id2", {"m.a": "1"})
    again = stage("id3", "abcd", **{"m.a": "2", "n": "1", "m.b": "2"})
    same, unknown = stage("id1", "abcd", **{"m.a": "2"}), stage("idx", "ffff", x="1")
    built_in = stage("abcd", "abcd", **{"m.a": "2"})
    assert changed(tmp_path, [unknown, built_in, same]) == []
    assert changed(tmp_path, [unknown, built_in, same, again]) == ["m changed: 1 stage run again"]
    more = stage("id4", "abce", **{"m.a": "1", "k": "1"})
    assert changed(tmp_path, [again, more]) == ["m, k changed: 2 stages run again"]
    fewer = stage("id5", "abce")  # a module that is no longer used
    assert changed(tmp_path, [fewer]) == ["code of plugins changed: 1 stage run again"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"id": "x"}', '{"id": "x", "code": 3}',
                                  '{"code": {}}'])  # fmt: skip
def test_a_note_that_is_none_says_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "code" / "ab" / "abcd.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert changed(tmp_path, [stage("id3", "abcd", m="1")]) == []
