"""Making a cache of teachers: from rows of pairs to shards."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness.core.errors import BadData
from harness.distillation.advantage.checks import answers_digest, check_tokenizers, identity_of
from harness.distillation.advantage.objective import live_distribution
from harness.distillation.advantage.pairs import pair_sequences, scored_ids
from harness.distillation.advantage.produce import ListReport, ListSettings, list_rows, state_rows
from harness.distillation.advantage.settings import CacheTeachersParams
from harness.distillation.advantage.targets import Distribution, Ratio
from harness.distillation.caches import CachedAnswer, CacheManifest, CacheWriter
from harness.distillation.shards import token_check
from harness.engine.io import write_json
from harness.engine.operations import Artifact, Context, Row
from harness.models.checkpoints import load_causal_lm
from harness.models.collate import pad
from harness.models.heads import check_head
from harness.models.threads import one_core
from harness.models.tokenize import IGNORE, TokenSequence, tokenizer_digest

Named = tuple[str, TokenSequence]  # "<row>/<side>", and the tokens


class Maker:
    """Models and settings of one cache; see `operations.cache_teachers`."""

    def __init__(
        self,
        context: Context,
        params: CacheTeachersParams,
        rows: Artifact,
        teacher: Artifact,
        reference: Artifact | None,
        student: Artifact | None,
    ) -> None:
        self.context = context
        self.params = params
        self.rows = rows
        given = {"teacher": teacher, "reference": reference, "student": student}
        self.artifacts = {name: model for name, model in given.items() if model is not None}
        loaded = {
            name: load_causal_lm(model.path, context.device, params.dtype)
            for name, model in self.artifacts.items()
        }
        self.models = {name: model.eval() for name, (model, _) in loaded.items()}
        for model in self.models.values():
            check_head(model)
        tokenizers = {name: tokenizer for name, (_, tokenizer) in loaded.items()}
        self.vocabulary = check_tokenizers(tokenizers)
        self.tokenizer = tokenizers.get("student", tokenizers["teacher"])
        self.report = ListReport()
        if params.values == "ratios" and "reference" not in self.models and not params.uniform:
            raise BadData(
                "ratios need a reference: give the reference teacher, or set uniform = true for "
                "the uniform distribution"
            )

    def make(self, folder: Path) -> None:
        """Write the cache, or the missing shards of an interrupted one."""
        writer = CacheWriter(folder, self.manifest())
        rows, size = self.rows.rows(), self.params.shard_rows
        report = partial(self.context.progress, unit="rows")
        for number, start in enumerate(range(0, len(rows), size)):
            part = rows[start : start + size]
            if not writer.has(number):
                writer.write(number, dict(self._answers(part)))
            report(start + len(part), len(rows))
        summary = {"form": self.params.form, **self.report.summary()}
        writer.finish(-(-len(rows) // size), summary)
        write_json(folder / "summary.json", summary)

    def manifest(self) -> CacheManifest:
        params = self.params
        if params.form == "lists":
            columns = {"ids": params.k, "values": params.k, "tail": 0}
        else:
            kinds = ["teacher"] + (["reference"] if self._with_reference() else [])
            columns = {k: int(self.models[k].config.get_text_config().hidden_size) for k in kinds}
        used = {name: identity_of(model) for name, model in self.artifacts.items()}
        if not params.student_k:
            used.pop("student", None)
        return CacheManifest(
            columns=columns,
            vocabulary=self.vocabulary,
            tokenizer=tokenizer_digest(self.tokenizer),
            answers=answers_digest(self.rows, params),
            models=used,
            shard_rows=params.shard_rows,
            settings={
                "values": params.values,
                "form": params.form,
                "k": params.k,
                "student_k": params.student_k,
                "lists": params.lists,
                "uniform": params.uniform,
                "dtype": params.dtype,
                "sides": ",".join(params.sides),
            },
        )

    def _with_reference(self) -> bool:
        return self.params.values == "ratios" and not self.params.uniform

    def _answers(self, rows: list[Row]) -> Iterator[tuple[str, CachedAnswer]]:
        named = [pair for row in rows for pair in self._sequences(row)]
        named.sort(key=lambda pair: -len(pair[1].input_ids))
        batches: list[list[Named]] = []
        for pair in named:
            width = len(batches[-1][0][1].input_ids) if batches else 0
            if not batches or (len(batches[-1]) + 1) * width > self.params.batch_tokens:
                batches.append([])
            batches[-1].append(pair)
        for batch in batches:
            with one_core(self.models["teacher"]), torch.no_grad():
                yield from self._read(batch)

    def _sequences(self, row: Row) -> Iterator[Named]:
        sides = self.params.sides
        anchor = self.params.anchor
        second = next((side for side in sides if side != anchor), None)
        chosen, other = pair_sequences(self.tokenizer, row, anchor, second, self.params)
        if anchor in sides and chosen.length:
            yield f"{row['id']}/{anchor}", chosen
        if other is not None:
            yield f"{row['id']}/{second}", other

    def _read(self, named: list[Named]) -> Iterator[tuple[str, CachedAnswer]]:
        batch = pad([tokens for _, tokens in named], 0)
        batch = {key: value.to(self.models["teacher"].device) for key, value in batch.items()}
        kept = batch["labels"][:, 1:] != IGNORE
        self.context.count(tokens_in=int(batch["attention_mask"].sum()))

        def read(name: str) -> Distribution | None:
            model = self.models.get(name)
            return model and live_distribution(model, batch, kept, self.vocabulary)

        teacher, reference = read("teacher"), read("reference")
        assert teacher is not None
        found = self._columns(teacher, reference if self._with_reference() else None, read)
        cuts = kept.sum(-1).tolist()
        parts = {column: value.split(cuts) for column, value in found.items()}
        for place, (name, tokens) in enumerate(named):
            columns = {column: part[place] for column, part in parts.items()}
            yield name, CachedAnswer(columns, token_check(scored_ids(tokens)))

    def _columns(
        self, teacher: Distribution, reference: Distribution | None, read: Any
    ) -> dict[str, torch.Tensor]:
        params = self.params
        if params.form == "hidden":
            return state_rows(teacher, reference)
        how = ListSettings(params.k, params.student_k, params.lists == "released")
        source = Ratio(teacher, reference) if params.values == "ratios" else teacher
        return list_rows(source, how, read("student"), self.report)
