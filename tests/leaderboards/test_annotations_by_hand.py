"""Published annotations by hand: which rows count, what is said of the others, every field."""

from __future__ import annotations

import math
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.suites.alpaca_eval2.annotation_files import Annotations
from harness.suites.alpaca_eval2.length_control import fit_board
from harness.suites.alpaca_eval2.metrics import read_reference
from leaderboards import annotations
from leaderboards.annotations import Coverage, find_reference, inspect, published_board
from tests.leaderboards.test_annotations import N, annotate, cell, folder, save

__all__ = ["folder"]  # the fixture


def coverage(**counts: Any) -> Coverage:
    names = ("absent", "unjudged", "out_of_range", "repeated", "foreign", "unanswered", "empty")
    kept = {"kept": np.array([0]), "examples": {"missing answer": "row 3, x"}}
    return Coverage(**{**dict.fromkeys(names, 0), **kept, **counts})


def test_up_to_one_row_in_a_hundred_may_be_missing() -> None:
    assert coverage(absent=2, unjudged=1).faults(300) == []
    assert coverage(absent=2, unjudged=2).faults(300) == [
        "4 of 300 instructions absent or unjudged"
    ]
    assert coverage(absent=1, unjudged=2, unanswered=5, empty=9).faults(200) == [
        "5 x missing answer (e.g. row 3, x)", "3 of 200 instructions absent or unjudged"
    ]  # fmt: skip


def test_each_row_is_usable_or_has_one_fault() -> None:
    ids = ("a", "b", "x", "a", "c", "d", "e", "f", "y", "g", "h")
    preferences = [0.0, 1.0, 0.5, 0.5, math.nan, 1.5, -0.5, 0.5, 0.5, 0.5, 0.25]
    model = [1.0, 0.0, 1, 1, 1, 1, 1, math.nan, 1, 1, 3]
    baseline = [1.0, 1, 1, 1, 1, 1, 1, 1, 1, math.nan, 0]
    item = Annotations("m", "j", "base", ids, *map(np.array, (preferences, model, baseline)), "f")
    known = SimpleNamespace(ids=("a", "b", "c", "d", "e", "f", "g", "h", "i", "k"))
    found = inspect(item, known)  # type: ignore[arg-type]
    assert found.kept.tolist() == [0, 1, 4, 10]
    counts = {name: value for name, value in vars(found).items() if isinstance(value, int)}
    assert counts == {"absent": 2, "unjudged": 1, "out_of_range": 2, "repeated": 1, "foreign": 2,
                      "unanswered": 2, "empty": 1}  # fmt: skip
    assert found.examples == {
        "instruction outside the set": "row 2, x", "repeated instruction": "rows 0 and 3, a",
        "preference outside [1, 2]": "2.5 in row 5", "missing answer": "row 7, f",
    }  # fmt: skip
    nothing = Annotations("m", "j", "b", (), *(np.array([]),) * 3, "f")
    assert inspect(nothing, known).absent == 10  # type: ignore[arg-type]


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """38 usable rows: one failed, one with an empty answer; one repeated, one foreign."""
    made = annotate("m", 5)
    made[2]["preference"] = None
    made[3]["output_2"] = ""
    made[4]["preference"] = 1.5
    made[5]["instruction"] = "Another?"
    made[6]["output_1"] = None
    return [*made, {**made[7], "preference": 1.0}]


def test_every_field_of_the_cells_follows_from_the_usable_rows(
    folder: Path, rows: list[dict[str, Any]]
) -> None:
    cells = published_board(save(folder, rows), rounds=30, allow_partial=True)
    assert [c.metric for c in cells] == [
        "lc_win_rate",
        "win_rate",
        "discrete_win_rate",
        "avg_length",
    ]
    usable = [r for n, r in enumerate(rows[:-1]) if n not in (5, 6)]
    scored = np.array([r["preference"] - 1 for r in usable if r["preference"]])
    lengths = [len(r["output_2"]) for r in usable]
    raw, lc = cell(cells), cell(cells, "lc_win_rate")
    assert raw.value == pytest.approx(100 * scored.mean())
    counts = {"n_absent": 1, "n_unjudged": 1, "n_out_of_range": 0, "n_repeated": 1,
              "n_foreign": 1, "n_unanswered": 1, "n_empty_answers": 1,
              "partial": True, "baseline": "base"}  # fmt: skip
    official = {
        "win_rate": raw.value, "n_wins": int((scored > 0.5).sum()), "n_draws": 1,
        "n_wins_base": int((scored < 0.5).sum()), "n_total": 37,
        "avg_length": int(np.mean(lengths)), "standard_error": 100 * scored.std(ddof=1) / 37**0.5,
    }  # fmt: skip
    for name, value in (official | counts).items():
        assert raw.details[name] == pytest.approx(value), name
        assert lc.details[name] == raw.details[name]
    assert raw.details["discrete_win_rate"] == cell(cells, "discrete_win_rate").value
    assert lc.value == lc.details["length_controlled_winrate"]
    assert {"lc_mode", "lc_folds", "lc_C", "lc_standard_error", "extreme_change"} < set(lc.details)
    reference = read_reference(folder)
    for made in cells:
        assert (made.n_expected, made.n_scored, made.n_failed) == (N, 37, 3)
        assert (made.system, made.judge, made.scale) == ("m", "judge-1", "published")
        assert made.judge_fingerprint == digest(["published", "judge-1", "base"])
        assert (made.prompt_set, made.decode_fingerprint) == (digest(list(reference.ids)), None)
        assert made.primary is (made.metric in ("lc_win_rate", "win_rate"))
        assert made.unit == ("characters" if made.metric == "avg_length" else "%")
        assert counts.items() <= made.details.items()
    assert set(cells[2].details) == set(cells[3].details) == set(counts)
    assert raw.bounds == pytest.approx((100 * scored.sum() / N, 100 * (scored.sum() + 3) / N))


def test_rows_of_the_board_are_in_the_order_of_the_set(
    folder: Path, rows: list[dict[str, Any]]
) -> None:
    raw = cell(published_board(save(folder, rows), rounds=30, allow_partial=True))
    lc = cell(published_board(save(folder, rows), rounds=30, allow_partial=True), "lc_win_rate")
    assert raw.resampled is not None
    assert lc.resampled is not None
    expected = [None if n in (2, 5, 6) else 100 * (rows[n]["preference"] - 1) for n in range(N)]
    assert raw.resampled.values == pytest.approx(expected)
    assert (raw.resampled.units, raw.resampled.span) == (lc.resampled.units, (0.0, 100.0))
    assert (lc.resampled.span, lc.resampled.values) == ((0.0, 100.0), ())
    assert len(raw.replicates) == len(lc.replicates) == 30


def test_the_length_control_is_that_of_the_aligned_rows(folder: Path) -> None:
    data = annotate("m", 7)
    path = save(folder, [*annotate("n", 8), *data])
    cells = published_board(path, rounds=5)
    reference = read_reference(folder)
    lengths = [np.array([float(len(r[key])) for r in data]) for key in ("output_2", "output_1")]
    preferences = np.array([r["preference"] - 1 for r in data])
    own = annotations.Rows(preferences, *lengths, reference.difficulty)
    (fit,) = fit_board([own], anchors=reference.anchors, mode="exact")
    lc = cell(cells, "lc_win_rate")
    assert lc.value == pytest.approx(fit.lc_win_rate)
    weights = {
        f"lc_weight_{name}": w for name, w in zip(fit.columns, fit.coefficients, strict=True)
    }
    assert weights
    for name, weight in weights.items():
        assert lc.details[name] == pytest.approx(weight)
    only = published_board(path, rounds=5, models=["m"])
    assert {c.system for c in only} == {"m"}
    assert {c.system for c in cells} == {"m", "n"}


def test_the_baseline_against_itself_needs_no_fit(folder: Path) -> None:
    same = [{**row, "preference": 1.5} for row in annotate("base", 3)]
    lc = cell(published_board(save(folder, same), rounds=5), "lc_win_rate", "base")
    assert (lc.value, lc.details["lc_C"]) == (50.0, None)
    assert lc.resampled is not None
    assert lc.resampled.span is None


def test_mixtures_name_models_and_cures(folder: Path) -> None:
    for name, judge, baseline in (("m", "j1", "b1"), ("n", "j1", "b1"), ("o", "j2", "b1")):
        save(folder, annotate(name, judge=judge, baseline=baseline), name)
    with pytest.raises(BadData) as caught:
        published_board(folder)
    assert str(caught.value) == (
        "the annotations mix 2 judges, which cannot be ranked together: j1 (2, e.g. m); "
        "j2 (1, e.g. o); choose one with --judge"
    )
    save(folder, annotate("o", judge="j1", baseline="b2"), "o")
    with pytest.raises(
        BadData, match=r"b1 \(2, e.g. m\); b2 \(1, e.g. o\); keep one folder for each"
    ):
        published_board(folder)


def test_a_faulty_file_is_named_with_all_its_faults(
    folder: Path, rows: list[dict[str, Any]]
) -> None:
    with pytest.raises(BadData) as caught:
        published_board(save(folder, rows))
    said = str(caught.value)
    assert said.startswith("m (")
    for part in ("1 x repeated instruction (e.g. rows 7 and 40, ",
                 "1 x instruction outside the set", "1 x missing answer (e.g. row 6, ",
                 "2 of 40 instructions absent or unjudged",
                 "; correct the file, or score the remaining rows with --allow"):  # fmt: skip
        assert part in said


def test_reference_data_is_looked_for_three_folders_up_and_in_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    (tmp_path / "a" / "df_gamed.csv").touch()
    monkeypatch.setattr(annotations, "find_spec", lambda name: None)
    assert find_reference(deep) == tmp_path / "a"
    assert find_reference(deep / "annotations.json") == tmp_path / "a"
    (tmp_path / "a" / "df_gamed.csv").rename(tmp_path / "df_gamed.csv")
    with pytest.raises(BadData, match="was not found beside"):
        find_reference(deep)
    package = ModuleSpec("alpaca_eval", None, is_package=True)
    monkeypatch.setattr(annotations, "find_spec", lambda name: package)
    package.submodule_search_locations = None
    with pytest.raises(BadData, match="was not found beside"):
        find_reference(deep)
    for name in ("z", "y"):
        (tmp_path / "package" / name).mkdir(parents=True)
        (tmp_path / "package" / name / "df_gamed.csv").touch()
    package.submodule_search_locations = [str(tmp_path / "package")]
    assert find_reference(deep) == tmp_path / "package" / "y"
