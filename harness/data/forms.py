"""Readers of published files: prompt rows, and answers by prompt id."""

from __future__ import annotations

import csv
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.engine.io import read_objects, read_text

Row = dict[str, Any]
Answers = dict[str, list[str]]


def instruction_id(instruction: str) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the instruction's UTF-8 bytes."""
    return sha256(instruction.encode("utf-8", errors="surrogatepass")).hexdigest()[:16]


def _asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def alpaca_prompts(path: Path) -> list[Row]:
    """From the baseline file of the hub, or from instructions with their `index`."""
    objects = read_objects(path)
    if all("index" in item for item in objects):
        objects.sort(key=lambda item: int(item["index"]))
    return [
        {
            "id": instruction_id(item["instruction"]),
            "messages": _asked(item["instruction"]),
            "dataset": item["dataset"],
        }
        for item in objects
    ]


def alpaca_answers(path: Path) -> Answers:
    """Under the digest of the instruction, which some files contain instead of it."""
    found = {}
    for item in read_objects(path):
        key = item.get("instruction_sha256_16") or instruction_id(item["instruction"])
        found[key] = [item["output"]]
    return found


def arena_prompts(path: Path) -> list[Row]:
    """From question.jsonl."""
    kept = ("category", "subcategory", "cluster")
    rows = [
        {
            "id": item["uid"],
            "messages": _asked(item["prompt"]),
            **{key: item[key] for key in kept if item.get(key) is not None},
        }
        for item in read_objects(path)
    ]
    return sorted(rows, key=lambda row: row["id"])


def arena_answers(path: Path) -> Answers:
    """From model_answer/<model>.jsonl."""
    return {
        item["uid"]: [
            said["content"]["answer"] if isinstance(said["content"], dict) else said["content"]
            for said in item["messages"]
            if said["role"] == "assistant"
        ]
        for item in read_objects(path)
    }


def mt_prompts(path: Path) -> list[Row]:
    """From question.jsonl."""
    return [
        {
            "id": str(item["question_id"]),
            "messages": _asked(item["turns"][0]),
            "turns": list(item["turns"]),
            "category": item["category"],
        }
        for item in sorted(read_objects(path), key=lambda item: int(item["question_id"]))
    ]


def mt_answers(path: Path) -> Answers:
    """From reference_answer/<judge>.jsonl, or a model's answers."""
    return {
        str(item["question_id"]): list(item["choices"][0]["turns"]) for item in read_objects(path)
    }


def domain_prompts(kind: str, path: Path) -> list[Row]:
    """From Explore-Instruct's en_eval_set.jsonl: the questions of one class."""
    return [
        {"id": item["question_id"], "messages": _asked(item["question"]), "category": kind}
        for item in read_objects(path)
        if item["class"] == kind
    ]


def domain_problems(path: Path) -> list[Row]:
    """From Explore-Instruct's MATH_eval_set_sample.jsonl."""
    return [
        {
            "id": item["question_id"],
            "messages": _asked(item["question"]),
            "solution": item["std_answer"],
            "level": item["level"],
            "subject": item["type"],
        }
        for item in read_objects(path)
    ]


def csv_rows(path: Path) -> list[Row]:
    """Rows of a CSV table: column -> text."""
    return list(csv.DictReader(read_text(path).splitlines()))
