"""ReplayBackend: recorded answers by content, sampled rows by id, and clear misses."""

from __future__ import annotations

from typing import Any

import pytest

from harness.backends.base import (
    Completion,
    Request,
    Response,
    Sampling,
    Score,
    ScoreRequest,
    messages_of,
)
from harness.backends.conformance import check_backend
from harness.backends.replay import ReplayBackend, recorded, request_key
from harness.core.errors import BadData

HELLO = messages_of([{"role": "user", "content": "Hello"}])
GREEDY = Request(id="g", messages=HELLO, sampling=Sampling(max_tokens=4, top_logprobs=2))
MANY = Request(id="m", messages=HELLO, sampling=Sampling(temperature=1.0, max_tokens=4, n=2))
ROWS: list[dict[str, Any]] = [
    recorded(
        GREEDY,
        Response(
            id="g",
            completions=(
                Completion(
                    text="Hi",
                    finish="stop",
                    token_ids=(4,),
                    top_logprobs=((("Hi", -0.1), ("Ho", -3.0)),),
                ),
            ),
            tokens_in=3,
            tokens_out=2,
        ),
    ),
    {"id": "m", "responses": ["one", "two", "three"], "tokens_out": [2, 3, 4], "tokens_in": 3},
    *(
        recorded(
            ScoreRequest(id="", messages=HELLO, response=text),
            Score(id="", logp=-0.5, tokens=2, token_logps=(-0.1, -0.4)),
        )
        for text in ("Hi", "one")
    ),
]


def test_conforms() -> None:
    check_backend(ReplayBackend(ROWS), [GREEDY, MANY])


def test_content_is_found_under_any_id_and_seed() -> None:
    other = Request(
        id="new", messages=HELLO, sampling=GREEDY.sampling.model_copy(update={"seed": 9})
    )
    (response,) = ReplayBackend(ROWS).generate([other])
    assert response.id == "new"
    assert response.completions[0].text == "Hi"
    changed = GREEDY.model_copy(update={"sampling": Sampling(max_tokens=5, top_logprobs=2)})
    assert request_key(changed) != request_key(GREEDY)


def test_the_first_n_stored_answers() -> None:
    (response,) = ReplayBackend(ROWS).generate([MANY])
    assert [completion.text for completion in response.completions] == ["one", "two"]
    assert (response.tokens_in, response.tokens_out) == (3, 5)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (GREEDY.model_copy(update={"id": "z", "messages": ()}), 'row "z": no stored answer'),
        (
            MANY.model_copy(update={"sampling": Sampling(temperature=1.0, n=9)}),
            'row "m": 3 stored answers, 9 were asked for',
        ),
    ],
)
def test_misses_name_the_row(request_: Request, reason: str) -> None:
    with pytest.raises(BadData, match=reason):
        list(ReplayBackend(ROWS).generate([request_]))
    (response,) = ReplayBackend(ROWS, miss="error").generate([request_])
    assert response.error == reason
    assert response.completions == ()


def test_a_missing_score_names_the_row() -> None:
    request = ScoreRequest(id="s", messages=HELLO, response="never")
    with pytest.raises(BadData, match='row "s": no stored score'):
        list(ReplayBackend(ROWS).score([request]))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "x"}, "replay row 5 has the fields text"),
        ({"id": "m", "responses": ["other"]}, "another answer in an earlier row"),
    ],
)
def test_bad_rows(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadData, match=reason):
        ReplayBackend([*ROWS, row])


def test_fingerprint() -> None:
    assert ReplayBackend(ROWS).fingerprint == ReplayBackend(ROWS).fingerprint
    assert ReplayBackend(ROWS[:1]).fingerprint != ReplayBackend(ROWS).fingerprint
    assert ReplayBackend(ROWS, fingerprint="gpt").fingerprint == "gpt"
