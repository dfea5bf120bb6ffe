"""Explore-Instruct: a search through the client, with faults, killed and continued."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from harness.nano.faults import FaultScript, fault
from harness.nano.server import NanoServer
from tests.explorers import ScriptedExplorer

CHILD = """
import sys
from pathlib import Path
from harness.engine.calls import CallSettings, Services
from harness.engine.plan import Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store

store, plan = Store(Path(sys.argv[1])), Plan()
model = plan.stage("import_model", ref=f"openai:scripted@{sys.argv[2]}")
tree = plan.stage("import_task_tree", ref="seed:rewriting")
how = {"model": model, "enforce": True}
tree = plan.stage("extend_task_tree", tree=tree, extension={"breadth": [4, 3]}, **how)
tree = plan.stage("enrich_task_tree", tree=tree, enrichment={"examples": 80}, **how)
settings = CallSettings(responses=store.root / "responses.sqlite", concurrency=8)
with Services(settings) as services:
    InlineExecutor(services).execute(plan, [tree], store)
print(store.folder(tree.id))
"""
FAULTS = FaultScript(
    faults=tuple(fault(f"{kind}=0.01") for kind in ("429", "500", "drop", "cut", "malformed"))
)


def run(home: Path, url: str) -> list[str]:
    return [sys.executable, "-c", CHILD, str(home), url]


def content(process: subprocess.CompletedProcess[str]) -> dict[str, bytes]:
    assert process.returncode == 0, process.stderr
    folder = Path(process.stdout.strip())
    return {
        file.name: file.read_bytes() for file in folder.iterdir() if file.name != "manifest.json"
    }


def test_a_killed_search_ends_with_the_tree_of_one_that_was_not(tmp_path: Path) -> None:
    environment = {**os.environ, "OPENAI_API_KEY": "key"}
    with NanoServer(backend=ScriptedExplorer(), faults=FAULTS, model="scripted") as server:
        whole = subprocess.run(
            run(tmp_path / "a", server.url), env=environment, capture_output=True, text=True
        )
        right = content(whole)
        asked = Counter(entry.digest for entry in server.entries if entry.outcome == "ok")
        assert len(right) == 17 + 3
        assert set(asked.values()) == {1}
        calls, kills = len(asked), 0
        for _ in range(2):
            before = server.counts()["requests"]
            killed = subprocess.Popen(run(tmp_path / "b", server.url), env=environment)
            while killed.poll() is None:
                if server.counts()["requests"] - before >= 45:
                    killed.send_signal(signal.SIGKILL)
                    kills += 1
                    break
                time.sleep(0.001)
            killed.wait()
        again = subprocess.run(
            run(tmp_path / "b", server.url), env=environment, capture_output=True, text=True
        )
        assert content(again) == right
        assert kills
        total = sum(entry.outcome == "ok" for entry in server.entries)
        # A kill may cost the answers that were under way, and nothing that had arrived.
        assert total <= 2 * calls + kills * 8
