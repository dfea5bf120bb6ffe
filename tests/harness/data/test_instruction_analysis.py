"""Instruction data of all shapes, from files to an analysis."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadData, BadRecord, UserError
from harness.data.instructions.analysing import analyse, names_of, plan_analysis
from harness.data.instructions.analysis import expected_unique, histogram
from harness.data.instructions.reading import instruction_of
from harness.engine.store import Store

PARSER = "tests.hand_parser:open_hand_parser"
SHAPES: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({"instruction": " Sort it. ", "input": "3 1", "output": "1 3"}, ("Sort it.", "3 1")),
    ({"instruction": "Sort it.", "input": "<NoInput>"}, ("Sort it.", "")),
    ({"instruction": "Sort it.", "input": None}, ("Sort it.", "")),
    ({"instruction": "Plot.", "input": "(1,2)"}, ("Plot.", "(1,2)")),
    ({"instruction": "Fill in.", "input": "[name]"}, ("Fill in.", "[name]")),
    ({"instruction": "", "prompt": "Hi"}, ("Hi", "")),
    ({"prompt": "Hi"}, ("Hi", "")),
    ({"question": "Why?"}, ("Why?", "")),
    ({"turns": ["First?", "Second?"]}, ("First?", "")),
    ({"prompt": [{"role": "user", "content": "Hi"}]}, ("Hi", "")),
    (
        {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"},
                      {"role": "assistant", "content": "Ho"}]},
        ("Hi", ""),
    ),
    (
        {"conversations": [{"from": "gpt", "value": "Ho"}, {"from": "human", "value": "Hi"}]},
        ("Hi", ""),
    ),
    ({"prompt": "\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: More"}, ("Hi", "")),
    ({"prompt": "总结"}, ("总结", "")),
]  # fmt: skip
BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "row 3: no instruction .found no field"),
    ({"output": "x"}, "no instruction .found output; expected instruction, messages"),
    ({"instruction": ""}, "no instruction .instruction is ''"),
    ({"instruction": None}, "no instruction .instruction is None"),
    ({"instruction": "  "}, "row 3: instruction: no text of a user"),
    ({"instruction": 5}, "expected text or messages with role and content, found 5"),
    ({"instruction": ["a", 1]}, "expected text or messages"),
    ({"messages": [{"role": "assistant", "content": "Ho"}]}, "messages: no text of a user"),
    ({"messages": [{"role": "tool", "content": "Ho"}]}, "a message of a tool"),
    ({"instruction": "Sort.", "input": [1]}, "input: expected text, found list"),
]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


@pytest.mark.parametrize(("item", "expected"), SHAPES)
def test_instruction_and_input_of_every_shape(
    item: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert instruction_of(item, "row 1") == expected


@pytest.mark.parametrize(("item", "message"), BAD)
def test_a_row_without_an_instruction_is_named(item: dict[str, Any], message: str) -> None:
    with pytest.raises(BadData, match=message):
        instruction_of(item, "row 3")


def test_a_column_of_ones_own() -> None:
    assert instruction_of({"task": "Sort.", "prompt": "no"}, "row 1", "task") == ("Sort.", "")
    with pytest.raises(BadData, match="expected task"):
        instruction_of({"prompt": "no"}, "row 1", "task")


ROWS = [
    {"instruction": "Write a short poem", "input": "spring"},
    {"instruction": "Write a short poem", "input": "autumn"},
    {"instruction": "Write a short poem", "input": "autumn"},
    {"instruction": "List ten fresh ideas"},
    {"instruction": "Fix every last error"},
    {"instruction": "Why?"},
    {"output": "no instruction"},
    {"instruction": 3},
]


def test_figures_of_two_data_sets(tmp_path: Path) -> None:
    first = write(tmp_path / "first.jsonl.gz", ROWS)
    second = write(tmp_path / "second.jsonl", [{"prompt": "Why?"}, {"prompt": "List all errors"}])
    analysis = analyse([first, second], tmp_path / "store", parser=PARSER)
    one, two = analysis.sets
    assert analysis.parser == "first and last word 1.0"
    assert (one.name, one.rows, one.bad, one.instructions) == ("first", 8, 2, 6)
    assert [named.split(":")[0] for named in one.named] == ["row 7", "row 8"]
    assert (one.repeated, one.repeated_with_input) == (2, 1)
    assert (one.paired, one.unique_pairs, one.average_occurrence) == (5, 3, 5 / 3)
    assert (one.top[0].verb, one.top[0].noun, one.top[0].count) == ("write", "poem", 3)
    assert one.top_share == 1.0
    assert analysis.equal_size == two.instructions == 2
    assert two.unique_at_equal_size == two.unique_pairs == 1
    assert one.compared == 6
    assert sum(one.histogram) == 6
    assert one.near is not None
    assert one.near.value == 0.5
    assert one.pairwise is not None
    assert one.pairwise.interval is not None
    assert one.pairwise.interval.low <= one.pairwise.value <= one.pairwise.interval.high
    shared = {(each.set, each.other): (each.rows, each.share) for each in analysis.shared}
    assert shared == {("first", "second"): (1, 1 / 6), ("second", "first"): (1, 1 / 2)}


def test_a_second_run_executes_nothing_and_an_option_only_what_depends_on_it(
    tmp_path: Path,
) -> None:
    ref = write(tmp_path / "data.jsonl", ROWS)
    store = Store(tmp_path / "store")
    made = plan_analysis([ref], parser=PARSER)
    assert len(made.run(store).executed) == 4
    assert made.run(store).executed == ()
    assert len(plan_analysis([ref], parser=PARSER, threshold=0.5).run(store).executed) == 1
    assert len(plan_analysis([ref], parser=PARSER, compared=2).run(store).executed) == 2
    write(tmp_path / "data.jsonl", ROWS[:3])
    assert len(plan_analysis([ref], parser=PARSER).run(store).executed) == 4


def test_of_a_large_set_some_are_compared_with_all(tmp_path: Path) -> None:
    rows = [{"prompt": f"Write item{n} of group{n % 7}"} for n in range(400)]
    ref = write(tmp_path / "data.jsonl", rows)
    whole = analyse([ref], tmp_path / "store", parser=PARSER).sets[0]
    part = analyse([ref], tmp_path / "store", parser=PARSER, compared=100).sets[0]
    assert (whole.compared, part.compared, part.instructions) == (400, 100, 400)
    assert whole.pairwise is not None
    assert part.pairwise is not None
    assert part.pairwise.interval is not None
    assert part.pairwise.interval.low < whole.pairwise.value < part.pairwise.interval.high


def test_one_instruction_and_other_scripts(tmp_path: Path) -> None:
    one = analyse(
        [write(tmp_path / "one.jsonl", ROWS[:1])], tmp_path / "store", parser=PARSER
    ).sets[0]
    assert (one.instructions, one.compared, one.nearest, one.pairwise) == (1, 0, None, None)
    chinese = write(tmp_path / "zh.jsonl", [{"prompt": "总结文章"}, {"prompt": "总结文本"}])
    plain = analyse([chinese], tmp_path / "store", parser=PARSER).sets[0]
    words = analyse([chinese], tmp_path / "store", parser=PARSER, tokens="words").sets[0]
    assert (plain.without_tokens, words.without_tokens) == (2, 0)
    assert plain.nearest is not None
    assert words.nearest is not None
    assert (plain.nearest.value, words.nearest.value) == (0.0, 0.75)


def test_mistakes_are_named(tmp_path: Path) -> None:
    store = tmp_path / "store"
    empty = write(tmp_path / "empty.jsonl", [])
    with pytest.raises(BadData, match=r"empty\.jsonl: no rows"):
        analyse([empty], store, parser=PARSER)
    with pytest.raises(BadData, match="none of 1 rows has an instruction; row 1: no instruction"):
        analyse([write(tmp_path / "bad.jsonl", [{"a": 1}])], store, parser=PARSER)
    (tmp_path / "broken.jsonl").write_text('{"prompt": "Hi"}\n{"prompt": \n')
    with pytest.raises(BadData, match=r"broken\.jsonl, line 2: not JSON"):
        analyse([str(tmp_path / "broken.jsonl")], store, parser=PARSER)
    with pytest.raises(UserError, match=r'no instruction sets "none\.jsonl"; expected official'):
        analyse(["none.jsonl"], store, parser=PARSER)
    with pytest.raises(UserError, match="no data set given"):
        analyse([], store, parser=PARSER)
    with pytest.raises(UserError, match="given twice"):
        analyse([empty, empty], store, parser=PARSER)
    with pytest.raises(UserError, match="1 names for 2 data sets"):
        analyse([empty, "b.jsonl"], store, names=["a"], parser=PARSER)
    with pytest.raises(UserError, match="two data sets have one name"):
        analyse([empty, "b.jsonl"], store, names=["a", "a"], parser=PARSER)
    with pytest.raises(BadRecord, match="compared"):
        analyse([empty], store, compared=0, parser=PARSER)


def test_lone_surrogates_and_huge_instructions_pass(tmp_path: Path) -> None:
    rows = [{"prompt": "Write \ud800 poems"}, {"prompt": "Write " + "word " * 20_000}]
    found = analyse([write(tmp_path / "odd.jsonl", rows)], tmp_path / "store", parser=PARSER)
    assert found.sets[0].instructions == 2


def test_names_are_short_and_different() -> None:
    assert names_of(["a/b/x.jsonl"]) == ("x",)
    assert names_of(["a/x.jsonl", "b/x.json.gz", "b/y.parquet"]) == ("a/x", "b/x", "b/y")
    assert names_of(["a/x.json", "a/x.jsonl"]) == ("a/x.json", "a/x.jsonl")


@given(st.lists(st.integers(1, 5), max_size=5), st.integers(0, 8), st.data())
def test_expected_unique_pairs_by_counting_samples(
    counts: list[int], others: int, data: st.DataObject
) -> None:
    n = sum(counts) + others
    size = data.draw(st.integers(0, n))
    expected = sum(1 - math.comb(n - c, size) / math.comb(n, size) for c in counts)
    assert expected_unique(counts, n, size) == pytest.approx(expected)
    assert expected_unique(counts, n, n) == pytest.approx(len(counts))
    with pytest.raises(BadData, match="cannot draw"):
        expected_unique(counts, n, n + 1)


def test_bins_cover_the_ends() -> None:
    assert histogram([0.0, 1.0, 0.999, 0.04], 25) == (1, 1, *[0] * 22, 2)
    assert histogram([]) == (0,) * 25
