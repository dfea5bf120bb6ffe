"""Rules that turn candidates into SFT rows and preference pairs, one rule for each domain.

FuseChat-3.0 (arXiv 2503.04222, data construction): SFT takes the best candidate of all sources; a
pair takes the best and the worst of ONE source, so that the biases of the reward model towards a
model's style and length cancel, and is kept if their rewards differ by 0.01 to 0.1 (ArmoRM's
scale): less is noise, more is distrusted. Where answers can be verified, the better one must be
right and the worse one wrong. A prompt goes to SFT or to preference training, never to both.

Ties go to the lower sample number, then to the source named first.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from harness.core.errors import BadData, unknown
from harness.core.hashing import canonical_json, seed_from
from harness.core.records import Record
from harness.engine.operations import Artifact, Context, Row, iterate_jsonl, operation
from harness.engine.recipe import Rehearsed
from harness.verification.candidates import Candidate, read_candidates

GAP = (0.01, 0.1)


class Rule(Record):
    """One domain's rule; the settings after `gap` are points that the description leaves open.

    Attributes:
        verified: right against wrong candidates, else all by reward alone.
        pairs: False gives SFT rows only.
        gap: least and greatest difference of rewards in a pair; None keeps all. For code none is
            stated, so a right answer may even have the lower reward.
        gap_ends: whether a difference equal to an end is inside.
        between_sources: the pair of a prompt where several sources have one: of the best chosen
            response, of the widest difference, or all of them. The published counts have at most
            one a prompt.
        wrong: whether code counts as wrong if anything failed, only if it was run and failed
            ("tests"), or only if it was not fit to run ("static").
        no_verdict: a response that could not be checked is left out, or counts as wrong.
        split: "share" draws `sft_share` (rounded down) of the prompts for SFT; "pairs_first"
            gives every prompt with a pair to preference training and the others to SFT, for no
            share is stated for verified domains and the published ones differ (60 to 79 %).
        split_of: what the share is of: prompts with a pair, which alone reproduces the published
            counts, or all that have an answer; then prompts drawn for preference training whose
            pairs fall outside the gap are lost.
    """

    verified: bool = False
    pairs: bool = True
    # A rehearsal's reward model has a scale of its own.
    gap: Annotated[tuple[float, float] | None, Rehearsed(lambda _: None)] = GAP
    gap_ends: Literal["inclusive", "exclusive"] = "inclusive"
    between_sources: Literal["best_chosen", "widest_gap", "all"] = "best_chosen"
    wrong: Literal["any", "tests", "static"] = "any"
    no_verdict: Literal["left_out", "wrong"] = "left_out"
    split: Literal["share", "pairs_first"] = "share"
    sft_share: float = Field(default=0.4, ge=0, le=1)
    split_of: Literal["paired", "answered"] = "paired"


RULES = {
    "instruction": Rule(),
    "mathematics": Rule(verified=True, split="pairs_first"),
    "code": Rule(verified=True, gap=None, split="pairs_first"),
    "chinese": Rule(pairs=False),
}


@dataclass(frozen=True)
class Pair:
    """Two responses of one source to one prompt; `kept` if the rewards' difference allows it."""

    chosen: Candidate
    rejected: Candidate
    gap: float
    kept: bool


@dataclass(frozen=True)
class Choice:
    """What a rule makes of a prompt: its SFT response, and the pair of each source that has one."""

    sft: Candidate | None
    pairs: tuple[Pair, ...]

    def kept(self, rule: Rule) -> tuple[Pair, ...]:
        """The pairs to train on."""
        found = [pair for pair in self.pairs if pair.kept]
        if rule.between_sources == "all" or not found:
            return tuple(found)
        widest = rule.between_sources == "widest_gap"
        return (min(found, key=lambda p: -p.gap if widest else _by_reward(p.chosen)),)


def choose(rule: Rule, candidates: Sequence[Candidate]) -> Choice:
    """Apply a rule to the candidates of one prompt.

    Raises:
        BadData: a candidate without a reward where rewards decide.
    """
    right = [c for c in candidates if c.right] if rule.verified else list(candidates)
    wrong = [c for c in candidates if _wrong(rule, c)] if rule.verified else right
    if len(right) > 1 or rule.pairs:
        _check_rewards(candidates)
    best = min(right, key=_by_reward) if len(right) > 1 else next(iter(right), None)
    pairs = []
    for source in dict.fromkeys(c.source_model for c in candidates) if rule.pairs else ():
        better = [c for c in right if c.source_model == source]
        worse = [c for c in wrong if c.source_model == source]
        if better and worse:
            chosen = min(better, key=_by_reward)
            rejected = min(worse, key=lambda c: (_reward(c), c.sample_index))
            if chosen is not rejected:
                gap = _reward(chosen) - _reward(rejected)
                pairs.append(Pair(chosen, rejected, gap, _inside(rule, gap)))
    return Choice(best, tuple(pairs))


def _wrong(rule: Rule, candidate: Candidate) -> bool:
    if candidate.right is None:
        return rule.no_verdict == "wrong"
    if candidate.right or rule.wrong == "any" or candidate.static_ok is None:
        return not candidate.right
    return candidate.static_ok == (rule.wrong == "tests")


def _inside(rule: Rule, gap: float) -> bool:
    if rule.gap is None:
        return True
    # 0.11 - 0.1 is a little less than 0.01 as a sum of binary fractions.
    if any(math.isclose(gap, end, rel_tol=1e-9) for end in rule.gap):
        return rule.gap_ends == "inclusive"
    return rule.gap[0] < gap < rule.gap[1]


def _reward(candidate: Candidate) -> float:
    return candidate.rm_score or 0.0


def _by_reward(candidate: Candidate) -> tuple[float, int]:
    return -_reward(candidate), candidate.sample_index


def _check_rewards(candidates: Iterable[Candidate]) -> None:
    for found in candidates:
        if found.rm_score is None:
            raise BadData(
                f'prompt "{found.prompt_id}", sample {found.sample_index} of {found.source_model}: '
                "no reward; score its responses first"
            )


def split(rule: Rule, choices: Mapping[str, Choice], seed: int) -> tuple[set[str], set[str]]:
    """Prompts for SFT and for preference training, which share none."""
    answered = [id for id, choice in choices.items() if choice.sft is not None]
    paired = {id for id in answered if choices[id].kept(rule)}
    if not rule.pairs:
        return set(answered), set()
    if rule.split == "pairs_first":
        return set(answered) - paired, paired
    pool = sorted(paired if rule.split_of == "paired" else answered)
    pool.sort(key=lambda id: seed_from(seed, "split", id))
    first = math.floor(Fraction(str(rule.sft_share)) * len(pool))
    return set(pool[:first]), set(pool[first:]) & paired


def report(rule: Rule, choices: Mapping[str, Choice], parts: tuple[set[str], set[str]]) -> Row:
    """What the rule kept and what it dropped, gaps, lengths, and whose responses these are.

    Lengths are tokens, or characters where the tokens of a response are unknown.
    """
    sft, preference = parts
    found = [pair for choice in choices.values() for pair in choice.pairs]
    kept = [pair for id in preference for pair in choices[id].kept(rule)]
    both = [c for pair in kept for c in (pair.chosen, pair.rejected)]
    tokens = all(c.response_tokens is not None for c in both)
    lengths = [(c.response_tokens or 0) if tokens else len(c.response) for c in both]
    best = [choices[id].sft for id in sft]
    low = rule.gap[0] if rule.gap else -math.inf
    return {
        "prompts": len(choices),
        "answered": sum(choice.sft is not None for choice in choices.values()),
        "with_a_pair": sum(bool(choice.pairs) for choice in choices.values()),
        "with_a_kept_pair": sum(bool(choice.kept(rule)) for choice in choices.values()),
        "pairs": len(found),
        "pairs_inside_gap": sum(pair.kept for pair in found),
        "pairs_below_gap": sum(not pair.kept and pair.gap <= low for pair in found),
        "sft": len(sft),
        "preference": len(kept),
        "gap_quantiles": _quantiles([pair.gap for pair in found]),
        "length_unit": "tokens" if tokens else "characters",
        "length_ratio": sum(lengths[::2]) / sum(lengths[1::2]) if sum(lengths[1::2]) else None,
        "sft_sources": dict(Counter(c.source_model for c in best if c)),
        "preference_sources": dict(Counter(pair.chosen.source_model for pair in kept)),
    }


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    levels = (0, 5, 25, 50, 75, 95, 100)
    return {str(n): float(np.percentile(values, n)) for n in levels} if values else {}


class SelectParams(Record):
    """`part` of the rows that `rules` give, by domain."""

    part: Literal["sft", "preference"]
    rules: dict[str, Rule] = RULES
    seed: int


@operation("select_training_rows", version=1, params=SelectParams)
def select_training_rows(
    context: Context, params: SelectParams, *, candidates: tuple[Artifact, ...]
) -> None:
    """SFT rows (`response`) or preference rows (`responses`: chosen, rejected); summary.json.

    Raises:
        BadData: no row is left, or a reward is missing.
        UnknownName: candidates of a domain without a rule.
    """
    rows: list[Row] = []
    summary: dict[str, Row] = {}
    choices: dict[str, dict[str, Choice]] = {}
    for table in candidates:
        found = read_candidates(iterate_jsonl(table.path / "rows.jsonl"))
        for (domain, prompt), group in groupby(found, key=lambda c: (c.domain, c.prompt_id)):
            if domain not in params.rules:
                raise unknown("rule for domain", domain, params.rules)
            choices.setdefault(domain, {})[prompt] = choose(params.rules[domain], list(group))
    for domain, by_prompt in choices.items():
        rule = params.rules[domain]
        parts = split(rule, by_prompt, params.seed)
        summary[domain] = report(rule, by_prompt, parts)
        for prompt in by_prompt:
            if prompt in parts[params.part == "preference"]:
                rows += _rows(params.part, rule, f"{domain}/{prompt}", by_prompt[prompt])
    if not rows:
        raise BadData(f"the rules leave no {params.part} row: {json.dumps(summary)}")
    with (context.directory / "rows.jsonl").open("wb") as stream:
        stream.writelines(canonical_json(row) + b"\n" for row in rows)
    text = json.dumps(summary, indent=1, sort_keys=True)
    (context.directory / "summary.json").write_text(text, encoding="utf-8")


def _rows(part: str, rule: Rule, id: str, choice: Choice) -> list[Row]:
    if part == "sft":
        assert choice.sft is not None
        return [{"id": id, **_origin(choice.sft), "response": choice.sft.response}]
    pairs = choice.kept(rule)
    return [
        {
            "id": f"{id}/{pair.chosen.source_model}" if len(pairs) > 1 else id,
            **_origin(pair.chosen),
            "responses": {"chosen": pair.chosen.response, "rejected": pair.rejected.response},
            "rewards": {"chosen": pair.chosen.rm_score, "rejected": pair.rejected.rm_score},
        }
        for pair in pairs
    ]


def _origin(candidate: Candidate) -> Row:
    return {
        "messages": list(candidate.messages),
        "source_model": candidate.source_model,
        "sample": candidate.sample_index,
        "reward": candidate.rm_score,
    }
