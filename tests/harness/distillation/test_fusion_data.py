"""Packing and batches of documents with teachers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadData, UserError
from harness.distillation.documents import Document
from harness.distillation.fusion_data import (
    FusionCollator,
    FusionExample,
    fusion_example,
    pack,
    plan_blocks,
    unpack,
)
from harness.distillation.fusion_loss import fusion_sums
from harness.distillation.settings import FusionSettings
from harness.distillation.shards import Manifest, ShardWriter, Teacher, TeacherDocument, token_check
from harness.models.heads import check_packing, hidden_states
from harness.models.tokenize import TokenSequence

Make = Callable[..., Any]
LENGTHS = [5, 3, 9, 1, 4]


def make_example(length: int, seed: int, ce: tuple[float, ...] = (1.0, 2.0), k: int = 3) -> Any:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 40, length)
    logps = np.log(rng.dirichlet(np.ones(k), (length, len(ce)))).astype(np.float16)
    logps[-1] = -np.inf
    words = rng.random((length, len(ce), 40)).argsort(-1)[..., :k].astype(np.uint16)
    every = np.tile(np.asarray(ce, np.float32), (length, 1))
    return FusionExample(ids, ids.copy(), np.arange(length), logps, words, every)


EXAMPLES = [make_example(length, seed, (seed, 4.0 - seed)) for seed, length in enumerate(LENGTHS)]


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=40),
    block_size=st.integers(2, 20),
    packing=st.sampled_from(["documents", "wrapped", "none"]),
)
def test_packing_loses_and_doubles_nothing(lengths: Any, block_size: int, packing: Any) -> None:
    blocks = plan_blocks(lengths, block_size, packing)
    sizes = [sum(piece.stop - piece.start for piece in block) for block in blocks]
    assert max(sizes) <= block_size
    tokens = [np.arange(length) + 1000 * n for n, length in enumerate(lengths)]
    packed = [np.concatenate([tokens[d][start:stop] for d, start, stop in b]) for b in blocks]
    for document, found in zip(tokens, unpack(blocks, packed), strict=True):
        assert (document == found).all()
    if packing == "wrapped":
        assert set(sizes[:-1]) <= {block_size}
    else:  # a document is cut only where it is longer than a block
        pieces = [piece for block in blocks for piece in block]
        assert all(piece.stop - piece.start == block_size or
                   piece.stop == lengths[piece.document] for piece in pieces)  # fmt: skip
    if packing == "documents":  # no two blocks could have been one
        assert all(a + b > block_size for n, a in enumerate(sizes) for b in sizes[:n])


def test_wrapped_windows_end_with_a_short_block() -> None:
    blocks = plan_blocks([3] * 1001, 100, "wrapped")
    sizes = [sum(stop - start for _, start, stop in block) for block in blocks]
    assert sizes == [100] * 30 + [3]


@pytest.mark.parametrize("packing", ["documents", "wrapped"])
def test_a_blocks_cross_entropy_is_the_mean_over_tokens(packing: Any) -> None:
    for block in plan_blocks(LENGTHS, 8, packing):
        packed = pack(EXAMPLES.__getitem__, block, packing)
        sizes = np.array([stop - start for _, start, stop in block])
        documents = np.array([[d, 4.0 - d] for d, _, _ in block])
        expected = (sizes[:, None] * documents).sum(0) / sizes.sum()
        np.testing.assert_allclose(
            packed.teacher_ce, np.tile(expected, (len(packed), 1)), rtol=1e-6
        )
        alone = pack(EXAMPLES.__getitem__, block, packing, "document")
        np.testing.assert_allclose(alone.teacher_ce, documents.repeat(sizes, axis=0))


def test_documents_without_scored_tokens_do_not_count_in_a_blocks_mean() -> None:
    nothing = make_example(3, 9, (np.nan, np.nan))
    examples = [EXAMPLES[1], nothing]
    (block,) = plan_blocks([3, 3], 8, "documents")
    packed = pack(examples.__getitem__, block, "documents")
    np.testing.assert_allclose(packed.teacher_ce[0], [1.0, 3.0])
    (block,) = plan_blocks([3], 8, "documents")
    assert np.isnan(pack([nothing].__getitem__, block, "documents").teacher_ce).all()


@pytest.mark.parametrize("kind", ["llama", "gemma2", "neox"])
def test_packed_documents_learn_as_if_alone(kind: str, model_of: Make) -> None:
    settings = FusionSettings(positions="all", fusion="avg_ce")
    found = []
    for packing, size in (("documents", 14), ("none", 14)):
        model = model_of(kind).double()
        if packing == "documents":
            check_packing(model)
        plan = plan_blocks(LENGTHS, size, packing)
        blocks = [pack(EXAMPLES.__getitem__, block, packing, "document") for block in plan]
        batch = FusionCollator(0, packing)(blocks)
        assert ("position_ids" in batch) == (packing == "documents")
        sums = fusion_sums(model, batch, settings)
        sums.loss.backward()
        gradient = next(p for n, p in model.named_parameters() if "layers.0" in n).grad
        found.append((sums.clm.detach(), sums.fusion.detach(), sums.fusion_count, gradient))
    for packed, alone in zip(*found, strict=True):
        torch.testing.assert_close(packed, alone, rtol=1e-8, atol=1e-10)


def test_wrapped_documents_see_each_other(model_of: Make) -> None:
    model = model_of("llama")
    plan = plan_blocks([5, 3], 8, "wrapped")
    batch = FusionCollator(0, "wrapped")([pack(EXAMPLES.__getitem__, plan[0], "wrapped")])
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    changed["input_ids"][0, 0] += 1
    one, other = (hidden_states(model, b)[0, 5:] for b in (batch, changed))
    assert not torch.allclose(one, other)
    assert batch["labels"][0, 5] == EXAMPLES[1].input_ids[0]


def test_flash_attention_gets_all_rows_as_one(model_of: Make) -> None:
    model = model_of("llama")
    plan = plan_blocks(LENGTHS, 14, "documents")
    blocks = [pack(EXAMPLES.__getitem__, block, "documents") for block in plan]
    batch = FusionCollator(0, "documents")(blocks)
    assert len(batch["input_ids"]) > 1
    expected = hidden_states(model, batch)
    seen = []
    model.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True
    )

    class Named:
        _attn_implementation = "flash_attention_2"

    held, model.config = model.config, Named()  # the body keeps its own configuration: sdpa
    found = hidden_states(model, batch)
    model.config = held
    assert seen == [(1, batch["input_ids"].numel())]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_model_that_mixes_packed_documents_is_refused(model_of: Make) -> None:
    model = model_of("llama")
    plain = model.model.forward

    def forward(*args: Any, position_ids: Any = None, **options: Any) -> Any:
        return plain(*args, **options)

    model.model.forward = forward
    with pytest.raises(UserError, match="see each other"):
        check_packing(model)


def test_batches_are_padded_where_nothing_counts() -> None:
    batch = FusionCollator(7)([EXAMPLES[0], EXAMPLES[1]])
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "input_ids": (2, 5),
        "attention_mask": (2, 5),
        "labels": (2, 5),
        "teacher_logps": (2, 5, 2, 3),
        "teacher_ids": (2, 5, 2, 3),
        "teacher_ce": (2, 5, 2),
    }
    assert batch["input_ids"][1].tolist() == [*EXAMPLES[1].input_ids, 7, 7]
    assert batch["labels"][1, 3:].tolist() == [-100, -100]
    assert batch["attention_mask"].tolist() == [[1] * 5, [1, 1, 1, 0, 0]]
    assert bool((batch["teacher_logps"][1, 3:] == -torch.inf).all())
    bare = FusionCollator(7)([make_example(3, 0, (), 0)])
    assert set(bare) == {"input_ids", "attention_mask", "labels"}


def teacher_of(folder: Path, k: int, *, token_ce: bool = False) -> Teacher:
    manifest = Manifest(
        k=k, vocabulary=40, tokenizer="T", corpus="C", model=f"M{k}", token_ce=token_ce
    )
    logps = np.log(np.full((3, k), 0.5 / k, np.float32))
    ids = np.arange(3 * k).reshape(3, k)
    single = np.array([0.5, 1.0, 1.5], np.float32)
    document = TeacherDocument("d", logps, ids, k / 10, 3, token_check([4, 5, 6, 7]), single)
    writer = ShardWriter(folder, manifest)
    writer.write(0, [document])
    writer.finish(1)
    return Teacher(folder)


def test_teachers_of_several_widths_stand_side_by_side(tmp_path: Path) -> None:
    teachers = [teacher_of(tmp_path / str(k), k) for k in (2, 5)]
    document = Document("d", TokenSequence([4, 5, 6, 7], [-100, 5, 6, 7]))
    found = fusion_example(document, teachers)
    assert found.teacher_ids.shape == (4, 2, 5)
    assert found.teacher_ids[1, 1].tolist() == [5, 6, 7, 8, 9]
    assert found.teacher_ids[1, 0, :2].tolist() == [2, 3]
    assert np.isneginf(found.teacher_logps[:, 0, 2:]).all()
    assert np.isneginf(found.teacher_logps[-1]).all()
    np.testing.assert_allclose(found.teacher_ce[0], [0.2, 0.5], rtol=1e-6)
    assert fusion_example(document, []).teacher_ids.shape == (4, 0, 0)
    with pytest.raises(BadData, match="no cross-entropies of single tokens"):
        fusion_example(document, teachers, "token")
    single = fusion_example(document, [teacher_of(tmp_path / "s", 2, token_ce=True)], "token")
    np.testing.assert_allclose(single.teacher_ce[:, 0], [0.5, 1.0, 1.5, np.nan])
    with pytest.raises(BadData, match="tokenise both with the same settings"):
        fusion_example(Document("d", TokenSequence([4, 5], [4, 5])), teachers)
