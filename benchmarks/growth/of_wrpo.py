"""The stages of WRPO that are no model's, at the paper's size, on synthetic answers.

Answers, rewards and reference log-probabilities are made by `synthetic`, through the engine's row
stages with the batch sizes of the paper profile: what is measured of them is what the engine
costs. The first source has a stage for its answers and one for their rewards, as in a run; those of
the others are made in one. All other stages are the operations of WRPO themselves; both trainings
run one update on a model of 0.3 million parameters: the way from rows to the first update.

Each stage runs in a process of its own; the peak is of the whole process, libraries included. The
answers of the first source are removed from the store when their rewards are there.
"""

from __future__ import annotations

import shutil
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measuring import child
from synthetic import PROMPT, piece, save_model

from harness.core.hashing import canonical_json
from harness.data.prompts import prompts_identity
from harness.engine.plan import Handle, Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.models.references import model_identity

SFT = {"learning_rate": 7e-6, "packing": True, "max_length": 2048}
PREFERENCE: dict[str, Any] = {
    "loss": "wrpo",
    "settings": {"beta": 0.01, "alpha_end": 0.1, "alpha_mode": "dynamic"},
    "learning_rate": 3e-7,
    "max_length": 2048,
    "max_prompt_length": 1800,
}
ONE_UPDATE = {"max_steps": 1, "per_device_batch_size": 1, "seed": 42}


def planned(options: Namespace, folder: Path) -> tuple[Plan, dict[str, Handle]]:
    """The plan, and its stages by name in the order in which they run."""
    plan, file, model = Plan(), str(folder / "prompts.jsonl"), str(folder / "model")
    made: dict[str, Handle] = {}
    prompts = plan.stage("import_prompts", ref=file, digest=prompts_identity(file, None))
    target = plan.stage("import_model", ref=model, digest=model_identity(model, None))
    made |= {"import of prompts": prompts, "import of the model": target}
    part = {
        name: plan.stage("split_prompts", prompts=prompts, part=name, fraction=1 / 3, seed=42)
        for name in ("sft", "preference")
    }
    made |= {f"split of prompts ({name})": handle for name, handle in part.items()}
    scored = []
    for number in range(options.sources):
        name = f"source-{number}"
        how = {"prompts": prompts, "system": name, "n": options.samples}
        if number:
            scored.append(plan.stage("growth_sample", **how, rewarded=True))
            made[f"answers and rewards of {name}"] = scored[-1]
            continue
        own = plan.stage("growth_sample", **how)
        scored.append(plan.stage("growth_rewards", responses=own))
        made |= {f"answers of {name}": own, f"rewards of {name}": scored[-1]}
    best = {
        name: plan.stage("best_responses", scored=scored, prompts=handle)
        for name, handle in part.items()
    }
    made |= {f"best responses ({name})": handle for name, handle in best.items()}
    made["SFT to the first update"] = plan.stage(
        "train_sft", rows=best["sft"], model=target, **SFT, **ONE_UPDATE
    )
    how = {"system": "target-sft", "n": options.samples, "tokenizer": model}
    own = plan.stage("growth_sample", prompts=part["preference"], **how)
    rated = plan.stage("growth_rewards", responses=own)
    pairs = plan.stage("preference_pairs", best=best["preference"], own=rated)
    frozen = plan.stage("growth_reference", rows=pairs)
    made |= {"own answers": own, "rewards of own answers": rated, "preference rows": pairs}
    made["reference log-probs"] = frozen
    made["training to the first update"] = plan.stage(
        "train_preference", rows=pairs, model=target, reference=frozen, **PREFERENCE, **ONE_UPDATE
    )
    return plan, made


def measure_stage(options: Namespace) -> dict[str, Any]:
    """In this process: run one stage."""
    from peak_memory import measured, peak_memory

    name, _, place = options.child
    folder = Path(place)
    plan, made = planned(options, folder)
    handle, store = made[name], Store(folder / "store")
    _, found = measured(lambda: InlineExecutor().execute(plan, [handle], store))
    files = store.manifest(handle.id)["files"]
    return {
        **found,
        "peak": peak_memory() / 2**20,
        "rows": files.get("rows.jsonl", {}).get("rows", 0),
        "written": sum(file["bytes"] for file in files.values()),
    }


def run(options: Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place)
        with (folder / "prompts.jsonl").open("wb") as stream:
            stream.writelines(_prompts(options.prompts))
        save_model(folder / "model")
        plan, made = planned(options, folder)
        store = Store(folder / "store")
        print("| stage | rows | MB written | CPU s | wall s | peak MiB |", flush=True)
        print("|---|---|---|---|---|---|", flush=True)
        sizes = [f"--prompts={options.prompts}", f"--sources={options.sources}"]
        sizes.append(f"--samples={options.samples}")
        for name, handle in made.items():
            if options.no_training and name.endswith("first update"):
                continue
            found = child("wrpo", *sizes, "--child", name, "0", place)
            _print(name, found)
            if name.startswith("rewards of"):
                answers = plan.stages[handle.id].inputs["responses"]
                store.discard(answers.id)
            if name.startswith("SFT"):
                shutil.rmtree(store.partial(handle.id), ignore_errors=True)


def _prompts(count: int) -> Iterator[bytes]:
    for number in range(count):
        text = piece(("prompt", number), PROMPT)[0]
        yield canonical_json({"id": f"prompt-{number:06d}", "prompt": text}) + b"\n"


def _print(name: str, found: dict[str, Any]) -> None:
    figures = f"{found['written'] / 1e6:,.0f} | {found['cpu']:.1f} | {found['seconds']:.1f}"
    print(f"| {name} | {found['rows']:,} | {figures} | {found['peak']:,.0f} |", flush=True)
