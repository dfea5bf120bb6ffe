"""Files of stored outputs of made-up systems on nano suites, for tests of evaluations."""

from __future__ import annotations

import json
from pathlib import Path

from harness.nano import world

NAMES = ("alpha", "beta", "gamma", "delta")


def write_answers(folder: Path, prompts: int = 8) -> Path:
    """out0.json to out3.json on AlpacaEval 2, the later the better, and arena.jsonl; the folder.

    Each names its system: those of NAMES, and "alpha".
    """
    for number, name in enumerate(NAMES):
        rows = [
            {
                "instruction": item.turns[0],
                "output": world.reference_answer(item)[: 12 + 25 * number],
                "generator": name,
            }
            for item in world.items("alpaca_eval2", prompts)
        ]
        (folder / f"out{number}.json").write_text(json.dumps(rows))
    lines = [
        {
            "uid": item.id,
            "model_id": NAMES[0],
            "messages": [{"role": "assistant", "content": world.reference_answer(item)}],
        }
        for item in world.items("arena_hard", prompts)
    ]
    (folder / "arena.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder
