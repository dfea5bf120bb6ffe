"""A backend that answers from stored rows: published outputs, recorded judgments, tests.

Rows have one of these forms, which may be mixed:

    {"key": ..., "response": {...}}    a recorded answer, see `recorded`; found by the content of
    {"key": ..., "score": {...}}       the request: messages, and decoding settings without the seed
    {"id": ..., "responses": [...]}    a row of the operation `sample`; found by the request's id
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from harness.backends.base import (
    Backend,
    Completion,
    Request,
    Response,
    Score,
    ScoreRequest,
    check_unique,
    plain_messages,
)
from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.engine.operations import Row


def request_key(request: Request | ScoreRequest) -> str:
    """Digest of a request without its id and seed."""
    messages = plain_messages(request.messages)
    if isinstance(request, ScoreRequest):
        return digest(["score", messages, request.response])
    return digest(["generate", messages, request.sampling.model_dump(exclude={"seed"})])


def recorded(request: Request | ScoreRequest, answer: Response | Score) -> Row:
    """The row from which `ReplayBackend` answers the request again."""
    kind = "score" if isinstance(answer, Score) else "response"
    return {"key": request_key(request), kind: answer.model_dump(mode="json", exclude={"id"})}


class ReplayBackend(Backend):
    """Answers requests from rows.

    Args:
        rows: see the module.
        fingerprint: that of the recorded backend; None makes it from the rows.
        miss: whether a request without a row raises BadData, or gets a response with an error.

    Raises:
        BadData: a row has no known form, or two different rows are for one request.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        *,
        fingerprint: str | None = None,
        miss: Literal["raise", "error"] = "raise",
    ) -> None:
        self._responses: dict[str, Row] = {}
        self._scores: dict[str, Row] = {}
        self._by_id: dict[str, Row] = {}
        self._miss = miss
        for number, row in enumerate(rows, 1):
            self._add(row, number)
        content = [self._responses, self._scores, self._by_id]
        self._fingerprint = fingerprint or digest(["replay", content])[:16]

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        """Stored answers, in the order of the requests.

        Raises:
            BadData: two requests have one id; or a request has no row and `miss` is "raise".
        """
        check_unique([request.id for request in requests])
        for request in requests:
            stored = self._responses.get(request_key(request))
            if stored is not None:
                yield Response.model_validate({**stored, "id": request.id})
            elif (row := self._by_id.get(request.id)) is not None:
                yield self._sampled(request, row)
            else:
                yield Response(id=request.id, error=self._missing(request.id, "no stored answer"))

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        """Stored scores; errors as for `generate`."""
        check_unique([request.id for request in requests])
        for request in requests:
            stored = self._scores.get(request_key(request))
            if stored is not None:
                yield Score.model_validate({**stored, "id": request.id})
            else:
                error = self._missing(request.id, "no stored score")
                yield Score(id=request.id, logp=None, tokens=0, error=error)

    def _add(self, row: Row, number: int) -> None:
        if "key" in row and isinstance(row.get("response"), dict):
            table, key, value = self._responses, row["key"], row["response"]
        elif "key" in row and isinstance(row.get("score"), dict):
            table, key, value = self._scores, row["key"], row["score"]
        elif "id" in row and isinstance(row.get("responses"), list):
            table, key, value = self._by_id, row["id"], row
        else:
            raise BadData(
                f"replay row {number} has the fields {', '.join(sorted(row)) or 'none'}; expected "
                "key and response, key and score, or id and responses"
            )
        if table.setdefault(key, value) != value:
            raise BadData(f'replay row {number}: "{key}" has another answer in an earlier row')

    def _sampled(self, request: Request, row: Row) -> Response:
        texts, n = row["responses"], request.sampling.n
        if len(texts) < n:
            reason = row.get("error") or f"{len(texts)} stored answers, {n} were asked for"
            return Response(id=request.id, error=self._missing(request.id, reason))
        if request.sampling.top_logprobs is not None:
            error = self._missing(request.id, "stored answers have no log-probabilities")
            return Response(id=request.id, error=error)
        finish = row.get("finish") or ["stop"] * len(texts)
        written = row.get("tokens_out") or []
        return Response(
            id=request.id,
            completions=tuple(
                Completion(text=text, finish=end) for text, end in zip(texts[:n], finish)
            ),
            tokens_in=row.get("tokens_in", 0),
            tokens_out=sum(written[:n]),
        )

    def _missing(self, id: str, reason: str) -> str:
        message = f'row "{id}": {reason}'
        if self._miss == "raise":
            raise BadData(f"{message}; record it first, or use the live backend")
        return message
