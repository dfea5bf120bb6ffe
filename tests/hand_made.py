"""A small store made by hand: prompts, two sides' answers, judgments and cells of three suites."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.core.hashing import canonical_json, digest
from harness.core.records import Cell
from harness.engine.operations import Row
from harness.engine.store import Store
from harness.judging.judge import open_judge, protocol

JUDGE = "nano:oracle"


def game(first: str, verdict: float | str | None, reply: str = "", **more: Any) -> Row:
    """A game as the judging operations store it."""
    failure = "no verdict found in the reply (test)" if verdict is None else None
    return {
        "first": first,
        "verdict": verdict,
        "reply": reply or f"I say [[{verdict}]]",
        "attempts": 1,
        "failure": failure,
        **more,
    }


def arena_row(id: str, labels: tuple[str | None, str | None], **more: Any) -> Row:
    return {
        "id": id,
        "system": "target",
        "prompt": f"Question {id}?",
        "answers": {"model": f"answer to {id}", "baseline": f"other answer to {id}"},
        "games": [game("baseline", labels[0]), game("model", labels[1])],
        **more,
    }


def judging_params(kind: str) -> dict[str, Any]:
    """Parameters of a judge operation: the judge and its fingerprint with this protocol."""
    return {"judge": JUDGE, "fingerprint": open_judge(JUDGE, protocol(kind)).fingerprint}


class HandMade:
    """A store that can be filled by hand."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)

    def put(
        self,
        operation: str,
        rows: list[Row] | None = None,
        cells: list[Cell] | None = None,
        params: dict[str, Any] | None = None,
        inputs: dict[str, str] | None = None,
        notes: list[str] | None = None,
    ) -> str:
        id = digest([operation, rows, [str(c) for c in cells or ()], params, inputs])
        folder = self.store.fresh_output(id)
        if rows is not None:
            data = b"".join(canonical_json(row) + b"\n" for row in rows)
            (folder / "rows.jsonl").write_bytes(data)
        if cells is not None:
            text = json.dumps([cell.model_dump(mode="json") for cell in cells])
            (folder / "cells.json").write_text(text)
        manifest = {
            "id": id,
            "operation": operation,
            "label": operation,
            "version": 1,
            "params": params or {},
            "inputs": inputs or {},
            **({"notes": notes} if notes else {}),
        }
        self.store.commit(id, manifest)
        return id

    def judged(
        self,
        operation: str,
        kind: str,
        rows: list[Row],
        generations: list[Row] | None = None,
        references: list[Row] | None = None,
        **cell: Any,
    ) -> Cell:
        """Judgments, what they were made from, and a cell on top."""
        params = judging_params(kind)
        made = generations or [{"id": row["id"], "rendered": f"<s>{row['id']}"} for row in rows]
        inputs = {
            "generations": self.put("sample", made),
            "baseline": self.put("import_answers", [], params={"source": "nano:plain"}),
        }
        if references is not None:
            inputs["references"] = self.put("import_answers", references)
        judgments = self.put(operation, rows, params=params, inputs=inputs)
        artifacts = {"judgments": judgments, "generations": inputs["generations"]}
        found = self.cell(artifacts=artifacts, n=len(rows), **cell)
        self.put(f"score_{kind}", cells=[found], inputs={"judgments": judgments})
        return found

    def cell(self, n: int = 4, **fields: Any) -> Cell:
        return Cell.model_validate(
            {
                "system": "target",
                "suite": "arena_hard",
                "metric": "score",
                "value": 50.0,
                "n_expected": n,
                "n_scored": n,
                "n_failed": 0,
                "scale": "nano",
                "judge": JUDGE,
                "judge_fingerprint": "f" * 16,
                "decode_fingerprint": None,
                "prompt_set": digest("prompts"),
                **fields,
            }
        )


def four_games(made: HandMade, **cell: Any) -> Cell:
    """An Arena-Hard cell over a win, a loss, a contradiction and a failure."""
    rows = [
        arena_row("p/win", ("B>>A", "A>B"), category="math", skill="sums"),
        arena_row("p/loss", ("A>B", "B>A"), category="coding"),
        arena_row("p/torn", ("A>B", "A>B"), category="math"),
        arena_row("p/failed", ("A>B", None), category="coding"),
    ]
    return made.judged("judge_arena", "arena", rows, **cell)


# What a model might write to break out of a terminal or a page.
HOSTILE = (
    "</script><script>document.title='OWNED'</script>",
    "<!--<script>",
    "<img src=x onerror=\"document.title='OWNED'\">",
    "\x1b[31mred\x1b[2J\x07\x00 nul",
    "[bold red]markup[/] [/nope]",
    "\u202egnp.exe\u2066 \u200b\ufeff",
    "\ud800 lone \udfff",
    "x" * 100_000,
    "line\r\nline2\rcr\u2028ls\u2029ps",
    "{{ 7*7 }}{% raw %}",
    "日本語 🦙 עברית",
    "",
)


def hostile_cell(made: HandMade) -> Cell:
    """A cell whose prompts, answers, replies, ids and categories are all hostile."""
    rows = [
        {
            "id": f"h{number} {text[:50]}",
            "system": text[:50],
            "category": text[:40],
            "prompt": text,
            "answers": {"model": text, "baseline": f"{text} b"},
            "games": [game("baseline", "A>B", text or "ok"), game("model", None, text or "no")],
        }
        for number, text in enumerate(HOSTILE)
    ]
    return made.judged("judge_arena", "arena", rows)
