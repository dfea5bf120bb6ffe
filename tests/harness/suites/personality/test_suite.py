"""Personality suites on systems whose labels are known, through the real engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, UserError
from harness.core.records import Cell, Record, parse
from harness.data.authors import ImportAuthorsParams, may_have_posts
from harness.data.traits import BIG_FIVE, MBTI
from harness.engine import registry
from harness.engine.operations import Artifact, Context, operation
from harness.engine.plan import Handle, Plan, StageMaker
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.suites.base import Program, Suite, System
from harness.suites.conformance import check_suite
from harness.suites.editions import resolve_settings, scale_of
from harness.suites.personality.orders import Orders
from harness.suites.personality.suite import ESSAYS_SUITE, MBTI_SUITE
from leaderboards.board import build_board
from leaderboards.compact import recomputed
from leaderboards.compare import compare_systems, mcnemar_text
from leaderboards.render import render
from leaderboards.spec import BoardSpec

SUITES = {"big_five": (ESSAYS_SUITE, BIG_FIVE), "mbti": (MBTI_SUITE, MBTI)}


class WrittenParams(Record):
    kind: str
    reverse: bool = False
    trained: bool = False


@operation("written_labels", version=1, params=WrittenParams)
def written_labels(
    context: Context, params: WrittenParams, *, authors: Artifact, train: Artifact | None = None
) -> None:
    """Labels of a known quality; every fourth author is not labelled by "silent"."""
    with (context.directory / "rows.jsonl").open("w") as stream:
        for number, row in enumerate(authors.rows()):
            labels: dict[str, Any] = {}
            for trait, gold in row["labels"].items():
                right = {"ones": 1, "gold": gold, "silent": gold, "inverted": 1 - gold}
                labels[trait] = right.get(params.kind, 7)
                if params.kind == "silent" and number % 4 == 0:
                    labels[trait] = None
            if params.reverse and number == 0:
                labels["ei"] = 1 - labels["ei"]
            status = {t: "ok" if v is not None else "refusal" for t, v in labels.items()}
            answer = {"id": row["id"], "labels": labels, "status": status}
            answer["cross_validated"] = not params.trained
            stream.write(json.dumps(answer) + "\n")


def program(kind: str, sensitive_to: frozenset[str] = frozenset()) -> Program:
    def answer(authors: Handle, stage: StageMaker, **how: Any) -> Handle:
        assert set(how) == {"orders", "train", "seed", "batch_size"}
        more = {} if how["train"] is None else {"train": how["train"], "trained": True}
        reverse = how["orders"].reverse_options
        return stage("written_labels", authors=authors, kind=kind, reverse=reverse, **more)

    return Program("label_authors", answer, sensitive_to=sensitive_to)


Evaluate = Callable[..., dict[str, Cell]]


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    """`evaluate("mbti", "ones", authors=...)`: the cells by metric."""
    store = Store(tmp_path / "store")

    def run(scheme: str, kind: str, sensitive_to: frozenset[str] = frozenset(), **settings: Any):
        plan, suite = Plan(), SUITES[scheme][0]
        system = System.of(kind, program(kind, sensitive_to), scale="paper")
        chosen = parse(suite.settings, {"rounds": 40, **settings}, "test")
        handle = suite.plan(system, chosen, plan.stage)
        InlineExecutor().execute(plan, [handle], store)
        data = store.artifact(handle.id).read_json("cells.json")
        return {cell["metric"]: parse(Cell, cell, "cells.json") for cell in data}

    return run


@pytest.fixture
def users(tmp_path: Path) -> list[dict[str, Any]]:
    kinds = ["INFP", "ESTJ", "INTJ", "ENFP", "ISTP", "INFJ", "ENTP", "INFP"]
    return [
        {"id": f"u{n}", "posts": [f"I am an {kind}", f"post {n}"], "type": kind}
        for n, kind in enumerate(kinds)
    ]


@pytest.fixture
def file(tmp_path: Path, users: list[dict[str, Any]]) -> str:
    return write(tmp_path / "users.jsonl", users)


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("scheme", SUITES)
def test_suites_conform(scheme: str, tmp_path: Path) -> None:
    suite, traits = SUITES[scheme]
    rows = [
        {"id": f"a{n}", "text": f"text {n}", **{trait.name: n % 2 for trait in traits}}
        for n in range(4)
    ]
    file = write(tmp_path / "authors.jsonl", rows)
    check_suite(suite, parse(suite.settings, {"authors": file}, "test"))
    check_suite(suite)
    assert registry.load("suites", suite.name) is suite


def test_a_perfect_system_and_its_opposite(evaluate: Evaluate, file: str) -> None:
    perfect, inverted = (evaluate("mbti", kind, authors=file) for kind in ("gold", "inverted"))
    for metric in ("macro_f1", "accuracy", "macro_f1:ei", "accuracy:jp", "macro_f1_drop"):
        assert perfect[metric].value == 100
        assert inverted[metric].value == 0
    assert perfect["abstained"].value == 0
    assert not perfect["abstained"].higher_is_better
    assert inverted["macro_f1:tf"].details["macro_f1 if inverted"] == 100
    assert "macro_f1 if inverted" not in perfect["macro_f1:tf"].details
    assert perfect["macro_f1"].details["cross_validated"] is True
    assert (perfect["macro_f1"].n_expected, perfect["macro_f1:ei"].n_expected) == (32, 8)
    assert perfect["macro_f1"].details["posts with masked type words"] == 8


def test_abstentions_under_every_policy(evaluate: Evaluate, file: str) -> None:
    cells = evaluate("mbti", "silent", authors=file)
    whole = cells["accuracy"]
    assert whole.value == pytest.approx(75)
    assert (whole.n_expected, whole.n_scored, whole.n_failed) == (32, 24, 8)
    assert whole.bounds == pytest.approx((75, 100))
    assert whole.details["abstained: refusal"] == 8
    assert cells["abstained"].value == 25
    assert cells["abstained"].n_failed == 0
    assert cells["macro_f1_drop"].value == 100
    assert cells["macro_f1"].value < cells["macro_f1_third_class"].value < 100
    other = evaluate("mbti", "silent", authors=file, policy="third_class")
    assert other["macro_f1"].value == cells["macro_f1_third_class"].value
    assert other["macro_f1_wrong"].value == cells["macro_f1"].value
    assert other["macro_f1"].judge_fingerprint != cells["macro_f1"].judge_fingerprint
    assert all(
        c.interval is None or c.interval.low <= c.value <= c.interval.high for c in cells.values()
    )


def test_the_order_of_authors_changes_nothing(
    evaluate: Evaluate, file: str, users: list[dict[str, Any]], tmp_path: Path
) -> None:
    turned = write(tmp_path / "turned.jsonl", users[::-1])
    here, there = (evaluate("mbti", "ones", authors=path) for path in (file, turned))
    for metric, cell in here.items():
        other = there[metric]
        assert len(cell.replicates) == 40
        assert (cell.value, cell.replicates) == (other.value, other.replicates), metric
        assert cell.details.get("outcomes") == other.details.get("outcomes")


def test_other_orders_are_run_and_measured(evaluate: Evaluate, file: str) -> None:
    cells = evaluate("mbti", "gold", frozenset(Orders.model_fields), authors=file, robustness=2)
    for name, cell in cells.items():
        found = recomputed(cell.prompt_set, cell.resampled, len(cell.replicates))
        assert not cell.replicates or found == pytest.approx(cell.replicates, abs=1e-4), name
    assert cells["macro_f1_worst"].value < 100
    assert cells["macro_f1_worst"].n_expected == 5 * 32
    # One of 32 labels flips in one of four other runs.
    assert cells["flip_rate"].value == pytest.approx(100 / 32 / 4)
    assert cells["flip_rate:options"].value == pytest.approx(100 / 32)
    assert cells["macro_f1_sd"].value > 0
    assert not cells["macro_f1_sd"].higher_is_better
    for sensitive, runs in ((frozenset({"item_seed"}), 3), (frozenset({"post_seed"}), 2)):
        found = evaluate("mbti", "gold", sensitive, authors=file, robustness=2)
        assert found["macro_f1_worst"].n_expected == runs * 32
        assert found["flip_rate"].value == 0
    assert "flip_rate" not in evaluate("mbti", "gold", authors=file, robustness=2)


def test_some_kinds_of_orders_can_be_left_out(evaluate: Evaluate, file: str) -> None:
    every = frozenset(Orders.model_fields)
    chosen = {"authors": file, "robustness": 2, "orders": ("options",)}
    cells = evaluate("mbti", "gold", every, **chosen)
    assert {m for m in cells if m.startswith("flip_rate:")} == {"flip_rate:options"}
    assert cells["macro_f1_worst"].n_expected == 2 * 32
    assert "flip_rate" not in evaluate("mbti", "gold", frozenset({"item_seed"}), **chosen)


@pytest.mark.parametrize("scheme", SUITES)
def test_posts_are_shuffled_only_where_authors_have_some(
    scheme: str, evaluate: Evaluate, tmp_path: Path
) -> None:
    traits = SUITES[scheme][1]
    said: dict[str, dict[str, Any]] = {"one text": {"text": "t"}, "posts": {"posts": ["a post"]}}
    files = {
        name: write(
            tmp_path / f"{name}.jsonl",
            [{"id": f"a{n}", **own, **{t.name: n % 2 for t in traits}} for n in range(4)],
        )
        for name, own in said.items()
    }
    sensitive = frozenset(Orders.model_fields) - {"reverse_options"}
    for name, orders in (("one text", {"items_0"}), ("posts", {"items_0", "posts_0"})):
        cells = evaluate(scheme, "gold", sensitive, authors=files[name], robustness=1)
        found = {metric.partition(":")[2] for metric in cells if metric.startswith("flip_rate:")}
        assert found == orders
        assert cells["macro_f1_worst"].n_expected == (1 + len(orders)) * 4 * len(traits)
    only_posts = frozenset({"post_seed"})
    assert "macro_f1_sd" not in evaluate(
        scheme, "gold", only_posts, authors=files["one text"], robustness=1
    )


def test_posts_of_a_set_that_is_not_at_hand_are_taken_from_its_scheme() -> None:
    for ref, scheme, posts in (
        ("official:essays_test", "big_five", False),
        ("official:kaggle_mbti_test", "mbti", True),
        ("org/name", "mbti", True),
        ("nano:essays/train", "big_five", False),
        ("nano:posts", "mbti", True),
    ):
        assert may_have_posts(ImportAuthorsParams(ref=ref, scheme=scheme)) == posts


def test_a_training_set_must_not_share_a_text(
    evaluate: Evaluate, file: str, users: list[dict[str, Any]], tmp_path: Path
) -> None:
    train = write(tmp_path / "train.jsonl", [{**users[0], "id": "t", "posts": ["new"]}])
    cells = evaluate("mbti", "gold", authors=file, train=train)
    assert "cross_validated" not in cells["macro_f1"].details
    leaking = write(tmp_path / "leak.jsonl", [{**users[3], "id": "t"}])
    with pytest.raises(BadData, match='"u3" and "t" of two splits'):
        evaluate("mbti", "gold", authors=file, train=leaking)


def test_labels_that_are_no_labels_are_refused(evaluate: Evaluate, file: str) -> None:
    with pytest.raises(BadData, match='author "u0": ei is 7; expected 0, 1 or null'):
        evaluate("mbti", "sevens", authors=file)


def test_a_system_of_another_task_is_refused() -> None:
    other = System.of("talker", Program("respond", lambda *given, **how: Handle("x")))
    with pytest.raises(UserError, match='answers the task "respond"'):
        ESSAYS_SUITE.plan(other, ESSAYS_SUITE.settings(), Plan().stage)
    with pytest.raises(UserError, match=r"nothing\.csv"):
        MBTI_SUITE.plan(
            System.of("ones", program("ones")),
            MBTI_SUITE.settings(authors="nothing.csv"),
            Plan().stage,
        )


@pytest.mark.parametrize("suite", [ESSAYS_SUITE, MBTI_SUITE], ids=lambda suite: suite.name)
def test_editions(suite: Suite) -> None:
    nano, official = (resolve_settings(suite, name, {}) for name in ("nano", "official"))
    assert scale_of(nano, "paper") == "nano"
    assert scale_of(official, "paper") == "paper"
    for settings, imported in ((nano, 2), (official, 1)):
        plan = Plan()
        suite.plan(System.of("ones", program("ones")), settings, plan.stage)
        names = [stage.operation.name for stage in plan.stages.values()]
        assert names.count("import_authors") == imported


def test_compare_tests_the_outcomes_and_boards_hide_them(evaluate: Evaluate, file: str) -> None:
    cells = [
        cell for kind in ("gold", "ones") for cell in evaluate("mbti", kind, authors=file).values()
    ]
    found = compare_systems(cells, "gold", "ones")
    line = next(line for line in found.lines if line.metric == "accuracy:ei")
    assert line.mcnemar is not None
    assert (line.mcnemar.b, line.mcnemar.c, line.mcnemar.p_value) == (5, 0, 2 / 2**5)
    assert mcnemar_text(line) == "; McNemar 5:0, p 0.062"
    assert next(line for line in found.lines if line.metric == "macro_f1").mcnemar is None
    board = build_board(BoardSpec(name="b", title="t"), cells)
    assert board.columns[0].metric == "accuracy"
    for format in ("html", "json", "md", "csv", "tex"):
        assert "outcomes" not in render(board, format)


@pytest.mark.realdata
def test_always_one_on_the_real_essays(
    evaluate: Evaluate, realdata: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRUCIBLE_DATA", str(realdata("personality").parent))
    cells = evaluate("big_five", "ones", authors="official:essays_test")
    assert cells["accuracy:ext"].value == pytest.approx(54.656, abs=5e-4)
    assert cells["macro_f1:ext"].value == pytest.approx(35.340, abs=5e-4)
    assert cells["macro_f1"].details["data"].startswith("official:essays_test@")


def test_a_trait_with_one_class_of_authors_has_no_interval(
    evaluate: Evaluate, tmp_path: Path, users: list[dict[str, Any]]
) -> None:
    """The F1 of a class without authors is 0 / 0, so that macro-F1 says nothing about it."""
    same = write(tmp_path / "same.jsonl", [u for u in users if u["type"].startswith("I")])
    found = evaluate("mbti", "gold", authors=same)
    for metric in ("macro_f1", "macro_f1:ei"):
        assert found[metric].details["class without authors"] == "ei"
        assert found[metric].interval.kind == "not identified"
        assert found[metric].replicates == ()
    assert found["macro_f1:tf"].interval.kind == "bootstrap over authors"
    assert found["accuracy:ei"].value == 100


def test_too_few_rows_for_mcnemar_are_said(evaluate: Evaluate, file: str) -> None:
    cells = [c for kind in ("gold", "ones") for c in evaluate("mbti", kind, authors=file).values()]
    lines = {line.metric: line for line in compare_systems(cells, "gold", "ones").lines}
    assert "McNemar: only 5 rows differ, too few for p below 0.05" in lines["accuracy:ei"].note
