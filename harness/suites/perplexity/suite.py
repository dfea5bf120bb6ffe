"""Held-out perplexity by domain, in bits per byte; lower is better, and tokenizers are comparable.

Protocol: a model scores documents that it was not trained on; of conversations only the answers
are scored. There is one cell for all documents and one per domain, with intervals over documents
(`harness.suites.perplexity.operations`). FuseLLM (arXiv:2401.10491, section 4.6) measures
perplexity on three subsets of the Pile; the unit of its figures is unknown.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.core.hashing import digest
from harness.core.records import Record
from harness.distillation.corpus import documents_identity
from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Refers
from harness.suites.base import NANO, Metric, Suite, System
from harness.suites.perplexity.operations import OVERALL


class PerplexitySettings(Record):
    """Settings of the suite.

    Attributes:
        documents, split, field, form, limit: see `harness.distillation.corpus`.
        batch_size: pieces per forward pass.
        rounds: resamples of the documents per interval.
    """

    documents: Annotated[str, Refers("documents")] = "nano:reward"
    split: Annotated[str, Refers("layout")] = "validation"
    field: Annotated[str, Refers("layout")] = "text"
    form: Literal["chat", "text"] = "chat"
    limit: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=16, ge=1)
    rounds: int = Field(default=1000, ge=1)


def readings(model: Handle, settings: PerplexitySettings, stage: StageMaker) -> Handle:
    """Bits and bytes of each document, read by one model."""
    documents = stage(
        "import_documents",
        ref=settings.documents,
        digest=documents_identity(settings.documents),
        **settings.model_dump(include={"split", "field", "form", "limit"}),
    )
    return stage("read_documents", documents=documents, model=model, batch_size=settings.batch_size)


def plan(system: System, settings: PerplexitySettings, stage: StageMaker) -> Handle:
    """Stages of one system: score all documents, then make cells."""
    system.program_for("log_likelihoods", "perplexity")  # refuses programs
    assert system.model is not None  # a system is a program or has a model
    identity = documents_identity(settings.documents)
    return stage(
        "score_perplexity",
        readings=readings(system.model, settings, stage),
        **system.links(),
        suite="perplexity",
        system=system.name,
        scale=system.scale,
        seed=system.seed,
        decode_fingerprint=digest(["bits per byte", 1])[:16],
        rounds=settings.rounds,
        data="" if settings.documents.startswith(NANO) else identity,
    )


SUITE = Suite(
    name="perplexity",
    version=1,
    summary="bits per byte of held-out documents, by domain",
    metrics=(
        Metric(OVERALL, "bits per byte", "all documents"),
        Metric(f"{OVERALL}:*", "bits per byte", "each domain", primary=False),
    ),
    settings=PerplexitySettings,
    plan=plan,
    needs=("train",),
)
