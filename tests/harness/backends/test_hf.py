"""HFBackend: the contract, determinism, errors by row, and scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from harness.backends.base import Request, Sampling, ScoreRequest, messages_of
from harness.backends.conformance import check_backend
from harness.backends.hf import HFBackend
from harness.core.errors import BadData
from harness.models import chat
from harness.models.threads import map_chunks

SAMPLED = Sampling(temperature=0.9, top_p=0.95, max_tokens=12, n=3, seed=7)


def ask(id: str, text: str, sampling: Sampling = SAMPLED) -> Request:
    return Request(
        id=id, messages=messages_of([{"role": "user", "content": text}]), sampling=sampling
    )


@pytest.fixture(scope="module", params=["llama", "neox"])
def backend(
    request: pytest.FixtureRequest,
    make_tiny_model: Callable[..., Any],
    make_byte_tokenizer: Callable[..., Any],
) -> HFBackend:
    tokenizer = make_byte_tokenizer()
    return HFBackend(make_tiny_model(request.param, len(tokenizer)), tokenizer, max_rows=7)


REQUESTS = [
    ask("a", "Name three colours"),
    ask("b", "Name three colours"),
    ask("c", "What is 12 and 30? " * 4),
    ask("greedy", "Hello", Sampling(max_tokens=8, top_logprobs=5)),
    ask("one token", "Hello", Sampling(temperature=1.0, max_tokens=1, n=2, top_logprobs=20)),
]


def test_conforms(backend: HFBackend) -> None:
    check_backend(backend, REQUESTS)


def test_samples_and_ids_differ(backend: HFBackend) -> None:
    answers = {response.id: response for response in backend.generate(REQUESTS[:3])}
    texts = [completion.text for completion in answers["a"].completions]
    assert len(set(texts)) == 3
    assert texts != [completion.text for completion in answers["b"].completions]
    assert answers["a"].prompt_ids == answers["b"].prompt_ids


def test_the_order_and_company_of_requests_do_not_matter(backend: HFBackend) -> None:
    """float32 rounding could tell; with these models no draw is that close to a border."""
    alone = next(backend.generate([REQUESTS[0]]))
    among = {response.id: response for response in backend.generate(REQUESTS[::-1])}
    assert among["a"].completions == alone.completions


def test_the_same_answers_on_any_number_of_cores(
    backend: HFBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    for cores in (1, 3):
        monkeypatch.setattr("harness.models.threads.cores", lambda cores=cores: cores)
        answers.append(list(backend.generate(REQUESTS)))
    assert answers[0] == answers[1]


def test_threads_leave_the_callers_setting_alone(backend: HFBackend) -> None:
    before = torch.get_num_threads()
    list(map_chunks(lambda chunk: chunk, [1, 2, 3], backend.model))
    assert torch.get_num_threads() == before


def test_text_has_no_special_tokens_and_ids_no_stop(backend: HFBackend) -> None:
    sampling = Sampling(temperature=3.0, max_tokens=60, n=8)
    (response,) = backend.generate([ask("x", "Hello", sampling)])
    stops = set(chat.stop_ids(backend.tokenizer))
    finishes = [completion.finish for completion in response.completions]
    assert "stop" in finishes
    for completion in response.completions:
        assert "<|" not in completion.text
        assert not stops & set(completion.token_ids or ())
    lengths = [len(completion.token_ids or ()) for completion in response.completions]
    assert response.tokens_out == sum(lengths) + finishes.count("stop")


def test_a_prompt_that_is_too_long_fails_alone(backend: HFBackend) -> None:
    requests = [ask("long", "blue " * 300), ask("short", "Hello")]
    answers = {response.id: response for response in backend.generate(requests)}
    assert "at most 256" in (answers["long"].error or "")
    assert answers["long"].completions == ()
    assert len(answers["short"].completions) == 3


def test_answers_stop_at_the_models_context(backend: HFBackend) -> None:
    (response,) = backend.generate([ask("x", "blue " * 50, Sampling(max_tokens=4000))])
    (completion,) = response.completions
    if completion.finish == "length":
        assert len(completion.token_ids or ()) + response.tokens_in == 256


def test_repeated_ids_are_refused(backend: HFBackend) -> None:
    with pytest.raises(BadData, match='the id "a"'):
        list(backend.generate([REQUESTS[0], REQUESTS[0]]))


def test_broken_weights_are_an_error_of_the_row(
    make_tiny_model: Callable[..., Any], make_byte_tokenizer: Callable[..., Any]
) -> None:
    tokenizer = make_byte_tokenizer()
    model = make_tiny_model("llama", len(tokenizer))
    with torch.no_grad():
        model.lm_head.weight[3] = torch.inf
    backend = HFBackend(model, tokenizer)
    (response,) = backend.generate([REQUESTS[0]])
    assert "not finite" in (response.error or "")
    (score,) = backend.score([score_request("s", "42")])
    assert score.logp is None
    assert "not finite" in (score.error or "")


def score_request(id: str, response: str, prompt: str = "Hello") -> ScoreRequest:
    messages = messages_of([{"role": "user", "content": prompt}])
    return ScoreRequest(id=id, messages=messages, response=response)


def test_scores_are_the_log_probabilities_of_the_answers_tokens(backend: HFBackend) -> None:
    texts = ["", "42", "The sum of 12 and 30 is 42. " * 3, "red"]
    requests = [score_request(str(n), text, "Hello " * n) for n, text in enumerate(texts)]
    scores = {score.id: score for score in backend.score(requests)}
    for request in requests:
        messages = [m.model_dump() for m in request.messages]
        prompt = chat.prompt_ids(backend.tokenizer, messages)
        answer = chat.response_ids(backend.tokenizer, request.response)
        with torch.inference_mode():
            logits = backend.model(torch.tensor([prompt + answer])).logits[0].double()
        logps = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1]
        expected = logps[torch.arange(len(answer)), torch.tensor(answer)].numpy()
        score = scores[request.id]
        assert score.tokens == len(answer)
        np.testing.assert_allclose(score.token_logps, expected, atol=2e-4)
        assert score.logp == pytest.approx(float(expected.sum()), abs=1e-3)


def test_a_score_that_does_not_fit_fails_alone(backend: HFBackend) -> None:
    found = list(backend.score([score_request("long", "blue " * 300), score_request("ok", "42")]))
    by_id = {score.id: score for score in found}
    assert "at most 256" in (by_id["long"].error or "")
    assert by_id["ok"].logp is not None


def test_fingerprints_tell_models_and_templates_apart(
    make_tiny_model: Callable[..., Any], make_byte_tokenizer: Callable[..., Any]
) -> None:
    model, tokenizer = make_tiny_model("llama"), make_byte_tokenizer()
    first = HFBackend(model, tokenizer, identity="a").fingerprint
    assert first == HFBackend(model, tokenizer, identity="a", max_rows=1).fingerprint
    assert first != HFBackend(model, tokenizer, identity="b").fingerprint
    assert Sampling(seed=1).fingerprint == Sampling(seed=2).fingerprint
    assert Sampling(top_p=0.9).fingerprint != Sampling().fingerprint
