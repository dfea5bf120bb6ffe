"""The check that every backend must pass; plugin authors run it on theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.backends.base import GREEDY_BELOW, Backend, Request, Response, Score, ScoreRequest
from harness.core.errors import CrucibleError

TOLERANCE = 2e-3  # between log-probabilities of one token computed in differently shaped batches


def check_backend(
    backend: Backend,
    requests: Sequence[Request],
    *,
    deterministic: bool = True,
    scores: bool = True,
) -> None:
    """Check a backend against the contract of `harness.backends.base`.

    Args:
        requests: at least two that the backend can answer; include some with n > 1, some with
            top_logprobs, and a greedy one.
        deterministic: whether the same call must give the same answers.
        scores: whether the backend can score; False for APIs without prompt log-probabilities.

    Raises:
        AssertionError: naming the request and the broken rule.
    """
    assert len(requests) >= 2, "check_backend needs at least two requests"
    assert isinstance(backend, Backend), "a backend is an instance of a subclass of Backend"
    assert isinstance(backend.fingerprint, str), "a fingerprint is text"
    assert backend.fingerprint, "the fingerprint is empty"
    answers = _by_id([request.id for request in requests], list(backend.generate(requests)))
    for request in requests:
        _check_response(request, answers[request.id])
    if deterministic:
        again = {response.id: _said(response) for response in backend.generate(requests)}
        first = {id: _said(response) for id, response in answers.items()}
        assert again == first, "the same requests were answered differently the second time"
    assert list(backend.generate([])) == [], "an answer without a request"
    _check_typed_errors(backend, requests[0])
    if scores:
        _check_scores(backend, requests, answers)


def _said(response: Response) -> Response:
    """The answer without `cached` and `cost_usd`, which may differ between calls."""
    return response.model_copy(update={"cached": False, "cost_usd": None})


def _by_id(ids: list[str], responses: list[Response]) -> dict[str, Response]:
    found = [response.id for response in responses]
    assert sorted(found) == sorted(ids), f"asked for the ids {sorted(ids)}, got {sorted(found)}"
    return {response.id: response for response in responses}


def _check_response(request: Request, response: Response) -> None:
    where, sampling = f'request "{request.id}"', request.sampling
    assert response.error is None, f"{where} failed: {response.error}"
    count = len(response.completions)
    assert count == sampling.n, f"{where}: {count} completions; expected {sampling.n}"
    assert response.tokens_in >= 0, f"{where}: a negative tokens_in"
    assert response.tokens_out >= 0, f"{where}: a negative tokens_out"
    for completion in response.completions:
        if completion.token_ids is not None:
            length = len(completion.token_ids)
            assert length <= sampling.max_tokens, f"{where}: {length} tokens"
            if completion.finish == "length":
                assert length >= 1, f"{where}: cut off before its first token"
        tops = completion.top_logprobs
        if sampling.top_logprobs is None:
            continue
        assert tops is not None, f"{where}: no top_logprobs, which were requested"
        for pairs in tops:
            values = [value for _, value in pairs]
            assert 1 <= len(pairs) <= sampling.top_logprobs, f"{where}: {len(pairs)} top tokens"
            assert all(math.isfinite(v) and v <= 1e-6 for v in values), f"{where}: {values}"
            assert values == sorted(values, reverse=True), (
                f"{where}: the most likely token is not the first"
            )


def _check_typed_errors(backend: Backend, request: Request) -> None:
    """A mistake gives a CrucibleError or an error in the response, never another exception."""
    try:
        list(backend.generate([request, request]))
    except CrucibleError:
        pass
    else:
        raise AssertionError("two requests with one id were accepted")
    empty = request.model_copy(update={"id": "conformance-empty", "messages": ()})
    try:
        (response,) = backend.generate([empty])
    except CrucibleError:
        return
    assert response.error is not None, "a request without messages was answered"


def _check_scores(
    backend: Backend, requests: Sequence[Request], answers: dict[str, Response]
) -> None:
    asked = [
        ScoreRequest(id=r.id, messages=r.messages, response=answers[r.id].completions[0].text)
        for r in requests
    ]
    found = list(backend.score(asked))
    assert sorted(s.id for s in found) == sorted(r.id for r in asked), "the scores have other ids"
    for score in found:
        where = f'score "{score.id}"'
        assert score.error is None, f"{where} failed: {score.error}"
        assert score.logp is not None, f"{where} has no log-probability"
        assert math.isfinite(score.logp), f"{where} is {score.logp}"
        assert score.logp <= 1e-6, f"{where} is a positive log-probability"
        if score.token_logps:
            assert len(score.token_logps) == score.tokens, f"{where}: tokens and token_logps"
            total = math.fsum(score.token_logps)
            assert math.isclose(total, score.logp, rel_tol=1e-6, abs_tol=1e-6), f"{where}: sum"
    greedy = {r.id for r in requests if r.sampling.temperature < GREEDY_BELOW}
    for score in found:
        if score.id in greedy:
            _check_greedy(score, answers[score.id])


def _check_greedy(score: Score, response: Response) -> None:
    """No scored token is more likely than the most likely one that generation reported."""
    completion = response.completions[0]
    if not completion.top_logprobs or not completion.token_ids or completion.finish != "stop":
        return
    if score.tokens != len(completion.token_ids) + 1:
        return  # the text is tokenised differently from the sampled ids
    for logp, pairs in zip(score.token_logps, completion.top_logprobs):
        assert logp <= pairs[0][1] + TOLERANCE, (
            f'score "{score.id}": a token scores {logp}, above the most likely one, {pairs[0][1]}'
        )
        if logp < pairs[0][1] - TOLERANCE:
            return  # from here on the text is tokenised differently
