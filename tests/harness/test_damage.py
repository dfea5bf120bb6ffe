"""Damage to finished artifacts: each is found, named and computed again, and the board is equal."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.engine.plan import Stage
from harness.engine.run import Silent
from harness.engine.store import Store
from harness.evaluate import Evaluation
from harness.reproduce import evaluate

Damage = Callable[[Path], object]


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing takes most of the time of these runs; see test_power_cuts.py."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def planned() -> Evaluation:
    return evaluate("nano:target", ["alpaca_eval2", "mt_bench"], limit=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished evaluation, and its board."""
    root, made = tmp_path_factory.mktemp("whole") / "store", planned()
    made.run(root)
    return root, made.render("json")


class Heard(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, stage: Stage, text: str) -> None:
        self.said.append(f"{stage.operation.name}: {text}")


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Damage:
    return lambda path: path.write_bytes(b"".join(change(path.read_bytes().splitlines(True))))


def text(old: str, new: str) -> Damage:
    def change(path: Path) -> None:
        found = path.read_text(encoding="utf-8")
        assert old in found
        path.write_text(found.replace(old, new, 1), encoding="utf-8")

    return change


def content(data: bytes) -> Damage:
    return lambda path: path.write_bytes(data)


def cut(share: float) -> Damage:
    return lambda path: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def value(key: str, new: object) -> Damage:
    """Another value in a JSON object, or in the first object of a list or of JSON lines."""

    def change(path: Path) -> None:
        whole, listed = path.read_text(encoding="utf-8"), path.name == "cells.json"
        head = json.loads(whole) if listed or path.suffix == ".json" else None
        if head is None:
            first, _, rest = whole.partition("\n")
            path.write_text(json.dumps({**json.loads(first), key: new}) + "\n" + rest)
            return
        (head[0] if listed else head)[key] = new
        path.write_text(json.dumps(head))

    return change


def without(key: str) -> Damage:
    def change(path: Path) -> None:
        found = json.loads(path.read_text())
        del found[key]
        path.write_text(json.dumps(found))

    return change


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


def one_letter(path: Path) -> None:
    data = bytearray(path.read_bytes())
    place = data.index(b'"responses":["') + len(b'"responses":["')
    data[place] ^= 1
    path.write_bytes(bytes(data))


def touched_up(path: Path) -> None:
    """Another value of the same length, and the times of the file put back."""
    status = path.stat()
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"preference":0', b'"preference":1', 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def whole_file(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_text("not a folder")


def emptied(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.mkdir()


def moved_away(path: Path) -> None:
    path.parent.rename(path.parent.with_name("gone"))
    path.parent.symlink_to("nowhere")


def another_artifacts(path: Path) -> None:
    """All files of another artifact of the same operation."""
    wanted = json.loads((path.parent / "manifest.json").read_text())["operation"]
    for other in sorted(path.parents[2].glob("*/*/manifest.json")):
        known = json.loads(other.read_text())["operation"]
        if known == wanted and other.parent != path.parent:
            shutil.copytree(other.parent, path.parent, dirs_exist_ok=True)
            return
    raise AssertionError(f"one {wanted} alone")


PROMPTS, ANSWERS = ("import_prompts", "rows.jsonl"), ("sample", "rows.jsonl")
GAMES, CELLS = ("judge_alpaca", "rows.jsonl"), ("score_alpaca", "cells.json")
TURNS, MODEL = ("join_rows", "rows.jsonl"), ("import_model", "model.json")
DAMAGES: dict[str, tuple[tuple[str, str], Damage]] = {
    "a score outside its interval": (CELLS, value("value", 96.98)),
    "a score that is text": (CELLS, value("value", "96.98")),
    "an interval": (CELLS, value("interval", None)),
    "links of a cell": (CELLS, value("artifacts", {})),
    "cells of zero bytes": (CELLS, content(b"")),
    "cells of zeros": (CELLS, lambda path: path.write_bytes(bytes(path.stat().st_size))),
    "half of the cells": (CELLS, cut(0.5)),
    "no cells": (CELLS, content(b"[]")),
    "cells missing": (CELLS, Path.unlink),
    "a folder for cells": (CELLS, folder),
    "a link for cells": (CELLS, dangling),
    "cells in brackets": (CELLS, content(b"[" * 100_000)),
    "a number of 5,000 digits": (CELLS, content(b"[{" + b'"value":' + b"9" * 5000 + b"}]")),
    "the last prompt gone": (PROMPTS, lines(lambda rows: rows[:-1])),
    "the first prompt gone": (PROMPTS, lines(lambda rows: rows[1:])),
    "prompts swapped": (PROMPTS, lines(lambda rows: rows[::-1])),
    "a prompt's category": (PROMPTS, value("category", "other")),
    "a blank line": (PROMPTS, lines(lambda rows: [*rows, b"\n"])),
    "no prompt": (PROMPTS, content(b"")),
    "prompts that are no UTF-8": (PROMPTS, lines(lambda rows: [b"\xff\xfe\n", *rows[1:]])),
    "one letter of an answer": (ANSWERS, one_letter),
    "the last answer gone": (ANSWERS, lines(lambda rows: rows[:-1])),
    "two answers swapped": (ANSWERS, lines(lambda rows: [rows[1], rows[0], *rows[2:]])),
    "an answer cut": (ANSWERS, cut(0.95)),
    "an answer that failed": (ANSWERS, value("error", "the model failed")),
    "answers of another suite": (ANSWERS, another_artifacts),
    "answers missing": (ANSWERS, Path.unlink),
    "a judgment twice": (GAMES, lines(lambda rows: [*rows, rows[-1]])),
    "a judgment for another": (GAMES, lines(lambda rows: [rows[0], *rows[:-1]])),
    "the last judgment gone": (GAMES, lines(lambda rows: rows[:-1])),
    "a verdict": (GAMES, value("preference", 0.123)),
    "a verdict, times put back": (GAMES, touched_up),
    "the last line without its end": (GAMES, lines(lambda rows: [*rows[:-1], rows[-1][:-1]])),
    "joined turns gone": (TURNS, lines(lambda rows: rows[:1])),
    "a list for a row": (TURNS, content(b"[1]\n")),
    "another model": (MODEL, text("target", "source_a")),
    "no model": (MODEL, Path.unlink),
    "a file of a model more": (MODEL, lambda p: (p.parent / "adapter_config.json").write_text("1")),
    "a list for a manifest": (("sample", "manifest.json"), content(b"[]")),
    "an empty manifest": (("sample", "manifest.json"), content(b"")),
    "a manifest without its files": (("sample", "manifest.json"), without("files")),
    "a manifest without its digest": (("sample", "manifest.json"), without("digest")),
    "another label": (("score_mt_bench", "manifest.json"), value("label", "better")),
    "other inputs": (("judge_mt_bench", "manifest.json"), value("inputs", {"responses": ["x"]})),
    "inputs of a wrong type": (("judge_mt_bench", "manifest.json"), value("inputs", {"a": 1})),
    "another operation": (("judge_alpaca", "manifest.json"), value("operation", "judge_arena")),
    "a manifest in brackets": (("judge_alpaca", "manifest.json"), content(b"[" * 100_000)),
    "manifest missing": (("score_alpaca", "manifest.json"), Path.unlink),
    "a note": (("score_alpaca", "manifest.json"), value("notes", ["all answers were cut"])),
    "a file for an artifact": (("sample", "manifest.json"), whole_file),
    "an empty folder": (("sample", "manifest.json"), emptied),
    "a link to nowhere": (("score_mt_bench", "manifest.json"), moved_away),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_mended(name: str, whole: tuple[Path, str], tmp_path: Path) -> None:
    (operation, file), damage = DAMAGES[name]
    shutil.copytree(whole[0], tmp_path / "store")
    store, made, heard = Store(tmp_path / "store"), planned(), Heard()
    stage = next(s for s in made.plan.stages.values() if s.operation.name == operation)
    damage(store.folder(stage.id) / file)
    assert store.problem(stage.id)
    summary = made.run(store, heard)
    assert stage.id in summary.executed
    dependants = {s.id for s in made.plan.stages.values() if stage.id in s.input_ids()}
    assert dependants <= set(summary.executed)
    (said,) = heard.said
    assert said.startswith(f"{operation}: artifact {stage.id[:10]} is damaged: ")
    assert os.path.lexists(store.root / "damaged" / stage.id)
    assert made.render("json") == whole[1]
    assert planned().run(store).executed == ()


def test_damage_of_an_earlier_versions_artifact_is_found_by_its_form(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    shutil.copytree(whole[0], tmp_path / "store")
    for path in (tmp_path / "store").glob("artifacts/*/*/manifest.json"):
        old = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in old.items() if k not in ("files", "digest")}))
    store, made, heard = Store(tmp_path / "store"), planned(), Heard()
    assert made.run(store).executed == ()
    for operation, damage in (
        ("sample", DAMAGES["the last answer gone"][1]),
        ("follow_up", cut(0.9)),
        ("judge_alpaca", DAMAGES["a judgment twice"][1]),
    ):
        stage = next(s for s in made.plan.stages.values() if s.operation.name == operation)
        damage(store.folder(stage.id) / "rows.jsonl")
    made.run(store, heard)
    assert len(heard.said) == 3
    assert any("occurs twice" in text for text in heard.said)
    assert made.render("json") == whole[1]
