"""Traits of authors from their texts: the Essays (Big Five) and the Kaggle MBTI posts.

Paper: PsyCoT (arXiv:2310.20256); 247 essays with five traits, 200 users with four dimensions.
Protocol:

1. a system labels every author 1 or 0 in each trait, or abstains; a chat model alone is asked once
   a trait for one of the trait's two poles;
2. score = macro-F1 of each trait, averaged over the traits; an abstention counts as wrong.

Systems that learn get `train`, or are cross-validated on the authors. With `robustness` the same
system answers again with options, items and posts in other orders.

What is measured is text classification against questionnaires that authors once filled in. It is
no diagnosis, and nothing to profile a person with.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from pydantic import Field

from harness.core.hashing import seed_from
from harness.core.records import Record
from harness.data.authors import NANO, ImportAuthorsParams, authors_identity, may_have_posts
from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Refers, Rehearsed
from harness.suites.base import Decode, Metric, Suite, System
from harness.suites.personality.dialogues import InterviewSettings
from harness.suites.personality.interviewing import interviewing
from harness.suites.personality.labels import Policy
from harness.suites.personality.orders import Orders

TASK = "label_authors"
UNIT = "%"


class PersonalitySettings(Record):
    """Settings of both suites.

    Attributes:
        authors: who is labelled, see `harness.data.authors`.
        train: who may be learnt from; "" cross-validates on `authors`, None takes the training
            split of a nano set and cross-validates otherwise.
        limit: label the first authors only.
        policy: what an abstention counts as in the scores that lead, see
            `harness.suites.personality.labels`.
        robustness: run again with the options exchanged, with so many orders of the items, and
            with the posts shuffled, as far as a system's answers can depend on it and authors have
            posts; 0 does not.
        mask: take the 16 type words out of posts.
        batch_size: authors asked at once.
        rounds: author resamples behind every interval.
        columns: names of a file's own columns, see `harness.data.author_files.read_authors`.
    """

    authors: Annotated[str, Refers("authors")]
    train: Annotated[str | None, Refers("authors")] = None
    # Of a rehearsal: every author is asked about fifty questions, in every order.
    limit: Annotated[int | None, Rehearsed(lambda most: min(most or 6, 6))] = Field(
        default=None, ge=1
    )
    policy: Policy = "wrong"
    robustness: int = Field(default=0, ge=0)
    mask: bool = True
    batch_size: int = Field(default=16, ge=1)
    rounds: int = Field(default=1000, ge=1)
    columns: Annotated[dict[str, str], Refers("layout")] = {}


class EssaysSettings(PersonalitySettings):
    """Settings of the suite `personality_essays`."""

    authors: str = "nano:essays"


class MBTISettings(PersonalitySettings):
    """Settings of the suite `personality_mbti`."""

    authors: str = "nano:posts"


def plan(
    name: str, scheme: str, system: System, settings: PersonalitySettings, stage: StageMaker
) -> Handle:
    """The stages of one system on authors labelled by a scheme of traits.

    Raises:
        UserError: the system answers something else, or the authors cannot be found.
    """
    program = system.program_for(TASK, name)
    if program is None:
        assert system.model is not None  # a system has a model or a program
        program = interviewing(system.model, InterviewSettings())
    identity = authors_identity(settings.authors)
    shared: dict[str, Any] = {"scheme": scheme, "columns": settings.columns}
    if scheme == "mbti":
        shared["mask"] = settings.mask
    source = {"ref": settings.authors, "digest": identity, "limit": settings.limit, **shared}
    authors = stage("import_authors", **source)
    train = _train(settings, authors, stage, shared)

    def answers(orders: Orders) -> Handle:
        return program.answer(
            authors,
            stage,
            orders=orders,
            train=train,
            seed=seed_from(system.seed, name) % 2**31,
            batch_size=settings.batch_size,
        )

    base = answers(Orders())
    varying = program.sensitive_to
    if settings.robustness and not may_have_posts(ImportAuthorsParams(**source)):
        varying -= {"post_seed"}
    others = perturbations(settings.robustness, varying)
    more: dict[str, Any] = {}
    if others:
        perturbed = [answers(orders) for orders in others.values()]
        more = {"perturbed": perturbed, "orders": tuple(others)}
    return stage(
        "score_labels",
        authors=authors,
        labels=base,
        **system.links(),
        **more,
        suite=name,
        system=system.name,
        scale=system.scale,
        seed=system.seed,
        policy=settings.policy,
        judge_fingerprint=f"abstention: {settings.policy}",
        decode_fingerprint=system.decode_fingerprint(Decode()),
        rounds=settings.rounds,
        data="" if settings.authors.startswith(NANO) else identity,
    )


def _train(
    settings: PersonalitySettings, authors: Handle, stage: StageMaker, shared: dict[str, Any]
) -> Handle | None:
    ref = settings.train
    if ref is None:
        ref = f"{settings.authors}/train" if settings.authors.startswith(NANO) else ""
    if not ref:
        return None
    digest = authors_identity(ref)
    return stage("import_authors", ref=ref, digest=digest, apart=authors, **shared)


def perturbations(items: int, sensitive_to: frozenset[str]) -> dict[str, Orders]:
    """Other orders by name, of those that can change answers: item orders by `items` seeds.

    >>> list(perturbations(1, frozenset({"item_seed", "post_seed"})))
    ['items_0', 'posts_0']
    """
    if not items:
        return {}
    found = {"options": Orders(reverse_options=True)}
    found |= {f"items_{seed}": Orders(item_seed=seed) for seed in range(items)}
    found["posts_0"] = Orders(post_seed=0)
    return {
        name: orders
        for name, orders in found.items()
        if set(orders.model_dump(exclude_defaults=True)) <= sensitive_to
    }


def _suite(
    name: str, scheme: str, settings: type[PersonalitySettings], summary: str, official: str
) -> Suite:
    return Suite(
        name=name,
        version=1,
        summary=summary,
        metrics=(
            Metric("macro_f1", UNIT, "mean over traits, abstentions wrong"),
            Metric("accuracy", UNIT, "mean over traits"),
            Metric("macro_f1:*", UNIT, "of a trait", primary=False),
            Metric("accuracy:*", UNIT, "of a trait", primary=False),
            Metric("macro_f1_third_class", UNIT, "abstentions a class apart", primary=False),
            Metric("macro_f1_drop", UNIT, "abstentions left out", primary=False),
            Metric("abstained", UNIT, "labels not given", primary=False),
            Metric("macro_f1_worst", UNIT, "of the orders (robustness)", primary=False),
            Metric("macro_f1_sd", UNIT, "over the orders (robustness)", primary=False),
            Metric("flip_rate", UNIT, "labels another order changes", primary=False),
            Metric("flip_rate:*", UNIT, "labels that one order changes", primary=False),
        ),
        settings=settings,
        plan=partial(plan, name, scheme),
        paper="arXiv:2310.20256",
        editions={"nano": {}, "official": {"authors": f"official:{official}"}},
    )


ESSAYS_SUITE = _suite(
    "personality_essays",
    "big_five",
    EssaysSettings,
    "five traits of authors from essays; macro-F1",
    "essays_test",
)
MBTI_SUITE = _suite(
    "personality_mbti",
    "mbti",
    MBTISettings,
    "four dimensions of types from forum posts; macro-F1",
    "kaggle_mbti_test",
)
