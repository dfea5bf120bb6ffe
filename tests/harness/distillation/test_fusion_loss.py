"""The fusion loss: golden values, equality with the dense computation, laws of the fused target."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harness.distillation import fusion_loss
from harness.distillation.fusion_loss import (
    dense_fusion_sums,
    divergence,
    fuse,
    fusion_sums,
    merge_entries,
    rewards,
    teacher_probs,
)
from harness.distillation.settings import FusionSettings
from tests.golden_vectors import vectors

FILES = ["fusellm/fusion_losses.json", "fusechat/fusion_losses.json"]
TEACHERS = {  # columns of the reference: step logits, ids, cross-entropy, collated target
    "base": ("per_step_logits", "per_step_indices", "metric_ce", "base_target_dist"),
    "0": (
        "per_step_aligned_logits_0", "per_step_aligned_indices_0", "metric_ce_aligned_0",
        "aligned_target_dist_0",
    ),
    "1": (
        "per_step_aligned_logits_1", "per_step_aligned_indices_1", "metric_ce_aligned_1",
        "aligned_target_dist_1",
    ),
    "fused": (
        "fused_per_step_logits", "fused_per_step_indices", "fused_metric_ce", "fused_target_dist",
    ),
}  # fmt: skip


def settings_of(case: dict[str, Any]) -> tuple[FusionSettings, list[str], float]:
    """Our settings, the teachers that take part, and lambda of a reference case."""
    told = case["args"]
    v2 = case["trainer"] == "fusechat_v2"
    if v2:
        kind, teachers = "hard", ["base", "fused"]
        with_base, average = told["fuse_with_ref_model"], False
    else:
        average = told["distill_weighted_as_gt"]
        kind = told[f"distill_{'weighted' if average else 'greater'}_as_gt_type"]
        with_base = told["distill_with_ref_model"]
        teachers = ["base"] + [n for n in "01" if told[f"distill_with_aligned_model_{n}"]]
    prefix = "fuse" if v2 else "distill"
    settings = FusionSettings(
        fusion="avg_ce" if average else "min_ce",
        divergence=told[f"{prefix}_loss_type"],
        temperature=told["fuse_temperature" if v2 else "distill_teacher_temperature"],
        lm_weight=told["lm_loss_weight"],
        weighting={"hard": "fixed", "hard_and_decay": "decay", "soft": "soft"}[kind],
        positions="all" if case["trainer"] == "fusellm" else "scored",
        with_base=with_base,
        released=True,
    )
    step, total = case.get("global_step", 0), case.get("max_steps", 0)
    return settings, teachers, settings.weight(step, max(total, 1))


def collated(case: dict[str, Any], teachers: list[str]) -> dict[str, Tensor]:
    """The reference's bfloat16 targets as sparse teachers: logarithms of what is not zero."""
    batch = plain(case, teachers)
    dense = []
    for name in teachers:
        found = case["collated_bf16"].get(TEACHERS[name][3])
        size = (*batch["labels"].shape, case["vocab_size"])
        dense.append(torch.tensor(found).double() if found else torch.zeros(size).double())
    stacked = torch.stack(dense, dim=2)  # (B, L, K, V)
    ids = torch.arange(case["vocab_size"]).expand(stacked.shape)
    return {**batch, "teacher_logps": stacked.log(), "teacher_ids": ids}


def featured(case: dict[str, Any], teachers: list[str]) -> dict[str, Tensor]:
    """The features that the reference's collator starts from."""
    batch = plain(case, teachers)
    rows, length = batch["labels"].shape
    k = max(len(step) for f in case["features"] for n in teachers for step in f[TEACHERS[n][0]])
    logps = torch.full((rows, length, len(teachers), k), -torch.inf)
    ids = torch.zeros(rows, length, len(teachers), k, dtype=torch.long)
    for row, feature in enumerate(case["features"]):
        for place, name in enumerate(teachers):
            steps = zip(feature[TEACHERS[name][0]], feature[TEACHERS[name][1]], strict=True)
            for step, (values, words) in enumerate(steps):
                logps[row, step, place, : len(values)] = torch.tensor(values)
                ids[row, step, place, : len(words)] = torch.tensor(words, dtype=torch.long)
    return {**batch, "teacher_logps": logps, "teacher_ids": ids}


def plain(case: dict[str, Any], teachers: list[str]) -> dict[str, Tensor]:
    ce = [[feature[TEACHERS[name][2]] for name in teachers] for feature in case["features"]]
    return {
        "labels": torch.tensor(case["labels"]),
        "attention_mask": torch.tensor(case["attention_mask"]),
        "teacher_ce": torch.tensor(ce),
    }


@pytest.mark.parametrize("file", FILES)
def test_golden_losses(
    file: str, golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for case in vectors(golden(file))["cases"]:
        settings, teachers, share = settings_of(case)
        logits = torch.tensor(case["student_logits"])
        soft, average = settings.weighting == "soft", settings.fusion == "avg_ce"
        tolerance = 1e-2 if soft else 2e-3 if average else 1e-5
        with monkeypatch.context() as patch:  # rounded targets do not sum to 1: taken as they are
            patch.setattr(fusion_loss, "teacher_probs", lambda logps, temperature: logps.exp())
            exact = dense_fusion_sums(logits, collated(case, teachers), settings, share)
        assert float(exact.plain[0] / exact.clm_count) == pytest.approx(case["clm_loss"], rel=1e-5)
        expected = case["loss_fp32_targets"]
        assert float(exact.loss) == pytest.approx(expected, rel=tolerance), case["name"]
        if (term := case.get("fusion_term_fp32_targets")) is not None:
            found = float(exact.plain[1] / exact.fusion_count)
            assert found == pytest.approx(term, rel=tolerance), case["name"]
        # From the stored logits instead: the reference rounds its targets to bfloat16 on the way.
        ours = dense_fusion_sums(logits, featured(case, teachers), settings, share)
        assert float(ours.loss) == pytest.approx(expected, rel=max(tolerance, 5e-3)), case["name"]
        reward = case.get("rewards_bf16")
        if reward:
            order = [n for n in teachers if n != "base" or settings.with_base]
            named = torch.tensor([reward["base" if n == "base" else f"aligned_{n}"] for n in order])
            first = 0 if settings.with_base else 1
            found_rewards = rewards(plain(case, teachers)["teacher_ce"][:, first:], released=True)
            assert torch.equal(found_rewards, named.T), case["name"]


def make_batch(
    vocabulary: int, teachers: int = 3, k: int = 4, seed: int = 0, rows: int = 2, length: int = 7
) -> dict[str, Tensor]:
    """Rows of which the second is shorter; some steps of all teachers but the base are empty."""
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, vocabulary, (rows, length), generator=g)
    mask = torch.ones_like(ids)
    mask[1:, length - 2 :] = 0
    shape = (rows, length, teachers)
    order = torch.rand(*shape, vocabulary, generator=g).argsort(-1)[..., :k]
    logps = (3 * torch.randn(*shape, k, generator=g)).log_softmax(-1) - 0.1
    empty = torch.rand(shape, generator=g) < 0.3
    empty[..., 0] = False
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": ids.masked_fill(mask == 0, -100),
        "teacher_logps": logps.masked_fill(empty[..., None], -torch.inf),
        "teacher_ids": order,
        "teacher_ce": torch.rand(rows, teachers, generator=g) * 3,
    }


VARIANTS = [
    {},
    {"fusion": "avg_ce", "divergence": "kl", "positions": "all"},
    {"weighting": "soft", "with_base": False, "temperature": 2.0},
    {"fusion": "avg_ce", "weighting": "soft", "lm_weight": 0.5},
]


@pytest.mark.parametrize("told", VARIANTS)
@pytest.mark.parametrize("kind", ["llama", "gemma2", "neox"])
def test_tiles_give_the_dense_loss_and_its_gradients(
    kind: str, told: dict[str, Any], model_of: Any
) -> None:
    settings, found = FusionSettings(**told), []
    for tiled in (True, False):
        model = model_of(kind).double()
        batch = make_batch(model.config.vocab_size)
        if tiled:
            sums = fusion_sums(model, batch, settings, tile_bytes=256)
        else:
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
            sums = dense_fusion_sums(model(**inputs).logits, batch, settings)
        sums.loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        found.append((sums.loss.detach(), *sums.plain, *gradients))
    for ours, dense in zip(*found, strict=True):
        torch.testing.assert_close(ours, dense, rtol=1e-6, atol=1e-9)


def test_sums_of_two_halves_are_those_of_the_whole(model_of: Any) -> None:
    model = model_of("llama")
    batch = make_batch(model.config.vocab_size, rows=4)
    settings = FusionSettings(positions="all")
    whole = fusion_sums(model, batch, settings)
    halves = [
        fusion_sums(model, {name: value[part] for name, value in batch.items()}, settings)
        for part in (slice(0, 2), slice(2, 4))
    ]
    for name in ("clm", "fusion", "clm_count", "fusion_count"):
        together = sum(getattr(half, name) for half in halves)
        torch.testing.assert_close(together, getattr(whole, name), rtol=1e-5, atol=1e-5)


def test_padding_and_unscored_teachers_change_nothing(model_of: Any) -> None:
    model = model_of("llama")
    batch = make_batch(model.config.vocab_size)
    settings = FusionSettings()
    expected = fusion_sums(model, batch, settings)
    wider = {}
    for name, value in batch.items():
        fill = {"labels": -100, "teacher_logps": -torch.inf}.get(name, 0)
        pad = torch.full_like(value[:, :3], fill)
        wider[name] = value if name == "teacher_ce" else torch.cat([value, pad], dim=1)
    unscored = {**batch, "labels": batch["labels"].clone()}
    unscored["labels"][:, 3] = -100
    disturbed = {**unscored, "teacher_logps": batch["teacher_logps"].clone()}
    disturbed["teacher_logps"][:, 2] = -1.0
    assert fusion_sums(model, wider, settings).loss.item() == pytest.approx(expected.loss.item())
    one, other = (fusion_sums(model, b, settings).loss for b in (unscored, disturbed))
    assert one.item() == other.item() != pytest.approx(expected.loss.item())


def test_limits_of_lambda_and_kl(model_of: Any) -> None:
    model = model_of("llama")
    batch = make_batch(model.config.vocab_size)
    one = fusion_sums(model, batch, FusionSettings(lm_weight=1.0))
    bare = {n: v for n, v in batch.items() if not n.startswith("teacher")}
    alone = fusion_sums(model, bare, FusionSettings())
    expected = model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
    assert float(one.loss) == pytest.approx(float(expected), rel=1e-5)
    assert float(alone.loss) == pytest.approx(float(expected), rel=1e-5)
    assert int(alone.fusion_count) == 0
    ce = fusion_sums(model, batch, FusionSettings(lm_weight=0.0))
    kl = fusion_sums(model, batch, FusionSettings(lm_weight=0.0, divergence="kl"))
    assert 0 < float(kl.loss) < float(ce.loss)
    found = []
    for sums in (ce, kl):
        model.zero_grad()
        sums.loss.backward()
        found.append(model.lm_head.weight.grad.clone())
    torch.testing.assert_close(*found)
    settings = FusionSettings(weighting="decay")
    assert [settings.weight(step, 10) for step in (0, 5, 10)] == pytest.approx([0.9, 0.95, 1.0])


def test_nothing_of_positions_times_words_is_made(model_of: Any) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
            made = function(*args, **(kwargs or {}))
            for item in made if isinstance(made, tuple | list) else (made,):
                self.size = max(self.size, item.numel() if isinstance(item, Tensor) else 0)
            return made

    words = 5000
    model = model_of("llama", vocabulary=words)
    batch = make_batch(words, rows=3, length=40)
    with Largest() as ours:
        sums = fusion_sums(model, batch, FusionSettings(fusion="avg_ce"), tile_bytes=1 << 14)
        sums.loss.backward()
    assert ours.size <= words * 16  # the head itself and its gradient


def dense_of(targets: Any, words: int) -> Tensor:
    size = (*targets.ids.shape[:-1], words)
    return torch.zeros(size).scatter_add(-1, targets.ids, targets.probs)


@given(seed=st.integers(0, 10_000), average=st.booleans(), tau=st.sampled_from([0.3, 1.0, 3.0]))
def test_laws_of_the_fused_target(seed: int, average: bool, tau: float) -> None:
    words, k = 9, 4
    batch = make_batch(words, k=k, seed=seed)
    logps, ids, ce = (batch[f"teacher_{name}"] for name in ("logps", "ids", "ce"))
    settings = FusionSettings(fusion="avg_ce" if average else "min_ce", temperature=tau)
    targets = fuse(logps, ids, ce, settings)
    assert bool((targets.probs >= 0).all())
    torch.testing.assert_close(targets.probs.sum(-1), torch.ones(targets.probs.shape[:-1]))
    assert int((targets.probs > 0).sum(-1).max()) <= (3 * k if average else k)
    dense = dense_of(targets, words)
    # Sources in another order; the same at every position as for the row.
    swapped = fuse(logps[:, :, [0, 2, 1]], ids[:, :, [0, 2, 1]], ce[:, [0, 2, 1]], settings)
    single = fuse(logps, ids, ce[:, None].expand(2, logps.shape[1], 3), settings)
    torch.testing.assert_close(dense_of(swapped, words), dense)
    torch.testing.assert_close(dense_of(single, words), dense)
    # Equal cross-entropies: the base, or the plain mean; equal teachers: their distribution.
    equal = fuse(logps, ids, torch.ones(2, 3), settings)
    alone = [fuse(logps[:, :, [0, n]], ids[:, :, [0, n]], torch.ones(2, 2),
                  settings.model_copy(update={"with_base": False})) for n in (0, 1, 2)]  # fmt: skip
    each = [dense_of(one, words) for one in alone]
    expected = sum(each) / 3 if average else each[0]
    torch.testing.assert_close(dense_of(equal, words), expected)
    same = fuse(logps[:, :, [0, 0]], ids[:, :, [0, 0]], ce[:, :2], settings)
    torch.testing.assert_close(dense_of(same, words), each[0])


def test_the_weight_ratio_of_two_teachers_is_at_most_e() -> None:
    logps, ids = torch.zeros(1, 1, 2, 1), torch.tensor([[[[0], [1]]]])
    targets = fuse(logps, ids, torch.tensor([[0.0, 99.0]]), FusionSettings(fusion="avg_ce"))
    assert float(targets.probs.max() / targets.probs.min()) == pytest.approx(math.e, rel=1e-5)


def test_temperature_limits() -> None:
    logps = torch.tensor([-0.5, -1.0, -3.0])
    assert teacher_probs(logps, 1e-3).tolist() == pytest.approx([1, 0, 0])
    assert teacher_probs(logps, 1e6).tolist() == pytest.approx([1 / 3] * 3, abs=1e-5)


def test_min_ce_prefers_the_first_and_never_a_nan() -> None:
    logps, ids = torch.zeros(1, 2, 3, 1), torch.arange(3).view(1, 1, 3, 1).expand(1, 2, 3, 1)

    def chosen(ce: list[float], **told: Any) -> int:
        return int(fuse(logps, ids, torch.tensor([ce]), FusionSettings(**told)).ids[0, 0, 0])

    assert chosen([1.0, 1.0, 1.0]) == 0
    assert chosen([2.0, 1.0, 1.0]) == 1
    assert chosen([math.nan, 5.0, 4.0]) == 2
    assert chosen([math.nan, math.nan, math.nan]) == 0
    assert chosen([0.0, 1.0, 1.0], with_base=False) == 1
    assert chosen([0.0, 1.0, 1.0], with_base=False, released=True) == 2
    assert chosen([1.0, 0.999, 2.0]) == 1
    assert chosen([1.0, 0.999, 2.0], released=True) == 0  # equal in bfloat16


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1)), min_size=1, max_size=8))
def test_merging_keeps_mass_and_makes_ids_unique(entries: list[tuple[int, float]]) -> None:
    ids, probs = torch.tensor([e[0] for e in entries]), torch.tensor([e[1] for e in entries])
    merged_ids, merged = merge_entries(ids, probs)
    before = torch.zeros(5).scatter_add(0, ids, probs)
    torch.testing.assert_close(torch.zeros(5).scatter_add(0, merged_ids, merged), before)
    held = merged_ids[merged > 0].tolist()
    assert len(held) == len(set(held))


def test_divergence_of_a_distribution_from_itself() -> None:
    probs = torch.tensor([[0.5, 0.25, 0.25, 0.0]])
    logps = probs.log().clamp(min=-50)
    assert float(divergence(logps, probs, "kl")) == pytest.approx(0.0, abs=1e-6)
    assert float(divergence(logps, probs, "ce")) == pytest.approx(1.5 * math.log(2))
