"""The operations `sample` and `score_rewards`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.backends.sampling import SampleParams, ScoreRewardsParams, sample, score_rewards
from harness.core.errors import BadData, UserError
from harness.engine.calls import Services
from harness.engine.operations import Artifact, Row
from harness.models import chat
from harness.models.checkpoints import load_reward_model


class Context:
    """A context that remembers what was counted."""

    device = "cpu"

    def __init__(self, directory: Path) -> None:
        self.directory = self.scratch = directory
        self.counted: dict[str, int] = {}
        self.services = Services()

    def progress(self, done: int, total: int, unit: str = "rows") -> None:
        pass

    def count(self, **amounts: int | None) -> None:
        for key, amount in amounts.items():
            if amount is not None:
                self.counted[key] = self.counted.get(key, 0) + amount


ROWS: list[Row] = [
    {"id": f"p{n}", "messages": [{"role": "user", "content": "blue " * n + "?"}], "category": "c"}
    for n in range(5)
]
PARAMS = SampleParams(n=3, max_tokens=10, seed=4, system="tiny", batch_size=2)


def run_sample(
    tmp_path: Path, folder: Path, rows: list[Row], params: SampleParams
) -> tuple[list[Row], Context]:
    context, size = Context(tmp_path), params.batch_size
    batches = [rows[i : i + size] for i in range(0, len(rows), size)]
    model, prompts = Artifact("m", folder), Artifact("p", tmp_path)
    found = list(sample(context, params, iter(batches), prompts=prompts, model=model))
    assert [len(batch) for batch in found] == [len(batch) for batch in batches]
    return [row for batch in found for row in batch], context


def run_rewards(tmp_path: Path, folder: Path, rows: list[Row], **params: Any) -> list[Row]:
    context = Context(tmp_path)
    artifact = Artifact("r", tmp_path)
    (found,) = score_rewards(
        context,
        ScoreRewardsParams(**params),
        iter([rows]),
        responses=artifact,
        model=Artifact("m", folder),
    )
    return found


def test_samples_keep_the_rows_and_their_order(tmp_path: Path, llama_folder: Path) -> None:
    rows, context = run_sample(tmp_path, llama_folder, ROWS, PARAMS)
    assert [row["id"] for row in rows] == [row["id"] for row in ROWS]
    for row in rows:
        assert row["category"] == "c"
        assert row["system"] == "tiny"
        assert len(row["responses"]) == len(row["finish"]) == len(row["tokens_out"]) == 3
        assert row["rendered"].startswith("<|bos|><|start|>user")
        assert len(row["prompt_digest"]) == 32
        assert all(0 <= tokens <= 10 for tokens in row["tokens_out"])
    assert context.counted["tokens_in"] == sum(row["tokens_in"] for row in rows)
    assert context.counted["tokens_out"] == sum(sum(row["tokens_out"]) for row in rows)
    assert context.counted["requests"] == 5
    json.dumps(rows)


def test_the_same_batches_give_the_same_bytes(tmp_path: Path, llama_folder: Path) -> None:
    whole, _ = run_sample(tmp_path, llama_folder, ROWS, PARAMS)
    again, _ = run_sample(tmp_path, llama_folder, ROWS, PARAMS)
    assert json.dumps(whole) == json.dumps(again)
    resumed, _ = run_sample(tmp_path, llama_folder, ROWS[2:], PARAMS)  # the first batch is done
    assert json.dumps(resumed) == json.dumps(whole[2:])
    other, _ = run_sample(tmp_path, llama_folder, ROWS, PARAMS.model_copy(update={"seed": 5}))
    assert [row["responses"] for row in other] != [row["responses"] for row in whole]


def test_a_prompt_that_cannot_be_answered(tmp_path: Path, llama_folder: Path) -> None:
    long = {"id": "long", "messages": [{"role": "user", "content": "blue " * 300}]}
    with pytest.raises(BadData, match=r'prompt "long" cannot be answered by tiny: .* at most 256'):
        run_sample(tmp_path, llama_folder, [*ROWS, long], PARAMS)
    params = PARAMS.model_copy(update={"on_error": "record"})
    rows, _ = run_sample(tmp_path, llama_folder, [*ROWS, long], params)
    assert rows[-1]["responses"] == []
    assert "at most 256" in rows[-1]["error"]


def test_a_prompt_that_is_too_long_can_be_cut_and_says_so(
    tmp_path: Path, llama_folder: Path
) -> None:
    long = {"id": "long", "messages": [{"role": "user", "content": "blue " * 300 + "end?"}]}
    params = PARAMS.model_copy(update={"too_long": "cut"})
    rows, _ = run_sample(tmp_path, llama_folder, [*ROWS, long], params)
    assert rows[:-1] == run_sample(tmp_path, llama_folder, [*ROWS, long], params)[0][:-1]
    assert all("cut_characters" not in row for row in rows[:-1])
    assert len(rows[-1]["responses"]) == 3
    assert 0 < rows[-1]["cut_characters"] < 1504
    assert chat.CUT in rows[-1]["rendered"]
    assert rows[-1]["messages"] == long["messages"]  # the judge sees the whole prompt


ANSWERED: list[Row] = [
    {**row, "responses": ["red", "", "The sum is 42. " * (1 + n)]} for n, row in enumerate(ROWS)
]


def test_a_reward_is_what_the_model_gives_the_conversation_alone(
    tmp_path: Path, reward_folder: Path
) -> None:
    found = run_rewards(tmp_path, reward_folder, ANSWERED, max_rows=4)
    model, tokenizer = load_reward_model(reward_folder)
    for row in found:
        assert len(row["rewards"]) == 3
        for response, reward in zip(row["responses"], row["rewards"]):
            messages = [*row["messages"], {"role": "assistant", "content": response}]
            ids = torch.tensor([chat.conversation_ids(tokenizer, messages)])
            with torch.inference_mode():
                expected = float(model(ids).logits[0, 0])
            assert reward == pytest.approx(expected, abs=1e-4)
    assert model.config.pad_token_id is None  # the lent pad id was given back


def test_rewards_do_not_depend_on_the_padding(
    tmp_path: Path,
    make_tiny_model: Callable[..., Any],
    make_byte_tokenizer: Callable[..., Any],
) -> None:
    """Also where the pad token is the end-of-turn token, which the model then looks past."""
    tokenizer = make_byte_tokenizer()
    folder = tmp_path / "padded"
    model = make_tiny_model("llama", len(tokenizer), num_labels=1, pad_token_id=2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    together = run_rewards(tmp_path, folder, ANSWERED)
    alone = [run_rewards(tmp_path, folder, [row], max_rows=1)[0] for row in ANSWERED]
    for one, other in zip(together, alone):
        assert one["rewards"] == pytest.approx(other["rewards"], abs=1e-4)


def test_a_reward_that_is_no_number_names_the_row(
    tmp_path: Path,
    make_tiny_model: Callable[..., Any],
    make_byte_tokenizer: Callable[..., Any],
) -> None:
    tokenizer = make_byte_tokenizer()
    model = make_tiny_model("llama", len(tokenizer), num_labels=1)
    with torch.no_grad():
        model.score.weight.fill_(torch.nan)
    model.save_pretrained(tmp_path / "nan")
    tokenizer.save_pretrained(tmp_path / "nan")
    with pytest.raises(BadData, match='row "p0": the reward of response 0 is nan'):
        run_rewards(tmp_path, tmp_path / "nan", ANSWERED)


def test_a_classifier_of_several_classes_is_no_reward_model(
    tmp_path: Path,
    make_tiny_model: Callable[..., Any],
    make_byte_tokenizer: Callable[..., Any],
) -> None:
    tokenizer = make_byte_tokenizer()
    make_tiny_model("llama", len(tokenizer), num_labels=3).save_pretrained(tmp_path / "three")
    tokenizer.save_pretrained(tmp_path / "three")
    with pytest.raises(UserError, match="returns 3 numbers"):
        run_rewards(tmp_path, tmp_path / "three", ANSWERED)


def test_conversations_that_are_too_long(tmp_path: Path, reward_folder: Path) -> None:
    rows = [{**ROWS[0], "responses": ["blue " * 300]}]
    with pytest.raises(BadData, match=r'row "p0": .* at most 256: set max_length'):
        run_rewards(tmp_path, reward_folder, rows)
    (row,) = run_rewards(tmp_path, reward_folder, rows, max_length=100)
    assert len(row["rewards"]) == 1


def test_a_row_without_responses_gets_no_rewards(tmp_path: Path, reward_folder: Path) -> None:
    rows = [{**ROWS[0], "responses": []}, ANSWERED[1]]
    found = run_rewards(tmp_path, reward_folder, rows)
    assert [len(row["rewards"]) for row in found] == [0, 3]


def test_sampled_ids_are_kept_on_request(tmp_path: Path, llama_folder: Path) -> None:
    from harness.models.checkpoints import load_tokenizer
    from harness.models.tokenize import tokenizer_digest

    plain, _ = run_sample(tmp_path, llama_folder, ROWS, PARAMS)
    assert "response_ids" not in plain[0]
    kept, _ = run_sample(tmp_path, llama_folder, ROWS, PARAMS.model_copy(update={"keep_ids": True}))
    tokenizer = load_tokenizer(llama_folder)
    for row, before in zip(kept, plain, strict=True):
        assert row["tokenizer"] == tokenizer_digest(tokenizer)
        assert row["responses"] == before["responses"]
        assert [len(ids) for ids in row["response_ids"]] == [
            tokens - (finish == "stop") for tokens, finish in zip(row["tokens_out"], row["finish"])
        ]
        for ids, text in zip(row["response_ids"], row["responses"], strict=True):
            assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize(("cut", "said"), [(3, True), (2, False), (0, False)])
def test_a_stage_whose_answers_are_mostly_cut_says_so(cut: int, said: bool) -> None:
    from harness.engine.operations import OPERATIONS

    ends = ["length"] * cut + ["stop"] * (4 - cut)
    rows = [{"finish": ends[:2]}, {"finish": ends[2:]}]
    found = list(OPERATIONS["sample"].notes(PARAMS, rows))
    assert found == (
        [
            "3 of 4 answers (75%) were cut at the limit of 10 tokens: "
            "a higher max_tokens lets them end"
        ]
        if said
        else []
    )
