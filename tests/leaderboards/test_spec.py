"""Board definitions: the shipped ones load, wrong ones are refused with file and key."""

from __future__ import annotations

import pytest

from harness.core.errors import BadRecord, UnknownName
from leaderboards.spec import board_spec, read_spec, shipped


@pytest.mark.parametrize("name", shipped())
def test_shipped_definitions_load(name):
    spec = board_spec(name)
    assert spec.name == name
    assert spec.columns
    assert sum(column.rank for column in spec.columns) == 1


def test_the_main_table_of_wrpo_has_the_papers_columns():
    keys = [column.key for column in board_spec("wrpo").columns]
    assert keys[:2] == ["alpaca_eval2.lc_win_rate", "alpaca_eval2.win_rate"]
    figures = {(r.system, r.suite, r.metric): r.value for r in board_spec("wrpo").references}
    assert figures["wrpo", "alpaca_eval2", "lc_win_rate"] == 55.9


def test_an_unknown_board_names_the_nearest():
    with pytest.raises(UnknownName, match='did you mean "alpaca_eval2"'):
        board_spec("alpaca_eval")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "a"\ntitle = "A"\ndigit = 2', 'unknown key "digit"; did you mean "digits"?'),
        ('name = "a"', 'key "title" is missing'),
        ('name = "a"\ntitle = "A"\ndigits = 99', 'key "digits" is 99'),
        ('name = "../a"\ntitle = "A"', 'key "name"'),
        ('name = "a"\ntitle = ', "expected a board definition in TOML"),
        ('name = "a"\ntitle = "A"\nsystems = [{name = "x"}, {name = "x"}]', '"x" is listed twice'),
        (
            'name = "a"\ntitle = "A"\ncolumns = [{suite = "s", metric = "m", rank = true}, '
            '{suite = "s", metric = "n", rank = true}]',
            "one column with rank = true",
        ),
        (
            'name = "a"\ntitle = "A"\n'
            'columns = [{suite = "s", metric = "m", detail = "d", rank = true}]',
            "a metric, not a detail",
        ),
    ],
)
def test_a_wrong_definition_is_refused_by_file_and_key(tmp_path, text, said):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadRecord) as refusal:
        read_spec(path)
    assert "mine.toml" in str(refusal.value)
    assert said in str(refusal.value)
