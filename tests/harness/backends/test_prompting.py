"""Prompt builders and reply parsers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.backends.conversing import Turn
from harness.backends.prompting import (
    Unreadable,
    code_of,
    function,
    json_object,
    messages,
    template,
    text,
)
from harness.core.errors import BadData, BadRecord, UnknownName

ROW = {"id": "r", "name": "Ada", "asked": {"value": {"year": 1815}}, "failed": {"value": None}}


def test_a_function_is_found_by_name_or_by_place() -> None:
    assert function("PROMPTS", "messages", 1, {})({"messages": [1]}) == messages({"messages": [1]})
    place = "harness.backends.prompting:template"
    assert function("PROMPTS", place, 1, {"text": "{name}"})(ROW)[0]["content"] == "Ada"
    with pytest.raises(UnknownName, match='no prompt named "mesages"; did you mean "messages"'):
        function("PROMPTS", "mesages", 1, {})


@pytest.mark.parametrize(
    ("name", "settings"),
    [("template", {}), ("template", {"text": "a", "txet": "b"}), ("no.such:thing", {}),
     ("harness.backends.prompting:nothing", {}), (":x", {})],
)  # fmt: skip
def test_settings_and_places_are_checked(name: str, settings: dict[str, str]) -> None:
    with pytest.raises(BadRecord, match=f'"{name}" with the settings .* cannot be used'):
        function("PROMPTS", name, 1, settings)


def test_only_functions_outside_the_tables_have_a_code_digest() -> None:
    assert code_of(["messages", None, "no.such:thing", "math:sqrt"]) == ""
    first = code_of(["harness.backends.prompting:text", "messages"])
    assert first == code_of(["harness.backends.prompting:messages"]) != ""
    assert first != code_of(["harness.backends.base:plain_messages"])


def test_a_template_is_filled_from_the_row() -> None:
    said = template(ROW, text='{name}, {asked.value.year}: {"json": {}}', system="Be brief.")
    assert said == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": 'Ada, 1815: {"json": {}}'},
    ]
    braces = template({"id": "r", "name": "{id}"}, text="{name}")
    assert braces == [{"role": "user", "content": "{id}"}], "values are not templates"


def test_a_template_asks_nothing_after_a_failure_and_names_a_missing_field() -> None:
    assert template(ROW, text="{failed.value}") is None
    assert template(ROW, text="{name} {failed.value.year.month}") is None
    for place in ("age", "name.first", "asked.text"):
        with pytest.raises(BadData, match=f'row "r" has no field {place}'):
            template(ROW, text=f"{{{place}}}")


def test_the_whole_reply_is_read_unless_it_is_empty() -> None:
    assert text(Turn(text=" yes\n"), ROW) == "yes"
    with pytest.raises(Unreadable, match="empty"):
        text(Turn(text=" \n"), ROW)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)  # fmt: skip


@given(
    st.dictionaries(st.text(), VALUES, max_size=3), st.text(st.characters(exclude_characters="{"))
)
def test_an_object_is_found_wherever_it_stands(value: dict[str, object], around: str) -> None:
    reply = f"{around}```json\n{json.dumps(value, ensure_ascii=False)}\n```{around}"
    assert json_object(Turn(text=reply), ROW) == value


@pytest.mark.parametrize(
    "reply", ["", "none", "[1]", '{"a": ', '{"a": NaN}', '{"a": 1e999}', "{" * 9999]
)
def test_what_is_no_object_cannot_be_read(reply: str) -> None:
    with pytest.raises(Unreadable, match="contains no JSON object"):
        json_object(Turn(text=reply), ROW)


def test_the_first_sound_object_counts() -> None:
    assert json_object(Turn(text='{x} {"a": 1} {"a": 2}'), ROW) == {"a": 1}
