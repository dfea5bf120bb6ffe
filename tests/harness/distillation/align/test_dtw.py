"""Warping paths: golden alignments of all variants, the definition, laws, bad input."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import BadData
from harness.distillation.align.dtw import Variant, accumulated, cost_table, dtw, warp
from tests.golden_vectors import vectors

Finder = Callable[[str], Path]

VARIANTS = ("fusellm", "fusechat_v1", "fusechat_v2")
TOKENS = st.lists(st.text("ab_ ", max_size=3), min_size=1, max_size=9)


def rows_of(golden: Finder, name: str) -> dict[tuple[str, str, int], dict]:
    pairs = vectors(golden(name))["pairs"]
    return {(p["base"], p["blending"], row["i"]): row for p in pairs for row in p["rows"]}


def markers_of(golden: Finder, base: str, source: str) -> tuple[str, str]:
    index = vectors(golden("fusellm/tokenizers/index.json"))
    return index[base]["marker"], index[source]["marker"]


def test_golden_fusellm(golden: Finder) -> None:
    for (base, source, _), row in rows_of(golden, "fusellm/token_alignment.json").items():
        markers = markers_of(golden, base, source)
        found = dtw(row["base_tokens"], row["blending_tokens"], *markers)
        assert found.base_to_source() == row["base_to_blending"]
        assert found.source_to_base() == row["blending_to_base"]
        assert found.cost == row["total_cost"]
        matrix = row.get("accumulated_cost_matrix_blending_x_base")
        if matrix is not None:
            table = cost_table(row["base_tokens"], row["blending_tokens"], *markers, "fusellm")
            assert accumulated(table, *map(range, table.shape)).tolist() == matrix


def test_golden_fusechat_v1(golden: Finder) -> None:
    tokens = rows_of(golden, "fusellm/token_alignment.json")
    for key, row in rows_of(golden, "fusechat/token_alignment_v1.json").items():
        base, source = tokens[key]["base_tokens"], tokens[key]["blending_tokens"]
        found = dtw(base, source, *markers_of(golden, *key[:2]), "fusechat_v1")
        assert found.base_to_source() == row["base_to_blending"], key


def test_golden_fusechat_v2(golden: Finder) -> None:
    for key, row in rows_of(golden, "fusechat/token_alignment_v2.json").items():
        markers = markers_of(golden, *key[:2])
        found = dtw(row["base_tokens"], row["blending_tokens"], *markers, "fusechat_v2")
        assert found.base_to_source() == row["base_to_blending"], key


def test_golden_edges(golden: Finder) -> None:
    for name, case in vectors(golden("fusellm/dtw_edges.json")).items():
        if "cell_cost" in case:
            table = np.full((1, 1), case["cell_cost"])
            rows, columns = [0] * case["len_1"], [0] * case["len_2"]
            for variant, wanted in (("fusellm", "fusellm"), ("fusechat_v2", "fuseai_v2")):
                found = warp(table, rows, columns, variant)
                path = np.stack([found.source, found.base], 1).tolist()
                assert path == case[f"{wanted}_matches"], name
        elif "raises" in case:
            with pytest.raises(BadData, match="cannot align"):
                dtw(case["series_2"], case["series_1"], "", "")
        else:
            for variant, wanted in (("fusellm", case), ("fusechat_v2", case["v2_order"])):
                found = dtw(case["series_2"], case["series_1"], "", "", variant)
                assert found.source_to_base() == wanted["map_1"], name
                assert found.base_to_source() == wanted["map_2"], name
            assert found.cost == case["cost"]


def by_definition(
    base: list[str], source: list[str], variant: Variant
) -> tuple[float, list[tuple[int, int]]]:
    from rapidfuzz.distance import Levenshtein

    def cost(a: str, b: str) -> float:
        x, y = a.replace("_", ""), b.replace(" ", "")
        if variant == "fusechat_v2" and not (x and y):
            x, y = a.replace("_", " "), b
        distance = Levenshtein.distance(x, y)
        return distance * 0.1 if variant == "fusechat_v1" and (x in y or y in x) else distance

    d: dict[tuple[int, int], float] = {}

    def at(i: int, j: int) -> float:
        return d.get((i, j), float("inf"))

    for i, a in enumerate(source):
        for j, b in enumerate(base):
            before = min(at(i - 1, j), at(i, j - 1), at(i - 1, j - 1)) if i or j else 0
            d[i, j] = cost(a, b) + before
    i, j = len(source) - 1, len(base) - 1
    path, total = [(i, j)], d[i, j]
    while i or j:
        moves = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
        if variant == "fusechat_v2":
            moves = [moves[0], moves[2], moves[1]]
        i, j = min(moves, key=lambda cell: at(*cell))
        path.append((i, j))
    return total, path[::-1]


@pytest.mark.parametrize("variant", VARIANTS)
@given(base=TOKENS, source=TOKENS)
def test_is_its_definition(variant: Variant, base: list[str], source: list[str]) -> None:
    found = dtw(base, source, " ", "_", variant)
    total, path = by_definition(base, source, variant)
    assert found.cost == total
    assert list(zip(found.source.tolist(), found.base.tolist())) == path


@pytest.mark.parametrize("variant", VARIANTS)
def test_is_its_definition_over_several_chunks(variant: Variant) -> None:
    random = np.random.default_rng(0)
    base, source = (
        ["".join(random.choice(list("abc_ "), random.integers(1, 5))) for _ in range(n)]
        for n in (150, 230)
    )
    found = dtw(base, source, " ", "_", variant)
    total, path = by_definition(base, source, variant)
    assert found.cost == total
    assert list(zip(found.source.tolist(), found.base.tolist())) == path


@given(TOKENS)
def test_equal_sequences_align_one_to_one_at_no_cost(tokens: list[str]) -> None:
    found = dtw(tokens, tokens, " ", " ")
    assert found.cost == 0
    assert found.base_to_source() == [[i] for i in range(len(tokens))]


@given(TOKENS, TOKENS)
def test_paths_cover_both_sides_and_cost_the_same_swapped(
    base: list[str], source: list[str]
) -> None:
    found = dtw(base, source, " ", "_")
    assert found.cost == dtw(source, base, "_", " ").cost
    lists = found.base_to_source()
    assert len(lists) == len(base)
    assert lists[0][0] == 0
    assert lists[-1][-1] == len(source) - 1
    for before, after in itertools.pairwise(lists):
        assert after[0] - before[-1] in (0, 1)


def test_costs_of_very_long_tokens() -> None:
    assert dtw(["a" * 700], ["b" * 600], "", "").cost == 700


@settings(max_examples=20)
@given(TOKENS, TOKENS)
def test_without_markers_nothing_is_stripped(base: list[str], source: list[str]) -> None:
    plain = cost_table(base, source, "", "", "fusellm")
    assert (plain == cost_table(base, source, "Ġ", "▁", "fusellm")).all()
