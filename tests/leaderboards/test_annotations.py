"""Published annotations: the real board to 1e-6, both layouts, and every kind of faulty row."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.core.errors import BadData
from harness.core.records import Cell
from harness.data.forms import instruction_id
from leaderboards.annotations import SUITE, find_reference, published_board, read_annotations

N = 40
TEXTS = [f"Instruction number {k}." for k in range(N)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Reference data of a small invented evaluation set."""
    generator = np.random.default_rng(0)
    difficulty = np.round(generator.normal(size=N), 4)
    table = ["index,instruction_difficulty,instruction_sha256_16"]
    table += [f"{k},{difficulty[k]},{instruction_id(TEXTS[k])}" for k in range(N)]
    (tmp_path / "instruction_table.csv").write_text("\n".join(table))
    gamed = ["preference,index,std_delta_len,instruction_difficulty,not_gamed_baseline,model"]
    for name in ("verbose", "concise"):
        for k in range(N):
            row = (generator.uniform(), k, generator.normal(), difficulty[k], False, name)
            gamed.append(",".join(map(str, row)))
    (tmp_path / "df_gamed.csv").write_text("\n".join(gamed))
    return tmp_path


def annotate(
    model: str, seed: int = 0, judge: str = "judge-1", baseline: str = "base"
) -> list[dict]:
    generator = np.random.default_rng(seed)
    return [
        {
            "instruction": text,
            "output_1": "b" * int(generator.integers(1, 99)),
            "generator_1": baseline,
            "output_2": "m" * int(generator.integers(1, 99)),
            "generator_2": model,
            "annotator": judge,
            "preference": float(1 + generator.uniform()),
        }
        for text in TEXTS
    ]


def save(folder: Path, rows: list[dict], *parts: str) -> Path:
    path = folder.joinpath(*parts, "annotations.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
    return path


def cell(cells: list[Cell], metric: str = "win_rate", system: str = "m") -> Cell:
    (found,) = [c for c in cells if c.metric == metric and c.system == system]
    return found


def test_published_rows_of_four_models_are_reproduced(numbers: Callable[[str], Path]) -> None:
    reproduce_rows(numbers("alpaca_eval2"))


@pytest.mark.realdata
def test_published_boards_are_reproduced(realdata: Callable[[str], Path]) -> None:
    reproduce_rows(realdata("alpaca_eval2"))


def reproduce_rows(data: Path) -> None:
    """Win rates to 1e-9; LC to 1e-6 with the folds that each published row was made with."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("sklearn")
    tables = sorted(data.glob("annotations_*.parquet"))
    assert tables
    for path in tables:
        name = path.stem.removeprefix("annotations_")
        expected = json.loads((data / f"expected_{name}.json").read_text())
        assert all(entry["published_matches"] for entry in expected.values())
        made_with = {
            model: "legacy" if "folds_legacy" in entry["published_matches"] else "stable"
            for model, entry in expected.items()
        }
        cells = []
        for folds, mode in (("legacy", "compat-legacy"), ("stable", "compat-stable")):
            own = [model for model in made_with if made_with[model] == folds]
            cells += published_board(path, lc_mode=mode, models=own, rounds=20) if own else []
        for model, entry in expected.items():
            published = entry["published"]
            raw, lc = cell(cells, "win_rate", model), cell(cells, "lc_win_rate", model)
            assert raw.value == pytest.approx(published["win_rate"], abs=1e-9)
            for column in ("standard_error", "discrete_win_rate"):
                assert raw.details[column] == pytest.approx(published[column], abs=1e-9)
            for column in ("n_wins", "n_wins_base", "n_draws", "n_total"):
                assert raw.details[column] == published[column], (model, column)
            # The published mean also holds the answers of rows that were lost later.
            near = 0 if raw.n_failed == 0 else published["avg_length"] * raw.n_failed / 805 + 1
            assert raw.details["avg_length"] == pytest.approx(published["avg_length"], abs=near)
            published_lc = published["length_controlled_winrate"]
            assert lc.value == pytest.approx(published_lc, abs=1e-6), model
            if not math.isnan(published["lc_standard_error"]):
                spread = pytest.approx(published["lc_standard_error"], abs=1e-6)
                assert lc.details["lc_standard_error"] == spread
            refit = entry[f"folds_{made_with[model]}"]
            assert lc.details["lc_C"] == (refit["C"] and pytest.approx(refit["C"]))
            assert lc.interval is not None
            assert lc.interval.low <= lc.value <= lc.interval.high


def test_the_exact_mode_is_near_four_published_rows(numbers: Callable[[str], Path]) -> None:
    near_published(numbers("alpaca_eval2"), "four")


@pytest.mark.realdata
def test_the_exact_mode_is_near_the_published_board(realdata: Callable[[str], Path]) -> None:
    near_published(realdata("alpaca_eval2"), "half")


def near_published(data: Path, name: str) -> None:
    pytest.importorskip("pyarrow")
    expected = json.loads((data / f"expected_{name}.json").read_text())
    cells = published_board(data / f"annotations_{name}.parquet", rounds=20)
    assert len({c.system for c in cells}) == len(expected)
    for model, entry in expected.items():
        lc = cell(cells, "lc_win_rate", model)
        if lc.n_failed:
            continue  # the published figure has misaligned difficulties
        stable = entry["folds_stable"]
        same = lc.details["lc_C"] is None or lc.details["lc_C"] == pytest.approx(stable["C"])
        near = 0.02 if same else 0.16
        assert lc.value == pytest.approx(stable["length_controlled_winrate"], abs=near), model


@pytest.mark.realdata
def test_original_layout_of_real_outputs(realdata: Callable[[str], Path], tmp_path: Path) -> None:
    """annotations.json rebuilt from stored answers gives the very cells of the parquet table."""
    import gzip

    pq = pytest.importorskip("pyarrow.parquet")
    data = realdata("alpaca_eval2")

    def texts(name: str, key: str) -> dict[str, str]:
        with gzip.open(data / name, "rt", encoding="utf-8") as lines:
            return {r["instruction_sha256_16"]: r[key] for r in map(json.loads, lines)}

    instructions = texts("instructions.jsonl.gz", "instruction")
    answers = texts("outputs_alpaca-7b.jsonl.gz", "output")
    baseline = texts("outputs_gpt4_1106_preview_baseline.jsonl.gz", "output")
    table = pq.read_table(
        data / "annotations_half.parquet", filters=[("model", "=", "alpaca-7b")]
    ).to_pylist()
    rows = [
        {
            "instruction": instructions[r["instruction_sha256_16"]],
            "output_1": baseline[r["instruction_sha256_16"]],
            "generator_1": "gpt4_1106_preview",
            "output_2": answers[r["instruction_sha256_16"]],
            "generator_2": "alpaca-7b",
            "annotator": "weighted_alpaca_eval_gpt4_turbo",
            "preference": r["preference"],
        }
        for r in table
    ]
    path = save(tmp_path, rows, "results", "alpaca-7b", "weighted_alpaca_eval_gpt4_turbo")
    ours = published_board(path, reference_data=data, rounds=20)
    theirs = published_board(data / "annotations_half.parquet", models=["alpaca-7b"], rounds=20)
    for a, b in zip(ours, theirs):
        assert a.value == pytest.approx(b.value, abs=1e-9)
        assert a.judge_fingerprint == b.judge_fingerprint


def test_a_folder_of_models_becomes_cells(folder: Path) -> None:
    save(folder, annotate("m", 1), "results", "m", "judge-1")
    save(folder, annotate("other", 2), "results", "other")
    save(folder, [{**r, "preference": 1.5} for r in annotate("base", 3)], "results", "base")
    cells = published_board(folder, rounds=100)
    assert {c.system for c in cells} == {"base", "m", "other"}
    assert {c.scale for c in cells} == {"published"}
    assert {c.suite for c in cells} == {SUITE}
    assert {c.judge for c in cells} == {"judge-1"}
    assert len({(c.judge_fingerprint, c.prompt_set) for c in cells}) == 1
    main = [c for c in cells if c.primary]
    assert {c.metric for c in main} == {"lc_win_rate", "win_rate"}
    for c in main:
        assert c.interval is not None
        assert c.interval.low <= c.value <= c.interval.high
        assert (c.n_expected, c.n_scored, c.n_failed) == (N, N, 0)
        assert len(c.replicates) == 100
        assert c.details["partial"] is False
    assert cell(cells, "lc_win_rate", "base").value == 50.0
    assert Cell.model_validate_json(main[0].model_dump_json()) == main[0]
    official = cell(cells).details
    assert official["n_total"] == N
    assert cell(cells, "avg_length").value == official["avg_length"]
    assert published_board(folder, rounds=100) == cells


def test_row_order_does_not_matter(folder: Path) -> None:
    rows = annotate("m")
    first = published_board(save(folder, rows, "a"), reference_data=folder, rounds=20)
    second = published_board(save(folder, rows[::-1], "b"), reference_data=folder, rounds=20)
    assert first == second


def test_row_order_matters_in_the_compat_modes_as_in_the_original(folder: Path) -> None:
    pytest.importorskip("sklearn")
    rows = [{**row, "preference": row["preference"] ** 0.3 + 0.7} for row in annotate("m")]
    values = [
        cell(
            published_board(save(folder, own, name), lc_mode="compat-stable", rounds=5),
            "lc_win_rate",
        ).value
        for name, own in (("a", rows), ("b", rows[::-1]))
    ]
    assert values[0] != values[1]


def test_failed_judgments_are_counted_with_bounds(folder: Path) -> None:
    rows = annotate("m")
    rows[3]["preference"] = None
    cells = published_board(save(folder, rows), rounds=20, allow_partial=True)
    raw = cell(cells)
    assert (raw.n_expected, raw.n_scored, raw.n_failed) == (N, N - 1, 1)
    assert raw.bounds is not None
    assert raw.bounds[0] < raw.value < raw.bounds[1]
    lc = cell(cells, "lc_win_rate")
    assert lc.bounds is not None
    assert lc.bounds[0] <= lc.value <= lc.bounds[1]
    assert raw.details["n_unjudged"] == 1
    assert raw.details["partial"] is True  # one of 40 is more than 1 %
    with pytest.raises(BadData, match="1 of 40 instructions absent or unjudged"):
        published_board(save(folder, rows), rounds=20)


@pytest.mark.parametrize("mode", ["exact", "compat-stable"])
def test_absent_rows_bound_the_length_controlled_win_rate(folder: Path, mode: str) -> None:
    cells = published_board(
        save(folder, annotate("m")[:-1]), rounds=20, allow_partial=True, lc_mode=mode
    )
    lc = cell(cells, "lc_win_rate")
    assert lc.n_failed == 1
    assert lc.bounds is not None
    assert lc.bounds[0] <= lc.value <= lc.bounds[1]


@pytest.mark.parametrize("spelling", [None, -1, float("nan")])
def test_spellings_of_a_failed_judgment(folder: Path, spelling: float | None) -> None:
    rows = annotate("m")
    rows[0]["preference"] = spelling
    (item,) = read_annotations(save(folder, rows))
    assert np.isnan(item.preferences[0])
    assert not np.isnan(item.preferences[1:]).any()


def test_an_old_draw_and_an_empty_answer_are_fine(folder: Path) -> None:
    rows = annotate("m")
    rows[0]["preference"] = 0
    rows[1]["output_2"] = ""
    details = cell(published_board(save(folder, rows), rounds=20)).details
    assert details["n_draws"] == 1
    assert details["n_empty_answers"] == 1
    assert details["partial"] is False


@pytest.mark.parametrize(
    ("change", "message", "count"),
    [
        (lambda rows: rows.append(rows[0]), "repeated instruction", "n_repeated"),
        (lambda rows: rows[0].update(instruction="Who?"), "outside the set", "n_foreign"),
        (lambda rows: rows[0].update(preference=2.5), r"outside \[1, 2\]", "n_out_of_range"),
        (lambda rows: rows[0].update(preference=0.4), r"outside \[1, 2\]", "n_out_of_range"),
        (lambda rows: rows[0].update(output_2=None), "missing answer", "n_unanswered"),
        (lambda rows: rows.pop(), "absent or unjudged", "n_absent"),
    ],
)
def test_faulty_rows_are_named_or_marked(
    folder: Path, change: Callable[[list[dict]], object], message: str, count: str
) -> None:
    rows = annotate("m")
    change(rows)
    path = save(folder, rows)
    with pytest.raises(BadData, match=message):
        published_board(path, rounds=20)
    details = cell(published_board(path, rounds=20, allow_partial=True)).details
    assert details["partial"] is True
    assert details[count] == 1


@pytest.mark.parametrize("name", [{"name": "m"}, None, ["m"], ""])
@pytest.mark.parametrize("key", ["generator_1", "generator_2"])
def test_a_model_without_a_name_is_refused_by_row(folder: Path, key: str, name: object) -> None:
    rows = annotate("m")
    rows[2][key] = name
    with pytest.raises(BadData, match=f"row 2: {key} is .*; expected a name"):
        read_annotations(save(folder, rows))


def test_blanks_at_the_end_of_an_instruction_and_a_byte_order_mark_do_not_count(
    folder: Path,
) -> None:
    rows = annotate("m")
    plain = cell(published_board(save(folder, rows), rounds=20))
    for row in rows:
        row["instruction"] += " \n"
    path = save(folder, rows)
    path.write_text("\ufeff" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert cell(published_board(path, rounds=20)) == plain


def test_a_repeated_instruction_is_named_with_both_rows(folder: Path) -> None:
    rows = annotate("m")
    with pytest.raises(BadData, match=rf"rows 0 and {len(rows)}, "):
        published_board(save(folder, [*rows, rows[0]]), rounds=20)


def test_mixed_judges_and_baselines_are_refused_by_name(folder: Path) -> None:
    save(folder, annotate("m", judge="judge-1"), "m")
    save(folder, annotate("n", judge="judge-2"), "n")
    with pytest.raises(BadData, match=r"mix 2 judges.*judge-1.*judge-2"):
        published_board(folder, rounds=20)
    assert {c.system for c in published_board(folder, rounds=20, judge="judge-2")} == {"n"}
    save(folder, annotate("n", baseline="other"), "n")
    with pytest.raises(BadData, match="mix 2 baselines"):
        published_board(folder, rounds=20)


def test_one_model_in_two_files_is_refused(folder: Path) -> None:
    save(folder, annotate("m"), "a")
    save(folder, annotate("m"), "b")
    with pytest.raises(BadData, match="annotated in both"):
        published_board(folder, rounds=20)


def test_reference_data_is_found_beside_or_given_or_named_as_absent(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(folder, annotate("m"), "results", "m")
    assert find_reference(path) == folder
    assert find_reference(folder) == folder
    elsewhere = tmp_path_factory.mktemp("far") / "a" / "b" / "c" / "d"
    far = save(elsewhere, annotate("m"))
    assert find_reference(far, folder) == folder
    assert find_reference(far, folder / "df_gamed.csv") == folder
    monkeypatch.setattr("leaderboards.annotations.find_spec", lambda name: None)
    with pytest.raises(BadData, match="--reference-data"):
        find_reference(far)
    with pytest.raises(BadData, match="is not in"):
        find_reference(far, elsewhere)


def test_unreadable_files_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no annotations in"):
        read_annotations(tmp_path / "nothing")
    broken = tmp_path / "annotations.json"
    broken.write_text("{")
    with pytest.raises(BadData, match=r"annotations\.json, line 1: not JSON"):
        read_annotations(broken)
    broken.write_text("[]")
    with pytest.raises(BadData, match="has no annotations"):
        read_annotations(broken)
    broken.write_text(json.dumps([{"instruction": "x"}]))
    with pytest.raises(BadData, match="no output_1"):
        read_annotations(broken)
    rows = annotate("m")
    rows[0]["preference"] = "first"
    with pytest.raises(BadData, match="expected a number"):
        read_annotations(save(folder, rows))


def test_parquet_columns_are_checked(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "annotations.parquet"
    pq.write_table(pa.table({"model": ["m"]}), path)
    with pytest.raises(BadData, match="lacks column row"):
        read_annotations(path)
    path.write_bytes(b"nothing")
    with pytest.raises(BadData, match="not a readable parquet"):
        read_annotations(path)


def test_no_model_left_is_an_error(folder: Path) -> None:
    with pytest.raises(BadData, match="no annotations left"):
        published_board(save(folder, annotate("m")), models=["n"])
