"""Operations of MK-TOD's training.

    new_generator        training dialogues                       -> a T5 with new weights
    train_retriever      training dialogues, an encoder           -> the encoder, fine-tuned
    train_mktod          the same, generator and retriever        -> both, in folders of their names
    reply_with_records   turns, a trained system                  -> turns with replies and records

`train_mktod` also writes layout.json: what the generator reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from harness.core.errors import BadData
from harness.core.records import parse
from harness.engine import costs
from harness.engine.io import read_json, write_json
from harness.engine.operations import Artifact, Context, Estimate, Row, operation
from harness.suites.dialogue.answering import KnowledgeParams, knowledge_of, shared_base
from harness.suites.dialogue.records import Knowledge
from harness.training.fitting import memory
from harness.training.held_out import prompt_key, split
from harness.training.launch import over_processes
from harness.training.settings import libraries_of
from methods.mktod.settings import JointParams, Layout, RetrieverParams, ScratchParams

if TYPE_CHECKING:
    from methods.mktod.retriever import Base, Index

LAYOUT, SUMMARY = "layout.json", "summary.json"
LIBRARIES = ("torch", "transformers")
FALL = 3.0  # points of validation recall that the retriever may lose unnoticed


def _retriever_cost(params: RetrieverParams, dialogues: Estimate, encoder: Estimate) -> Estimate:
    return memory.estimate(params, dialogues, encoder)


def _joint_cost(
    params: JointParams,
    dialogues: Estimate,
    generator: Estimate,
    retriever: Estimate,
    valid: Estimate | None = None,
) -> Estimate:
    """The generator's encoder reads the context with each record; its decoder, the reply."""
    found = memory.estimate(params, dialogues, generator)
    if generator.parameters_b is None or retriever.parameters_b is None:
        return found
    return replace(found, parameters_b=generator.parameters_b + retriever.parameters_b)


@operation("new_generator", version=1, params=ScratchParams, libraries=LIBRARIES)
def new_generator(context: Context, params: ScratchParams, *, dialogues: Artifact) -> None:
    """Write a sequence-to-sequence model that has learnt nothing."""
    from harness.training import runs
    from methods.mktod.scratch import new_generator as make

    with runs.quiet():
        model, tokenizer = make(dialogues.rows(), dialogues.read_json("records.json"), params)
        model.save_pretrained(context.directory)
        tokenizer.save_pretrained(context.directory)


@operation(
    "train_retriever",
    version=1,
    params=RetrieverParams,
    libraries=libraries_of(*LIBRARIES),
    estimate=_retriever_cost,
)
@over_processes
def train_retriever(
    context: Context, params: RetrieverParams, *, dialogues: Artifact, encoder: Artifact
) -> None:
    """Pre-train a retriever by distant supervision; writes the encoder and summary.json.

    Raises:
        BadData: no turn has a label; no records.
    """
    from harness.models.checkpoints import load_encoder
    from harness.suites.dialogue.encoding import longest
    from harness.training import runs
    from harness.training.trainer import train
    from methods.mktod.reading import QueryReader
    from methods.mktod.retriever import DistantSupervision, label_of

    turns = dialogues.rows()
    base = _base(dialogues, params.knowledge)
    labels = [label_of(turn, base, params.knowledge, params) for turn in turns]
    pairs = [(turn, label) for turn, label in zip(turns, labels, strict=True) if label is not None]
    if not pairs:
        raise BadData(
            f"none of {len(turns)} training turns has a label: no record has {params.min_count} "
            "values in context and reply and more than the others; set retriever.min_count=1 or "
            "retriever.unique=false"
        )
    context.note(
        f"{len(pairs)} of {len(turns)} turns have a distant label, {len(base.records)} records"
    )
    with runs.quiet():
        network, tokenizer = load_encoder(encoder.path, "cpu", fresh=True)
        reader = QueryReader(tokenizer, longest(network, params.max_length), params.released)
        every = [(reader.context(turn["context"]), label) for turn, label in pairs]
        keys = [prompt_key(turn) for turn, _ in pairs]
        examples, held_out = split(keys, params).of(every)
        records = [reader.record(record) for record in base.records]
        objective = DistantSupervision(records, params, tokenizer.pad_token_id or 0)
        context.count(tokens_in=sum(len(ids) for ids, _ in examples))
        train(network, tokenizer, examples, objective, params, context, held_out)
    summary = {"turns": len(turns), "labelled": len(pairs), "records": len(base.records)}
    write_json(context.directory / SUMMARY, summary)


@operation(
    "train_mktod",
    version=1,
    params=JointParams,
    libraries=libraries_of(*LIBRARIES),
    estimate=_joint_cost,
)
@over_processes
def train_mktod(
    context: Context,
    params: JointParams,
    *,
    dialogues: Artifact,
    generator: Artifact,
    retriever: Artifact,
    valid: Artifact | None = None,
) -> None:
    """Train generator and retriever together; writes both, layout.json and summary.json.

    summary.json has Recall@K of the validation turns that mention a place first, at each encoding
    of the base.

    Raises:
        BadData: no training turns.
    """
    from harness.models.checkpoints import load_encoder, load_seq2seq
    from harness.suites.dialogue.encoding import longest
    from harness.training import runs
    from harness.training.parts import Parts
    from harness.training.trainer import train
    from methods.mktod.joint import GENERATOR, RETRIEVER, JointObjective, Turn
    from methods.mktod.reading import GeneratorReader, QueryReader, named_in, new_tokens
    from methods.mktod.retriever import Index

    rows, layout = dialogues.rows(), params.layout
    if not rows:
        raise BadData("no training turns; set train to a set of dialogues (settings of the suite)")
    base = _base(dialogues, params.knowledge)
    with runs.quiet():
        writer, words = load_seq2seq(generator.path, "cpu", "float32", fresh=True)
        added = words.add_special_tokens({"additional_special_tokens": new_tokens(layout)})
        if added and len(words) > writer.get_input_embeddings().weight.shape[0]:
            writer.resize_token_embeddings(len(words), mean_resizing=False)
        if added and params.lora is not None:
            context.note(
                f"{added} new tokens of the generator keep their first embeddings: adapters "
                "(joint.lora) train none"
            )
        network, pieces = load_encoder(retriever.path, "cpu", fresh=True)
        queries = QueryReader(pieces, longest(network, layout.max_query), layout.released)
        reader = GeneratorReader(words, layout)
        session = params.knowledge == "session"
        turns = [
            Turn(
                queries.context(row["context"]),
                reader.context(row["context"]),
                reader.reply(row["reference"]),
                base.allowed(row["kb"]) if session else None,
                named_in(base.records, row["context"]),
            )
            for row in rows
        ]
        measure = _recall(valid, base, params, queries.context)
        if valid is not None and measure is None:
            context.note(
                "validation recall is not measured: no validation turn mentions a place first, or "
                "their records are not those of the training dialogues"
            )
        index = Index([queries.record(one) for one in base.records], pieces.pad_token_id or 0)
        objective = JointObjective(
            turns,
            [reader.record(one) for one in base.records],
            index,
            reader,
            params,
            measure,
        )
        parts = Parts({GENERATOR: writer, RETRIEVER: network}, language_models=(GENERATOR,))
        trained, held_out = split([prompt_key(row) for row in rows], params)
        read = (len(turns[place].context) + len(turns[place].reply) for place in trained)
        context.count(tokens_in=sum(read))
        names = {GENERATOR: words, RETRIEVER: pieces}
        train(parts, names, trained, objective, params, context, held_out)
    recalls = _recalls(context, objective.recall())
    if recalls:
        _report(context, recalls, layout.k)
    write_json(context.directory / LAYOUT, layout.model_dump())
    write_json(context.directory / SUMMARY, {"valid_recall": recalls, "turns": len(rows)})


def _base(dialogues: Artifact, knowledge: str) -> Base:
    from methods.mktod.retriever import base_of

    found = base_of(dialogues.rows(), dialogues.read_json("records.json"), knowledge)
    if not found.records:
        raise BadData(
            "these training dialogues have no records; set knowledge=session, or give a base "
            "(settings of the suite)"
        )
    return found


def _recall(
    valid: Artifact | None, base: Base, params: JointParams, query: Callable[[list[str]], list[int]]
) -> Callable[[Any, Index], float] | None:
    """Recall@K in percent of a retriever and its index; None without validation turns."""
    if valid is None:
        return None
    from harness.suites.dialogue.recall import recalled
    from harness.suites.dialogue.turns import mentions
    from methods.mktod.retriever import base_of, encoded, retrieved

    session = params.knowledge == "session"
    rows = valid.rows()
    known = {*base_of(rows, valid.read_json("records.json"), params.knowledge).ids}
    scoped = [(row, m) for row, m in zip(rows, mentions(rows), strict=True) if m.counts]
    if not scoped or not known <= {*base.ids}:
        return None
    texts = [query(row["context"]) for row, _ in scoped]
    allowed = [base.allowed(row["kb"]) if session else None for row, _ in scoped]

    def measure(encoder: Any, index: Index) -> float:
        table = encoded(encoder, texts, index.pad) @ index.vectors.T
        found = retrieved(table, allowed, params.layout.k)
        whole = [
            recalled(row["gold"], [base.records[place] for place in best], mention.name).whole
            for (row, mention), (best, _) in zip(scoped, found, strict=True)
        ]
        return 100.0 * sum(whole) / len(whole)

    return measure


def _recalls(context: Context, last: float | None) -> list[tuple[int, float]]:
    """(updates, recall) wherever it changed, and after the last update.

    Read from the log, which a training that was killed and resumed has in full.
    """
    if last is None:
        return []
    log = read_json(context.directory / "training_log.json")
    found: list[tuple[int, float]] = []
    for entry in log["log"]:
        if not found or found[-1][1] != entry["valid_recall"]:
            found.append((entry["step"] - 1, entry["valid_recall"]))
    return [*found, (log["updates"], last)]


def _report(context: Context, recalls: list[tuple[int, float]], k: int) -> None:
    first, last = recalls[0][1], recalls[-1][1]
    said = f"validation Recall@{k}: {first:.1f} before, {last:.1f} after the joint training"
    if last < first - FALL:
        said += "; the retriever got worse: raise joint.mml_start or lower "
        said += "joint.retriever_learning_rate"
    context.note(said)


class ReplyParams(KnowledgeParams):
    """Parameters of `reply_with_records`.

    Attributes:
        keep: number of records to keep per turn, for Recall@K; the generator sees layout.k.
        writes: write replies; else only retrieve.
    """

    keep: int = Field(default=7, ge=1)
    writes: bool = True
    batch_size: int = Field(default=16, ge=1)


@operation(
    "reply_with_records",
    version=1,
    params=ReplyParams,
    rows="dialogues",
    libraries=LIBRARIES,
    batch_size=lambda params: params.batch_size,
    estimate=costs.rows_of("dialogues"),
)
def reply_with_records(
    context: Context,
    params: ReplyParams,
    batches: Iterable[list[Row]],
    *,
    dialogues: Artifact,
    system: Artifact,
) -> Iterator[list[Row]]:
    """Turns with `responses` (one reply, greedy), `retrieved`, `scores` and `base`."""
    from methods.mktod.replying import Replier

    layout = parse(Layout, system.read_json(LAYOUT), LAYOUT)
    replier = Replier(system.path, context.device, layout)
    shared = shared_base(dialogues, params.knowledge)
    for batch in batches:
        bases = [knowledge_of(row, shared, params.knowledge) for row in batch]
        found = replier.retrieve([row["context"] for row in batch], bases, params.keep)
        replies: list[Any] = [{} for _ in batch]
        if params.writes:
            texts = replier.write([row["context"] for row in batch], bases, found)
            replies = [{"responses": [text]} for text in texts]
        yield [
            {**row, **_columns(base, places, scores), **reply}
            for row, base, (places, scores), reply in zip(batch, bases, found, replies, strict=True)
        ]


def _columns(base: Knowledge, places: list[int], scores: list[float]) -> Row:
    return {
        "retrieved": [base.ids[place] for place in places],
        "scores": scores,
        "base": base.digest,
    }
