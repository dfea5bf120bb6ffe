"""Settings of the trained systems, as records without torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harness.core.records import Record
from harness.engine.recipe import Rehearsed
from harness.suites.dialogue.answering import Base
from harness.training.settings import RunSettings

Meta = Literal["none", "prefix", "prompt", "contrastive"]
Fusion = Literal["fid", "concat", "split"]
# A rehearsal trains on all turns of the nano world, which no limit shortens.
Steps = Annotated[int | None, Rehearsed(lambda steps: 4), Field(ge=1)]


class RetrieverParams(RunSettings):
    """Pre-training of a retriever by distant supervision (appendix D).

    Attributes:
        max_length: tokens of a context or record, special ones included.
        temperature: of the softmax over records.
        min_count, unique: see `labels.distant_label`.
        negatives: labels of the other turns of the batch (the paper), or all records of the base.
        same_record_negatives: other turns with the same label are negatives, as in the paper; they
            contradict the label.
        knowledge: records among which the label of a turn is chosen.
        released: cut contexts as MAKER does, see `maker_released.truncated`.
    """

    learning_rate: float = Field(default=5e-5, gt=0)
    max_steps: Steps = None
    weight_decay: float = Field(default=0.01, ge=0)
    scheduler: Literal["cosine", "linear", "constant_with_warmup", "constant"] = "linear"
    max_length: int = Field(default=128, ge=4)
    temperature: float = Field(default=0.05, gt=0)
    min_count: int = Field(default=2, ge=1)
    unique: bool = True
    negatives: Literal["batch", "base"] = "batch"
    same_record_negatives: bool = False
    knowledge: Base = "shared"
    released: bool = False

    @property
    def longest_sequence(self) -> int:
        return self.max_length

    @property
    def whole_batches(self) -> bool:
        """Labels of other turns of the batch are negatives."""
        return self.negatives == "batch"


class Layout(Record):
    """What a generator reads and writes; stored with a trained system.

    Attributes:
        k: number of records; a smaller base is used whole.
        meta: how the generator is told about the retrieval (section 3.4). "contrastive" trains it
            to tell good records from none, and shows nothing.
        edges: thresholds of the confidence, see `meta_knowledge.EDGES`.
        fusion: "fid" encodes context and record together, record by record (fusion in decoder);
            "concat" encodes the context with all records as one text; "split" (ours) encodes
            context and records apart, which halves the cost of a step.
        copying: ours: tokens of the context and the records can be copied into the reply.
        values: "surface" writes values with blanks, "joined" as one word ("curry_garden").
        max_query: tokens of a context, or of a record, of the retriever.
        max_context, max_record, max_reply: tokens of the generator.
        released: see `RetrieverParams`.
    """

    k: int = Field(default=7, ge=1)
    meta: Meta = "prefix"
    edges: Literal["table", "footnote"] = "table"
    fusion: Fusion = "fid"
    copying: bool = False
    values: Literal["surface", "joined"] = "surface"
    max_query: int = Field(default=128, ge=4)
    max_context: int = Field(default=200, ge=4)
    max_record: int = Field(default=100, ge=4)
    max_reply: int = Field(default=64, ge=2)
    released: bool = False


class MktodWeights(Record):
    """Weights of likelihood, marginal likelihood and contrastive loss (table 13).

    Attributes:
        margin: lambda of the contrastive term.
    """

    alpha: float = Field(default=1.0, ge=0)
    beta: float = Field(default=1.0, ge=0)
    gamma: float = Field(default=1.0, ge=0)
    margin: float = 0.01


class JointParams(RunSettings):
    """Joint training of generator and retriever (section 3.3).

    Attributes:
        layout: what the generator reads.
        weights: alpha, beta, gamma and margin of the losses (table 13). gamma counts with
            meta = "contrastive" alone.
        temperature: of the retrieval distribution. The paper names none, and with cosines and 1 it
            is nearly flat.
        mml_start: share of the updates after which the retriever begins to learn. From an
            untrained generator it would learn noise; MAKER waits for about 0.4 of all updates. 0 is
            the paper.
        mml_updates_generator: the marginal likelihood trains the generator as well (eq. 6).
        negative: in training the generator also sees the record with the lowest score (3.5).
        negative_in_mml: it is a term of the marginal likelihood, too.
        positives: number of records of the contrastive loss, in order of retrieval; the paper gives
            none.
        refresh_steps: updates between two encodings of the whole base (MAKER: 100 to 200
            micro-steps).
        retriever_learning_rate: None is learning_rate.
        knowledge: records that a turn may use.
    """

    layout: Layout = Layout()
    weights: MktodWeights = MktodWeights()
    learning_rate: float = Field(default=1e-4, gt=0)
    max_steps: Steps = None
    weight_decay: float = Field(default=0.01, ge=0)
    scheduler: Literal["cosine", "linear", "constant_with_warmup", "constant"] = "linear"
    temperature: float = Field(default=0.05, gt=0)
    mml_start: float = Field(default=0.4, ge=0, le=1)
    mml_updates_generator: bool = True
    negative: bool = True
    negative_in_mml: bool = False
    positives: int = Field(default=1, ge=1)
    refresh_steps: int = Field(default=100, ge=1)
    retriever_learning_rate: float | None = Field(default=None, gt=0)
    knowledge: Base = "shared"

    @property
    def sequences_per_row(self) -> int:
        """Views of a turn that the generator's encoder reads."""
        return self.layout.k + self.negative

    @property
    def longest_sequence(self) -> int:
        """Of a view, with the reply that is decoded from it."""
        return self.layout.max_context + self.layout.max_record + self.layout.max_reply

    @model_validator(mode="after")
    def _resumes_exactly(self) -> Self:
        if self.save_steps is not None and self.save_steps % self.refresh_steps:
            raise ValueError(
                f"save_steps ({self.save_steps}) as a multiple of refresh_steps "
                f"({self.refresh_steps}), so that a resumed training has the same index"
            )
        return self


class ScratchParams(Record):
    """A T5 with new weights, and a tokenizer of whole words and values.

    Attributes:
        layers, hidden, heads: of encoder and decoder each.
        min_count: occurrences of a word in the training dialogues that give it a token; words and
            values of the knowledge base always have one.
    """

    layers: int = Field(default=2, ge=1)
    hidden: int = Field(default=128, ge=8)
    heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    min_count: int = Field(default=1, ge=1)
    seed: int = 42
