"""WRPO's `small` recipe on SmolLM2 by one command: 8 prompts, 2 sources, bfloat16, packing."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from leaderboards.files import read_board

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = (
    "Name three colours.",
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "How many days has a week?",
    "Give a synonym of quick.",
    "What is 12 plus 30?",
    "Translate 'good morning' into French.",
    "Who wrote Hamlet?",
)


def settings(target: Path, other: Path, prompts: Path, texts: Path) -> list[str]:
    """What a user changes to run the recipe without a GPU, a hub and a hosted judge."""
    found = {
        "models.target.ref": str(target),
        "models.sources": f"[{{ref='{target}'}},{{ref='{other}'}}]",
        "models.reward.ref": "nano:reward",
        "data.prompts": str(prompts),
        "systems": "[{name='target',method='target'},{name='wrpo',method='wrpo'}]",
        "claims": "[]",
        "suites": f"[{{name='perplexity',settings={{documents='{texts}',form='text'}}}}]",
    }
    for part in ("sampling", "target_sampling"):
        found |= {f"{part}.max_tokens": "32", f"{part}.n": "2"}
    return [f"--set={key}={value}" for key, value in found.items()]


def test_the_small_recipe_of_wrpo_runs_by_one_command(
    real_folder: Path, other: Path, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    rows = [{"id": f"p{number}", "prompt": text} for number, text in enumerate(PROMPTS)]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts, guide = tmp_path / "texts.jsonl", ROOT / "CONTRIBUTING.md"
    kept = [part for part in guide.read_text().split("\n\n") if 200 < len(part) < 500]
    lines = [json.dumps({"id": str(n), "text": part}) for n, part in enumerate(kept[:6])]
    texts.write_text("\n".join(lines) + "\n")
    command = [
        *(sys.executable, "-c", "from harness.cli import main; main()"),
        *("reproduce", "wrpo", "--scale", "small", "--limit", "8", "--suite", "perplexity"),
        *("--store", str(tmp_path / "store"), "--out", str(tmp_path / "board")),
        *settings(real_folder / "smollm2", other, prompts, texts),
    ]
    started = time.monotonic()
    made = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    seconds = time.monotonic() - started
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
    _, cells = read_board(tmp_path / "board")
    measured = {cell.system for cell in cells if cell.suite == "perplexity"}
    assert measured == {"target", "wrpo"}
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    figure(
        f"WRPO small on SmolLM2: {seconds:.0f} s ({used.ru_utime + used.ru_stime:.0f} s of "
        f"processor time), peak memory {used.ru_maxrss / 2**20:.2f} GiB"
    )
