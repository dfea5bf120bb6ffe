"""The registry: which methods, suites, backends, judges and operations exist, and where.

Built-ins stand in literal tables; third parties add to the groups by entry points
(`crucible.methods`, `crucible.suites`, `crucible.backends`, `crucible.judges`). Nothing is
imported until it is asked for, and a plugin that fails to load is reported by name and never
breaks the others. A plugin takes a built-in's name only where `$CRUCIBLE_OVERRIDE` says so, see
`harness.plugins`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from operator import attrgetter
from typing import Any

from harness import plugins
from harness.errors import EnvironmentProblem, UserError, unknown
from harness.operations import OPERATIONS, Operation

BUILT_IN = "built-in"


@dataclass(frozen=True)
class Entry:
    """One line of a catalogue.

    Attributes:
        target: "module:attribute".
        recipe: the method whose recipe runs this one, where it has none of its own.
        origin: the distribution that provides it.
        problem: why it cannot be used, found without importing it.
    """

    name: str
    target: str
    summary: str
    needs: tuple[str, ...] = ()
    group: str = ""
    paper: str = ""
    recipe: str = ""
    origin: str = BUILT_IN
    problem: str = ""


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
    Entry(
        "perplexity",
        "harness.suites.perplexity:SUITE",
        "bits per byte of held-out documents, by domain",
        needs=("train",),
    ),
    Entry(
        "personality_essays",
        "harness.suites.personality:ESSAYS_SUITE",
        "five traits of authors from essays; macro-F1",
        paper="arXiv 2310.20256",
    ),
    Entry(
        "personality_mbti",
        "harness.suites.personality:MBTI_SUITE",
        "four dimensions of types from forum posts; macro-F1",
        paper="arXiv 2310.20256",
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
    "import_documents": "harness.distributions.corpus",
    "read_documents": "harness.distributions.perplexity",
    "score_perplexity": "harness.distributions.perplexity",
    "make_teacher": "harness.train.fusion_training",
    "map_teacher": "harness.train.fusion_training",
    "train_fusion": "harness.train.fusion_training",
    "merge_models": "harness.merge.operations",
    "merge_by_mergekit": "harness.merge.operations",
    "lm_eval_run": "harness.lm_eval.running",
    "score_lm_eval": "harness.lm_eval.scores",
    "classify_authors": "harness.personality.classifiers",
    "classify_authors_by_encoder": "harness.personality.encoders",
    "import_authors": "harness.personality.authors",
    "interview_authors": "harness.personality.interviews",
    "decide_by_items": "harness.personality.interviews",
    "score_labels": "harness.personality.scores",
    "score_prompts": "harness.suites.per_prompt",
    "verify_mathematics": "harness.verify.operations",
    "verify_code": "harness.verify.operations",
    "candidate_table": "harness.verify.candidates",
    "select_training_rows": "harness.verify.selection",
}

# Group -> where its literal table stands ("module:attribute").
TABLES = {
    "methods": "methods.catalogue:METHODS",
    "suites": "harness.registry:SUITES",
    "backends": "harness.registry:BACKENDS",
    "judges": "harness.registry:JUDGES",
}


# Group -> what a plugin's entry point must lead to ("module:class"); others: anything callable.
KINDS = {"methods": "harness.recipe:Method", "suites": "harness.suites.base:Suite"}


def load_target(target: str) -> Any:
    """Import "module:attribute"."""
    module, _, attribute = target.partition(":")
    return attrgetter(attribute)(importlib.import_module(module))


def entries(group: str) -> dict[str, Entry]:
    """All entries of a group by name: built-ins first, then plugins, none of them imported."""
    return _resolved(group)[0]


def notes(group: str) -> tuple[str, ...]:
    """What is to be known of a group's plugins: which replace something, which are not in force."""
    return _resolved(group)[1]


@cache
def _resolved(group: str) -> tuple[dict[str, Entry], tuple[str, ...]]:
    """
    Raises:
        UserError: an override of this group names a distribution that does not provide the name.
    """
    found: dict[str, Entry] = {entry.name: entry for entry in load_target(TABLES[group])}
    offered: dict[str, list[plugins.Offer]] = {}
    for offer in plugins.offers()[0]:
        if offer.group == group:
            offered.setdefault(offer.name, []).append(offer)
    chosen = {name: source for (kind, name), source in plugins.overrides().items() if kind == group}
    remarks = []
    for name, source in chosen.items():
        rivals = offered.get(name, [])
        offered[name] = [o for o in rivals if plugins.canonical(o.distribution) == source]
        if not offered[name]:
            known = ", ".join(sorted(o.distribution for o in rivals)) or "no plugin"
            raise UserError(
                f'{plugins.VARIABLE} takes the {_kind(group)} "{name}" from {source}, which does '
                f"not provide it; {known} does"
            )
        place = "the built-in" if name in found else "others of that name"
        remarks.append(f'"{name}" is that of {source}, not {place} ({plugins.VARIABLE})')
    for name, rivals in offered.items():
        if name in found and name not in chosen:
            for rival in rivals:
                choice = f"{plugins.VARIABLE}={group}:{name}={rival.distribution}"
                remarks.append(
                    f'the {_kind(group)} "{name}" of {rival.distribution} is not in force: the '
                    f"built-in has the name ({choice} prefers the plugin)"
                )
        else:
            found[name] = _entry_of(group, name, rivals, found.get(name))
    return found, tuple(remarks)


def _kind(group: str) -> str:
    return group.removesuffix("s")


def _entry_of(group: str, name: str, rivals: list[plugins.Offer], old: Entry | None) -> Entry:
    """The entry of a plugin, in the place of `old`; with a problem if several offer the name."""
    first, names = rivals[0], sorted({rival.distribution for rival in rivals})
    problem = ""
    if len(names) > 1:
        problem = (
            f'the {_kind(group)} "{name}" is registered by {" and by ".join(names)}; uninstall one '
            f"of them, or choose: {plugins.VARIABLE}={group}:{name}={names[0]}"
        )
    elif len(rivals) > 1:
        problem = f'{names[0]} registers the {_kind(group)} "{name}" twice; expected one entry'
    entry = replace(old or Entry(name, "", ""), target=first.target, origin=" and ".join(names))
    return replace(entry, summary=first.summary or entry.summary, problem=problem)


def entry(group: str, name: str) -> Entry:
    """The entry called `name`.

    Raises:
        UnknownName: with the nearest name and the command that lists the group.
    """
    known = entries(group)
    if name not in known:
        raise unknown(_kind(group), name, known, f"crucible {group}")
    return known[name]


def load(group: str, name: str) -> Any:
    """Import and return what `name` stands for.

    Raises:
        UnknownName: if there is no such entry.
        EnvironmentProblem: if the plugin cannot be imported, provides something else, or shares its
            name with another; names the distribution.
    """
    found = entry(group, name)
    if found.origin == BUILT_IN:
        return load_target(found.target)
    if found.problem:
        raise EnvironmentProblem(found.problem)
    whose = f'the {_kind(group)} "{name}" of {found.origin}'
    try:
        provided = load_target(found.target)
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise EnvironmentProblem(
            f"{whose} cannot be loaded: {reason}; repair or uninstall {found.origin}"
        ) from error
    if misfit := _misfit(group, name, provided):
        raise EnvironmentProblem(f"{whose} ({found.target}) {misfit}")
    return provided


def _misfit(group: str, name: str, provided: Any) -> str:
    """What is wrong with the thing a plugin provides, or ""."""
    if group in KINDS:
        expected = load_target(KINDS[group])
        if not isinstance(provided, expected):
            return f"is a {type(provided).__name__}; expected a {KINDS[group].replace(':', '.')}"
        if provided.name != name:
            return f'is named "{provided.name}"; expected the name of its entry point'
    elif not callable(provided):
        return f"is a {type(provided).__name__}; expected something callable"
    return ""


def plugin_versions(used: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Distribution -> version of the plugins among (group, name) pairs, for provenance."""
    origins = {entry(group, name).origin for group, name in used} - {BUILT_IN}
    return {origin: metadata.version(origin) for origin in sorted(origins)}


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
