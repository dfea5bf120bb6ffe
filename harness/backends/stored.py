"""A backend whose answers are in a file of stored outputs.

An answer is found by the prompt's id, else by its text, and by turn; never by its position. The
file has a form of `harness.data.answers`. A null output or a failure marker is a failed row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.backends.base import (
    Backend,
    Completion,
    Request,
    Response,
    Score,
    ScoreRequest,
    check_unique,
)
from harness.core.errors import BadData, UserError, check_planned
from harness.core.hashing import digest
from harness.data.stored_answers import StoredAnswers, StoredRecord
from harness.models.references import model_identity


class StoredOutputs(Backend):
    """Answers from a file.

    Args:
        path: the file.
        identity: its identity when the plan was made, see `model_identity`.

    Raises:
        BadData: the file changed after that, or has an unknown form.
    """

    parallel = 1 << 20  # all prompts in one call, which shows whether the file is for them

    def __init__(self, path: str, identity: str) -> None:
        check_planned(path, model_identity(f"stored:{path}"), identity)
        self.path = path
        self._answers = StoredAnswers(path)
        self._fingerprint = digest(["stored outputs", identity])[:16]

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        """Stored answers; the response to a prompt without one has an error.

        Raises:
            BadData: no prompt has an answer: the file is for other prompts.
        """
        check_unique([request.id for request in requests])
        found = [self._record(request) for request in requests]
        if requests and not any(record is not None for record in found):
            asked = requests[0].messages[0].content if requests[0].messages else ""
            raise BadData(
                f"{self.path} answers none of the {len(requests)} prompts; the first is "
                f'"{requests[0].id}": {asked[:60]!r}. Expected outputs for this suite, joined by '
                "id or by the text of the prompt"
            )
        for request, record in zip(requests, found, strict=True):
            turn = sum(message.role == "user" for message in request.messages) - 1
            if record is None:
                yield Response(id=request.id, error="the file has no answer to this prompt")
                continue
            text = record.answers[turn] if turn < len(record.answers) else None
            if text is None:
                yield Response(id=request.id, error=record.lack(turn))
            else:
                completion = Completion(text=text, finish="stop")
                yield Response(id=request.id, completions=(completion,) * request.sampling.n)

    def _record(self, request: Request) -> StoredRecord | None:
        asked = [message.content for message in request.messages if message.role == "user"]
        return self._answers.record([request.id], asked[0]) if asked else None

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        raise UserError(
            f"{self.path} contains outputs and gives no log-probabilities; name the model that "
            "generated them"
        )
