"""Training rows from the answers of ten sources, five samples of 450 tokens each."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from measuring import Case, Work, apart
from synthetic import PROMPT, piece

from harness.core.hashing import canonical_json
from harness.data.prompts import prompts_identity
from harness.engine.plan import Handle, Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store

SOURCES, SAMPLES = 10, 5
SIZES = (200, 1_000, 5_000)


def answered(prompts: int, folder: Path) -> tuple[Plan, Handle, list[Handle]]:
    """A plan with prompts and answers, which are in the store."""
    file = folder / "prompts.jsonl"
    rows = ({"id": f"p-{n:06d}", "prompt": piece(n, PROMPT)[0]} for n in range(prompts))
    file.write_bytes(b"".join(canonical_json(row) + b"\n" for row in rows))
    plan = Plan()
    asked = plan.stage("import_prompts", ref=str(file), digest=prompts_identity(str(file), None))
    how = {"prompts": asked, "n": SAMPLES, "rewarded": True}
    scored = [plan.stage("growth_sample", system=f"source-{n}", **how) for n in range(SOURCES)]
    apart(lambda: InlineExecutor().execute(plan, [asked, *scored], Store(folder / "store")))
    return plan, asked, scored


def stage(prompts: int, folder: Path, *, name: str) -> Work:
    plan, asked, scored = answered(prompts, folder)
    if name == "candidate_table":
        target = plan.stage(name, answered=scored, domain="instruction")
    else:
        target = plan.stage(name, scored=scored, prompts=asked)
    store = Store(folder / "store")

    def work() -> dict[str, float]:
        InlineExecutor().execute(plan, [target], store)
        return {"rows": store.manifest(target.id)["files"]["rows.jsonl"]["rows"]}

    return work


CASES = {
    name: Case(partial(stage, name=name), SIZES, "prompts")
    for name in ("best_responses", "candidate_table")
}
