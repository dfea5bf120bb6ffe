"""Published question sets about facts: where their files are, and how their rows are read.

None of their content is part of Crucible. Digests are of the rows made here from the files named in
`docs/hallucination.md`; a set without one was not available when the table was made, and is
identified by the digest of the file found.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.core.errors import unknown
from harness.data.forms import Row
from harness.data.official import PREFIX, load_piece, piece_identity
from harness.data.question_rows import QuestionSet, question_rows
from harness.data.sets import Piece
from harness.data.tables import read_table

FOLDER = "hallucination"
Read = Callable[[Path], list[Row]]
# KCA's own instructions for these two sets are not public; these ask for the same.
NOTE = (
    "Write a clinical note about the conversation between doctor and patient below, in full "
    "sentences, with the sections CHIEF COMPLAINT, HISTORY OF PRESENT ILLNESS, PHYSICAL EXAM, "
    "RESULTS, and ASSESSMENT AND PLAN. State only what the conversation says."
)
PASSAGES = "Answer the question from the passages below, in one or two sentences."


def _read(path: Path) -> list[Row]:
    return question_rows(read_table(path), str(path), name=path.name.partition(".")[0]).rows


def _truthfulqa(path: Path) -> list[Row]:
    """Both lists of answers become knowledge, because the judge cannot be expected to know them."""
    objects = []
    for item in read_table(path):
        right, wrong = (_listed(item[f"{kind} Answers"]) for kind in ("Correct", "Incorrect"))
        best = item["Best Answer"]
        known = ["Correct answers:", *right, "Incorrect answers:", *wrong]
        objects.append(
            {
                "question": item["Question"],
                "references": [best, *(answer for answer in right if answer != best)],
                "knowledge": "\n".join(known),
                "category": item["Category"],
            }
        )
    return question_rows(objects, str(path), name="truthfulqa").rows


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _aci_bench(path: Path) -> list[Row]:
    """The three test files in order; `path` is the first."""
    objects = []
    for number in "123":
        for item in read_table(path.with_name(path.name.replace("test1", f"test{number}"))):
            objects.append(
                {
                    "id": item["encounter_id"],
                    "instruction": f"{NOTE}\n\n{item['dialogue']}",
                    "references": [item["note"]],
                    "category": item["dataset"],
                }
            )
    return question_rows(objects, str(path)).rows


def _ms_marco(path: Path) -> list[Row]:
    """KCA's form (Instruction, Reference_Answers), or Microsoft's (query, passages, answers)."""
    objects = read_table(path)
    if objects and "query" in objects[0]:
        objects = [_with_passages(item) for item in objects]
    return question_rows(objects, str(path), name="ms_marco").rows


def _with_passages(item: Row) -> Row:
    texts = item["passages"]["passage_text"]
    shown = "\n".join(f"[{number}] {text}" for number, text in enumerate(texts, 1))
    return {
        "id": item.get("query_id"),
        "instruction": f"{PASSAGES}\n\n{shown}\n\nQuestion: {item['query']}",
        "references": item.get("wellFormedAnswers") or item["answers"],
    }


def _wizardlm(path: Path) -> list[Row]:
    objects = [
        {"id": item["idx"], "instruction": item["Instruction"], "category": item["Skill"]}
        for item in read_table(path)
    ]
    return question_rows(objects, str(path)).rows


def _halueval(path: Path) -> list[Row]:
    """Ids of the published file are incomplete and repeat; rows get ids of their own."""
    objects = [{"source_id" if k == "ID" else k: v for k, v in r.items()} for r in read_table(path)]
    return question_rows(objects, str(path), name="halueval").rows


def _piece(
    what: str, rows: int | None, digest: str | None, names: str, read: Read, instead: str = ""
) -> Piece[list[Row]]:
    files = tuple(f"{FOLDER}/{name}" for name in names.split())
    return Piece(what, rows, digest, files, read, instead=instead)


QUESTION_SETS: dict[str, Piece[list[Row]]] = {
    "lima_eval": _piece(
        "LIMA's 300 test prompts",
        300,
        None,
        "lima_test.jsonl test.jsonl",
        _read,
        "; the set is gated: accept its terms on the hub and name GAIR/lima:test@<commit> as "
        "prompts, or give a file",
    ),
    "vicuna_eval": _piece(
        "the questions of VicunaBench",
        80,
        "e4e15d0614319c0089c11e8b9f3f46c5",
        "vicuna_bench_question.jsonl",
        _read,
    ),
    "wizardlm_eval": _piece(
        "the WizardLM test set",
        218,
        "b9aef5851f1a415286d70c85153ec431",
        "wizardlm_testset.jsonl",
        _wizardlm,
    ),
    "truthfulqa": _piece(
        "the questions of TruthfulQA",
        817,
        "c6c1c922496b7a9b9d21df4afc132f66",
        "truthfulqa.jsonl TruthfulQA.csv",
        _truthfulqa,
        "; from sylinrl/TruthfulQA on GitHub",
    ),
    "ms_marco": _piece(
        "the questions of MS MARCO",
        None,
        None,
        "msmacro_testset.jsonl ms_marco.jsonl ms_marco.parquet",
        _ms_marco,
        "; from Wanfq/KCA_data or microsoft/ms_marco on the hub",
    ),
    "aci_bench": _piece(
        "the test notes of ACI-Bench",
        120,
        "79f310ab746e255c1079cccd3b4cfb77",
        "aci_bench_test1.jsonl",
        _aci_bench,
    ),
    "simple_qa": _piece(
        "the questions of SimpleQA",
        4326,
        None,
        "simple_qa_test_set.csv",
        _read,
        "; or name OpenEvals/SimpleQA:test@<commit> as prompts, or another edition's file",
    ),
    "halueval_general": _piece(
        "HaluEval's answers with labels by people",
        4507,
        "dc927911ab9a0a28b2f872a2684dd81f",
        "halueval_general.jsonl general_data.json",
        _halueval,
        "; from RUCAIBox/HaluEval on GitHub",
    ),
}


def published_questions(ref: str, folder: Path | None = None) -> QuestionSet:
    """The set "official:<name>"; see `harness.data.official.prompts` for errors."""
    return QuestionSet.of(load_piece(ref, _found(ref), folder))


def published_identity(ref: str, folder: Path | None = None) -> str:
    """Reference and digest of the content."""
    return piece_identity(ref, _found(ref), folder)


def published_count(ref: str) -> int | None:
    return _found(ref).rows


def _found(ref: str) -> Piece[list[Row]]:
    name = ref.removeprefix(PREFIX)
    if name not in QUESTION_SETS:
        raise unknown("official question set", name, QUESTION_SETS)
    return QUESTION_SETS[name]
