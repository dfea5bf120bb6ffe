"""Trained text classifiers: baselines of prompting a model about an author.

    majority         the more frequent label of each trait
    tfidf_svm        TF-IDF of words, linear support vector machine
    tfidf_logistic   TF-IDF of words, logistic regression
    encoder          a pretrained encoder, fine-tuned or frozen (models.encoder)

They are trained on the training set of the suite. Without one, authors are labelled out of fold,
see `harness.suites.personality.classifiers`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.core.errors import BadRecord
from harness.core.hashing import digest
from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Method
from harness.suites.base import Program
from harness.suites.personality.orders import Orders
from harness.suites.personality.recipe import AuthorsRecipe
from harness.training import from_responses


def of_words(kind: str) -> Callable[[AuthorsRecipe, StageMaker], Program]:
    """The plan of a bag-of-words classifier, which no order of an author's posts can change."""

    def plan(recipe: AuthorsRecipe, stage: StageMaker) -> Program:
        settings = {"kind": kind, **recipe.classifier.model_dump(include={"tune", "folds"})}

        def answer(authors: Handle, stage: StageMaker, **how: Any) -> Handle:
            return stage("classify_authors", authors=authors, **_learning(how), **settings)

        return Program("label_authors", answer, fingerprint=digest(settings)[:16])

    return plan


def encoder(recipe: AuthorsRecipe, stage: StageMaker) -> Program:
    spec = recipe.models.encoder
    if spec is None:
        raise BadRecord(
            'the method "encoder" needs models.encoder; for example '
            '--set models.encoder.ref="FacebookAI/roberta-base", or a folder'
        )
    model = from_responses.model(spec, stage)
    settings = recipe.classifier.model_dump(exclude={"encoder"})
    settings |= recipe.classifier.encoder.model_dump()

    def answer(authors: Handle, stage: StageMaker, *, orders: Orders, **how: Any) -> Handle:
        return stage(
            "classify_authors_by_encoder",
            authors=authors,
            model=model,
            post_seed=orders.post_seed,
            **_learning(how),
            **settings,
        )

    return Program(
        "label_authors",
        answer,
        model=model,
        fingerprint=digest(settings)[:16],
        sensitive_to=frozenset({"post_seed"}),  # a text may be cut
    )


def _learning(how: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a suite that all classifiers take."""
    train = {} if how["train"] is None else {"train": how["train"]}
    return {"seed": how["seed"], **train}


MAJORITY = Method("majority", AuthorsRecipe, of_words("majority"))
TFIDF_SVM = Method("tfidf_svm", AuthorsRecipe, of_words("tfidf_svm"))
TFIDF_LOGISTIC = Method("tfidf_logistic", AuthorsRecipe, of_words("tfidf_logistic"))
ENCODER = Method("encoder", AuthorsRecipe, encoder)
