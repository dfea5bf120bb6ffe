"""The stages that suites plan, with every parameter, as written down in planned_stages.json.

What a suite asks by default is its protocol: temperatures, token limits, batches, orders, judges,
seeds and fingerprints. A line of the file that changes is a change of protocol or of stage ids. The
file is written by `python -m tests.harness.suites.test_planned_stages`; read its differences.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import UnknownName, UserError
from harness.engine import registry
from harness.engine.plan import Handle
from harness.suites.base import Decode, Program, System
from harness.suites.catalogue import SUITES
from harness.suites.editions import resolve_settings

FILE = Path(__file__).with_name("planned_stages.json")
UNPINNED = ("lm_eval", "content")  # the installed version, and the digest of task files
EVERY = [(entry.name, edition) for entry in SUITES for edition in ("nano", "official")]
# Editions of data that are not part of the repository, or that name no baseline.
ABSENT = {
    "arena_hard_v2.0", "mt_bench_corrected", "hallucination_lima", "rouge_ms_marco", "simple_qa",
    "domain_brainstorming", "domain_rewriting", "lm_eval",
}  # fmt: skip
OTHER = System("other", Handle("other-model"), seed=4)


def respond(rows: Handle, stage: Any, **how: Any) -> Handle:
    found: Handle = stage("program", rows=rows, **how)
    return found


def program(task: str, *sensitive: str) -> System:
    made = Program(task, respond, Handle("inner"), "p" * 16, frozenset(sensitive))
    return System.of("made", made, scale="small", seed=5)


SYSTEMS = {
    "plain": System("tuned", Handle("model"), seed=3, peers={"other": OTHER}),
    "decoded": System(
        "tuned", Handle("model"), "small", 3, Decode(temperature=0.2, top_p=0.9, max_tokens=64)
    ),
    "stored": System("file", Handle("outputs"), "paper", 0, stored=True),
    "thinking": System("tuned", Handle("model"), seed=3, template="enable_thinking=true"),
    "rehearsed": System("tuned", Handle("model"), "rehearsal", seed=3),
    "program": program("respond"),
    "labeller": program("label_authors", "reverse_options", "item_seed", "post_seed"),
    "replier": program("reply"),
}
V2 = {"prompts": "nano:arena_hard", "judge": "nano:oracle", "baselines": {
    "hard_prompt": "nano:plain", "creative_writing": "nano:concise"}}  # fmt: skip
MORE: dict[str, tuple[str, str, dict[str, Any]]] = {
    # name -> suite, system, settings
    "alpaca, settings": ("alpaca_eval2", "plain", {
        "limit": 5, "rounds": 7, "sample_batch": 3, "judge_batch": 2, "judge_max_tokens": 9,
        "too_long": "cut", "orders": "both", "anchors": ["nano:verbose"],
        "lc_mode": "compat-stable", "parser": "compat"}),
    "alpaca, without anchors": ("alpaca_eval2", "decoded", {"anchors": []}),
    "alpaca, stored": ("alpaca_eval2", "stored", {}),
    "alpaca, kept thoughts": ("alpaca_eval2", "stored", {"decode": {"thoughts": "keep"}}),
    "alpaca, template": ("alpaca_eval2", "thinking", {"decode": {"thoughts": "keep"}}),
    "alpaca, program": ("alpaca_eval2", "program", {}),
    "alpaca, peer": ("alpaca_eval2", "plain", {"baseline": "system:other"}),
    "arena, settings": ("arena_hard", "plain", {
        "weight": 2, "style_features": ["length"], "bootstrap": "rows", "by_category": True,
        "categories": ["math"]}),
    "arena, v2": ("arena_hard_v2.0", "plain", V2),
    "arena, v2, one category": ("arena_hard_v2.0", "plain", V2 | {"categories": ["hard_prompt"]}),
    "mt_bench, pairwise": ("mt_bench", "plain", {"pairwise": True, "by_category": False}),
    "mt_bench, peer": ("mt_bench", "plain", {"pairwise": True, "baseline": "system:other"}),
    "mt_bench, decoded": ("mt_bench", "decoded", {"references": ""}),
    "mt_bench, stored": ("mt_bench", "stored", {}),
    "lm_nano, settings": ("lm_nano", "rehearsed", {
        "rounds": 9, "limit": 4, "batch_size": 3, "num_fewshot": 2, "gen_kwargs": {"a": 1}}),
    "lm_eval, tasks": ("lm_eval", "decoded", {"tasks": ["arc_easy"]}),
    "lm_eval, nano task": ("lm_eval", "decoded", {"tasks": ["arc_easy", "crucible_nano_choice"]}),
    "lm_fusechat3, released": ("lm_fusechat3", "plain", {"letters": "released"}),
    "lm_fusechat3, random": ("lm_fusechat3", "plain", {"unparsed": "random"}),
    "essays, robustness": ("personality_essays", "labeller", {"robustness": 2, "limit": 3}),
    "essays, own train": ("personality_essays", "labeller", {"train": "nano:essays/train"}),
    "essays, cross-validated": ("personality_essays", "plain", {"train": "", "policy": "drop"}),
    "posts, robustness": ("personality_mbti", "labeller", {"robustness": 1, "orders": ["posts"]}),
    "posts, unmasked": ("personality_mbti", "plain", {"mask": False, "batch_size": 2}),
    "hallucination, everything": ("hallucination", "plain", {
        "judge_refusals": True, "confidence": True, "parser": "half", "dedup": True}),
    "hallucination, released": ("hallucination", "stored", {
        "helpfulness": False, "parser": "released", "refusals_by": "exact"}),
    "hallucination, by judge": ("hallucination", "program", {"refusals_by": "judge"}),
    "rouge, settings": ("rouge_ms_marco", "plain", {"multi_ref": "max", "rouge_unicode": True}),
    "simple_qa, released": ("simple_qa", "plain", {"parser": "released", "judge_batch": 5}),
    "hallucination_judge, half": ("hallucination_judge", "plain", {
        "parser": "half", "answer_column": "a", "label_column": "b"}),
    "dialogue, stored": ("dialogue", "stored", {}),
    "dialogue, program": ("dialogue", "replier", {"released": True, "knowledge": "session"}),
    "dialogue, dense": ("dialogue", "decoded", {
        "retriever": "bm25", "retriever_settings": {"k1": 1.0}, "k": 9, "recall_at": [2, 3],
        "limit": 4, "train": "nano:dialogues/valid"}),
    "domain, official": ("domain_rewriting", "plain", {
        "categories": [], "baseline": "system:other", "orders": "single", "cleaning": "none",
        "baselines": {"plain": "nano:plain"}}),
    "domain_math, settings": ("domain_math", "plain", {
        "categories": ["coding"], "compare": "compat", "timeout_s": 2.0, "cleaning": "compat"}),
    "perplexity, settings": ("perplexity", "rehearsed", {
        "form": "text", "limit": 3, "batch_size": 2, "rounds": 4, "split": "train"}),
}  # fmt: skip


class Recorder:
    """A `stage` that writes down what it was asked for; handles are numbered names."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, /, **arguments: Any) -> Handle:
        kept = {key: _plain(value) for key, value in arguments.items() if key not in UNPINNED}
        self.calls.append((name, kept))
        return Handle(f"{name} {len(self.calls)}")


def _plain(value: Any) -> Any:
    if isinstance(value, Handle):
        return f"<{value.id}>"
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.model_dump() if hasattr(value, "model_dump") else value


def planned(name: str, system: System, edition: str = "nano", **settings: Any) -> list[str]:
    """The stages of a suite, a line each."""
    suite = registry.load("suites", name)
    chosen = edition if edition in suite.editions else ""
    stage = Recorder()
    last = suite.plan(system, resolve_settings(suite, chosen, settings), stage)
    assert last.id == f"{stage.calls[-1][0]} {len(stage.calls)}"
    return [f"{called} {json.dumps(told, sort_keys=True)}" for called, told in stage.calls]


def described(name: str) -> list[str]:
    """What a suite says of itself, a line each."""
    suite = registry.load("suites", name)
    lines = [f"version {suite.version}, needs {', '.join(suite.needs)}, {suite.paper}"]
    lines += [f"edition {key}: {json.dumps(value)}" for key, value in suite.editions.items()]
    return lines + [
        f"{m.name} [{m.unit}] {'' if m.primary else 'not '}primary" for m in suite.metrics
    ]


def names() -> list[str]:
    given = [f"{suite}, {edition}" for suite, edition in EVERY
             if suite not in ABSENT or (edition == "nano" and _has_nano(suite))]  # fmt: skip
    return [*given, *MORE]


def _has_nano(suite: str) -> bool:
    return "nano" in registry.load("suites", suite).editions


def record(name: str) -> list[str]:
    if name in MORE:
        suite, system, settings = MORE[name]
        return planned(suite, SYSTEMS[system], **settings)
    suite, _, edition = name.partition(", ")
    return planned(suite, SYSTEMS["plain"], edition)


@pytest.fixture(autouse=True)
def without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRUCIBLE_DATA", raising=False)


@pytest.fixture(scope="module")
def known() -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", names())
def test_the_stages_of_a_suite_are_those_written_down(
    name: str, known: dict[str, list[str]]
) -> None:
    assert record(name) == known[name]


@pytest.mark.parametrize("name", [entry.name for entry in SUITES])
def test_a_suite_describes_its_metrics_as_written_down(
    name: str, known: dict[str, list[str]]
) -> None:
    assert described(name) == known[f"about {name}"]


def test_what_cannot_be_planned_is_refused_by_name() -> None:
    plain, stored = SYSTEMS["plain"], SYSTEMS["stored"]
    with pytest.raises(UnknownName, match='did you mean "other"'):
        planned("alpaca_eval2", plain, baseline="system:othr")
    with pytest.raises(UserError, match='answers the task "label_authors"; suite alpaca_eval2'):
        planned("alpaca_eval2", SYSTEMS["labeller"])
    with pytest.raises(UserError, match='asks for "log_likelihoods"'):
        planned("perplexity", SYSTEMS["program"])
    with pytest.raises(UserError, match="no baseline for the category coding: set baselines"):
        planned("arena_hard", plain, baselines={"math": "nano:plain"}, categories=["coding"])
    with pytest.raises(UserError, match="pairwise needs `baseline`"):
        planned("mt_bench", plain, pairwise=True, baseline="")
    with pytest.raises(UserError, match="choose suite mt_bench_corrected"):
        planned("mt_bench", plain, references="official:mt_bench_corrected")
    with pytest.raises(UserError, match="has no weights of its own to read its answers with"):
        planned("hallucination", stored, confidence=True)
    with pytest.raises(UserError, match="file cannot judge"):
        planned("hallucination_judge", stored)
    with pytest.raises(UserError, match="made cannot judge"):
        planned("hallucination_judge", SYSTEMS["program"])
    with pytest.raises(UserError, match="compares with another system"):
        planned("domain_rewriting", plain, baseline="")
    with pytest.raises(UserError, match="values of K of at least 1"):
        planned("dialogue", plain, recall_at=[0, 3])


if __name__ == "__main__":
    os.environ.pop("CRUCIBLE_DATA", None)
    whole = {name: record(name) for name in names()}
    whole |= {f"about {entry.name}": described(entry.name) for entry in SUITES}
    FILE.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
