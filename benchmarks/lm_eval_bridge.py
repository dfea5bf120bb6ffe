"""The lm-eval suites compared with lm-eval itself: equal scores; repeated and resumed runs.

Runs the suite `lm_nano` on a nano model, then the same three tasks by a direct call of
`lm_eval.simple_evaluate`, and compares every metric and every response. Then the suite is run
again, once unchanged and once after a kill half way through, counting the model's forward passes.
Finally measures the time to find the tasks' files.

    python benchmarks/lm_eval_bridge.py
    python benchmarks/lm_eval_bridge.py --model nano:source_c --limit 60 --scan

Claims: equal scores (1e-12) and responses; a repeated run makes no forward pass; a resumed run
makes only the missing ones and produces the same bytes; finding tasks takes less than 0.1 s.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("CRUCIBLE_DEVICE", "cpu")


class Killed(BaseException):
    """Simulates `kill -9`: no handler catches it."""


def main() -> None:
    options = parser().parse_args()
    import torch

    torch.set_num_threads(1)
    work = Path(tempfile.mkdtemp(prefix="lm-eval-bridge-"))
    try:
        report(options, work)
    finally:
        shutil.rmtree(work)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument("--model", default="nano:target")
    made.add_argument("--limit", type=int, default=None, help="documents per task")
    made.add_argument("--batch", type=int, default=16)
    made.add_argument("--scan", action="store_true", help="also time lm-eval's own scan (20 s)")
    return made


def report(options: argparse.Namespace, work: Path) -> None:
    import lm_eval  # noqa: F401  imported first, so that no measurement includes the import

    print(f"{options.model}, lm_nano, batch {options.batch}, limit {options.limit}, one thread")
    ours, seconds, passes = run_suite(options, work / "store")
    print(f"{'suite, first run':34}{seconds:8.2f} s{passes:8} passes")
    theirs, direct, direct_passes = run_directly(options, work)
    print(f"{'lm_eval.simple_evaluate':34}{direct:8.2f} s{direct_passes:8} passes")
    _, again, none = run_suite(options, work / "store")
    print(f"{'suite, repeated':34}{again:8.2f} s{none:8} passes")
    resumed, rest, missing = killed_and_resumed(options, work / "killed", passes // 2)
    print(f"{f'suite, resumed after {passes // 2} passes':34}{rest:8.2f} s{missing:8} passes")
    compare(ours, theirs)
    same = digest_of(ours) == digest_of(resumed)
    print(f"resumed rows are {'the same bytes' if same else 'DIFFERENT'}")
    print(f"tasks' files found in {seconds_to_find():.3f} s")
    if options.scan:
        print(f"lm-eval's scan of all its files: {seconds_to_scan():.1f} s")


def run_suite(options: argparse.Namespace, root: Path) -> tuple[Any, float, int]:
    """The suite's artifact, its seconds, and its number of forward passes."""
    from harness.engine.plan import Plan
    from harness.engine.run import InlineExecutor
    from harness.engine.store import Store
    from harness.models.references import model_identity
    from harness.suites.base import System
    from harness.suites.lm_eval.suite import LM_NANO, NanoSettings

    plan = Plan()
    model = plan.stage("import_model", ref=options.model, digest=model_identity(options.model))
    settings = NanoSettings(limit=options.limit, batch_size=options.batch)
    handle = LM_NANO.plan(System(options.model, model), settings, plan.stage)
    store = Store(root)
    with passes_of(options.model) as passes:
        start = time.perf_counter()
        InlineExecutor().execute(plan, [handle], store)
        seconds = time.perf_counter() - start
    (run,) = [id for id, stage in plan.stages.items() if stage.operation.name == "lm_eval_run"]
    return store.artifact(run), seconds, len(passes)


def killed_and_resumed(
    options: argparse.Namespace, root: Path, after: int
) -> tuple[Any, float, int]:
    """As `run_suite`, after a first attempt that was killed after `after` passes."""
    try:
        with passes_of(options.model, stop_after=after):
            run_suite(options, root)
    except Killed:
        pass
    return run_suite(options, root)


@contextmanager
def passes_of(ref: str, stop_after: int | None = None) -> Iterator[list[int]]:
    """A list that collects the batch size of every forward pass within the context."""
    from harness.models.checkpoints import load_causal_lm

    rows: list[int] = []

    def note(module: Any, arguments: Any, named: Any) -> None:
        if stop_after is not None and len(rows) >= stop_after:
            raise Killed
        ids = arguments[0] if arguments else named["input_ids"]
        rows.append(len(ids))

    handle = load_causal_lm(ref)[0].register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


def run_directly(options: argparse.Namespace, work: Path) -> tuple[Any, float, int]:
    """lm-eval's results for the same tasks, seconds, and number of forward passes."""
    import copy

    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from harness.models.checkpoints import load_causal_lm
    from harness.suites.lm_eval import sources
    from harness.suites.lm_eval.quiet import quiet
    from harness.suites.lm_eval.suite import NanoSettings

    model, tokenizer = load_causal_lm(options.model)
    settings = NanoSettings()
    with quiet(), passes_of(options.model) as passes:
        sources.load_tasks(settings, work / "direct")  # writes the tasks' files and data
        start = time.perf_counter()
        folders = [str(sources.OWN), str(work / "direct" / "tasks")]
        results = lm_eval.simple_evaluate(
            model=HFLM(
                pretrained=model, tokenizer=copy.deepcopy(tokenizer), batch_size=options.batch
            ),
            tasks=list(settings.tasks),
            task_manager=TaskManager(include_path=folders, include_defaults=False),
            limit=options.limit,
            bootstrap_iters=0,
            apply_chat_template=True,
        )
        seconds = time.perf_counter() - start
    return results, seconds, len(passes)


def compare(ours: Any, theirs: Any) -> None:
    """Print the largest difference of metrics and the number of equal responses."""
    from harness.suites.lm_eval.samples import plain

    known = ours.read_json("results.json")["tasks"]
    worst, metrics = 0.0, 0
    for task, about in known.items():
        for metric in about["metrics"]:
            other = theirs["results"][task][f"{metric['metric']},{metric['filter']}"]
            worst, metrics = max(worst, abs(metric["value"] - float(other))), metrics + 1
    rows = {row["id"]: row for row in ours.rows()}
    equal = total = 0
    for task, samples in theirs["samples"].items():
        for sample in samples:
            row = rows[f"{task}/{sample['filter']}/{sample['doc_id']}"]
            total += 1
            equal += row["responses"] == plain(sample["resps"])
    print(f"{metrics} metrics, largest difference {worst:.1e}; responses equal: {equal} of {total}")


def digest_of(artifact: Any) -> str:
    return hashlib.sha256((artifact.path / "rows.jsonl").read_bytes()).hexdigest()


def seconds_to_find() -> float:
    """Seconds to index the files of FuseLLM's task list."""
    from harness.suites.lm_eval import sources
    from harness.suites.lm_eval.catalogue import FUSELLM
    from harness.suites.lm_eval.quiet import quiet

    with quiet():
        start = time.perf_counter()
        folders = [sources.OWN, *sources._folders(FUSELLM.tasks, sources._manager([sources.OWN]))]
        sources._complete(FUSELLM.tasks, sources._manager(folders))
        return time.perf_counter() - start


def seconds_to_scan() -> float:
    from lm_eval.tasks import TaskManager

    start = time.perf_counter()
    TaskManager()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
