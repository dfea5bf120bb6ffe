"""Tokens without an embedding row: refused with a sentence wherever a model reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.backends.base import Request, Sampling, ScoreRequest, messages_of
from harness.backends.hf import HFBackend
from harness.core.errors import BadData
from harness.models import checkpoints
from harness.models.checkpoints import load_causal_lm, load_reward_model
from harness.models.rows import check_ids, embedding_rows, guard_rows, tokenizer_ids
from tests.tiny_models import TEMPLATE, make_model, make_tokenizer

ROWS = 43
SENTENCE = r'token "<new>" has id 43, but the embedding has 43 rows \(ids 0 to 42\)'
ASK = messages_of([{"role": "user", "content": "add"}])


@pytest.fixture
def widened() -> Any:
    """A tokenizer with one token more than the model has rows, in its template."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<u>", "<a>", "<new>"]})
    tokenizer.chat_template = TEMPLATE.replace("'<u>'", "'<new>'")
    return tokenizer


@pytest.fixture
def folder(tmp_path: Path, widened: Any) -> Path:
    make_model("llama").save_pretrained(tmp_path)
    widened.save_pretrained(tmp_path)
    return tmp_path


def test_rows_and_ids_are_counted(widened: Any) -> None:
    assert embedding_rows(make_model("llama")) == tokenizer_ids(make_tokenizer()) == ROWS
    assert tokenizer_ids(widened) == ROWS + 1
    check_ids(widened, ROWS, [[0, ROWS - 1], []])
    with pytest.raises(BadData, match=SENTENCE):
        check_ids(widened, ROWS, [[0], [ROWS, 1]])


@pytest.mark.parametrize("device", ["cpu"])
def test_no_engine_reads_a_token_without_a_row(device: str, folder: Path) -> None:
    backend = HFBackend(*load_causal_lm(folder, device))
    with pytest.raises(BadData, match=SENTENCE):
        list(backend.generate([Request(id="a", messages=ASK, sampling=Sampling(max_tokens=2))]))
    with pytest.raises(BadData, match=SENTENCE):
        list(backend.score([ScoreRequest(id="a", messages=ASK, response="so")]))


def test_references_are_not_computed_with_it(
    folder: Path, operation_error: Callable[..., BaseException]
) -> None:
    rows = [{"id": "a", "messages": [dict(ASK[0])], "responses": {"target": "so"}}]
    error = operation_error("reference_logps", rows, folder)
    assert isinstance(error, BadData)
    assert "<new>" in str(error)


@pytest.fixture
def operation_error(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., BaseException]:
    from harness.engine.operations import Artifact
    from harness.engine.registry import load_operation
    from tests.tiny_models import FakeContext

    def run(name: str, rows: list[Any], folder: Path) -> BaseException:
        operation, place = load_operation(name), tmp_path_factory.mktemp(name)
        made = operation.function(
            FakeContext(place, place),
            operation.params.model_validate({}),
            iter([rows]),
            rows=Artifact("rows", place),
            model=Artifact("model", folder),
        )
        with pytest.raises(BadData) as found:
            list(made)
        return found.value

    return run


def test_a_model_reads_its_other_tokens_as_before(folder: Path) -> None:
    model, tokenizer = load_causal_lm(folder)
    ids = torch.arange(ROWS)[None]
    assert model(input_ids=ids).logits.equal(make_model("llama").eval()(input_ids=ids).logits)
    assert tokenizer_ids(tokenizer) > ROWS


def test_classifiers_are_guarded_too(reward_folder: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "reward"
    shutil.copytree(reward_folder, folder)
    model, tokenizer = load_reward_model(folder)
    rows = embedding_rows(model)
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(folder)
    checkpoints.forget_models()
    model, _ = load_reward_model(folder)
    with pytest.raises(BadData, match='token "<new>" has id'):
        model(input_ids=torch.tensor([[rows]]))


def test_the_tokenizer_of_another_model_is_refused(make_byte_tokenizer: Any) -> None:
    with pytest.raises(BadData, match=r"300 tokens before any are added, its embedding 43 rows"):
        guard_rows(make_model("llama"), make_byte_tokenizer())


def test_padded_rows_are_no_fault() -> None:
    model = make_model("llama", vocabulary=64)
    guard_rows(model, make_tokenizer())
    assert not model.get_input_embeddings()._forward_pre_hooks
