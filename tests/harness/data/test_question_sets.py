"""Question sets from files, the hub and published files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, EnvironmentProblem, UnknownName, UserError
from harness.data import files, question_sets
from harness.data.published_questions import (
    QUESTION_SETS,
    published_count,
    published_identity,
    published_questions,
)
from harness.data.question_rows import COLUMNS, QuestionSet, question_rows
from harness.data.question_sets import (
    ImportQuestionSetParams,
    is_hub,
    question_set,
    questions_identity,
    set_rows,
)
from harness.engine.operations import Artifact

Run = Callable[..., Artifact]
ROWS = [
    {"question": "Who made it?", "knowledge": "Ada made it.", "answer": "Ada"},
    {"question": "", "knowledge": "-", "answer": "-"},
    {"question": "who  made it?", "knowledge": "", "answer": '["Ada", "Ada L."]'},
]


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_every_kind_of_file_has_the_same_rows(tmp_path: Path, run_operation: Run) -> None:
    import pyarrow
    from pyarrow import parquet

    refs = [lines(tmp_path / "q.jsonl", ROWS), str(tmp_path / "q.json"), str(tmp_path / "q.csv")]
    Path(refs[1]).write_text(json.dumps(ROWS))
    cells = [",".join('"' + value.replace('"', '""') + '"' for value in r.values()) for r in ROWS]
    Path(refs[2]).write_text("\n".join(["question,knowledge,answer", *cells]) + "\n")
    refs.append(str(tmp_path / "q.parquet"))
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), refs[3])
    made = [run_operation("import_question_set", {"ref": ref}) for ref in refs]
    rows = made[0].rows()
    assert all(other.rows() == rows for other in made)
    assert [row["references"] for row in rows] == [["Ada"], ["Ada", "Ada L."]]
    assert [row["knowledge"] for row in rows] == ["Ada made it.", ""]
    summary = made[0].read_json("summary.json")
    assert summary == {
        "source": refs[0], "identity": questions_identity(refs[0]), "n": 2,
        "n_dropped": {"no question": 1}, "n_repeated": 1,
    }  # fmt: skip


def test_a_limit_is_a_prefix_and_repeats_can_be_left_out(tmp_path: Path) -> None:
    ref = lines(tmp_path / "q.jsonl", ROWS)
    everything = set_rows(ImportQuestionSetParams(ref=ref))
    assert set_rows(ImportQuestionSetParams(ref=ref, limit=1)) == everything[:1]
    kept = question_set(ImportQuestionSetParams(ref=ref, dedup=True))
    assert kept.rows == everything[:1]
    assert kept.dropped == {"no question": 1, "repeated question": 1}


def test_foreign_columns_are_named(tmp_path: Path) -> None:
    rows = [{"Frage": "Wer?", "Wissen": "Ada", "id": 7}]
    with pytest.raises(BadData, match="no column with questions; found Frage, Wissen, id"):
        question_rows(rows, "x")
    found = question_rows(rows, "x", {"question": "Frage", "knowledge": "Wissen"}).rows
    assert (found[0]["id"], found[0]["knowledge"]) == ("7", "Ada")
    with pytest.raises(UnknownName, match='no column in x named "Frag"; did you mean "Frage"'):
        question_rows(rows, "x", {"question": "Frag"})
    with pytest.raises(UnknownName, match="column of question sets"):
        question_rows(rows, "x", {"questions": "Frage"})
    assert set(COLUMNS) == {"question", "references", "knowledge", "analysis", "class", "id"}


def test_released_rows_get_ids_of_their_own() -> None:
    """Ids of the released files are counters per list, hence repeat."""
    said = [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Ada."}]
    released = {"id": "no_need_fact_0", "conversations": said, "class": "need_and_have_fact"}
    rows = question_rows([released, released], "x", name="kca").rows
    assert len({row["id"] for row in rows}) == 2
    assert all(row["id"].startswith("kca-") for row in rows)
    assert rows[0]["source_id"] == "no_need_fact_0"
    assert rows[0]["messages"] == [{"role": "user", "content": "Who?"}]
    assert rows[0]["class"] == "need_and_have_fact"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "x: no rows"),
        ([{"question": " "}], "none of 1 rows has a question"),
        ([{"question": 3}], "row 1: question: found 3; expected a text"),
        ([{"question": [{"role": "robot", "content": "a"}]}], "row 1: question: found"),
        ([{"question": "a", "id": "1"}, {"question": "b", "id": 1}], "rows 1 and 2 both have"),
    ],
)
def test_what_cannot_be_used_is_named(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(BadData, match=message):
        question_rows(rows, "x")


def test_a_row_without_an_id_gets_one_of_its_question() -> None:
    rows = [{"question": "a", "id": 5}, {"question": "b", "id": None}, {"question": "b"}]
    found = [row["id"] for row in question_rows(rows, "x", name="s").rows]
    assert found[0] == "5"
    assert found[2] == f"{found[1]}-2"


def test_an_unknown_class_is_refused_where_its_column_is_named() -> None:
    rows = [{"question": "a", "class": "5b"}]
    assert "class" not in question_rows(rows, "x").rows[0]
    with pytest.raises(BadData, match="class is '5b'; expected no_need_fact"):
        question_rows(rows, "x", {"class": "class"})


def test_hub_sets_need_a_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="names no revision; expected org/name:test@<commit>"):
        questions_identity("org/name:test")
    asked = []

    def load(*arguments: Any) -> list[dict[str, Any]]:
        asked.append(arguments)
        return ROWS

    monkeypatch.setattr(question_sets, "load_dataset", load)
    ref = "org/name/v2.1:validation@0a1b2c"
    assert questions_identity(ref) == f"hub:{ref}"
    assert len(set_rows(ImportQuestionSetParams(ref=ref))) == 2
    assert asked == [("org/name", "validation", "0a1b2c", "v2.1")]
    assert is_hub(ref)
    assert not is_hub("org/name.csv")


def test_a_gated_set_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def load(*arguments: Any, **options: Any) -> None:
        raise datasets.exceptions.DatasetNotFoundError(
            "Dataset 'GAIR/lima' is a gated dataset on the Hub.\nVisit the dataset page to ask."
        )

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(EnvironmentProblem, match=r"^hub data set GAIR/lima is gated: .*$"):
        files.load_dataset("GAIR/lima", "test", "0a1b2c", "plain")


def test_an_absent_published_set_names_file_and_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRUCIBLE_DATA", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match=r"lima_test\.jsonl.*GAIR/lima:test@<commit>"):
        published_identity("official:lima_eval")
    with pytest.raises(UnknownName, match='no official question set named "lima"'):
        published_questions("official:lima")


def test_rows_shaped_like_sets_that_are_not_at_hand(tmp_path: Path) -> None:
    folder = tmp_path / "hallucination"
    folder.mkdir()
    passages = {"passage_text": ["It rains.", "It snows."], "is_selected": [0, 1]}
    lines(
        folder / "ms_marco.jsonl",
        [
            {"query_id": 3, "query": "What falls?", "passages": passages, "answers": ["Snow"],
             "wellFormedAnswers": ["Snow falls."]},
        ],
    )  # fmt: skip
    (row,) = published_questions("official:ms_marco", tmp_path).rows
    assert row["references"] == ["Snow falls."]
    assert "[2] It snows." in row["messages"][0]["content"]
    released = {"idx": 1, "Instruction": "Sum up.", "Reference_Answers": ["a", "b"]}
    lines(folder / "msmacro_testset.jsonl", [released])
    (row,) = published_questions("official:ms_marco", tmp_path).rows
    assert (row["id"], row["references"]) == ("1", ["a", "b"])
    text = "metadata,problem,answer\n" + "".join(f"{{}},Q{n}?,A{n}\n" for n in range(4326))
    (folder / "simple_qa_test_set.csv").write_text(text)
    found = published_questions("official:simple_qa", tmp_path)
    assert found.rows[0]["references"] == ["A0"]


def test_published_sets_are_the_published_ones(
    realdata: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = realdata("hallucination").parent
    monkeypatch.setenv("CRUCIBLE_DATA", str(root))
    for name in ("vicuna_eval", "wizardlm_eval", "truthfulqa", "aci_bench"):
        ref = f"official:{name}"
        found = published_questions(ref, root)
        assert len(found.rows) == published_count(ref) == QUESTION_SETS[name].rows
        assert questions_identity(ref) == f"{ref}@{QUESTION_SETS[name].digest}"
    assert isinstance(found, QuestionSet)
    assert all(row["references"] for row in found.rows)
