"""Pretrained encoders as classifiers of authors: fine-tuned, or frozen below a linear model.

Fine-tuning trains the encoder and one head for all traits (one sigmoid each, threshold 1/2) with
transformers' Trainer. Frozen, each text is encoded once and every trait is classified by the
logistic regression of `harness.suites.personality.classifiers`. Texts are truncated to
`max_length` tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

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

BATCH = 16  # texts per forward pass


class EncoderSettings(Record):
    """Settings of a pretrained encoder as a classifier of authors.

    Attributes:
        mode: "finetune" trains it with one head for all traits; "frozen" fits a logistic
            regression to the mean of its last hidden states, which is feasible on a CPU.
        max_length: maximum tokens of a text (500 in the paper's fine-tuned baselines), at most the
            encoder's maximum.
        training: settings of "finetune"; its seed is replaced by the run's, and finished folds are
            stored instead of checkpoints.
    """

    mode: Literal["finetune", "frozen"] = "finetune"
    max_length: int = Field(default=500, ge=8)
    training: RunSettings = RunSettings(
        learning_rate=5e-5, epochs=4, scheduler="linear", weight_decay=0.01
    )

    @model_validator(mode="after")
    def _on_all_authors(self) -> EncoderSettings:
        if self.training.validation is not None:
            raise ValueError(
                "training without validation: the folds of a classifier are trained on all of "
                "their authors"
            )
        if self.training.lora is not None:
            raise ValueError("training without lora: an encoder is trained with a new head, whole")
        return self


class ClassifierSettings(Learning):
    """The table `classifier` of a recipe: settings of majority, TF-IDF and encoder classifiers."""

    encoder: EncoderSettings = EncoderSettings()


class EncodeParams(Learning, EncoderSettings):
    """Parameters of `classify_authors_by_encoder`.

    Attributes:
        post_seed: seed with which an author's posts are shuffled; None keeps their order.
        seed: seed of folds and training.
    """

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
    """Label authors by an encoder; files and errors as in `classify_authors`.

    classifier.json also contains the number of texts longer than `max_length`.
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
    """Mean of an encoder's last hidden states over each text's tokens: (texts, width)."""
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
    """Labels (authors, traits); folds finished by an interrupted run are read from `scratch`."""
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

    # No checkpoints: the next fold would resume from those of this one.
    settings = params.training.model_copy(update={"seed": params.seed, "save_steps": None})
    set_seed(params.seed)  # for the initialisation of the head
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
