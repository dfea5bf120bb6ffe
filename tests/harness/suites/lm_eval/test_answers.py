"""Batches, stored answers, and what is noted of prompts, on tiny transformers models."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from harness.core.errors import BadData
from harness.suites.lm_eval.answers import Answering, StoredAnswers

SIZE = 4
TEXT = "red green blue name three colours please the sum of twelve and thirty is"
WORDS = TEXT.split()


def request(kind: str, *arguments: Any, task: str = "t", doc: int = 0) -> Instance:
    return Instance(kind, {}, arguments, 0, metadata=(task, doc, 1))


def likelihoods(count: int) -> list[Instance]:
    """Several choices a context, many of one token, some requests twice."""
    rng = random.Random(0)
    found = []
    for number in range(count):
        context = " ".join(rng.choices(WORDS, k=rng.randint(0, 12)))
        for choice in rng.sample(["a", "b", "c", "red", "the sum of twelve", "x y"], 3):
            found.append(request("loglikelihood", context, f" {choice}", doc=number))
    return [*found, *found[:5]]


def generations(count: int) -> list[Instance]:
    rng = random.Random(1)
    options = ({"until": ["z"], "max_gen_toks": 6}, {"until": ["q"], "max_gen_toks": 4})
    return [
        request(
            "generate_until",
            " ".join(rng.choices(WORDS, k=rng.randint(1, 12))),
            dict(options[number % 2]),
            doc=number,
        )
        for number in range(count)
    ]


@pytest.fixture
def model(make_tiny_model: Callable[..., Any], make_byte_tokenizer: Callable[..., Any]) -> Any:
    tokenizer = make_byte_tokenizer()

    class Watched(HFLM):
        """Notes the batches that reach the network."""

        def __init__(self) -> None:
            network = make_tiny_model("llama", len(tokenizer))
            super().__init__(pretrained=network, tokenizer=tokenizer, batch_size=SIZE)
            self.passes: list[Any] = []

        def _model_call(self, inps: Any, *args: Any, **kwargs: Any) -> Any:
            self.passes.append(inps.tolist())
            return super()._model_call(inps, *args, **kwargs)

        def _model_generate(self, context: Any, *args: Any, **kwargs: Any) -> Any:
            self.passes.append(context.tolist())
            return super()._model_generate(context, *args, **kwargs)

    return Watched()


def asking(model: Any, folder: Path, **more: Any) -> Answering:
    return Answering(model, StoredAnswers(folder, {"model": "m"}), batch_size=SIZE, **more)


@pytest.mark.parametrize("kind", ["loglikelihood", "generate_until"])
def test_batches_and_answers_are_those_of_lm_eval_itself(
    model: Any, tmp_path: Path, kind: str
) -> None:
    requests = likelihoods(12) if kind == "loglikelihood" else generations(14)
    plain = getattr(model, kind)(requests, disable_tqdm=True)
    expected, model.passes = model.passes, []
    ours = getattr(asking(model, tmp_path), kind)(requests)
    assert ours == plain
    assert model.passes == expected
    model.passes = []
    again = asking(model, tmp_path)
    assert getattr(again, kind)(requests) == plain
    assert model.passes == []
    assert (again.asked, again.kept) == (0, len(requests))


def test_texts_are_scored_as_by_lm_eval(model: Any, tmp_path: Path) -> None:
    requests = [request("loglikelihood_rolling", " ".join(WORDS[:n])) for n in range(1, 9)]
    plain = model.loglikelihood_rolling(requests, disable_tqdm=True)
    assert asking(model, tmp_path).loglikelihood_rolling(requests) == plain


def test_a_line_cut_off_by_a_crash_is_asked_again(model: Any, tmp_path: Path) -> None:
    requests = generations(8)
    first = asking(model, tmp_path).generate_until(requests)
    (path,) = tmp_path.glob("answers-*.jsonl")
    path.write_bytes(path.read_bytes()[:-7])
    again = asking(model, tmp_path)
    assert again.generate_until(requests) == first
    assert again.asked == SIZE
    assert asking(model, tmp_path).generate_until(requests) == first


def test_samples_are_fixed_by_seed_and_batch_and_differ_within_repeats(
    model: Any, tmp_path: Path
) -> None:
    options = {"until": [], "max_gen_toks": 12, "do_sample": True, "temperature": 2.0}
    requests = [request("generate_until", "name three", dict(options)) for _ in range(2 * SIZE)]
    first = asking(model, tmp_path / "a", seed=1).generate_until(requests)
    assert len(set(first)) > SIZE  # two equal batches are not two equal answers
    assert asking(model, tmp_path / "b", seed=1).generate_until(requests) == first
    assert asking(model, tmp_path / "c", seed=2).generate_until(requests) != first
    # Resumed after its first batch, a run draws the same for the second.
    kept = asking(model, tmp_path / "d", seed=1)
    kept.generate_until(requests[:SIZE])
    assert asking(model, tmp_path / "d", seed=1).generate_until(requests) == first


def test_prompts_that_are_cut_are_counted_by_document(model: Any, tmp_path: Path) -> None:
    lm = asking(model, tmp_path)
    long = "blue " * 300
    lm.loglikelihood([request("loglikelihood", long, f" {c}", task="choice") for c in "abc"])
    lm.loglikelihood([request("loglikelihood", "blue", " a", task="choice", doc=1)])
    options = {"until": ["z"], "max_gen_toks": 250}
    lm.generate_until([request("generate_until", "name three colours", options, task="free")])
    assert dict(lm.truncated) == {"choice": 1, "free": 1}


def test_two_bos_tokens_are_refused(model: Any, tmp_path: Path) -> None:
    lm = asking(model, tmp_path)
    lm.generate_until([request("generate_until", "<|bos|>Hello", {"max_gen_toks": 2})])
    twice = request("generate_until", "<|bos|><|bos|>Hi", {"max_gen_toks": 2}, task="bad")
    with pytest.raises(BadData, match="task bad: prompts start with two BOS"):
        lm.generate_until([twice])


def test_blanks_that_move_into_the_choices_are_noted(model: Any, tmp_path: Path) -> None:
    lm = asking(model, tmp_path)
    lm.loglikelihood([request("loglikelihood", "name: ", "red", task="blank")])
    lm.loglikelihood([request("loglikelihood", "name:", " red", task="none")])
    assert lm.moved["blank"] == 1
    assert lm.moved["none"] == 0


def test_a_system_message_that_the_template_drops_is_kept(
    make_tiny_model: Callable[..., Any],
    make_byte_tokenizer: Callable[..., Any],
    gemma_template: str,
    tmp_path: Path,
) -> None:
    tokenizer = make_byte_tokenizer(gemma_template)
    network = make_tiny_model("llama", len(tokenizer))
    lm = asking(HFLM(pretrained=network, tokenizer=tokenizer, batch_size=SIZE), tmp_path)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    ]
    text = lm.apply_chat_template(messages)
    assert "Be brief.\n\nHello" in text
    assert lm.prompts[text]
