"""Values of several settings, from text and from Python."""

from __future__ import annotations

import pytest

from harness.core.errors import UserError
from harness.engine.grids import grid_of, label_of, named, settings_of, shown


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a.b=0.01,0.1,1", (0.01, 0.1, 1)),
        ("a.b=5e-7, 1e-6", (5e-7, 1e-6)),
        ("a.b=true,false", (True, False)),
        ("a.b=nano:target,nano:target@2", ("nano:target", "nano:target@2")),
        ("a.b=[1,2],[3]", ([1, 2], [3])),
        ("a.b=[[1,2],[3]],[]", ([[1, 2], [3]], [])),
        ('a.b="x,y",z', ("x,y", "z")),
        ("a.b='x=1','y]'", ("x=1", "y]")),
        ('a.b={ref="m,n"},{ref="o"}', ({"ref": "m,n"}, {"ref": "o"})),
        ('a.b="","none"', ("", "none")),
    ],
)
def test_values_are_toml_or_text_between_commas(text: str, values: tuple[object, ...]) -> None:
    assert grid_of([text]) == {"a.b": values}
    assert grid_of({"a.b": list(values)}) == {"a.b": values}


def test_settings_are_all_combinations_in_order() -> None:
    grid = grid_of(["a.x=1,2", "b.y=3,4"])
    found = [tuple(setting.values()) for setting in settings_of(grid)]
    assert found == [(1, 3), (1, 4), (2, 3), (2, 4)]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "a sweep needs KEY=VALUE,VALUE"),
        (["beta"], 'a sweep expects "KEY=VALUE,VALUE", found "beta"'),
        (["=1,2"], 'found "=1,2"'),
        (["a.b="], "has no values"),
        (["a.b=1,,2"], "has an empty value"),
        (["a.b=1,2,"], "has an empty value"),
        (["a.b=1"], r"a\.b has 1 value; expected several"),
        (["a.b=[1,2]"], r"a\.b has 1 value"),
        (["a.b=1,2,1.0"], r"a\.b has the value 1\.0 twice"),
        (["a.b=1,nan"], r"a\.b has the value nan; expected finite"),
        (["a.b=1,-inf"], "expected finite numbers"),
        (["a.b=1,2", "a.b=3,4"], r"a\.b is given twice"),
        (["seed=1,2"], "use --seeds N"),
        (["suites.0.settings.limit=1,2"], "run the suites apart"),
        (["systems.0.name=a,b"], "choose systems with --systems"),
        (["title=a,b"], "it changes no system"),
    ],
)
def test_nonsense_is_one_sentence(texts: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        grid_of(texts)
    assert "\n" not in str(raised.value)


def test_python_values_are_lists_and_keys_are_free() -> None:
    for wrong in (0.1, "0.1,0.2", None, {"x": 1}):
        with pytest.raises(UserError, match=r"expected a list of values"):
            grid_of({"a.b": wrong})  # type: ignore[dict-item]
    with pytest.raises(UserError, match="swept and set by --set"):
        grid_of(["a.b=1,2"], {"a.b"})


def test_names_are_short_unique_and_without_slashes() -> None:
    grid = grid_of(
        {"a.x": ["org/m", "org-m", "n"], "b.x": [1, 2], "c.long": [[1] * 40, [2]], "d": ["é/", "é"]}
    )
    assert label_of("a.x", grid) == "a.x"
    assert label_of("c.long", grid) == "long"
    assert named({"a.x": "org/m", "b.x": 1}, grid) == ["a.x=v1", "b.x=1"]
    assert named({"a.x": "n", "c.long": [1] * 40}, grid) == ["a.x=n", "long=v1"]
    assert named({"c.long": [2]}, grid) == ["long=2"]
    assert {named({"d": value}, grid)[0] for value in grid["d"]} == {"d=v1", "d=v2"}
    assert shown(5e-7) == "5e-07"
