"""Operations of explicit fusion: teachers of a corpus, and training with them.

corpus + model ──> make_teacher ──> shards in the model's own tokens
shards of a source + corpus + both tokenizers ──> map_teacher ──> shards in the target's tokens
corpus + target + its shards + mapped shards of sources ──> train_fusion ──> checkpoint
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from harness.core.errors import BadData
from harness.core.records import Record
from harness.distillation.settings import FusionSettings, MappingSettings
from harness.engine import costs
from harness.engine.operations import Artifact, Context, operation
from harness.models.references import model_identity, pointer_of
from harness.models.tokenize import tokenizer_digest
from harness.training.fitting import memory
from harness.training.held_out import prompt_key, split
from harness.training.launch import over_processes
from harness.training.settings import Dtype, RunSettings, libraries_of

if TYPE_CHECKING:
    from harness.distillation.fusion_data import FusionExample

VLLM_LOGPROBS = 20  # limit of vLLM's server by default


class Reading(Record):
    """Tokenisation of documents; the same for a teacher and for training with it.

    Attributes:
        bos, eos: add the tokenizer's BOS and EOS around a text. Rows with messages go through the
            chat template instead, and only their response is scored.
    """

    bos: bool = True
    eos: bool = True

    def encode(self, tokenizer: Any, row: dict[str, Any]) -> Any:
        from harness.distillation.documents import encode_chat, encode_text

        if "messages" in row:
            return encode_chat(tokenizer, row)
        return encode_text(tokenizer, row, bos=self.bos, eos=self.eos)


class MakeTeacherParams(Reading):
    """One teacher.

    Attributes:
        k: top-k vocabulary entries per token.
        engine: engine that runs the model; None takes that of the model reference ("vllm:..."),
            else transformers.
        token_ce: keep the cross-entropy of each token, for choosing teachers by token.
        dtype: numeric type of the model; None leaves it to the model and device.
    """

    k: int = Field(default=10, ge=1)
    engine: Literal["hf", "vllm"] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    token_ce: bool = False
    shard_documents: int = Field(default=512, ge=1)
    batch_tokens: int = Field(default=8192, ge=1)
    dtype: Dtype | None = None


@operation(
    "make_teacher",
    version=1,
    params=MakeTeacherParams,
    libraries=("torch", "transformers"),
    estimate=costs.rows_of("corpus"),
)
def make_teacher(
    context: Context, params: MakeTeacherParams, *, corpus: Artifact, model: Artifact
) -> None:
    """The k most likely next tokens at every token of a corpus, as shards in the model's own ids.

    Rows are {"id", "text"} that fit the context (`documents.fit_documents`), or {"id", "messages",
    "response"}. A killed stage keeps its finished shards.

    Raises:
        BadData: documents that are too long, logits that are not finite.
        EnvironmentProblem: vLLM is requested and unavailable.
    """
    from harness.distillation import documents, produce, shards

    tokenizer, read = _reader(context, params, model)
    rows = corpus.rows()
    manifest = shards.Manifest(
        k=params.k,
        vocabulary=read.vocabulary,
        tokenizer=tokenizer_digest(tokenizer),
        corpus=documents.corpus_digest(rows),
        model=model_identity(model.path),
        shard_documents=params.shard_documents,
        token_ce=params.token_ce,
        settings={**read.settings, "bos": params.bos, "eos": params.eos},
    )
    folder = context.scratch / "teacher"
    encode = partial(params.encode, tokenizer)
    produce.make_teacher(
        folder, manifest, rows, encode, read, progress=partial(context.progress, unit="documents")
    )
    _link(folder, context.directory)


def _reader(context: Context, params: MakeTeacherParams, model: Artifact) -> tuple[Any, Any]:
    """The tokenizer of a model, and the reader of documents for its engine."""
    from harness.distillation.documents import vocabulary_size

    pointer = pointer_of(model.path)
    if (params.engine or (pointer.engine if pointer else "hf")) == "vllm":
        from harness.backends.vllm import VLLMBackend
        from harness.distillation.prompt_logprobs import ServedTopK

        enough = {"max_logprobs": params.k} if params.k > VLLM_LOGPROBS else None
        backend = VLLMBackend(model.path, context.services, dtype=params.dtype, engine_args=enough)
        size = vocabulary_size(backend.tokenizer)
        return backend.tokenizer, ServedTopK(backend, params.k, size)
    from harness.distillation.produce import TopK
    from harness.models.checkpoints import load_causal_lm

    network, tokenizer = load_causal_lm(model.path, context.device, params.dtype)
    size = vocabulary_size(tokenizer)
    return tokenizer, TopK(network, params.k, size, batch_tokens=params.batch_tokens)


def _link(folder: Path, out: Path) -> None:
    """Hard links to a teacher's files; a hidden file is what a killed process was writing."""
    hidden = shutil.ignore_patterns(".*")
    shutil.copytree(folder, out, copy_function=os.link, dirs_exist_ok=True, ignore=hidden)


class MapTeacherParams(MappingSettings, Reading):
    """The teacher of one source, mapped to the target."""


@operation(
    "map_teacher",
    version=1,
    params=MapTeacherParams,
    libraries=("transformers", "rapidfuzz"),
    estimate=costs.rows_of("corpus"),
)
def map_teacher(
    context: Context,
    params: MapTeacherParams,
    *,
    corpus: Artifact,
    teacher: Artifact,
    target: Artifact,
    source: Artifact,
) -> None:
    """Shards of a source in the target's tokens and positions, see `harness.distillation.mapping`.

    A killed stage keeps its finished shards. Also writes alignment.json: how well the two
    tokenizers agree on these documents.

    Args:
        teacher: artifact of `make_teacher` for the same corpus and `source`.
        target, source: models, of which only the tokenizers are loaded.

    Raises:
        BadData: shards of another tokenizer, corpus or tokenisation.
    """
    from harness.distillation import documents, mapping, shards
    from harness.models.checkpoints import load_tokenizer

    rows = corpus.rows()
    base, other = (
        mapping.Side(tokenizer, partial(params.encode, tokenizer))
        for tokenizer in (load_tokenizer(target.path), load_tokenizer(source.path))
    )
    opened = shards.Teacher(
        teacher.path,
        tokenizer=tokenizer_digest(other.tokenizer),
        corpus=documents.corpus_digest(rows),
    )
    folder = context.scratch / "teacher"
    settings = MappingSettings(**params.model_dump(include=set(MappingSettings.model_fields)))
    progress = partial(context.progress, unit="documents")
    report = mapping.map_teacher(folder, rows, opened, base, other, settings, progress=progress)
    _link(folder, context.directory)
    names = {"base": target.params.get("ref"), "source": source.params.get("ref")}
    report = report.model_copy(update={key: name for key, name in names.items() if name})
    (context.directory / "alignment.json").write_text(report.model_dump_json(indent=1))


class TrainFusionParams(RunSettings, Reading):
    """One training run with teachers.

    Attributes:
        loss: settings of the fusion loss.
        block_size: tokens per block; longer documents are cut.
        packing: see `harness.distillation.fusion_data`; "none" trains on one document per row.
        level: whether teachers are chosen for a whole block, a document or each token.
    """

    loss: FusionSettings = FusionSettings()
    block_size: int = Field(default=2048, ge=2)
    packing: Literal["documents", "wrapped", "none"] = "documents"
    level: Literal["block", "document", "token"] = "block"
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)

    @property
    def longest_sequence(self) -> int:
        return self.block_size


@operation(
    "train_fusion",
    version=1,
    params=TrainFusionParams,
    libraries=libraries_of("torch", "transformers"),
    estimate=lambda params, corpus, model, teachers=(): memory.estimate(params, corpus, model),
)
@over_processes
def train_fusion(
    context: Context,
    params: TrainFusionParams,
    *,
    corpus: Artifact,
    model: Artifact,
    teachers: tuple[Artifact, ...] = (),
) -> None:
    """Train a model on a corpus and on the predictions of teachers.

    Args:
        teachers: shards in the model's vocabulary, its own first; none for the plain
            language-model loss (continual training).

    Writes a checkpoint with its tokenizer, and training_log.json: for each update the loss, both of
    its parts per token, and lambda.

    Raises:
        BadData: no rows, or teachers of another tokenizer, corpus or tokenisation.
    """
    from harness.distillation.documents import corpus_digest
    from harness.distillation.fusion_data import Blocks, fusion_example, plan_blocks
    from harness.distillation.fusion_objective import FusionObjective
    from harness.distillation.shards import Teacher
    from harness.models.collate import pad_id_of
    from harness.models.rows import embedding_rows
    from harness.training import runs
    from harness.training.trainer import train

    with runs.quiet():
        student, tokenizer = runs.open_model(model.path, params, context.device)
        rows = corpus.rows()
        if not rows:
            raise BadData("there are no documents to train on")
        mine, text = tokenizer_digest(tokenizer), corpus_digest(rows)
        opened = [Teacher(teacher.path, tokenizer=mine, corpus=text) for teacher in teachers]
        documents = [params.encode(tokenizer, row) for row in rows]

        def load(number: int) -> FusionExample:
            return fusion_example(documents[number], opened, params.level)

        # Every row of every teacher is read once now, so that nothing fails in mid-training.
        lengths = [len(load(number)) for number in range(len(documents))]
        context.count(tokens_in=sum(lengths))
        parts = []
        for places in split([prompt_key(row) for row in rows], params):
            plan = plan_blocks([lengths[n] for n in places], params.block_size, params.packing)
            own = partial(_at, load, places)
            parts.append(Blocks(own, plan, params.packing, params.level))
        blocks, held_out = parts
        pad_id = pad_id_of(tokenizer, embedding_rows(student))
        objective = FusionObjective(params.loss, params.packing, pad_id)
        beta2 = params.adam_beta2
        train(student, tokenizer, blocks, objective, params, context, held_out, adam_beta2=beta2)


def _at(load: Callable[[int], FusionExample], places: Sequence[int], number: int) -> FusionExample:
    """The example of a document of a part, by its number there."""
    return load(places[number])
