"""The objective: equal to dense losses, teachers in three ways, exact over accumulation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.core.errors import BadData
from harness.distillation.advantage.losses import (
    adpa_loss,
    advantages,
    dckd_loss,
    log_probs,
)
from harness.distillation.advantage.objective import (
    PairExample,
    PairObjective,
    Teachers,
    empty_rows,
    live_distribution,
)
from harness.distillation.advantage.produce import (
    ListReport,
    ListSettings,
    list_rows,
    state_rows,
    top_ids,
)
from harness.distillation.advantage.settings import PairLoss
from harness.distillation.advantage.targets import Ratio
from harness.models import head_sums
from harness.models.collate import pad
from harness.models.heads import output_head
from harness.models.tokenize import IGNORE, TokenSequence, join
from tests.tiny_models import make_model

VOCABULARY = 43
ADPA = PairLoss(gamma=1.6, beta=0.5)
DCKD = PairLoss(kl_chosen=0.1, kl_response=0.3)
WIDE = {"teacher": 1, "reference": 2}


def examples(count: int = 4, seed: int = 0) -> list[PairExample]:
    draw = torch.Generator().manual_seed(seed)

    def tokens(most: int) -> list[int]:
        size = int(torch.randint(1, most, (), generator=draw))
        return torch.randint(3, VOCABULARY, (size,), generator=draw).tolist()

    made = []
    for place in range(count):
        prompt = tokens(6)
        other = None if place == 2 else join(prompt, tokens(7))
        made.append(PairExample(join(prompt, tokens(12)), other))
    return made


def models(kind: str = "llama", dtype: torch.dtype = torch.float64) -> tuple[Any, Any, Any]:
    student, teacher, reference = (
        make_model(kind, seed, vocabulary=VOCABULARY).to(dtype) for seed in range(3)
    )
    with torch.no_grad():  # a teacher near its reference
        for mine, other in zip(teacher.parameters(), reference.parameters(), strict=True):
            mine.copy_(other + 0.1 * mine)
    return student, teacher, reference


def run(
    student: Any, objective: PairObjective, rows: Sequence[PairExample], split: int = 1
) -> tuple[float, list[Tensor]]:
    """Loss and gradients of one window of `split` micro-batches."""
    size = len(rows) // split
    batches = [objective.collate(rows[n : n + size]) for n in range(0, len(rows), size)]
    counted = [objective.counts(batch) for batch in batches]
    window = {name: sum(c[name] for c in counted) for name in counted[0]}
    student.zero_grad(set_to_none=True)
    loss = 0.0
    for batch in batches:
        terms, _ = objective.sums(student, batch, {})
        part = sum(total / window[name].clamp(min=1) for name, (total, _) in terms.items())
        part.backward()
        loss += part.item()
    return loss, [p.grad.clone() for p in student.parameters()]


def live(settings: PairLoss, kind: str = "llama", **options: Any) -> tuple[Any, PairObjective]:
    student, teacher, reference = models(kind, **options)
    objective = PairObjective(settings, Teachers(teacher, reference), 0, VOCABULARY)
    objective.prepare(student)
    return student, objective


def logits_of(model: Any, sequences: Sequence[TokenSequence]) -> tuple[Tensor, Tensor]:
    batch = pad(sequences, 0)
    out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return out.logits[:, :-1], batch["labels"][:, 1:]


def sides(rows: Sequence[PairExample]) -> tuple[list[TokenSequence], list[TokenSequence]]:
    others = [
        row.response or TokenSequence(row.chosen.input_ids, [IGNORE] * len(row.chosen.labels))
        for row in rows
    ]
    return [row.chosen for row in rows], others


@pytest.mark.parametrize("kind", ["llama", "tied", "neox", "gemma2", "cohere", "granite"])
@pytest.mark.parametrize("reduction", ["token", "sequence"])
@pytest.mark.parametrize("name", ["adpa", "dckd"])
def test_chunks_equal_the_dense_loss(
    kind: str, reduction: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(head_sums.CHUNK_BYTES, "cpu", 3 * VOCABULARY * 8)  # three positions
    settings = (ADPA if name == "adpa" else DCKD).model_copy(update={"reduction": reduction})
    student, objective = live(settings, kind)
    rows = examples()
    loss, gradients = run(student, objective, rows)
    student.zero_grad(set_to_none=True)
    chosen, others = sides(rows)
    (good, good_labels), (bad, bad_labels) = (logits_of(student, s) for s in (chosen, others))
    q, r = objective.teachers.teacher, objective.teachers.reference
    with torch.no_grad():
        (q_good, _), (q_bad, _), (r_bad, _) = (
            logits_of(model, side) for model, side in ((q, chosen), (q, others), (r, others))
        )
    if name == "adpa":
        a = advantages(log_probs(q_bad), log_probs(r_bad), beta=settings.beta)
        dense, _ = adpa_loss(good, bad, good_labels, bad_labels, advantage=a, settings=settings)
    else:
        dense, _ = dckd_loss(
            good, bad, good_labels, bad_labels,
            teacher_chosen=q_good, teacher_rejected=q_bad, settings=settings,
        )  # fmt: skip
    dense.backward()
    assert loss == pytest.approx(dense.item(), rel=1e-9)
    for found, parameter in zip(gradients, student.parameters(), strict=True):
        # Gemma 2 and Cohere normalise in float32.
        torch.testing.assert_close(found, parameter.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("reduction", ["token", "sequence"])
@pytest.mark.parametrize("settings", [ADPA, DCKD])
def test_splits_of_a_window_give_one_loss_and_gradient(settings: PairLoss, reduction: Any) -> None:
    student, objective = live(settings.model_copy(update={"reduction": reduction}))
    rows = examples()
    whole, expected = run(student, objective, rows)
    for split in (2, 4):
        loss, gradients = run(student, objective, rows, split)
        assert loss == pytest.approx(whole, abs=1e-6)
        for found, wanted in zip(gradients, expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8)


def with_rows(rows: Sequence[PairExample], read: Any) -> list[PairExample]:
    """Examples with the rows that `read(side, sequence)` gives for each answer."""
    found = []
    for row in rows:
        named = (("chosen", row.chosen), ("response", row.response))
        made = {side: read(side, tokens) for side, tokens in named if tokens is not None}
        found.append(PairExample(row.chosen, row.response, {k: v for k, v in made.items() if v}))
    return found


def distribution(model: Any, tokens: TokenSequence) -> Any:
    batch = pad([tokens], 0)
    return live_distribution(model, batch, batch["labels"][:, 1:] != IGNORE, VOCABULARY)


@pytest.mark.parametrize("settings", [ADPA, DCKD])
@pytest.mark.parametrize("form", ["hidden", "lists"])
def test_cached_teachers_equal_live_ones(settings: PairLoss, form: str) -> None:
    student, objective = live(settings, dtype=torch.float32)
    q, r = objective.teachers.teacher, objective.teachers.reference
    rows = examples()
    expected, wanted = run(student, objective, rows)

    def read(side: str, tokens: TokenSequence) -> dict[str, Tensor] | None:
        if side == "chosen" and not settings.kl_chosen:
            return None
        teacher, reference = distribution(q, tokens), distribution(r, tokens)
        if form == "hidden":
            return state_rows(teacher, reference if settings.gamma else None)
        source = Ratio(teacher, reference) if settings.gamma else teacher
        return list_rows(source, ListSettings(VOCABULARY))

    heads = tuple(output_head(m) for m in ((q, r) if settings.gamma else (q,)))
    given = Teachers(heads=heads) if form == "hidden" else Teachers()
    cached = PairObjective(settings, given, 0, VOCABULARY)
    loss, gradients = run(student, cached, with_rows(rows, read))
    assert loss == pytest.approx(expected, rel=2**-8)
    apart = torch.stack([(a - b).norm() for a, b in zip(gradients, wanted, strict=True)]).norm()
    assert apart <= 2**-8 * torch.stack([b.norm() for b in wanted]).norm()


@pytest.mark.parametrize("form", ["live", "hidden", "lists"])
def test_a_batch_without_any_other_answer_has_the_same_terms(form: str) -> None:
    student, objective = live(ADPA, dtype=torch.float32)
    q, r = objective.teachers.teacher, objective.teachers.reference
    rows = examples()

    def read(side: str, tokens: TokenSequence) -> dict[str, Tensor] | None:
        ratio = Ratio(distribution(q, tokens), distribution(r, tokens))
        if side == "chosen" or form == "live":
            return None
        if form == "hidden":
            return state_rows(ratio.teacher, ratio.reference)
        return list_rows(ratio, ListSettings(5))

    if form != "live":
        rows = with_rows(rows, read)
        heads = tuple(output_head(m) for m in (q, r)) if form == "hidden" else ()
        empty = empty_rows(rows)
        objective = PairObjective(ADPA, Teachers(heads=heads), 0, VOCABULARY, empty)
    both = [objective.sums(student, objective.collate([rows[n]]), {}) for n in (2, 3)]
    assert rows[2].response is None
    for one, other in zip(*both, strict=True):
        assert one.keys() == other.keys()
    terms, logged = both[0]
    assert terms["response"][0] == logged["advantage"][0] == 0


def test_lists_are_within_their_bound() -> None:
    settings = PairLoss(sft=0.0, gamma=1.0)
    student, objective = live(settings, dtype=torch.float32)
    q, r = objective.teachers.teacher, objective.teachers.reference
    rows = examples()
    expected, _ = run(student, objective, rows)
    report = ListReport()

    def read(side: str, tokens: TokenSequence) -> dict[str, Tensor] | None:
        if side == "chosen":
            return None
        own = distribution(student, tokens)
        ratio = Ratio(distribution(q, tokens), distribution(r, tokens))
        return list_rows(ratio, ListSettings(10), own, report)

    loss, _ = run(
        student, PairObjective(settings, Teachers(), 0, VOCABULARY), with_rows(rows, read)
    )
    summary = report.summary()
    assert 0 < abs(loss - expected) <= summary["bound"] + 1e-3
    assert 0 < summary["p_tail"] < 1
    assert summary["largest_bound"] >= summary["bound"]


def test_the_student_s_ids_join_a_list() -> None:
    draw = torch.Generator().manual_seed(0)
    q, p = (torch.randn(20, 30, generator=draw).log_softmax(-1) for _ in range(2))
    ids = top_ids(q, ListSettings(8, student_k=3), p)
    assert ids.shape == (20, 8)
    for row, (mine, best, own) in enumerate(
        zip(ids.tolist(), q.topk(5).indices.tolist(), p.topk(3).indices.tolist(), strict=True)
    ):
        assert len(set(mine)) == 8
        assert set(best) | set(own) <= set(mine)
        values = q[row, ids[row]].tolist()
        assert values == sorted(values, reverse=True)
    full = top_ids(q, ListSettings(8), p)
    assert torch.equal(full, q.topk(8).indices)
    assert torch.equal(top_ids(q, ListSettings(4, student_k=4), p).sort().values,
                       p.topk(4).indices.sort().values)  # fmt: skip


def test_equal_teachers_change_no_bit() -> None:
    student, objective = live(ADPA, dtype=torch.float32)
    objective.teachers = Teachers(objective.teachers.reference, objective.teachers.reference)
    rows = examples()
    loss, gradients = run(student, objective, rows)
    plain = PairObjective(PairLoss(gamma=0.0), Teachers(), 0, VOCABULARY)
    base, expected = run(student, plain, rows)
    assert loss == base
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))


def test_without_a_reference_the_gradient_is_that_of_a_cross_entropy() -> None:
    settings = PairLoss(sft=0.0, gamma=1.0)
    student, objective = live(settings)
    teacher = objective.teachers.teacher
    objective.teachers = Teachers(teacher, uniform=True)
    rows = [row for row in examples() if row.response]
    _, gradients = run(student, objective, rows)
    student.zero_grad(set_to_none=True)
    logits, labels = logits_of(student, sides(rows)[1])
    with torch.no_grad():
        q, _ = logits_of(teacher, sides(rows)[1])
    kept = labels != IGNORE
    entropy = -(log_probs(logits).exp() * log_probs(q)).sum(-1)[kept].mean()
    entropy.backward()
    for found, parameter in zip(gradients, student.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad, rtol=1e-7, atol=1e-9)


def test_a_head_that_is_wider_than_the_vocabulary_is_cut_and_renormalised() -> None:
    student, objective = live(ADPA)
    rows = examples()
    _, expected = run(student, objective, rows)
    wide = objective.teachers.teacher
    wide.resize_token_embeddings(VOCABULARY + 5, mean_resizing=False)
    with torch.no_grad():
        wide.get_output_embeddings().weight[VOCABULARY:] = 9.0
    _, gradients = run(student, objective, rows)
    for found, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_the_released_code_teaches_no_end_token_but_counts_it() -> None:
    settings = PairLoss(sft=0.0, gamma=1.0, end_token="released")
    student, objective = live(settings)
    rows = examples()
    loss, _ = run(student, objective, rows)
    whole = PairObjective(PairLoss(sft=0.0, gamma=1.0), objective.teachers, 0, VOCABULARY)
    tokens = sum(row.response.length for row in rows if row.response)

    def shortened(row: PairExample) -> PairExample:
        if row.response is None:
            return row
        labels = [*row.response.labels[:-1], IGNORE]
        return PairExample(row.chosen, TokenSequence(row.response.input_ids, labels))

    short, _ = run(student, whole, [shortened(row) for row in rows])
    answers = sum(row.response is not None for row in rows)
    assert loss * tokens == pytest.approx(short * (tokens - answers))


def test_logged_values_have_no_weights() -> None:
    settings = PairLoss(gamma=1.6, advantage_clip=0.01)
    student, objective = live(settings)
    rows = examples()
    terms, logged = objective.sums(student, objective.collate(rows), {})
    mean = {name: (total / count).item() for name, (total, count) in logged.items()}
    assert terms["response"][0].item() / terms["response"][1] == pytest.approx(
        -1.6 * mean["advantage"]
    )
    assert abs(mean["advantage"]) <= 0.01
    assert 0 < mean["clipped"] <= 1
    assert mean["entropy"] > 0
    assert mean["length/chosen"] == sum(row.chosen.length for row in rows) / 4


def test_teachers_with_nan_logits_are_refused() -> None:
    student, objective = live(ADPA)
    with torch.no_grad():
        objective.teachers.teacher.get_output_embeddings().weight[0] = torch.nan
    with pytest.raises(BadData, match="not finite"):
        run(student, objective, examples())
    states = torch.full((2, 4), 1e6)
    with pytest.raises(BadData, match="exceed the range of float16"):
        state_rows(type(distribution(student, examples()[0].chosen))(states, None, 3))  # type: ignore[arg-type]


def test_a_list_longer_than_the_vocabulary_is_refused() -> None:
    student, _ = live(ADPA)
    own = distribution(student, examples()[0].chosen)
    with pytest.raises(BadData, match=f"k = {VOCABULARY + 1}.*vocabulary of {VOCABULARY}"):
        list_rows(own, ListSettings(VOCABULARY + 1))
    with pytest.raises(BadData, match="student_k at most k"):
        list_rows(own, ListSettings(3, student_k=4))


def test_released_lists_floor_what_the_reference_s_list_lacks() -> None:
    _student, teacher, reference = models(dtype=torch.float32)
    tokens = examples()[0].chosen
    ratio = Ratio(distribution(teacher, tokens), distribution(reference, tokens))
    sound = list_rows(ratio, ListSettings(5))
    released = list_rows(ratio, ListSettings(5, released=True))
    assert (released["tail"] == 0).all()
    assert not torch.equal(sound["values"], released["values"])
