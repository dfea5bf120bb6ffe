"""Pre-training and joint training: what learns, when, and from which records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from harness.core.errors import BadData
from harness.engine.io import read_json
from harness.models.checkpoints import load_encoder, load_seq2seq
from harness.suites.dialogue.encoding import pooled
from harness.training.parts import Parts
from harness.training.trainer import train
from methods.mktod.joint import GENERATOR, RETRIEVER, JointObjective, Turn
from methods.mktod.losses import posterior
from methods.mktod.reading import GeneratorReader, QueryReader, named_in, new_tokens
from methods.mktod.retriever import Base, DistantSupervision, Index, encoded, label_of, retrieved
from methods.mktod.settings import JointParams, RetrieverParams
from tests.methods.mktod_world import RECORDS, TURNS, encoder, generator
from tests.tiny_models import FakeContext

LAYOUT = {"k": 2, "max_query": 16, "max_context": 16, "max_record": 16, "max_reply": 8}
QUICK = {"learning_rate": 1e-2, "per_device_batch_size": 2, "max_steps": 4, "warmup_ratio": 0.0}


def made(allowed: list[int] | None = None, **params: Any) -> tuple[JointObjective, Parts, Any]:
    layout = {**LAYOUT, **params.pop("layout", {})}
    own = JointParams(**{**QUICK, **params}, layout=layout)
    writer, words = generator()
    words.add_special_tokens({"additional_special_tokens": new_tokens(own.layout)})
    model = writer.model.train()
    model.resize_token_embeddings(len(words), mean_resizing=False)
    network, pieces = encoder()
    queries, reader = QueryReader(pieces, 16), GeneratorReader(words, own.layout)
    turns = [
        Turn(
            queries.context(row["context"]),
            reader.context(row["context"]),
            reader.reply(row["reference"]),
            allowed,
            named_in(RECORDS, row["context"]),
        )
        for row in TURNS
    ]
    index = Index([queries.record(record) for record in RECORDS], 0)
    records = [reader.record(record) for record in RECORDS]
    objective = JointObjective(turns, records, index, reader, own)
    parts = Parts({GENERATOR: model, RETRIEVER: network}, language_models=(GENERATOR,))
    objective.prepare(parts)
    return objective, parts, {GENERATOR: words, RETRIEVER: pieces}


def losses(objective: JointObjective, parts: Parts, rows: list[int]) -> dict[str, torch.Tensor]:
    batch = objective.collate(rows)
    scheduled = objective.scheduled(objective.params.max_steps or 0, 4)
    terms, logged = objective.sums(parts, batch, scheduled)
    assert {name: int(count) for name, (_, count) in terms.items()} == {
        name: int(count) for name, count in objective.counts(batch).items()
    }
    return {name: value for name, (value, _) in {**logged, **terms}.items()}


def state(module: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_retriever_is_pulled_to_the_posterior() -> None:
    objective, parts, _ = made(negative=False)
    objective.scheduled(4, 4)
    turn = objective.turns[0]
    queries = pooled(parts[RETRIEVER], [turn.query], 0).detach().requires_grad_()
    chosen = objective._choose([turn], queries)
    scores = objective._scores(parts[RETRIEVER], queries.detach(), chosen, True).detach()
    scores.requires_grad_()
    views = [objective._views(turn, chosen[0], scores[0].tolist())]
    memories = objective._generator.memories(views, singles=True, bare=False)
    labels = torch.tensor([turn.reply])
    found = objective._record_losses(memories, labels, scores, chosen, learns=True)["mml"]
    found.sum().backward()
    assert memories.singles is not None
    log_probs = objective._generator.token_log_probs(memories.singles, labels.repeat(2, 1))
    tau, likelihoods = objective.params.temperature, log_probs.sum(dim=-1)[None].detach()
    expected = (torch.softmax(scores / tau, -1) - posterior(scores, likelihoods, tau)) / tau
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, expected.detach())


def test_a_batch_is_the_sum_of_its_turns() -> None:
    for meta in ("prefix", "contrastive"):
        objective, parts, _ = made(layout={"meta": meta})
        whole = losses(objective, parts, [0, 1, 2, 3])
        singles = [losses(objective, parts, [row]) for row in range(4)]
        for name, value in whole.items():
            torch.testing.assert_close(value, sum(one[name] for one in singles))


def test_adapters_are_trained_in_the_generator_and_merged(tmp_path: Path) -> None:
    objective, parts, tokenizers = made(mml_start=0.0, lora={"rank": 2})
    before = state(parts)
    context = FakeContext(tmp_path / "out", tmp_path / "scratch")
    context.scratch.mkdir()
    context.directory.mkdir()
    train(parts, tokenizers, range(4), objective, objective.params, context)  # type: ignore[arg-type]
    writer = load_seq2seq(context.directory, part=GENERATOR)[0].state_dict()
    linear = {name for name in writer if ".block." in name}
    old = {name: before[f"models.{GENERATOR}.{name}"] for name in writer}
    changed = {name for name, value in writer.items() if not torch.equal(value, old[name])}
    assert changed
    assert changed <= linear  # neither embedding nor head
    network = load_encoder(context.directory, part=RETRIEVER)[0].state_dict()
    name = "embeddings.word_embeddings.weight"
    assert not torch.equal(network[name], before[f"models.{RETRIEVER}.{name}"])
    assert (context.directory / "adapter" / GENERATOR / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("params", "learns"),
    [({}, True), ({"weights": {"beta": 0}}, False), ({"mml_start": 1.0}, False)],
)
def test_the_retriever_learns_from_the_marginal_likelihood_alone(
    params: dict[str, Any], learns: bool, tmp_path: Path
) -> None:
    objective, parts, tokenizers = made(**{"mml_start": 0.5, **params})
    before = state(parts)
    context = FakeContext(tmp_path / "out", tmp_path / "scratch")
    context.scratch.mkdir()
    context.directory.mkdir()
    train(parts, tokenizers, range(4), objective, objective.params, context)  # type: ignore[arg-type]
    after = state(parts)
    changed = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert changed == ({GENERATOR, RETRIEVER} if learns else {GENERATOR})


def test_only_the_retriever_learns_where_the_generator_is_held_fixed() -> None:
    objective, parts, _ = made(mml_updates_generator=False, weights={"alpha": 0.0})
    losses(objective, parts, [0, 1])["mml"].backward()
    gradients = {
        name.split(".")[1]
        for name, value in parts.named_parameters()
        if value.grad is not None and value.grad.abs().sum() > 0
    }
    assert gradients == {RETRIEVER}


def test_the_negative_record_joins_the_marginal_likelihood_on_request() -> None:
    found = {}
    for inside in (False, True):
        objective, parts, _ = made(negative_in_mml=inside)
        found[inside] = losses(objective, parts, [0])
    assert found[True]["nll"] == found[False]["nll"]
    assert found[True]["mml"] < found[False]["mml"]  # one more term in the sum


def test_a_turn_uses_only_its_own_records() -> None:
    objective, parts, _ = made(allowed=[1], layout={"k": 7})
    objective.scheduled(0, 4)
    queries = pooled(parts[RETRIEVER], [objective.turns[0].query], 0)
    assert objective._choose(list(objective.turns[:1]), queries)[0].places == [1]
    assert losses(objective, parts, [0])["mml"].isfinite()
    nothing, parts, _ = made(allowed=[])
    found = losses(nothing, parts, [0, 1])
    assert found["mml"] == 0
    assert found["nll"] > 0


def test_the_worst_record_is_outside_of_the_best() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.1]]).numpy()
    assert retrieved(scores, [None], 2) == [([1, 2], 3)]
    assert retrieved(scores, [None], 4) == [([1, 2, 0, 3], None)]
    assert retrieved(scores, [[2, 3]], 1) == [([2], 3)]
    assert retrieved(scores, [[]], 2) == [([], None)]


def test_the_index_is_encoded_again_when_the_retriever_has_learnt() -> None:
    objective, parts, _ = made(refresh_steps=2, mml_start=0.5)
    calls: list[int] = []
    refresh = objective.index.refresh
    objective.index.refresh = lambda network: (calls.append(1), refresh(network))[1]  # type: ignore[method-assign]
    seen = []
    for step in range(8):
        objective.scheduled(step, 8)
        seen.append(len(calls))
    assert seen == [1, 1, 1, 1, 2, 2, 3, 3]
    del parts


def test_a_retriever_that_waits_is_asked_once_about_a_turn() -> None:
    objective, parts, _ = made(mml_start=1.0)
    calls: list[int] = []
    parts[RETRIEVER].register_forward_hook(lambda *_: calls.append(1))
    waits, learns = objective.scheduled(0, 4), objective.scheduled(4, 4)
    batch = objective.collate([0, 1])
    parts.eval()
    before = len(calls)
    first = objective.sums(parts, batch, waits)[1]["nll"][0]
    asked = len(calls) - before
    again = objective.sums(parts, batch, waits)[1]["nll"][0]
    assert (asked, len(calls) - before) == (1, 1)
    torch.testing.assert_close(first, again)
    # With gradient, the same scores are computed again: contexts, and records.
    found = objective.sums(parts, batch, learns)[1]["nll"][0]
    assert len(calls) - before == 3
    torch.testing.assert_close(first, found)


def test_vectors_do_not_depend_on_the_order_or_on_dropout() -> None:
    network, pieces = encoder()
    reader = QueryReader(pieces, 16)
    texts = [reader.record(record) for record in RECORDS]
    network.train()
    table = encoded(network, texts, 0)
    assert network.training
    torch.testing.assert_close(
        torch.tensor(table[::-1].copy()), torch.tensor(encoded(network, texts[::-1], 0))
    )
    assert encoded(network, [], 0).shape[0] == 0


@pytest.mark.parametrize("negatives", ["batch", "base"])
def test_pre_training_finds_the_labels(negatives: Any, tmp_path: Path) -> None:
    network, pieces = encoder()
    params = RetrieverParams(
        **{**QUICK, "max_steps": 40, "per_device_batch_size": 4}, negatives=negatives, min_count=1
    )
    base = Base.of([*RECORDS, RECORDS[0]])
    assert len(base.records) == len(RECORDS)  # the same content once
    labels = [label_of(row, base, "shared", params) for row in TURNS]
    assert labels == [0, 1, 2, 3]
    assert label_of(TURNS[1], base, "session", params) == 1
    reader = QueryReader(pieces, 16)
    texts = [reader.record(record) for record in base.records]
    examples = [(reader.context(row["context"]), n) for n, row in enumerate(TURNS)]
    objective = DistantSupervision(texts, params, 0)
    context = FakeContext(tmp_path / "out", tmp_path / "scratch")
    context.scratch.mkdir()
    context.directory.mkdir()
    train(network, pieces, examples, objective, params, context)  # type: ignore[arg-type]
    scores = encoded(network, [ids for ids, _ in examples], 0) @ encoded(network, texts, 0).T
    assert scores.argmax(axis=1).tolist() == labels


def test_save_steps_keep_the_index_of_a_resumed_training() -> None:
    with pytest.raises(ValueError, match="a multiple of refresh_steps"):
        JointParams(save_steps=5, refresh_steps=2)


def test_a_resumed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    found = {}
    for name, stop in (("whole", None), ("resumed", 3)):
        folder = tmp_path / name
        context = FakeContext(folder / "out", folder / "scratch")
        context.scratch.mkdir(parents=True)
        context.directory.mkdir()
        settings = {"save_steps": 2, "refresh_steps": 2, "mml_start": 0.0}
        if stop is not None:
            objective, parts, tokenizers = made(**settings)

            def progress(done: int, total: int, unit: str = "", stop: int = stop) -> None:
                if done == stop:
                    raise KeyboardInterrupt

            context.progress = progress  # type: ignore[method-assign]
            with pytest.raises(KeyboardInterrupt):
                train(parts, tokenizers, range(4), objective, objective.params, context)  # type: ignore[arg-type]
            context.progress = lambda *args, **options: None  # type: ignore[method-assign]
        objective, parts, tokenizers = made(**settings)
        train(parts, tokenizers, range(4), objective, objective.params, context)  # type: ignore[arg-type]
        found[name] = state(parts)
        assert (context.directory / GENERATOR / "model.safetensors").is_file()
        assert (context.directory / RETRIEVER / "tokenizer.json").is_file()
    assert same(found["whole"], found["resumed"])


def test_no_label_is_refused(tmp_path: Path) -> None:
    from harness.engine.operations import Artifact
    from methods.mktod.operations import train_retriever

    folder = tmp_path / "dialogues"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("")
    (folder / "records.json").write_text('[{"name": "efes"}]')
    context = FakeContext(tmp_path, tmp_path)
    with pytest.raises(BadData, match="none of 0 training turns has a label"):
        train_retriever(
            context,
            RetrieverParams(),
            dialogues=Artifact("d", folder),
            encoder=Artifact("e", folder),  # type: ignore[arg-type]
        )
    (folder / "records.json").write_text("[]")
    with pytest.raises(BadData, match="have no records"):
        train_retriever(
            context,
            RetrieverParams(),
            dialogues=Artifact("d", folder),
            encoder=Artifact("e", folder),  # type: ignore[arg-type]
        )


@pytest.mark.parametrize("start", [0.0, 0.5])
def test_measuring_held_out_turns_leaves_no_trace(start: float, tmp_path: Path) -> None:
    """Index and kept queries are put back; the loss is that of a retriever that learns."""
    found, logs = {}, {}
    for name, held_out in (("with", [3]), ("without", [])):
        context = FakeContext(tmp_path / name / "out", tmp_path / name / "scratch")
        context.scratch.mkdir(parents=True)
        context.directory.mkdir()
        validation = {"share": 0.3, "points": 2} if held_out else None
        objective, parts, tokenizers = made(mml_start=start, refresh_steps=3, validation=validation)
        train(parts, tokenizers, range(3), objective, objective.params, context, held_out)  # type: ignore[arg-type]
        found[name] = state(parts)
        logs[name] = read_json(context.directory / "training_log.json")
    assert same(found["with"], found["without"])
    assert logs["with"]["log"] == logs["without"]["log"]
    points = logs["with"]["validation"]["points"]
    assert [point["step"] for point in points] == [0, 2, 4]
    assert all(point["mml"] > 0 for point in points)
    assert points[0]["loss"] == pytest.approx(points[0]["nll"] + points[0]["mml"], rel=1e-5)
