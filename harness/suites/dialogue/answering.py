"""Row operations that answer the turns of dialogues.

    retrieve_records   turns                       -> turns with `retrieved`, `scores`, `records`
    respond_by         turns, a Python function    -> turns with `responses`, `retrieved`, `scores`

Both take the records of the turn's session, or the shared base of the set. Ids of records are
digests of their content, and `base` is the digest of the whole base that was searched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from harness.backends.prompting import code_of, function
from harness.core.errors import BadData
from harness.core.records import Record
from harness.engine import costs
from harness.engine.operations import Artifact, Context, Row, operation
from harness.suites.dialogue.records import Dialogue, Knowledge, Reply
from harness.suites.dialogue.retrievers import Encode
from harness.suites.dialogue.search import top_k

Base = Literal["session", "shared"]
BATCH = 128  # turns per batch


class KnowledgeParams(Record):
    """Parameters of both operations.

    Attributes:
        knowledge: records of the turn's session (the condensed setting), or the shared base of the
            set (the large-scale setting).
        code: digest of the modules of functions that no table names; computed, never given.
    """

    knowledge: Base = "shared"
    code: str = Field(default="", exclude_if=lambda value: not value)


class RetrieveParams(KnowledgeParams):
    """Parameters of `retrieve_records`.

    Attributes:
        retriever, retriever_settings: see `harness.suites.dialogue.retrievers`.
        keep: number of records to keep per turn; a smaller base is kept whole.
    """

    retriever: str = "value_frequency"
    retriever_settings: dict[str, Any] = Field(default_factory=dict)
    keep: int = Field(default=7, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _with_code(cls, data: Any) -> Any:
        return (
            {**data, "code": code_of([data.get("retriever")])} if isinstance(data, dict) else data
        )

    @model_validator(mode="after")
    def _function_fits(self) -> Self:
        _ = self.build
        return self

    @property
    def build(self) -> Callable[..., Any]:
        """The retriever with its settings."""
        found: Callable[..., Any] = function(
            "RETRIEVERS", self.retriever, 2, self.retriever_settings
        )
        return found


def knowledge_of(row: Row, shared: Knowledge, which: Base) -> Knowledge:
    """The records that a system may use for a turn."""
    return shared if which == "shared" else Knowledge.of(row["kb"])


def shared_base(dialogues: Artifact, which: Base) -> Knowledge:
    """The shared base of an imported set.

    Raises:
        BadData: it is wanted and has no record.
    """
    found = Knowledge.of(dialogues.read_json("records.json"))
    if which == "shared" and not found.records:
        raise BadData(
            "this set has no shared knowledge base; set knowledge=session, or give one by base="
        )
    return found


def dialogue_of(row: Row) -> Dialogue:
    """What a system may see of a turn row: neither its reference nor its gold values."""
    return Dialogue(row["id"], row["domain"], tuple(row["context"]), row["facts"])


@operation(
    "retrieve_records",
    version=1,
    params=RetrieveParams,
    rows="dialogues",
    libraries=("bm25s", "torch", "transformers"),
    batch_size=lambda params: BATCH,
    estimate=costs.rows_of("dialogues"),
)
def retrieve_records(
    context: Context,
    params: RetrieveParams,
    batches: Iterable[list[Row]],
    *,
    dialogues: Artifact,
    encoder: Artifact | None = None,
) -> Iterator[list[Row]]:
    """Turns with the ids, scores and contents of the best records, and `base`.

    Raises:
        BadData: no shared base; a score that is not a number.
        UserError, MissingExtra: a retriever without its encoder or package.
    """
    encode = _encode(context, encoder)
    shared = shared_base(dialogues, params.knowledge)
    ranks: dict[str, Any] = {}
    for batch in batches:
        groups: dict[str, list[Row]] = {}
        bases: dict[str, Knowledge] = {}
        for row in batch:
            own = knowledge_of(row, shared, params.knowledge)
            groups.setdefault(own.digest, []).append(row)
            bases[own.digest] = own
        found: dict[str, Row] = {}
        for key, rows in groups.items():
            base = bases[key]
            if key not in ranks:
                ranks = {key: params.build(base, encode)}  # one at a time: sessions are many
            scores = ranks[key]([dialogue_of(row) for row in rows])
            for row, best, own_scores in zip(rows, top_k(scores, params.keep), scores, strict=True):
                found[row["id"]] = {
                    "retrieved": [base.ids[place] for place in best],
                    "scores": [float(own_scores[place]) for place in best],
                    "records": [dict(base.records[place]) for place in best],
                    "base": base.digest,
                }
        yield [{**row, **found[row["id"]]} for row in batch]


def _encode(context: Context, encoder: Artifact | None) -> Encode | None:
    if encoder is None:
        return None
    from harness.suites.dialogue.encoding import encoder_of

    return encoder_of(encoder.path, context.device)


class RespondParams(KnowledgeParams):
    """Parameters of `respond_by`.

    Attributes:
        respond, respond_settings: "package.module:function" with its keyword arguments;
            respond(dialogue, knowledge, **settings) -> `harness.suites.dialogue.records.Reply`.
    """

    respond: str
    respond_settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _with_code(cls, data: Any) -> Any:
        return {**data, "code": code_of([data.get("respond")])} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _function_fits(self) -> Self:
        _ = self.function
        return self

    @property
    def function(self) -> Callable[[Dialogue, Knowledge], Reply]:
        found: Callable[[Dialogue, Knowledge], Reply] = function(
            "RESPONDERS", self.respond, 2, self.respond_settings
        )
        return found


@operation(
    "respond_by",
    version=1,
    params=RespondParams,
    rows="dialogues",
    batch_size=lambda params: BATCH,
    estimate=costs.rows_of("dialogues"),
)
def respond_by(
    context: Context,
    params: RespondParams,
    batches: Iterable[list[Row]],
    *,
    dialogues: Artifact,
) -> Iterator[list[Row]]:
    """Turns with the answers of a Python function; whatever it raises ends the stage.

    Raises:
        BadData: it returned no `Reply`, or another number of scores than of records.
    """
    respond = params.function
    shared = shared_base(dialogues, params.knowledge)
    for batch in batches:
        rows = []
        for row in batch:
            base = knowledge_of(row, shared, params.knowledge)
            reply = respond(dialogue_of(row), base)
            if not isinstance(reply, Reply) or (
                reply.scores and len(reply.scores) != len(reply.retrieved)
            ):
                raise BadData(
                    f'{params.respond}, turn "{row["id"]}": returned {reply!r:.80}; expected a '
                    "Reply with one score per retrieved record, or none"
                )
            more: Row = {"error": reply.error} if reply.error else {}
            if reply.text is not None:
                more["responses"] = [reply.text]
            rows.append(
                {
                    **row,
                    "retrieved": list(reply.retrieved),
                    "scores": [float(score) for score in reply.scores],
                    "base": base.digest,
                    **more,
                }
            )
        yield rows
