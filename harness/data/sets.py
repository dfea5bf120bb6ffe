"""The table of published sets: their content, and the names of their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from harness.core.hashing import digest
from harness.data.files import HubFile
from harness.data.forms import (
    Answers,
    Row,
    alpaca_answers,
    alpaca_prompts,
    arena_answers,
    arena_prompts,
    csv_rows,
    domain_problems,
    domain_prompts,
    mt_answers,
    mt_prompts,
)

Content = TypeVar("Content", list[Row], Answers)


@dataclass(frozen=True)
class Piece(Generic[Content]):
    """One kind of content of a set.

    Attributes:
        what: name of the content in messages.
        rows: required number of rows; None where it is unknown.
        digest: required digest of the content; None if the published content was not available
            when the table was made. The identity is then the digest of the content found, or the
            revision of the hub.
        files: paths below $CRUCIBLE_DATA (.gz too); the first one found is read.
        hub: file of the hub that is downloaded otherwise.
        instead: other ways to proceed without the file, for the message.
        problem: function from a content to what is wrong with it, or None.
    """

    what: str
    rows: int | None
    digest: str | None
    files: tuple[str, ...]
    read: Callable[[Path], Content]
    hub: HubFile | None = None
    instead: str = ""
    problem: Callable[[Content], str | None] = lambda content: None


@dataclass(frozen=True)
class OfficialSet:
    """A published set; keys of `answers` are the models that wrote them."""

    prompts: Piece[list[Row]]
    answers: Mapping[str, Piece[Answers]]
    tables: Piece[list[Row]] | None = None
    categories: Mapping[str, int] = field(default_factory=dict)


# First digits of the digest of each reference answer of gpt-4 that is wrong in at least one turn
# (lm-sys/FastChat, pull request 3158).
WRONG_REFERENCES = {
    "104": "ea702cd5",
    "105": "d8b633a7",
    "109": "8c8d70d3",
    "111": "c823e8fc",
    "113": "8dfc64c4",
    "114": "c14b4385",
    "120": "e06a95a7",
    "122": "601aef65",
    "124": "4e57ff08",
    "125": "ce48089f",
    "126": "91b7c960",
    "128": "d123b6a3",
    "130": "b7da1ef8",
}


def _uncorrected(found: Answers) -> str | None:
    same = [id for id, old in WRONG_REFERENCES.items() if digest(found.get(id))[:8] == old]
    if len(same) < len(WRONG_REFERENCES):
        return None
    return f"it contains gpt-4's wrong answers to {', '.join(same)} unchanged"


_ALPACA = "tatsu-lab/alpaca_eval", "2edc6fad8be6b14ea7230aabfd08188da6b8b814"
_ARENA = "lmarena-ai/arena-hard-auto", "15f3746e21432264ce9b453999bde4f3c946d2e6"
_MT = "lmsys/mt-bench", "a4b674ca573c24143824ac7f60d9173e7081e37d"


def _arena_piece(version: str, rows: int, expected: str) -> Piece[list[Row]]:
    repo, revision = _ARENA
    return Piece(
        what="the prompts",
        rows=rows,
        digest=expected,
        files=(
            f"arena_hard_{version}/question.jsonl",
            f"arena-hard-{version}/question.jsonl",
            f"arena_hard/{version}_question.jsonl",
        ),
        read=arena_prompts,
        hub=HubFile(repo, f"data/arena-hard-{version}/question.jsonl", revision),
    )


def _arena_model(
    version: str, model: str, rows: int, expected: str | None, instead: str = ""
) -> Piece[Answers]:
    repo, revision = _ARENA
    return Piece(
        what=f"the answers of {model}",
        rows=rows,
        digest=expected,
        files=(
            f"arena_hard_{version}/model_answer/{model}.jsonl",
            f"arena-hard-{version}/model_answer/{model}.jsonl",
            f"arena_hard/{version}_answer_{model}.jsonl",
        ),
        read=arena_answers,
        hub=HubFile(repo, f"data/arena-hard-{version}/model_answer/{model}.jsonl", revision),
        instead=instead,
    )


_MT_QUESTIONS = Piece(
    what="the questions",
    rows=80,
    digest="fcd7939db365c3d6e69b1d5c15f6b051",
    files=("mt_bench/question.jsonl",),
    read=mt_prompts,
    hub=HubFile(_MT[0], "data/mt_bench/question.jsonl", _MT[1], "space"),
)

_EXPLORE = "; from fanqiwan/Explore-Instruct on GitHub, eval/question"


def _explore_questions(kind: str, rows: int, expected: str) -> OfficialSet:
    return OfficialSet(
        Piece(
            what=f"the {kind} questions of Explore-Instruct",
            rows=rows,
            digest=expected,
            files=("explore_instruct/en_eval_set.jsonl",),
            read=partial(domain_prompts, kind),
            instead=_EXPLORE,
        ),
        {},
    )


SETS: dict[str, OfficialSet] = {
    "alpaca_eval2": OfficialSet(
        prompts=Piece(
            what="the instructions",
            rows=805,
            digest="eee48e0199aa92632b8ffa3cb2410f4e",
            files=(
                "alpaca_eval2/alpaca_eval_gpt4_baseline.json",
                "alpaca_eval2/instructions.jsonl",
            ),
            read=alpaca_prompts,
            hub=HubFile(_ALPACA[0], "alpaca_eval_gpt4_baseline.json", _ALPACA[1]),
        ),
        answers={
            "gpt4_1106_preview": Piece(
                what="the answers of gpt4_1106_preview",
                rows=805,
                digest="e31e4fb9baeb055d1d40e51e4a497b7b",
                files=(
                    "alpaca_eval2/alpaca_eval_gpt4_baseline.json",
                    "alpaca_eval2/outputs_gpt4_1106_preview_baseline.jsonl",
                ),
                read=alpaca_answers,
                hub=HubFile(_ALPACA[0], "alpaca_eval_gpt4_baseline.json", _ALPACA[1]),
            )
        },
        tables=Piece(
            what="the judged variants of the baseline (df_gamed.csv)",
            rows=1610,
            digest="32a0de1313a6fd225ba5a5dab4c56718",
            files=("alpaca_eval2/df_gamed.csv",),
            read=csv_rows,
            hub=HubFile(_ALPACA[0], "df_gamed.csv", _ALPACA[1]),
        ),
    ),
    "arena_hard_v0.1": OfficialSet(
        prompts=_arena_piece("v0.1", 500, "77f06cdeb9a68786e6266651b23d9abe"),
        answers={
            "gpt-4-0314": _arena_model(
                "v0.1", "gpt-4-0314", 500, "0d986e5fb49c9502bb0b2170c8278156"
            )
        },
        categories={"arena-hard-v0.1": 500},
    ),
    "arena_hard_v2.0": OfficialSet(
        prompts=_arena_piece("v2.0", 750, "a4cc663827ea1d8d68568918124676d8"),
        answers={
            "o3-mini-2025-01-31": _arena_model(
                "v2.0", "o3-mini-2025-01-31", 750, "73f0c4d9a010d8063ec9cac92b0e43e8"
            ),
            "gemini-2.0-flash-001": _arena_model(
                "v2.0",
                "gemini-2.0-flash-001",
                750,
                None,
                '; or omit creative_writing: categories = ["hard_prompt"]',
            ),
        },
        categories={"hard_prompt": 500, "creative_writing": 250},
    ),
    "mt_bench": OfficialSet(
        prompts=_MT_QUESTIONS,
        answers={
            "gpt-4": Piece(
                what="the reference answers of gpt-4",
                rows=30,
                digest="2e3a6bef35c6196f1b755f5fafacaabb",
                files=(
                    "mt_bench/reference_answer/gpt-4.jsonl",
                    "mt_bench/reference_answer_gpt-4.jsonl",
                ),
                read=mt_answers,
                instead="; lm-sys/FastChat has it in fastchat/llm_judge/data/mt_bench",
            )
        },
    ),
    "mt_bench_corrected": OfficialSet(
        prompts=_MT_QUESTIONS,
        answers={
            "corrected": Piece(
                what="the corrected reference answers",
                rows=30,
                digest=None,
                files=(
                    "mt_bench/reference_answer/gpt-4-0125-preview.jsonl",
                    "mt_bench/reference_answer_corrected.jsonl",
                ),
                read=mt_answers,
                instead=(
                    "; or give your own file as `references`. The corrections are those of "
                    "lm-sys/FastChat pull request 3158 and are not part of Crucible"
                ),
                problem=_uncorrected,
            )
        },
    ),
    "explore_brainstorming": _explore_questions(
        "brainstorming", 208, "e05e1404cda9675d29d8998805146889"
    ),
    "explore_rewriting": _explore_questions("rewrite", 94, "7bc010705b226f8b9d7c97f482528d28"),
    "explore_math": OfficialSet(
        Piece(
            what="the problems of MATH",
            rows=500,
            digest="54d221b65375ec4571935883e84f4b67",
            files=(
                "explore_instruct/math_eval_set_sample.jsonl",
                "explore_instruct/MATH_eval_set_sample.jsonl",
            ),
            read=domain_problems,
            instead=_EXPLORE,
        ),
        {},
    ),
}
