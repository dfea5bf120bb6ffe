"""Pretrained encoders as classifiers of authors: fine-tuned, or frozen below a linear model.

Fine-tuning trains encoder and one head for all traits (a sigmoid each, cut at one half) by
transformers' Trainer; frozen, each text is encoded once and every trait gets the logistic
regression of `harness.suites.personality.classifiers`. A text is read up to `max_length` word
pieces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from harness.core.records import Record
from harness.engine.io import read_json, write_json
from harness.engine.operations import Artifact, Context, Row, operation
from harness.suites.personality.classifiers import (
    Ints,
    Learning,
    Task,
    label,
    read_task,
    require_sklearn,
    texts_of,
    write_labels,
)
from harness.training.settings import RunSettings

BATCH = 16  # texts encoded together


class EncoderSettings(Record):
    """A pretrained encoder as a classifier of authors.

    Attributes:
        mode: "finetune" trains it with one head for all traits; "frozen" puts a logistic
            regression on the mean of its last states, which a CPU can do.
        max_length: word pieces that are read of a text (the paper's fine-tuned baselines: 500), or
            as many as the encoder can read.
        training: of "finetune"; its seed is the run's, and finished folds replace checkpoints.
    """

    mode: Literal["finetune", "frozen"] = "finetune"
    max_length: int = Field(default=500, ge=8)
    training: RunSettings = RunSettings(
        learning_rate=5e-5, epochs=4, scheduler="linear", weight_decay=0.01
    )


class ClassifierSettings(Learning):
    """The table `classifier` of a recipe: how majority, TF-IDF and encoder classifiers learn."""

    encoder: EncoderSettings = EncoderSettings()


class EncodeParams(Learning, EncoderSettings):
    """One classifier by an encoder; `post_seed` shuffles an author's posts."""

    post_seed: int | None = None
    seed: int = 0


@operation(
    "classify_authors_by_encoder",
    version=1,
    params=EncodeParams,
    libraries=("scikit-learn", "torch", "transformers"),
)
def classify_authors_by_encoder(
    context: Context,
    params: EncodeParams,
    *,
    authors: Artifact,
    model: Artifact,
    train: Artifact | None = None,
) -> None:
    """Label authors by an encoder; the files and errors are those of `classify_authors`.

    classifier.json also tells how many texts were longer than `max_length`.
    """
    require_sklearn()
    from harness.models.checkpoints import load_encoder
    from harness.training import runs

    task = read_task(authors, train)
    texts = texts_of(task.rows, params.post_seed)
    with runs.quiet():
        encoder, tokenizer = load_encoder(model.path, context.device)
        limit = min(
            params.max_length,
            tokenizer.model_max_length,
            getattr(encoder.config, "max_position_embeddings", params.max_length),
        )
        pieces = [len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]]
        context.count(tokens_in=sum(min(count, limit) for count in pieces))
        encoded = tokenizer(texts, truncation=True, max_length=limit)
        rows = [{"input_ids": ids} for ids in encoded["input_ids"]]
        report = Counter(texts_cut=sum(count > limit for count in pieces))
        if params.mode == "frozen":
            states = mean_states(context, encoder, tokenizer, rows)
            label(context, task, states, "frozen", params, params.seed, report)
        else:
            found = _fine_tuned(context, params, task, rows, model)
            write_labels(context, task, found, dict(report))


def mean_states(context: Context, encoder: Any, tokenizer: Any, rows: Sequence[Row]) -> Any:
    """Mean of an encoder's last states over a text's word pieces, (texts, width)."""
    import torch

    found = []
    for start in range(0, len(rows), BATCH):
        batch = list(rows[start : start + BATCH])
        tokens = tokenizer.pad(batch, return_tensors="pt").to(encoder.device)
        with torch.inference_mode():
            states = encoder(**tokens).last_hidden_state  # (B, T, D)
        mask = tokens["attention_mask"].unsqueeze(-1)
        found.append(((states * mask).sum(1) / mask.sum(1)).cpu().numpy())
        context.progress(start + len(batch), len(rows), "texts")
    return np.concatenate(found)


def _fine_tuned(
    context: Context, params: EncodeParams, task: Task, rows: Sequence[Row], model: Artifact
) -> Ints:
    """Labels of the authors; a fold that an interrupted attempt finished is read back."""
    found = np.zeros((len(task.authors), len(task.names)), dtype=np.int64)
    parts = task.parts(params.folds, params.seed, range(len(task.names)))
    for number, (known, asked, places) in enumerate(parts):
        kept = context.scratch / f"part-{number}.json"
        if not kept.is_file():
            learnt = [
                {**rows[place], "labels": task.labels[place].astype(float).tolist()}
                for place in known
            ]
            labels = _train(context, params, model, learnt, [rows[place] for place in asked])
            write_json(kept, labels.tolist())
        found[places] = read_json(kept)
    return found


def _train(
    context: Context,
    params: EncodeParams,
    model: Artifact,
    learnt: list[Row],
    asked: list[Row],
) -> Ints:
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments, set_seed

    from harness.models.checkpoints import load_encoder
    from harness.training import runs

    # Checkpoints of one fold would be taken for the next one's; finished folds are kept instead.
    settings = params.training.model_copy(update={"seed": params.seed, "save_steps": None})
    set_seed(params.seed)  # of the new head
    encoder, tokenizer = load_encoder(model.path, labels=len(learnt[0]["labels"]))
    trainer = Trainer(
        model=encoder,
        args=runs.training_arguments(TrainingArguments, settings, context),
        train_dataset=learnt,
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    runs.run(trainer, context)
    logits = trainer.predict(asked).predictions  # (authors, traits)
    return (logits > 0).astype(np.int64)
