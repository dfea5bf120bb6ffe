"""The registry: which methods, suites, backends, judges and operations exist, and where.

Built-ins stand in literal tables; third parties add to the groups by entry points
(`crucible.methods`, `crucible.suites`, `crucible.backends`, `crucible.judges`). Nothing is
imported until it is asked for, and a plugin that fails to load is reported by name and never
breaks the others.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

from harness.errors import EnvironmentProblem, unknown
from harness.operations import OPERATIONS, Operation


@dataclass(frozen=True)
class Entry:
    """One line of a catalogue; `target` is "module:attribute"."""

    name: str
    target: str
    summary: str
    needs: tuple[str, ...] = ()
    group: str = ""
    paper: str = ""
    recipe: str = ""
    origin: str = "built-in"


SUITES = (
    Entry(
        "alpaca_eval2",
        "harness.suites.alpaca_eval2:SUITE",
        "one pairwise judgment a prompt; win rate and length-controlled win rate",
        paper="arXiv 2404.04475",
    ),
    Entry(
        "arena_hard",
        "harness.suites.arena_hard:SUITE",
        "two games with swapped order, five verdicts; Bradley-Terry and style control",
        paper="arXiv 2406.11939",
    ),
    Entry(
        "arena_hard_v0.1",
        "harness.suites.arena_hard:V01_SUITE",
        "the published 500 prompts against gpt-4-0314",
        needs=("api",),
        paper="arXiv 2406.11939",
    ),
    Entry(
        "arena_hard_v2.0",
        "harness.suites.arena_hard:V2_SUITE",
        "the published 750 prompts, each category against a baseline of its own",
        needs=("api",),
        paper="arXiv 2406.11939",
    ),
    Entry(
        "mt_bench",
        "harness.suites.mt_bench:SUITE",
        "two-turn questions graded 1 to 10; pairwise mode",
        paper="arXiv 2306.05685",
    ),
    Entry(
        "mt_bench_corrected",
        "harness.suites.mt_bench:CORRECTED_SUITE",
        "the published questions graded beside corrected references",
        needs=("api",),
        paper="arXiv 2306.05685",
    ),
    Entry(
        "lm_nano",
        "harness.suites.lm_eval:LM_NANO",
        "facts and skills of the nano world: 260 choices, 260 answers",
        needs=("lm-eval", "train"),
    ),
    Entry(
        "lm_fusellm",
        "harness.suites.lm_eval:LM_FUSELLM",
        "FuseLLM's list: BBH, common sense, TriviaQA, DROP, LAMBADA",
        needs=("lm-eval", "train"),
        paper="arXiv 2401.10491",
    ),
    Entry(
        "lm_fusechat3",
        "harness.suites.lm_eval:LM_FUSECHAT3",
        "FuseChat-3.0's list without a judge: mathematics, knowledge, code",
        needs=("lm-eval", "train"),
        paper="arXiv 2503.04222",
    ),
    Entry(
        "lm_eval",
        "harness.suites.lm_eval:LM_EVAL",
        "any tasks of lm-eval, by name",
        needs=("lm-eval", "train"),
    ),
)

BACKENDS = (
    Entry("hf", "harness.backends.hf:HFBackend", "transformers, in process", needs=("train",)),
    Entry(
        "vllm",
        "harness.backends.vllm:VLLMBackend",
        "vLLM's server, as a child process from an interpreter of its own",
        needs=("train", "api"),
    ),
    Entry(
        "openai",
        "harness.backends.openai:OpenAIBackend",
        "OpenAI and every server that speaks its language",
        needs=("api",),
    ),
    Entry("replay", "harness.backends.replay:ReplayBackend", "answers from stored rows"),
    Entry("oracle", "harness.nano.oracle:OracleBackend", "the nano world's judge, in process"),
)

JUDGES = (
    Entry(
        "openai",
        "harness.backends.openai:open_judge",
        "openai:<model>, or openai:<model>@<url> for any OpenAI-compatible server",
        needs=("api",),
    ),
    Entry(
        "vllm",
        "harness.backends.vllm:open_judge",
        "vllm:<folder or org/name>, a local model run by vLLM",
        needs=("train", "api"),
    ),
    Entry(
        "nano:oracle",
        "harness.nano.oracle:open_oracle",
        "knows the nano world's ground truth; switchable position and length bias, noise",
    ),
)

# Operation name -> module that defines it.
OPERATION_MODULES = {
    "import_model": "harness.models",
    "import_prompts": "harness.prompts",
    "sample": "harness.sampling",
    "score_rewards": "harness.sampling",
    "split_prompts": "harness.train.preference_data",
    "best_responses": "harness.train.preference_data",
    "preference_pairs": "harness.train.preference_data",
    "reference_logps": "harness.train.trainer",
    "train_preference": "harness.train.trainer",
    "import_answers": "harness.judging.answers",
    "follow_up": "harness.judging.dialogues",
    "select_prompts": "harness.judging.dialogues",
    "join_rows": "harness.judging.dialogues",
    "judge_alpaca": "harness.judging.operations",
    "judge_arena": "harness.judging.operations",
    "judge_mt_bench": "harness.judging.operations",
    "judge_mt_bench_pairwise": "harness.judging.operations",
    "score_alpaca": "harness.judging.alpaca_scores",
    "score_arena": "harness.judging.arena_scores",
    "score_mt_bench": "harness.judging.mt_bench_scores",
    "train_sft": "harness.train.sft",
    "lm_eval_run": "harness.lm_eval.running",
    "score_lm_eval": "harness.lm_eval.scores",
}

# Group -> where its literal table stands ("module:attribute").
TABLES = {
    "methods": "methods.catalogue:METHODS",
    "suites": "harness.registry:SUITES",
    "backends": "harness.registry:BACKENDS",
    "judges": "harness.registry:JUDGES",
}


def load_target(target: str) -> Any:
    """Import "module:attribute"."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


@cache
def entries(group: str) -> dict[str, Entry]:
    """All entries of a group by name: built-ins first, then plugins, none of them imported."""
    found = {entry.name: entry for entry in load_target(TABLES[group])}
    for point in metadata.entry_points(group=f"crucible.{group}"):
        origin = point.dist.name if point.dist else "plugin"
        if point.name not in found:  # a plugin cannot replace a built-in
            found[point.name] = Entry(point.name, point.value, "", origin=origin)
    return found


def entry(group: str, name: str) -> Entry:
    """The entry called `name`.

    Raises:
        UnknownName: with the nearest name and the command that lists the group.
    """
    known = entries(group)
    if name not in known:
        raise unknown(group.removesuffix("s"), name, known, f"crucible {group}")
    return known[name]


def load(group: str, name: str) -> Any:
    """Import and return what `name` stands for.

    Raises:
        UnknownName: if there is no such entry.
        EnvironmentProblem: if the plugin cannot be imported; names the plugin.
    """
    found = entry(group, name)
    if found.origin == "built-in":
        return load_target(found.target)
    try:
        return load_target(found.target)
    except Exception as error:
        raise EnvironmentProblem(
            f'the {group.removesuffix("s")} "{name}" of {found.origin} cannot be loaded: '
            f"{type(error).__name__}: {error}; repair or uninstall {found.origin}"
        ) from error


def load_operation(name: str) -> Operation[Any]:
    """The operation called `name`, importing the module that defines it when needed.

    Raises:
        UnknownName: if no table and no imported plugin defines it.
    """
    if name not in OPERATIONS and name in OPERATION_MODULES:
        importlib.import_module(OPERATION_MODULES[name])
    if name not in OPERATIONS:
        raise unknown("operation", name, {*OPERATIONS, *OPERATION_MODULES})
    return OPERATIONS[name]
