"""Traits of authors from their texts: the Essays (Big Five) and the Kaggle MBTI posts.

Paper: PsyCoT (arXiv:2310.20256); 247 essays with five traits, 200 users with four dimensions.
Protocol:

1. a system labels every author 1 or 0 for each trait, or abstains; a chat model without a method
   is asked one question per trait, with the trait's two poles as options;
2. score = macro-F1 of each trait, averaged over the traits; an abstention counts as wrong.

Trained systems use `train`, or are cross-validated on the authors. With `robustness` the same
system answers again with options, items and posts in other orders.

The suites measure text classification against questionnaires that the authors once filled in. They
are not a diagnosis and must not be used to profile people.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from harness.core.hashing import seed_from
from harness.core.records import Record
from harness.data.authors import ImportAuthorsParams, authors_identity, may_have_posts
from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Refers, Rehearsed
from harness.suites.base import NANO, Decode, Metric, Program, Suite, System
from harness.suites.personality.dialogues import InterviewSettings
from harness.suites.personality.interviewing import interviewing
from harness.suites.personality.labels import Policy
from harness.suites.personality.orders import Orders

OrderKind = Literal["options", "items", "posts"]
ORDERS: tuple[OrderKind, ...] = ("options", "items", "posts")
TASK = "label_authors"
UNIT = "%"


class PersonalitySettings(Record):
    """Settings of both suites.

    Attributes:
        authors: authors to label, see `harness.data.authors`.
        train: training set; "" cross-validates on `authors`; None uses the training split of a nano
            set and cross-validates on other sets.
        limit: number of authors to label, from the first.
        policy: treatment of abstentions in the primary metrics, see
            `harness.suites.personality.labels`.
        robustness: number of item orders to run additionally, along with exchanged options and
            shuffled posts, if a system's answers can depend on them; 0 runs none.
        orders: kinds of orders that robustness tests.
        mask: remove the 16 type words from posts.
        batch_size: authors per batch.
        rounds: resamples of the authors per interval.
        columns: names of the columns of a file, see `harness.data.author_files.read_authors`.
    """

    authors: Annotated[str, Refers("authors")]
    train: Annotated[str | None, Refers("authors")] = None
    # Of a rehearsal: every author is asked about fifty questions, in every order.
    limit: Annotated[int | None, Rehearsed(lambda most: min(most or 6, 6))] = Field(
        default=None, ge=1
    )
    policy: Policy = "wrong"
    robustness: int = Field(default=0, ge=0)
    orders: tuple[OrderKind, ...] = ORDERS
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
    """Stages of one system on authors labelled by a scheme of traits.

    Raises:
        UserError: the system does not label authors, or the authors cannot be found.
    """
    program = system.program_for(TASK, name)
    if program is None:
        assert system.model is not None  # a system has a model or a program
        program = interviewing(system.model, InterviewSettings())
    identity = authors_identity(settings.authors)
    authors = imported(scheme, settings, stage)
    answers = partial(answered, name, scheme, program, system.seed, settings, stage)
    base = answers(Orders())
    varying = program.sensitive_to
    source = _source(scheme, settings)
    if settings.robustness and not may_have_posts(ImportAuthorsParams(**source)):
        varying -= {"post_seed"}
    others = perturbations(settings.robustness, varying, settings.orders)
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


def imported(scheme: str, settings: PersonalitySettings, stage: StageMaker) -> Handle:
    """The authors to label."""
    return stage("import_authors", **_source(scheme, settings))


def answered(
    name: str,
    scheme: str,
    program: Program,
    seed: int,
    settings: PersonalitySettings,
    stage: StageMaker,
    orders: Orders,
) -> Handle:
    """The labels of a program, asked in these orders.

    Args:
        name: of the suite.
        seed: of the system.
    """
    authors = imported(scheme, settings, stage)
    return program.answer(
        authors,
        stage,
        orders=orders,
        train=_train(settings, authors, stage, _shared(scheme, settings)),
        seed=seed_from(seed, name) % 2**31,
        batch_size=settings.batch_size,
    )


def _shared(scheme: str, settings: PersonalitySettings) -> dict[str, Any]:
    """Parameters of every import of authors."""
    shared: dict[str, Any] = {"scheme": scheme, "columns": settings.columns}
    return {**shared, "mask": settings.mask} if scheme == "mbti" else shared


def _source(scheme: str, settings: PersonalitySettings) -> dict[str, Any]:
    """Parameters of the import of the authors to label."""
    identity = authors_identity(settings.authors)
    source = {"ref": settings.authors, "digest": identity, "limit": settings.limit}
    return source | _shared(scheme, settings)


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


def perturbations(
    items: int, sensitive_to: frozenset[str], kinds: Sequence[OrderKind] = ORDERS
) -> dict[str, Orders]:
    """Orders to test by name, limited to those that can change answers; `items` item orders.

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
        and name.partition("_")[0] in kinds
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
            Metric("macro_f1:*", UNIT, "by trait", primary=False),
            Metric("accuracy:*", UNIT, "by trait", primary=False),
            Metric("macro_f1_third_class", UNIT, "abstentions as a third class", primary=False),
            Metric("macro_f1_drop", UNIT, "abstentions left out", primary=False),
            Metric("abstained", UNIT, "labels not given", primary=False),
            Metric("macro_f1_worst", UNIT, "minimum over orders (robustness)", primary=False),
            Metric("macro_f1_sd", UNIT, "deviation over orders (robustness)", primary=False),
            Metric("flip_rate", UNIT, "labels changed by another order", primary=False),
            Metric("flip_rate:*", UNIT, "labels changed by one order", primary=False),
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


class OfAuthors(NamedTuple):
    """A suite of authors and its scheme of traits."""

    suite: Suite
    scheme: str


SUITES = {
    ESSAYS_SUITE.name: OfAuthors(ESSAYS_SUITE, "big_five"),
    MBTI_SUITE.name: OfAuthors(MBTI_SUITE, "mbti"),
}
