"""One training run on pairs: models, teachers, examples, and the checks before the first update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.core.errors import BadData
from harness.distillation.advantage.checks import answers_digest, check_tokenizers, identity_of
from harness.distillation.advantage.objective import (
    SIDES,
    PairExample,
    PairObjective,
    Teachers,
    empty_rows,
)
from harness.distillation.advantage.pairs import pair_sequences, scored_ids
from harness.distillation.advantage.settings import TrainOnPairsParams
from harness.distillation.caches import Cache
from harness.distillation.shards import token_check
from harness.engine.operations import Artifact, Context, Row
from harness.models.checkpoints import load_causal_lm
from harness.models.collate import pad_id_of
from harness.models.heads import Head, output_head
from harness.models.tokenize import TokenSequence, is_cut, tokenizer_digest
from harness.training import runs
from harness.training.answer_counts import AnswerCounts
from harness.training.held_out import prompt_key, split
from harness.training.trainer import train


class PairRun:
    """See `operations.train_on_pairs`."""

    def __init__(
        self,
        context: Context,
        params: TrainOnPairsParams,
        rows: Artifact,
        model: Artifact,
        teacher: Artifact | None,
        reference: Artifact | None,
        cache: Artifact | None,
        weights: Artifact | None,
    ) -> None:
        self.context = context
        self.params = params
        self.rows = rows
        self.model = model
        self.artifacts = {
            name: model
            for name, model in (("teacher", teacher), ("reference", reference))
            if model is not None
        }
        self.cache = None if cache is None else Cache(cache.path)
        self.weights = None if weights is None else {row["id"]: row for row in weights.rows()}
        self._check_sources()

    def train(self) -> None:
        """Train the student and write its checkpoint."""
        student, tokenizer = runs.open_model(self.model.path, self.params, self.context.device)
        teachers, vocabulary = self._teachers(tokenizer)
        if self.cache is not None:
            self._check_cache(tokenizer)
        every, keys = self._examples(tokenizer)
        if not every:
            raise BadData(
                "no row has a scored token: every answer is empty, or prompts fill max_length "
                f"({self.params.max_length}); raise max_length or lower max_prompt_length"
            )
        examples, held_out = split(keys, self.params).of(every)
        counted = (len(e.chosen.input_ids) for e in examples)
        others = (len(e.response.input_ids) for e in examples if e.response)
        self.context.count(tokens_in=sum(counted) + sum(others))
        pad_id = pad_id_of(tokenizer)
        objective = PairObjective(self.params.loss, teachers, pad_id, vocabulary, empty_rows(every))
        train(student, tokenizer, examples, objective, self.params, self.context, held_out)

    def _examples(self, tokenizer: Any) -> tuple[list[PairExample], list[str]]:
        """The rows with a scored token and the keys of their prompts; cut answers are counted."""
        counts, found, keys = AnswerCounts(self.params.cut_answers), [], []
        names = [name for name in (self.params.anchor, self.params.response) if name]
        for row in self.rows.rows():
            example = self._example(tokenizer, row)
            finish = row.get("finish") or {}
            cut = {name: is_cut(finish.get(name)) for name in names}
            if counts.keep(cut, empty=not example.chosen.length and example.response is None):
                found.append(example)
                keys.append(prompt_key(row))
        counts.report(self.context)
        return found, keys

    def _check_sources(self) -> None:
        loss, given = self.params.loss, self.artifacts
        if self.weights is not None:
            return
        wanted = []
        if loss.distill * (loss.kl_chosen + loss.kl_response) or loss.gamma:
            wanted = ["teacher"]
        if loss.gamma and not self.params.uniform:
            wanted.append("reference")
        lists = self.cache is not None and "ids" in self.cache.manifest.columns
        missing = [] if lists else [name for name in wanted if name not in given]
        if missing:
            raise BadData(
                f"the loss needs {' and '.join(wanted)}; {' and '.join(missing)} missing: give the "
                "models, or a cache of lists (cache_teachers)"
            )
        if self.cache is not None:
            values = "ratios" if loss.gamma else "logps"
            found = self.cache.manifest.settings.get("values")
            if found != values:
                raise BadData(f"{self.cache.folder}: a cache of {found}; the loss needs {values}")

    def _check_cache(self, tokenizer: Any) -> None:
        assert self.cache is not None
        expected: dict[str, Any] = {
            "tokenizer": tokenizer_digest(tokenizer),
            "answers": answers_digest(self.rows, self.params),
        }
        known = self.cache.manifest.models
        models = {name: identity_of(model) for name, model in self.artifacts.items()}
        expected["models"] = {**known, **{n: i for n, i in models.items() if n in known}}
        Cache(self.cache.folder, expected)

    def _teachers(self, tokenizer: Any) -> tuple[Teachers, int]:
        """Live teachers or heads, and the number of common ids."""
        names = {"the student": tokenizer}
        states = self.cache is not None and "ids" not in self.cache.manifest.columns
        if self.weights is not None or (self.cache is not None and not states):
            return Teachers(uniform=self.params.uniform), check_tokenizers(names)
        # Only heads of cached states are needed: private copies on the CPU are freed at once.
        device = "cpu" if states else self.context.device
        loaded = {
            name: load_causal_lm(model.path, device, self.params.teacher_dtype, fresh=states)
            for name, model in self.artifacts.items()
        }
        found = {f"the {name}": tokenizer for name, (_, tokenizer) in loaded.items()}
        vocabulary = check_tokenizers({**names, **found})
        for name, (model, _) in loaded.items():
            size = len(output_head(model).weight)
            if size < vocabulary:
                raise BadData(
                    f"the {name}'s head has {size} outputs; expected at least the {vocabulary} ids "
                    "of its tokenizer"
                )
        if states:
            heads = tuple(_detached(output_head(model)) for model, _ in loaded.values())
            return Teachers(heads=heads, uniform=self.params.uniform), vocabulary
        models = {name: model for name, (model, _) in loaded.items()}
        return Teachers(**models, uniform=self.params.uniform), vocabulary

    def _example(self, tokenizer: Any, row: Row) -> PairExample:
        params = self.params
        chosen, other = pair_sequences(tokenizer, row, params.anchor, params.response, params)
        rows: dict[str, Mapping[str, Tensor]] = {}
        named = ((params.anchor, chosen), (params.response, other))
        for side, (name, tokens) in zip(SIDES, named, strict=True):
            if tokens is None or not tokens.length:
                continue
            if self.cache is not None and self._is_read(side):
                found = self.cache.answer(f"{row['id']}/{name}", scored_ids(tokens))
                rows[side] = found.columns
            if self.weights is not None and side == "response":
                rows[side] = {"weights": self._weights(row["id"], tokens)}
        return PairExample(chosen, other, rows)

    def _is_read(self, side: str) -> bool:
        loss = self.params.loss
        if side == "chosen":
            return bool(loss.distill * loss.kl_chosen)
        return bool(loss.distill * loss.kl_response or loss.gamma)

    def _weights(self, id: str, tokens: TokenSequence) -> Tensor:
        assert self.weights is not None
        row = self.weights.get(id)
        ids = scored_ids(tokens)
        if row is None or row["check"] != token_check(ids) or len(row["weights"]) != len(ids):
            raise BadData(
                f'the advantages of row "{id}" belong to other tokens; use the same rows, '
                "tokenizer and limits in span_advantages and train_on_pairs"
            )
        return torch.tensor(row["weights"])


def _detached(head: Head) -> Head:
    bias = None if head.bias is None else head.bias.detach().clone()
    return Head(head.weight.detach().clone(), bias, head.scale, head.cap)
