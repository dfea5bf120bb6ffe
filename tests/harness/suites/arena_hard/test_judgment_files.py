"""Published Arena-Hard judgments as verdicts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from harness.judging.verdict_sets import read_verdicts


def test_published_judgments(tmp_path: Path) -> None:
    rows = [
        {"uid": "u1", "model": "m", "judge": "gpt", "games": [{"score": "B>A"}, {"score": "A>B"}]},
        {"uid": "u2", "model": "m", "judge": "gpt", "games": [{"score": "[[A]]"}, None]},
    ]
    path = tmp_path / "m.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode()))
    found = read_verdicts(path)
    assert (found.judge, found.kind, found.suite) == ("gpt", "arena", "arena_hard")
    assert [item.value for item in found.items] == [1.0, None]
    assert [item.shares for item in found.items] == [[("baseline", 0.75), ("model", 0.75)], []]
    assert found.scale == "published"
