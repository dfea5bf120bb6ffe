"""`crucible store`: overview, lists, verification, repair and cleaning."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.contents import items_of, size_text
from harness.cli.main import app
from harness.cli.store import since_when
from harness.core.errors import BadData, BadRecord, UnknownName, UserError
from harness.engine.store import Store
from harness.reproduce import Reproduction, reproduce

Call = Callable[..., str]

BOARD = "target-nano+limit=4+suite=alpaca_eval2,arena_hard"


def planned() -> Reproduction:
    return reproduce("target", limit=4, suites=["alpaca_eval2", "arena_hard"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    made = planned()
    made.run(tmp_path_factory.mktemp("cli") / "store")
    made.write_board(command="crucible reproduce target --limit 4")
    return made


@pytest.fixture
def home(finished: Reproduction, tmp_path: Path) -> Path:
    assert finished.store is not None
    return Path(shutil.copytree(finished.store.root, tmp_path / "store"))


@pytest.fixture
def call(home: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """`call("store", "ls")`: what it prints; errors are raised."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("CRUCIBLE_HOME", str(home))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, list(arguments))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    return run


def artifact(finished: Reproduction, operation: str) -> str:
    return next(s.id for s in finished.plan.stages.values() if s.operation.name == operation)


def test_the_overview_gives_sizes_and_boards(call: Call, finished: Reproduction) -> None:
    said = call("store")
    rows = [line.split() for line in said.splitlines()]
    assert ["model", "import_model", "1"] in [row[:3] for row in rows]
    assert any(row[:2] == ["scores", "score_arena"] and row[-1] == BOARD for row in rows)
    assert f"{len(finished.plan.stages)} artifacts, " in said
    assert f"board {BOARD}: {len(finished.plan.stages)} artifacts" in said


def test_artifacts_are_listed_newest_first_with_what_they_are(
    call: Call, finished: Reproduction
) -> None:
    listed = json.loads(call("store", "ls", "--json"))
    assert [item["finished"] for item in listed] == sorted(
        (item["finished"] for item in listed), reverse=True
    )
    scores = next(item for item in listed if item["operation"] == "score_arena")
    assert (scores["kind"], scores["models"], scores["suites"], scores["judge"]) == (
        "scores", ["nano:target@2"], ["arena_hard"], "nano:oracle",
    )  # fmt: skip
    answers = next(item for item in listed if item["operation"] == "sample")
    assert (answers["rows"], answers["models"]) == (4, ["nano:target@2"])
    assert "nano:target" in answers["title"]
    assert answers["boards"] == [BOARD]


def test_lists_are_filtered_by_kind_operation_and_time(call: Call) -> None:
    assert len(call("store", "ls", "--kind", "scores").splitlines()) == 2
    assert len(call("store", "ls", "--kind", "import_model").splitlines()) == 1
    assert call("store", "ls", "--since", "1d") == call("store", "ls")
    assert call("store", "ls", "--since", "2999-01-01") == ""
    with pytest.raises(UnknownName, match="did you mean"):
        call("store", "ls", "--kind", "socres")
    with pytest.raises(BadRecord, match="expected a date"):
        call("store", "ls", "--since", "yesterday")
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert since_when("36h", now) == "2026-02-28T00:00:00Z"
    assert [size_text(n) for n in (0, 9_999, 1e14)] == ["0 B", "10 kB", "100.0 TB"]


def test_damage_is_listed_then_set_aside_then_made_again(
    call: Call, home: Path, finished: Reproduction
) -> None:
    id = artifact(finished, "judge_arena")
    path = home / "artifacts" / id[:2] / id / "rows.jsonl"
    path.write_bytes(path.read_bytes().replace(b"A", b"B"))
    with pytest.raises(BadData, match=r"1 artifacts of .* are damaged.*--repair"):
        call("store", "verify")
    assert "damaged    rows.jsonl has another content" in call("show", id)
    assert json.loads(call("show", id, "--json"))["damaged"].startswith("rows.jsonl")
    said = call("store", "verify", "--repair")
    assert "1 damaged artifacts and 1 made from them are now in" in said
    assert f"{BOARD}: crucible reproduce target --limit 4" in said
    assert f"{len(finished.plan.stages) - 2} artifacts are what was written" in call(
        "store", "verify"
    )
    again = planned()
    assert len(again.run(home).executed) == 2
    assert again.render("json") == finished.render("json")


def test_artifacts_of_an_earlier_version_are_not_verified(call: Call, home: Path) -> None:
    for path in home.glob("artifacts/*/*/manifest.json"):
        old = json.loads(path.read_text())
        del old["files"], old["digest"]
        path.write_text(json.dumps(old))
    said = call("store", "verify")
    assert "0 artifacts are what was written" in said
    assert "have no digests: not verified" in said


def test_a_damaged_artifact_does_not_hide_the_others(
    call: Call, home: Path, finished: Reproduction
) -> None:
    for operation, content in (("score_arena", "[]"), ("sample", "{"), ("judge_arena", "")):
        id = artifact(finished, operation)
        (home / "artifacts" / id[:2] / id / "manifest.json").write_text(content)
    assert "target/alpaca_eval2/" in call("show")
    assert call("store").count("damaged") >= 1
    with pytest.raises(BadData, match=r"is damaged: manifest.json contains list"):
        call("show", artifact(finished, "score_arena"))
    assert len(json.loads(call("store", "ls", "--kind", "damaged", "--json"))) == 3


def test_cleaning_keeps_what_compact_boards_use(
    call: Call, home: Path, finished: Reproduction
) -> None:
    call("board", BOARD, "--compact")
    assert f"board {BOARD}: {len(finished.plan.stages)} artifacts" in call("store")
    call("store", "gc", "--keep-boards")
    assert {item.id for item in items_of(Store(home))} == set(finished.plan.stages)


def test_cleaning_keeps_what_boards_use(call: Call, home: Path, finished: Reproduction) -> None:
    other = reproduce("target", limit=3, suites=["alpaca_eval2"])
    executed = set(other.run(home).executed)
    assert executed
    (home / "partial" / "unfinished").mkdir()
    (home / "partial" / "unfinished" / "journal.jsonl").write_text("x" * 5000)
    said = call("store", "gc", "--keep-boards", "--dry-run")
    assert "nothing was removed" in said
    assert {line.split()[0] for line in said.splitlines() if "rows" in line} <= {
        id[:12] for id in executed
    }
    assert reproduce("target", limit=3, suites=["alpaca_eval2"]).run(home).executed == ()
    assert f"{len(executed)} artifacts and 1 leftovers" in call("store", "gc", "--keep-boards")
    assert {item.id for item in items_of(other.store)} == set(finished.plan.stages)  # type: ignore[arg-type]
    assert not (home / "partial" / "unfinished").exists()
    again = planned()
    assert again.run(home).executed == ()
    assert call("store", "gc").startswith("0 artifacts and 0 leftovers")


def test_cleaning_refuses_to_remove_everything_or_to_disturb_a_run(
    call: Call, home: Path, finished: Reproduction
) -> None:
    assert finished.store is not None
    store = type(finished.store)(home)
    with store.lock("ab" * 16), pytest.raises(UserError, match="a run is working on ababababab"):
        call("store", "gc")
    (home / "boards" / BOARD / "cells.jsonl").unlink()
    with pytest.raises(UserError, match="nothing would be kept"):
        call("store", "gc", "--keep-boards")
    with pytest.raises(UserError, match="no store in"):
        call("store", "ls", "--store", str(home / "nowhere"))


def test_show_prints_json(call: Call, finished: Reproduction) -> None:
    listed = json.loads(call("show", "--json"))
    assert len(listed["artifacts"]) == len(finished.plan.stages)
    assert "target/arena_hard/score@42" in listed["cells"]
    shown = json.loads(call("show", "target/arena_hard/score", "--json"))
    assert shown["cell"]["metric"] == "score"
    assert len(shown["samples"]) == 4
    one = shown["samples"][0]["id"]
    found = json.loads(call("show", "target/arena_hard/score", "--row", one, "--json"))
    assert [sample["id"] for sample in found["samples"]] == [one]
    id = artifact(finished, "judge_arena")
    record = json.loads(call("show", id, "--json", "--row", one))
    assert record["row"]["id"] == one
    assert record["manifest"]["operation"] == "judge_arena"
    assert record["damaged"] == ""
