"""Select SFT rows and preference pairs among candidates, with one rule per domain.

FuseChat-3.0 (arXiv 2503.04222, data construction): the SFT response is the best candidate of all
sources. A pair is the best and the worst candidate of ONE source, so that the reward model's
biases towards a model's style and length cancel; it is kept if the rewards differ by 0.01 to 0.1
(ArmoRM's scale), because smaller differences are noise and larger ones are not trusted. If answers
can be verified, the chosen one must be right and the rejected one wrong. A prompt is used for SFT
or for preference training, never for both.

Ties are broken by the lower sample number, then by the order of the sources.
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
from harness.core.hashing import seed_from
from harness.core.records import Record
from harness.engine.io import iterate_objects, write_json, write_rows
from harness.engine.operations import Artifact, Context, Row, operation
from harness.engine.recipe import Rehearsed
from harness.verification.candidates import Candidate, read_candidates

GAP = (0.01, 0.1)


class Rule(Record):
    """Selection rule of one domain; the paper does not specify the settings after `gap`.

    Attributes:
        verified: pair right with wrong candidates; otherwise rank all by reward only.
        pairs: make preference pairs; False gives SFT rows only.
        gap: minimum and maximum reward difference of a pair; None keeps all pairs. The paper
            states none for code, so a right answer may have the lower reward.
        gap_ends: whether a difference equal to a limit is kept.
        between_sources: which pair to keep if several sources have one for a prompt: that with the
            best chosen response, that with the largest difference, or all. The published counts
            have at most one pair per prompt.
        wrong: code counts as wrong if anything failed, only if it was run and failed ("tests"), or
            only if it was rejected before running ("static").
        no_verdict: whether a response that could not be checked is left out or counts as wrong.
        split: "share" draws `sft_share` of the prompts for SFT; "pairs_first" uses every prompt
            with a pair for preference training and the remaining ones for SFT. The paper states no
            share for verified domains, and the published shares differ (60 to 79 %).
        sft_share: share of prompts for SFT, rounded down to whole prompts.
        split_of: prompts the share refers to: those with a pair, which alone reproduces the
            published counts, or all with an answer; in the second case prompts drawn for
            preference training whose pairs are outside the gap are lost.
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
    """Two responses of one source to one prompt.

    Attributes:
        gap: reward of `chosen` minus reward of `rejected`.
        kept: the gap is within the rule's limits.
    """

    chosen: Candidate
    rejected: Candidate
    gap: float
    kept: bool


@dataclass(frozen=True)
class Choice:
    """Result of a rule for one prompt: the SFT response, and at most one pair per source."""

    sft: Candidate | None
    pairs: tuple[Pair, ...]

    def kept(self, rule: Rule) -> tuple[Pair, ...]:
        """Pairs to train on, after `rule.between_sources`."""
        found = [pair for pair in self.pairs if pair.kept]
        if rule.between_sources == "all" or not found:
            return tuple(found)
        widest = rule.between_sources == "widest_gap"
        return (min(found, key=lambda p: -p.gap if widest else _by_reward(p.chosen)),)


def choose(rule: Rule, candidates: Sequence[Candidate]) -> Choice:
    """Apply a rule to the candidates of one prompt.

    Raises:
        BadData: rewards are needed, and a candidate has none.
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
    # In binary floating point 0.11 - 0.1 is slightly less than 0.01.
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
    """Disjoint sets of prompts for SFT and for preference training."""
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
    """Counts of prompts and pairs, reward gaps, length ratio, and rows by source model.

    Lengths are in tokens, or in characters if the token count of any response is unknown.
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
    """Parameters of `select_training_rows`.

    Attributes:
        part: rows to write.
        rules: rule by domain.
        seed: seed of the draw of prompts for SFT.
    """

    part: Literal["sft", "preference"]
    rules: dict[str, Rule] = RULES
    seed: int


@operation("select_training_rows", version=2, params=SelectParams)
def select_training_rows(
    context: Context, params: SelectParams, *, candidates: tuple[Artifact, ...]
) -> None:
    """Write SFT rows (`response`) or preference rows (`responses`: chosen, rejected).

    summary.json contains the `report` of each domain.

    Raises:
        BadData: no row is selected, or a reward is missing.
        UnknownName: candidates of a domain without a rule.
    """
    rows: list[Row] = []
    summary: dict[str, Row] = {}
    choices: dict[str, dict[str, Choice]] = {}
    for table in candidates:
        found = read_candidates(iterate_objects(table.path / "rows.jsonl"))
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
        raise BadData(f"the rules select no {params.part} row: {json.dumps(summary)}")
    write_rows(context.directory / "rows.jsonl", rows)
    write_json(context.directory / "summary.json", summary, end="")


def _rows(part: str, rule: Rule, id: str, choice: Choice) -> list[Row]:
    if part == "sft":
        assert choice.sft is not None
        return [
            {
                "id": id,
                **_origin(choice.sft),
                "response": choice.sft.response,
                "finish": choice.sft.finish,
            }
        ]
    pairs = choice.kept(rule)
    return [
        {
            "id": f"{id}/{pair.chosen.source_model}" if len(pairs) > 1 else id,
            **_origin(pair.chosen),
            "responses": {"chosen": pair.chosen.response, "rejected": pair.rejected.response},
            "rewards": {"chosen": pair.chosen.rm_score, "rejected": pair.rejected.rm_score},
            "finish": {"chosen": pair.chosen.finish, "rejected": pair.rejected.finish},
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
