"""Published sets: two forms of one content, digests that are held to, and messages that help."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, EnvironmentProblem, UnknownName, UserError
from harness.core.hashing import digest
from harness.data import files, forms, official
from harness.data.sets import SETS, WRONG_REFERENCES, OfficialSet, Piece

TEXTS = {"Say hi.": "hi", "Count to 3.\nPlease.": "1 2 3", "¿Qué?": "\u2028 nada"}


def lines(path: Path, objects: list[Any]) -> Path:
    text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in objects)
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = path.suffix == ".gz"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return path


def hub_form(folder: Path) -> Path:
    path = folder / "alpaca_eval2" / "alpaca_eval_gpt4_baseline.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"instruction": text, "output": said, "generator": "gpt4", "dataset": "koala"}
        for text, said in TEXTS.items()
    ]
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def joined_form(folder: Path) -> tuple[Path, Path]:
    ids = [forms.instruction_id(text) for text in TEXTS]
    numbered = [
        {"index": n, "instruction": text, "dataset": "koala"} for n, text in enumerate(TEXTS)
    ]
    outputs = [
        {"instruction_sha256_16": id, "output": said, "generator": "gpt4"}
        for id, said in zip(ids, TEXTS.values(), strict=True)
    ]
    return (
        lines(folder / "alpaca_eval2" / "instructions.jsonl.gz", numbered[::-1]),
        lines(folder / "alpaca_eval2" / "outputs_gpt4_1106_preview_baseline.jsonl.gz", outputs),
    )


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A set of three prompts, called official:small; its files are not there yet."""
    hub = files.HubFile("org/small", "all.json", "f" * 40)
    names = ("alpaca_eval2/alpaca_eval_gpt4_baseline.json", "alpaca_eval2/instructions.jsonl")
    known = digest(forms.alpaca_prompts(hub_form(tmp_path / "known")))
    prompts: Piece[list[forms.Row]] = Piece(
        "the prompts", 3, known, names, forms.alpaca_prompts, hub
    )
    free: Piece[forms.Answers] = Piece(
        "the answers", 3, None, names[:1], forms.alpaca_answers, hub, "; or give your own"
    )
    other: Piece[forms.Answers] = Piece("others", 3, None, ("x.json",), forms.alpaca_answers)
    monkeypatch.setitem(SETS, "small", OfficialSet(prompts, {"free": free, "other": other}))
    monkeypatch.setenv("CRUCIBLE_DATA", str(tmp_path / "data"))
    return "official:small"


def test_both_forms_of_alpaca_eval_are_one_content(tmp_path: Path) -> None:
    instructions, outputs = joined_form(tmp_path)
    hub = hub_form(tmp_path)
    rows = forms.alpaca_prompts(hub)
    assert rows == forms.alpaca_prompts(instructions)
    assert forms.alpaca_answers(hub) == forms.alpaca_answers(outputs)
    assert [row["messages"][0]["content"] for row in rows] == list(TEXTS)
    assert rows[0]["id"] == "e276e57b8ac9f385"  # sha256 of "Say hi."
    assert {row["dataset"] for row in rows} == {"koala"}


def test_arena_and_mt_bench_have_one_order_and_keep_what_scores_group_by(tmp_path: Path) -> None:
    asked = [
        {"uid": "b", "category": "hard_prompt", "subcategory": "math", "prompt": "1?"},
        {"uid": "a", "category": "v0.1", "cluster": "Sums", "prompt": "2?", "language": "en"},
    ]
    first, second = forms.arena_prompts(lines(tmp_path / "q.jsonl", asked))
    assert (first["id"], first["cluster"], second["subcategory"]) == ("a", "Sums", "math")
    assert "language" not in first
    said = [
        {"uid": uid, "messages": [{"role": "user", "content": "?"}, {"role": "assistant", **text}]}
        for uid, text in (("a", {"content": {"answer": "yes"}}), ("b", {"content": "no"}))
    ]
    assert forms.arena_answers(lines(tmp_path / "a.jsonl", said)) == {"a": ["yes"], "b": ["no"]}
    asked = [{"question_id": n, "category": "math", "turns": [f"{n}?", "why?"]} for n in (101, 81)]
    rows = forms.mt_prompts(lines(tmp_path / "m.jsonl", asked))
    assert [row["id"] for row in rows] == ["81", "101"]
    assert rows[0]["turns"] == ["81?", "why?"]
    assert rows[0]["messages"] == [{"role": "user", "content": "81?"}]


def test_a_local_file_is_found_packed_or_not_and_checked(small: str, tmp_path: Path) -> None:
    joined_form(tmp_path / "data")
    rows = official.prompts(small)
    assert len(rows) == 3
    assert official.prompts_identity(small) == f"{small}@{digest(rows)}"
    hub_form(tmp_path / "elsewhere")
    assert official.prompts(small, tmp_path / "elsewhere") == rows
    assert official.answers(f"{small}/free", tmp_path / "elsewhere")[rows[0]["id"]] == ["hi"]


def test_other_content_is_refused_and_says_how_to_use_it(small: str, tmp_path: Path) -> None:
    path = hub_form(tmp_path / "data")
    path.write_text(path.read_text().replace("Say hi.", "Say hello."))
    with pytest.raises(
        BadData, match=r"content [0-9a-f]{32}, expected [0-9a-f]{32}.*To use it anyway"
    ):
        official.prompts(small)
    path.write_text(json.dumps(json.loads(path.read_text())[:2]))
    with pytest.raises(BadData, match="2 rows, expected 3"):
        official.prompts(small)
    path.write_text('[{"prompt": "?"}]')
    with pytest.raises(BadData, match="does not contain the prompts: KeyError 'instruction'"):
        official.prompts(small)
    path.write_text("[3]")
    with pytest.raises(BadData, match="item 1: expected an object, found 3"):
        official.prompts(small)


def test_missing_data_names_the_places_and_what_to_type(
    small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EnvironmentProblem) as missing:
        official.prompts(small)
    for part in (str(tmp_path / "data"), "alpaca_eval_gpt4_baseline.json", "org/small/all.json"):
        assert part in str(missing.value)
    assert "unset HF_HUB_OFFLINE" in str(missing.value)
    monkeypatch.delenv("CRUCIBLE_DATA")
    with pytest.raises(EnvironmentProblem, match=r"not set.*set CRUCIBLE_DATA to a folder"):
        official.answers(f"{small}/other")
    with pytest.raises(EnvironmentProblem, match="or give your own"):
        official.answers(f"{small}/free")


def test_a_plan_needs_no_data_where_the_content_is_known(
    small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert official.prompts_identity(small).startswith(f"{small}@")
    with pytest.raises(EnvironmentProblem, match="the hub is switched off"):
        official.answers_identity(f"{small}/free")
    monkeypatch.setattr(official, "hub_reachable", lambda source: True)
    assert official.answers_identity(f"{small}/free") == f"{small}/free@hub:{'f' * 40}"
    path = hub_form(tmp_path / "data")
    found = digest(forms.alpaca_answers(path))
    assert official.answers_identity(f"{small}/free") == f"{small}/free@{found}"


def test_the_hub_is_asked_for_a_pinned_revision(
    small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    asked: list[tuple[Any, ...]] = []

    def fetched(repo: str, path: str, *, revision: str, repo_type: str) -> str:
        asked.append((repo, path, revision, repo_type))
        return str(hub_form(tmp_path / "cache"))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetched)
    assert len(official.prompts(small)) == 3
    assert asked == [("org/small", "all.json", "f" * 40, "dataset")]


def test_every_hub_file_is_pinned_to_a_full_revision() -> None:
    for item in SETS.values():
        for piece in (item.prompts, *item.answers.values(), item.tables):
            if piece is None or piece.hub is None:
                continue
            assert len(piece.hub.revision) == 40
            assert piece.hub.path.endswith((".json", ".jsonl", ".csv"))


def test_names_that_lead_nowhere() -> None:
    with pytest.raises(UnknownName, match=r'did you mean "arena_hard_v2\.0"'):
        official.prompts("official:arena_hard_v2")
    with pytest.raises(UserError, match=r"official:arena_hard_v2\.0/o3-mini-2025-01-31 or "):
        official.answers("official:arena_hard_v2.0")
    with pytest.raises(UnknownName, match='did you mean "gpt-4-0314"'):
        official.answers("official:arena_hard_v0.1/gpt-4")
    with pytest.raises(UnknownName, match="alpaca_eval2"):
        official.table_identity("official:mt_bench")


def test_counts_are_known_without_the_data() -> None:
    known = {name: official.count(f"official:{name}") for name in SETS}
    assert known == {
        "alpaca_eval2": 805,
        "arena_hard_v0.1": 500,
        "arena_hard_v2.0": 750,
        "mt_bench": 80,
        "mt_bench_corrected": 80,
        "explore_brainstorming": 208,
        "explore_rewriting": 94,
        "explore_math": 500,
    }
    assert official.count("official:arena_hard_v2.0", ["creative_writing"]) == 250


@pytest.mark.realdata
def test_the_published_files_are_what_the_table_says(
    realdata: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = realdata("alpaca_eval2").parent
    monkeypatch.setenv("CRUCIBLE_DATA", str(root))
    for name, item in SETS.items():
        rows = official.prompts(f"official:{name}")
        assert len(rows) == item.prompts.rows
        assert len({row["id"] for row in rows}) == len(rows)
    for ref in ("alpaca_eval2", "arena_hard_v0.1", "arena_hard_v2.0/o3-mini-2025-01-31"):
        found = official.answers(f"official:{ref}")
        ids = {row["id"] for row in official.prompts(f"official:{ref.split('/')[0]}")}
        assert set(found) == ids
    references = official.answers("official:mt_bench")
    assert sorted(references, key=int) == [str(n) for n in range(101, 131)]
    assert {len(turns) for turns in references.values()} == {2}
    rows = official.prompts("official:arena_hard_v2.0")
    assert Counter(row["category"] for row in rows) == SETS["arena_hard_v2.0"].categories


@pytest.mark.realdata
def test_the_difficulties_are_those_of_the_published_table(
    realdata: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.suites.alpaca_eval2.cells import _published

    folder = realdata("alpaca_eval2")
    monkeypatch.setenv("CRUCIBLE_DATA", str(folder.parent))
    found = _published("official:alpaca_eval2")
    with (folder / "instruction_table.csv").open(encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    assert list(found.ids) == [line["instruction_sha256_16"] for line in table]
    expected = [float(line["instruction_difficulty"]) for line in table]
    assert found.difficulty.tolist() == expected
    assert _published(str(folder)).anchors.preferences.tolist() == (
        found.anchors.preferences.tolist()
    )


@pytest.mark.realdata
def test_uncorrected_references_are_refused_under_the_other_name(
    realdata: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gzip.open(realdata("mt_bench") / "reference_answer_gpt-4.jsonl.gz", "rt") as stream:
        rows = [json.loads(line) for line in stream]
    monkeypatch.setenv("CRUCIBLE_DATA", str(tmp_path))
    path = lines(tmp_path / "mt_bench" / "reference_answer_corrected.jsonl", rows)
    with pytest.raises(BadData, match=f"wrong answers to {', '.join(WRONG_REFERENCES)} unchanged"):
        official.answers("official:mt_bench_corrected")
    with pytest.raises(UserError, match="use the suite mt_bench for it"):
        official.check_corrected(str(path))
    for row in rows:
        if str(row["question_id"]) in WRONG_REFERENCES:
            row["choices"][0]["turns"][0] = "right"
    lines(path, rows)
    assert official.answers("official:mt_bench_corrected")["104"][0] == "right"
    official.check_corrected(str(path))
    identity = official.answers_identity("official:mt_bench_corrected")
    assert identity != official.answers_identity("official:mt_bench")
    lines(path, rows[:-1])
    with pytest.raises(BadData, match="29 rows, expected 30"):
        official.answers_identity("official:mt_bench_corrected")


def test_references_of_another_suite_are_refused_by_name() -> None:
    with pytest.raises(UserError, match="it is another set of references"):
        official.check_corrected("official:mt_bench")
    official.check_corrected("official:mt_bench_corrected")
    official.check_corrected("nano:reference")


@pytest.mark.realdata
def test_the_hubs_form_of_the_published_instructions_is_the_same_content(
    realdata: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRUCIBLE_DATA", str(realdata("alpaca_eval2").parent))
    rows, said = (read("official:alpaca_eval2") for read in (official.prompts, official.answers))
    path = tmp_path / "alpaca_eval2" / "alpaca_eval_gpt4_baseline.json"
    path.parent.mkdir()
    hub = [
        {
            "instruction": row["messages"][0]["content"],
            "output": said[row["id"]][0],
            "generator": "gpt4_1106_preview",
            "dataset": row["dataset"],
        }
        for row in rows
    ]
    path.write_text(json.dumps(hub, ensure_ascii=False), encoding="utf-8")
    assert official.prompts("official:alpaca_eval2", tmp_path) == rows
    assert official.answers("official:alpaca_eval2", tmp_path) == said
