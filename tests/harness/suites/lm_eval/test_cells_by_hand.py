"""Cells of lm-eval results by hand; aggregations, batches, settings and plain values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

pytest.importorskip("lm_eval")

from harness.core.errors import BadData, UserError
from harness.core.hashing import digest, file_digest
from harness.core.records import Cell
from harness.engine.operations import Row
from harness.stats.bootstrap import percentile_interval, resample_counts
from harness.suites.lm_eval import batches, settings
from harness.suites.lm_eval.answers import StoredAnswers
from harness.suites.lm_eval.cells import ScoreParams, cells_of
from harness.suites.lm_eval.measures import Measured, mean_of, measure
from harness.suites.lm_eval.samples import plain
from harness.suites.lm_eval.samples import rows as rows_of
from harness.suites.lm_eval.tasks import crucible_fusechat
from harness.suites.lm_eval.truthfulqa import mc1, mc2

RUN = {"lm_eval": "0.4", "chat_template": True, "batch_size": 16, "dtype": "float32"}


def metric(name: str, value: float | None, chosen: str = "none", **more: Any) -> Row:
    return {"metric": name, "filter": chosen, "value": value, "aggregation": "mean",
            "higher_is_better": True, **more}  # fmt: skip


def task(*metrics: Row, **more: Any) -> Row:
    return {
        "version": 2, "task_hash": "t", "config_hash": "c", "data_hash": "d", "num_fewshot": 3,
        "local": False, "generation_kwargs": None, "prompt_set": "p", "chance": None,
        "n_original": 4, "n_effective": 4, "truncated": 0, "blanks_moved": 0,
        "metrics": list(metrics), **more,
    }  # fmt: skip


def rows(name: str, **values: list[float | None]) -> list[Row]:
    """Documents in reversed order."""
    count = len(next(iter(values.values())))
    found = [
        {"doc_id": n, "filtered": ["x", ["[invalid]"]] if n == 1 else ["x"],
         "metrics": {key: each[n] for key, each in values.items()}}
        for n in range(count)
    ]  # fmt: skip
    return found[::-1]


KNOWN = {
    "run": RUN,
    "members": {"one": ["one"], "g": ["two", "three"]},
    "unavailable": {"gone": "no data"},
    "tasks": {
        "one": task(metric("acc", 0.5), metric("acc_norm", 1.0), chance=0.25, truncated=2),
        "two": task(metric("acc", 1.0), n_effective=2, prompt_set="q", blanks_moved=1),
        "three": task(metric("acc", 0.0), metric("bleu", 7.5, aggregation="custom"),
                      prompt_set="r", truncated=3, generation_kwargs={"x": 1}),
    },
    "groups": {
        "g": {"children": ["two", "three"], "version": "1.5", "averages": [
            metric("acc", 1 / 3, by_size=True, missing=["four"]),
        ]},
    },
}  # fmt: skip
ROWS = {
    ("one", "none"): rows("one", acc=[1, 0, 0, 1], acc_norm=[1, 1, None, 1]),
    ("two", "none"): rows("two", acc=[1, 1]),
    ("three", "none"): rows("three", acc=[0, 0, 0, 0], bleu=[None] * 4),
}
PARAMS: dict[str, Any] = {"suite": "s", "system": "m", "scale": "nano", "seed": 2, "rounds": 60,
                          "level": 0.9, "averages": {"mean": ("one", "g")},
                          "absent": {"other": "not here"}}  # fmt: skip


@pytest.fixture(scope="module")
def cells() -> dict[str, Cell]:
    found = cells_of(ScoreParams(**PARAMS), KNOWN, ROWS, {"results": "r"})
    return {cell.metric: cell for cell in found}


def test_a_task_has_a_cell_for_each_metric(cells: dict[str, Cell]) -> None:
    assert list(cells) == ["one:acc", "one:acc_norm", "two:acc", "three:acc", "three:bleu", "g:acc",
                           "mean", "gone", "other"]  # fmt: skip
    cell = cells["one:acc"]
    assert (cell.value, cell.unit, cell.n_expected, cell.n_failed) == (50, "%", 4, 0)
    drawn = resample_counts("p", 4, 60)
    assert cell.replicates == pytest.approx(100 * (drawn @ [1, 0, 0, 1]) / 4)
    assert (cell.interval.level, cell.interval.kind) == (0.9, "bootstrap over documents")
    assert cell.resampled.values == (100, 0, 0, 100)
    assert (cell.resampled.units, cell.resampled.span) == (4, (0, 100))
    assert cell.decode_fingerprint == digest([[None], [True, 16, "0.4"]])[:16]
    assert (cell.prompt_set, cell.artifacts, cell.seed) == ("p", {"results": "r"}, 2)
    assert cell.details == {
        "task_version": 2, "task_hash": "t", "config_hash": "c", "data_hash": "d", "shots": 3,
        "filter": "none", "local_data": False, "n_original": 4, "lm_eval": "0.4",
        "chat_template": True, "dtype": "float32", "batch_size": 16, "limited": False,
        "truncated": 2, "chance": 25, "unparsed": 1,
    }  # fmt: skip
    two = cells["two:acc"]
    assert two.interval == percentile_interval(
        two.replicates, 0.9, point=100.0, kind="bootstrap over documents", units=2,
        span=(0.0, 100.0),
    )  # fmt: skip
    lost = cells["one:acc_norm"]
    assert (lost.value, lost.n_scored, lost.n_failed, lost.bounds) == (100, 3, 1, (75, 100))
    assert [cells[f"one:{name}"].primary for name in ("acc", "acc_norm")] == [True, False]
    assert cells["two:acc"].details["limited"] is True
    assert cells["two:acc"].details["blanks_moved"] == 1
    assert "chance" not in cells["two:acc"].details
    assert not cells["two:acc"].primary  # asked for as a part of a group only


def test_a_corpus_metric_is_shown_as_it_is(cells: dict[str, Cell]) -> None:
    cell = cells["three:bleu"]
    assert (cell.value, cell.unit, cell.interval, cell.replicates) == (7.5, "points", None, ())
    assert (cell.n_scored, cell.resampled, cell.bounds) == (4, None, None)


def test_a_group_weighs_its_tasks_by_size(cells: dict[str, Cell]) -> None:
    cell = cells["g:acc"]
    assert cell.value == pytest.approx(100 * 2 / 6)
    two, three = (np.array(cells[f"{name}:acc"].replicates) for name in ("two", "three"))
    assert cell.replicates == pytest.approx((2 * two + 4 * three) / 6)
    assert (cell.n_expected, cell.primary, cell.resampled.units) == (6, True, 3)
    assert cell.interval.kind == "bootstrap over documents within tasks"
    assert cell.prompt_set == digest(["g", ["q", "r"]])
    assert cell.decode_fingerprint == digest([[None, {"x": 1}], [True, 16, "0.4"]])[:16]
    assert cell.details == {
        "tasks": 2, "weighted_by_size": True, "group_version": "1.5", "missing": "four",
        "lm_eval": "0.4", "chat_template": True, "dtype": "float32", "batch_size": 16,
        "limited": True, "truncated": 3, "blanks_moved": 1,
    }  # fmt: skip


def test_an_average_has_equal_weights(cells: dict[str, Cell]) -> None:
    cell = cells["mean"]
    assert cell.value == pytest.approx((50 + 100 / 3) / 2)
    parts = [np.array(cells[name].replicates) for name in ("one:acc", "g:acc")]
    assert cell.replicates == pytest.approx((parts[0] + parts[1]) / 2)
    assert (cell.unit, cell.primary, cell.higher_is_better) == ("%", True, True)
    assert cell.resampled.units == 4  # of 4 and 3, to the even one
    assert (cell.details["tasks"], cell.details["truncated"]) == (2, 5)
    prompts = [["one", "p"], ["two", "q"], ["three", "r"]]
    present = [["one", "acc,none"], ["g", "acc,none"]]
    assert cell.prompt_set == digest(["mean", present, prompts])


def test_what_is_missing_has_a_reason(cells: dict[str, Cell]) -> None:
    gone, other = cells["gone"], cells["other"]
    assert [(c.value, c.n_expected, c.primary, c.details) for c in (gone, other)] == [
        (None, 0, False, {"reason": "no data"}), (None, 0, False, {"reason": "not here"})
    ]  # fmt: skip
    told = PARAMS | {"headline": {"gone": "acc,none", "other": "em,x"}, "averages": {"other": ()}}
    found = cells_of(ScoreParams(**told), KNOWN, ROWS, {})
    names = {cell.metric: cell.primary for cell in found if cell.value is None}
    assert names == {"other:em:x": True, "gone:acc": True}


def test_a_deviation_beyond_rounding_is_refused() -> None:
    def check(value: float) -> None:
        one = task(metric("acc", value))
        known = {**KNOWN, "tasks": {"one": one}, "groups": {}}
        cells_of(ScoreParams(**PARAMS | {"averages": {}}), known, ROWS, {})

    check(0.5 * (1 + 1e-10))
    for value in (0.5 * (1 + 3e-9), 0.5 * (1 - 3e-9)):
        with pytest.raises(BadData, match=r"one, acc,none: the rows give 0\.5"):
            check(value)


def test_scoring_parameters() -> None:
    plain_params = ScoreParams(suite="s", system="m", scale="x")
    assert (plain_params.seed, plain_params.rounds, plain_params.level) == (0, 1000, 0.95)
    for wrong in ({"rounds": 0}, {"level": 0.0}, {"level": 1.0}):
        with pytest.raises(ValidationError):
            ScoreParams(suite="s", system="m", scale="x", **wrong)


DRAWN = np.array([[2, 0, 1], [0, 3, 0], [0, 0, 3]], np.int32)


def test_means_and_perplexities_by_hand() -> None:
    found = measure("mean", [1.0, None, 0.5], DRAWN)
    assert found is not None
    assert (found.value, found.scored, found.expected, found.span) == (0.75, 2, 3, (0, 1))
    assert found.replicates == pytest.approx([2.5 / 3, 0.75, 0.5])
    assert found.sample(100.0).values == (100, None, 50)
    assert found.sample(1.0).span is None
    low = measure("perplexity", [-1.0, -2.0, None], DRAWN)
    assert low is not None
    assert low.value == pytest.approx(math.exp(1.5))
    assert low.replicates == pytest.approx([math.e, math.exp(2), math.exp(1.5)])
    assert (low.scored, low.expected, low.units, low.span) == (2, 3, 2, None)
    assert low.sample(1.0).values == ()
    assert measure("nanmean", [1.0], DRAWN[:, :1]).value == 1  # type: ignore[union-attr]


def test_ratios_of_likelihoods_by_hand() -> None:
    values = [[-2.0, 1.0], None, [-4.0, 3.0]]
    found = measure("weighted_perplexity", values, DRAWN)
    assert found is not None
    assert found.value == pytest.approx(math.exp(6 / 4))
    expected = [math.exp(8 / 5), math.exp(6 / 4), math.exp(4 / 3)]
    assert found.replicates == pytest.approx(expected)
    assert (found.scored, found.expected, found.units) == (2, 3, 2)
    bits = measure("bits_per_byte", [[-2.0, 1.0], [None, 1.0], [-4.0, 3.0]], DRAWN)
    assert bits is not None
    assert bits.value == pytest.approx(1.5 / math.log(2))
    assert bits.replicates == pytest.approx(np.array([8 / 5, 6 / 4, 4 / 3]) / math.log(2))
    assert measure("bits_per_byte", [None], DRAWN[:, :1]).value is None  # type: ignore[union-attr]


def test_a_weighted_mean_of_measures() -> None:
    one = Measured(1.0, np.array([1.0, 0.5]), 3, 4)
    two = Measured(0.0, np.array([0.25, 0.5]), 5, 5, units=8)
    none = Measured(None, None, 0, 2)
    found = mean_of([one, none, two], [3.0, 9.0, 1.0])
    assert (found.value, found.scored, found.expected, found.units) == (0.75, 8, 11, 6)
    assert found.replicates == pytest.approx([3.25 / 4, 0.5])
    assert mean_of([one, Measured(0.5, None, 1, 1)], [1.0, 1.0]).replicates is None
    empty = mean_of([none], [1.0])
    assert (empty.value, empty.scored, empty.expected) == (None, 0, 2)


def test_batches_by_hand() -> None:
    assert batches.plain(5, 2) == [[0, 1], [2, 3], [4]]
    assert batches.plain(0, 2) == []
    pairs = [([1], [2]), ([1, 2, 3], [4, 5]), ([1], [9]), ([7, 7], [8])]
    # The longest context first; the first and third differ in the last token alone.
    assert batches.by_context(pairs, 1) == [[1], [3], [0, 2]]
    assert batches.by_context(pairs, 2) == [[1, 3], [0, 2]]
    asked = [("a", {"x": 1}), ("bb", {"x": 2}), ("ccc", {"x": 1}), ("b", {"x": 1})]
    assert batches.by_options(asked, 2, len) == [[2, 0], [3], [1]]


def test_values_become_plain_json() -> None:
    assert plain(np.float64(0.5)) == 0.5
    assert plain(np.array([1, 2])) == [1, 2]
    assert plain({1: (float("nan"), {True})}) == {"1": [None, [True]]}
    assert plain(float("inf")) is None
    assert plain([len, None, "x", 3]) == ["len", None, "x", 3]
    assert plain(Path("a")) == "a"


def test_choices_of_truthfulqa() -> None:
    assert [mc1([-1.0, -2.0]), mc1([-2.0, -1.0]), mc1([-1.0, -1.0])] == [1, 0, 1]
    assert mc2([0.0, math.log(3), 0.0], [1, 0, 1]) == pytest.approx(2 / 5)
    assert mc2([-2000.0, -2000.0], [1, 0]) == 0.5


def test_settings_of_a_run() -> None:
    found = settings.TaskSettings(tasks=("x",))
    assert found.model_dump() == {
        "tasks": ("x",), "num_fewshot": None, "limit": None, "batch_size": 16,
        "chat_template": False, "chat_template_args": {}, "system_instruction": None,
        "gen_kwargs": {}, "seeds": {"python": 0, "numpy": 1234, "torch": 1234, "fewshot": 1234},
        "data": {}, "include": (), "on_unavailable": "stop", "allow_code_execution": False,
        "think_end_token": None, "max_length": None, "dtype": None,
    }  # fmt: skip
    for wrong in ({"tasks": ()}, {"limit": 0}, {"batch_size": 0}, {"max_length": 0},
                  {"on_unavailable": "go"}, {"on_unavailable": "skips"}):  # fmt: skip
        with pytest.raises(ValidationError):
            settings.TaskSettings(**{"tasks": ("x",), **wrong})
    assert settings.TaskSettings(tasks=("x",), limit=1, batch_size=1, max_length=1).limit == 1


def test_the_content_of_a_run_is_of_its_files(tmp_path: Path) -> None:
    def content(**more: Any) -> object:
        given = settings.TaskSettings(tasks=("x",), **more)
        return settings.run_arguments(given)["content"]

    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.yaml").write_text("a")
    data = tmp_path / "data.jsonl"
    data.write_text("{}")
    plain_content = content()
    with_folder = content(include=(str(tmp_path / "own"),))
    (tmp_path / "own" / "notes.txt").write_text("ignored")
    assert content(include=(str(tmp_path / "own"),)) == with_folder != plain_content
    (tmp_path / "own" / "code.py").write_text("x = 1")
    assert content(include=(str(tmp_path / "own"),)) != with_folder
    one, two = content(data={"x": str(data)}), content(data={"x": {"test": str(data)}})
    assert len({plain_content, one, two}) == 3
    data.write_text("{} ")
    assert content(data={"x": str(data)}) != one
    with pytest.raises(UserError, match='data of task "x": no file'):
        content(data={"x": str(tmp_path / "none")})
    with pytest.raises(UserError, match="include: no folder"):
        content(include=(str(tmp_path / "none"),))


def test_the_world_of_a_run_is_that_of_its_questions() -> None:
    def world(*tasks: str) -> object:
        return settings.run_arguments(settings.TaskSettings(tasks=tasks))["world"]

    assert world("arc_easy") is None
    assert world("arc_easy", "crucible_nano_facts") == world("crucible_nano_facts") == 1
    assert settings.questions("arc_easy") is None
    assert settings.questions("nano_facts") is None


def test_files_are_digested_in_the_order_of_their_names(tmp_path: Path) -> None:
    own = [p for p in settings.OWN.rglob("*") if p.name.endswith((".py", ".yaml", "_yaml"))]
    for name in ("c.yaml", "a.py", "b_yaml"):
        (tmp_path / name).write_text(name)
    kept = [tmp_path / name for name in ("a.py", "b_yaml", "c.yaml")]
    data = {"y": {"train": str(kept[0]), "test": str(kept[1])}, "x": str(kept[2])}
    given = settings.TaskSettings(tasks=("x",), include=(str(tmp_path),), data=data)
    assert settings.run_arguments(given)["content"] == digest([
        file_digest(*sorted(own)), file_digest(*kept), ["x", "", file_digest(kept[2])],
        ["y", "test", file_digest(kept[1])], ["y", "train", file_digest(kept[0])],
    ])  # fmt: skip


def test_answers_are_stored_under_a_short_digest_of_their_model(tmp_path: Path) -> None:
    store = StoredAnswers(tmp_path, {"model": "m"})
    store.add("k", [1.5])
    store.close()
    (path,) = tmp_path.iterdir()
    assert path.name == f"answers-{digest({'model': 'm'})[:16]}.jsonl"
    assert StoredAnswers(tmp_path, {"model": "m"}).known == {"k": [1.5]}
    assert StoredAnswers(tmp_path, {"model": "n"}).known == {}


def test_a_row_has_its_question_and_continuations() -> None:
    sample = {
        "arguments": [("ask", " a"), ("ask", " b"), ("ask",), ("ask", {"until": []})],
        "filter": "none", "doc_id": 3, "doc_hash": "d", "prompt_hash": "p", "target_hash": "t",
        "target": np.int64(1), "resps": [[-1.0]], "filtered_resps": [float("nan")],
        "metrics": ["acc", "absent"], "acc": np.float64(1.0),
    }  # fmt: skip
    (row,) = rows_of({"samples": {"task": [sample]}}, {"ask": "question"})
    assert (row["id"], row["question"], row["prompt"]) == ("task/none/3", "question", "ask")
    assert row["continuations"] == [" a", " b"]
    assert (row["metrics"], row["filtered"], row["target"]) == ({"acc": 1.0}, [None], 1)
    (other,) = rows_of({"samples": {"task": [sample]}}, {})
    assert other["question"] == "p"


def test_subjects_of_mmlu_redux_are_joined_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(name: str, subject: str, *, split: str) -> datasets.Dataset:
        assert (name, split) == ("fxmarty/mmlu-redux-2.0-ok", "test")
        return datasets.Dataset.from_list([{"subject": subject}])

    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda name: list("cabd"))
    monkeypatch.setattr(datasets, "load_dataset", load)
    found = crucible_fusechat.mmlu_redux_subsets()
    assert found["test"]["subject"] == list("abcd")
