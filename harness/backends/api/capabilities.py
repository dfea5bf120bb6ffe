"""What a server supports: found out once and kept in the response store."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from harness.backends.api import wire
from harness.backends.api.endpoint import Endpoint, forbid_logprobs
from harness.backends.api.responses import ResponseStore
from harness.backends.base import Completion
from harness.core.errors import UserError

_LOG = logging.getLogger(__name__)


class Capabilities:
    """What a server is known to support; stored, so that later runs need not find out again."""

    def __init__(self, endpoint: Endpoint, store: ResponseStore | None) -> None:
        self._endpoint = endpoint
        self._store = store
        self._name = "capabilities:" + endpoint.fingerprint("chat")
        known = store.note(self._name) if store is not None else None
        self._others: set[str] = set()  # models that answered in place of the one asked for
        self.reached = False
        self._noted = known
        self._field = known.get("max_tokens_field") if known else None
        self._logprobs = bool(known and known.get("logprobs"))

    @property
    def token_field(self) -> str:
        return self._endpoint.max_tokens_field or self._field or "max_tokens"

    @property
    def has_logprobs(self) -> bool:
        """Whether a reply with log-probabilities has arrived, in this run or an earlier one."""
        return self._logprobs

    def missing(self, calls: Iterable[wire.Call]) -> bool:
        """Whether these calls depend on something unknown.

        Raises:
            UserError: they need log-probabilities, and the user says that there are none.
        """
        chats = [call for call in calls if call.kind == "chat"]
        if not chats:
            return False
        wants = any(call.sampling.top_logprobs for call in chats)
        if wants and self._endpoint.logprobs is False:
            raise forbid_logprobs(self._endpoint)
        if wants and not self._logprobs and self._endpoint.logprobs is None:
            return True
        return self._field is None and self._endpoint.max_tokens_field is None

    def other_field(self, refused: str) -> None:
        """Use the other name of the token limit, because the server refused this one."""
        if self._endpoint.max_tokens_field is not None:
            raise UserError(
                f"{self._endpoint.model} does not take max_tokens_field="
                f"{self._endpoint.max_tokens_field}; omit the option"
            )
        if self.token_field == refused:
            other = {"max_tokens": "max_completion_tokens"}.get(refused, "max_tokens")
            self._field = other
            _LOG.info("%s takes %s", self._endpoint.model, other)

    def answered(self, call: wire.Call, completions: tuple[Completion, ...]) -> None:
        """Learn from an answer."""
        self.reached = True
        for other in {completion.served_by for completion in completions}:
            if other is not None and other not in self._others:
                self._others.add(other)
                _LOG.warning("asked for %s, and %s answered", self._endpoint.model, other)
        if call.kind != "chat":
            return
        self._field = self._field or self.token_field
        self._logprobs = self._logprobs or any(c.top_logprobs for c in completions)
        found = {"max_tokens_field": self._field, "logprobs": self._logprobs}
        if self._store is not None and found != self._noted:
            self._store.write_note(self._name, found)
        self._noted = found
