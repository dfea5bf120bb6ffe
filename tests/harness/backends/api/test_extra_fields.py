"""Extra request fields of a hosted model: sent, validated, part of keys and fingerprints."""

from __future__ import annotations

from typing import Any

import pytest

from harness.backends.api import wire
from harness.backends.api.endpoint import Endpoint
from harness.backends.base import Message, Sampling
from harness.core.errors import BadRecord
from harness.models.references import parse_hosted

URL = "m@http://127.0.0.1:8000/v1"


def sent(extra: str | None) -> tuple[dict[str, Any], str, str]:
    endpoint = Endpoint.parse(URL, {} if extra is None else {"extra": extra})
    call = wire.chat_call(endpoint, "r", (Message(role="user", content="?"),), Sampling())
    return wire.body(call, endpoint, "max_tokens"), call.key, endpoint.fingerprint("chat")


def test_extra_fields_are_sent_and_are_part_of_keys_and_fingerprints() -> None:
    plain, key, fingerprint = sent(None)
    one = '{"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": false}}'
    two = '{"chat_template_kwargs":{"enable_thinking":false},"reasoning_effort":"low"}'
    body, other_key, other = sent(one)
    assert body == plain | {
        "reasoning_effort": "low",
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert other_key != key
    assert other != fingerprint
    assert sent(two) == (body, other_key, other)


def test_a_reference_may_contain_them() -> None:
    name, options = parse_hosted(f'openai:{URL}?extra={{"reasoning_effort":"low"}}&seed=false')
    assert name == "openai"
    endpoint = Endpoint.parse(options.pop("model"), options)
    assert (endpoint.extra_fields, endpoint.seed) == ({"reasoning_effort": "low"}, False)


@pytest.mark.parametrize("extra", ["low", "[]", "{}", "{", '{"messages": []}', '{"seed": 3}'])
def test_other_values_and_fields_of_ours_are_refused(extra: str) -> None:
    with pytest.raises(BadRecord, match="extra"):
        sent(extra)
