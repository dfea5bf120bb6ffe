"""The plan of SEFT: revisers, rounds and baselines as stages.

    rated answers ───────────────> pairs, labels ──> external reviser
    own answers to their prompts ─> pairs, labels ──> internal reviser
    prompts of round k ──> answers of pi_k ──> verdicts ──> revisions ──> targets ──> pi_{k+1}

Each function adds stages and returns the handle of the last one; equal stages are one stage.
"""

from __future__ import annotations

from typing import Any

from harness.core.errors import BadRecord
from harness.data.prompts import prompts_identity
from harness.data.rated import rated_identity
from harness.engine.operations import Estimate
from harness.training.from_responses import model
from methods.seft.labels import external_share
from methods.seft.recipe import SeftRecipe

INTERNAL, EXTERNAL = "internal", "external"


def policy(recipe: SeftRecipe, stage: Any) -> Any:
    """The policy before any round."""
    return model(recipe.models.policy, stage)


def evolved(recipe: SeftRecipe, stage: Any) -> Any:
    """The policy after all rounds, with their records."""
    current, shards, rounds = policy(recipe, stage), [], []
    for number in range(recipe.rounds.count):
        accepted = revised(recipe, stage, current, number)
        shards.append(_shard(recipe, stage, number))
        rounds.append(accepted)
        current = _updated(recipe, stage, current, accepted, number)
    told = {"prompts": tuple(shards), "rounds": tuple(rounds)}
    return stage("record_rounds", model=current, label="rounds", **told)


def revised(recipe: SeftRecipe, stage: Any, current: Any, number: int) -> Any:
    """Training rows of one round: the policy's answers, revised where necessary."""
    label = f"round {number + 1}"
    asked = _shard(recipe, stage, number)
    answers = stage(
        "sample",
        prompts=asked,
        model=current,
        system="policy",
        seed=recipe.seed + number,
        on_error="record",
        label=f"{label}: answers",
        **recipe.sampling.model_dump(),
    )
    known = stage(
        "score_texts",
        rows=answers,
        model=current,
        texts="responses",
        into="own_logps",
        batch_size=recipe.sampling.batch_size,
        label=f"{label}: log-probabilities of the answers",
    )
    decided, written = [], []
    for name, start, stop in _windows(recipe, number):
        one, two = _texts(recipe, stage, known, name, (start, stop), number)
        decided.append(one)
        written.append(two)
    joined = stage(
        "join_revisions",
        decided=tuple(decided),
        written=tuple(written),
        label=f"{label}: revisions",
    )
    return stage(
        "accept_revisions",
        revisions=scored(recipe, stage, joined, label),
        gate=recipe.gate.model_dump(),
        by_score=recipe.revision.decide == "oracle",
        label=f"{label}: targets",
    )


def _shard(recipe: SeftRecipe, stage: Any, number: int) -> Any:
    """The prompts of a round; no two rounds share one."""
    data, size = recipe.data, recipe.rounds.limit
    if data.exclude_rated:
        pool = stage(
            "import_prompts",
            ref=data.prompts,
            split=data.prompts_split,
            field=data.prompts_field,
            digest=prompts_identity(data.prompts),
            label="pool of prompts",
        )
        return stage(
            "fresh_prompts",
            pool=pool,
            rated=rated(recipe, stage),
            offset=number * size,
            limit=size,
            label=f"round {number + 1}: prompts",
        )
    return stage(
        "import_prompts",
        ref=data.prompts,
        split=data.prompts_split,
        field=data.prompts_field,
        offset=number * size,
        limit=size,
        digest=prompts_identity(data.prompts),
        label=f"round {number + 1}: prompts",
        hint=Estimate(rows=size),
    )


def _windows(recipe: SeftRecipe, number: int) -> list[tuple[str, float, float]]:
    """The revisers of a round, each with its window of the prompts."""
    fixed = {INTERNAL: 0.0, EXTERNAL: 1.0}
    share = fixed.get(recipe.rounds.schedule, external_share(number, recipe.rounds.count))
    parts = [(INTERNAL, 0.0, 1 - share), (EXTERNAL, 1 - share, 1.0)]
    return [part for part in parts if part[1] < part[2]]


def _texts(
    recipe: SeftRecipe,
    stage: Any,
    answers: Any,
    name: str,
    window: tuple[float, float],
    number: int,
) -> tuple[Any, Any]:
    """Decisions about a window of the answers, and the revisions that they ask for."""
    label = f"round {number + 1}, {name} reviser"
    wording, reviser = recipe.wording.model_dump(), trained_reviser(recipe, stage, name)
    requests = stage(
        "revision_requests",
        answers=answers,
        wording=wording,
        start=window[0],
        stop=window[1],
        label=f"{label}: questions",
    )
    verdicts = stage(
        "score_texts",
        rows=requests,
        model=reviser,
        into="label_scores",
        batch_size=recipe.revision.batch_size,
        label=f"{label}: verdicts",
    )
    decided = stage(
        "decide_revisions",
        verdicts=verdicts,
        decide=recipe.revision.decide,
        no_revise_threshold=recipe.revision.no_revise_threshold,
        label=f"{label}: decisions",
    )
    prompts = stage("revision_prompts", decided=decided, wording=wording, label=f"{label}: tasks")
    decoding = recipe.revision.model_dump(exclude={"decide", "no_revise_threshold"})
    written = stage(
        "sample",
        prompts=prompts,
        model=reviser,
        system=f"{name} reviser",
        seed=recipe.seed + number,
        on_error="record",
        label=f"{label}: texts",
        **decoding,
    )
    return decided, written


def trained_reviser(recipe: SeftRecipe, stage: Any, name: str) -> Any:
    """The internal or the external reviser."""
    own = recipe.models.internal if name == INTERNAL else recipe.models.external
    rows = stage(
        "mine_pairs",
        rated=own_answers(recipe, stage) if name == INTERNAL else rated(recipe, stage),
        label=f"{name} pairs",
        **recipe.pairs.model_dump(),
    )
    return stage(
        "train_reviser",
        rows=_labelled(recipe, stage, rows, name),
        model=model(own or recipe.models.policy, stage),
        wording=recipe.wording.model_dump(),
        label=f"train the {name} reviser",
        **recipe.training(recipe.reviser),
    )


def _labelled(recipe: SeftRecipe, stage: Any, pairs: Any, name: str) -> Any:
    own = recipe.models.internal if name == INTERNAL else recipe.models.external
    chosen = recipe.own_labels if name == INTERNAL else recipe.labels
    settings = {**chosen.model_dump(), "seed": recipe.seed}
    more = {}
    if chosen.rule == "likelihood":
        for into, wording in (("alone", "{prompt}"), ("given", recipe.wording.verdict)):
            rows = stage("target_scoring", pairs=pairs, wording=wording)
            base = model(own or recipe.models.policy, stage)
            more[into] = stage(
                "score_texts", rows=rows, model=base, into=into, label=f"{name} pairs, {into}"
            )
    return stage("label_pairs", pairs=pairs, label=f"labels of {name} pairs", **more, **settings)


def rated(recipe: SeftRecipe, stage: Any) -> Any:
    """Rated answers of stronger models."""
    data = recipe.data
    return stage(
        "import_rated",
        ref=data.rated,
        split=data.split,
        revision=data.revision,
        limit=data.limit,
        digest=rated_identity(data.rated, data.revision),
        label="rated answers",
        hint=Estimate(rows=data.limit),
    )


def own_answers(recipe: SeftRecipe, stage: Any) -> Any:
    """The policy's own answers to the rated prompts, with scores."""
    answers = stage(
        "sample",
        prompts=rated(recipe, stage),
        model=policy(recipe, stage),
        system="policy",
        seed=recipe.seed,
        label="own answers",
        **recipe.internal.model_dump(),
    )
    return scored(recipe, stage, answers, "own answers")


def scored(recipe: SeftRecipe, stage: Any, rows: Any, label: str) -> Any:
    """Rows with `rewards` of their responses, if the recipe has a scorer."""
    if recipe.models.scorer is not None:
        return stage(
            "score_rewards",
            responses=rows,
            model=model(recipe.models.scorer, stage),
            label=f"{label}: scores",
            **recipe.rewards.model_dump(exclude_none=True),
        )
    if recipe.scorer is None:
        return rows
    return stage(
        "rate_answers",
        responses=rows,
        scorer=recipe.scorer.name,
        settings=recipe.scorer.settings,
        label=f"{label}: scores",
    )


def _updated(recipe: SeftRecipe, stage: Any, current: Any, accepted: Any, number: int) -> Any:
    """The policy after training on one round."""
    label = f"round {number + 1}: train the policy"
    if recipe.rounds.update == "dpo":
        rows = stage("revision_preferences", accepted=accepted, label=f"{label}: pairs")
        return preference_trained(recipe, stage, rows, current, "dpo", label)
    how = recipe.training(recipe.policy)
    return stage("train_sft", rows=accepted, model=current, label=label, **how)


def fine_tuned(recipe: SeftRecipe, stage: Any) -> Any:
    """Baseline: the policy after SFT on the best rated answer of each prompt."""
    rows = stage("rated_targets", rated=rated(recipe, stage), label="best rated answers")
    how = recipe.training(recipe.best)
    label = "SFT on the best answers"
    return stage("train_sft", rows=rows, model=policy(recipe, stage), label=label, **how)


def preference_tuned(recipe: SeftRecipe, stage: Any, loss: str) -> Any:
    """Baseline: the policy after preference training on the best and worst rated answers."""
    rows = stage("rated_preferences", rated=rated(recipe, stage), label="best and worst answers")
    return preference_trained(recipe, stage, rows, policy(recipe, stage), loss, loss)


def preference_trained(
    recipe: SeftRecipe, stage: Any, rows: Any, start: Any, loss: str, label: str
) -> Any:
    """A model after preference training; the model before it is the reference, if one is needed."""
    from harness.training.losses import get_loss

    train = recipe.train
    more: dict[str, Any] = {}
    if get_loss(loss).needs_reference:
        more["reference"] = stage(
            "reference_logps",
            rows=rows,
            model=start,
            max_length=train.max_length,
            max_prompt_length=train.max_prompt_length,
            released=train.released,
            label=f"{label}: reference log-probs",
        )
    settings = {**recipe.training(train), "loss": loss, "settings": train.settings_for(loss)}
    return stage("train_preference", rows=rows, model=start, label=label, **more, **settings)


def check_disjoint(recipe: SeftRecipe) -> None:
    """Refuse a pool of prompts that is the source of the rated answers.

    Raises:
        BadRecord: both references are the same.
    """
    if recipe.data.prompts == recipe.data.rated and recipe.data.prompts_split == recipe.data.split:
        raise BadRecord(
            f"data.prompts and data.rated are both {recipe.data.rated}; expected prompts for the "
            "rounds that no reviser was trained on"
        )
