"""Refusals in the words of many providers."""

# ruff: noqa: E501 (messages in one piece)

from __future__ import annotations

import pytest

from harness.backends.api.refusals import Kind, classify, is_daily

SAID = [
    (400, "'max_tokens' or 'max_completion_tokens' is too large: 5. This model's maximum context length is 4096 tokens and your request has 5 input tokens (", '400', Kind.TOO_LONG),
    (400, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", 'unsupported_parameter', Kind.TOKEN_FIELD),
    (400, 'max_completion_tokens is too large: 4096. This model supports at most 1024 completion tokens, whereas you provided 4096.', 'invalid_value', Kind.LIMIT),
    (400, '`max_completion_tokens` must be less than or equal to `1024`, the maximum value for `max_completion_tokens` is less than the `context_window` for this model', '', Kind.LIMIT),
    (400, 'System role not supported', '', Kind.ROLES),
    (400, 'Conversation roles must alternate user/assistant/user/assistant/...', '', Kind.ROLES),
    (500, 'Error rendering prompt with jinja template: System role not supported', '', Kind.ROLES),
    (400, "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) value is supported.", 'unsupported_value', Kind.SETTING),
    (422, "[{'type': 'extra_forbidden', 'loc': ['body', 'seed'], 'msg': 'Extra inputs are not permitted'}]", '', Kind.SETTING),
    (403, 'You are not allowed to request logprobs from this model', 'invalid_request_error', Kind.LOGPROBS),
    (400, 'Requested sample logprobs of 5, which is greater than max allowed: 0', '400', Kind.LOGPROBS),
    (500, 'Context size has been exceeded.', 'server_error', Kind.TOO_LONG),
    (400, "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens. Please reduce the length of the messages.", 'context_length_exceeded', Kind.TOO_LONG),
    (400, 'The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).', 'INVALID_ARGUMENT', Kind.TOO_LONG),
    (400, 'the request exceeds the available context size. try increasing the context size or enable context shift', 'exceed_context_size_error', Kind.TOO_LONG),
    (400, 'prompt is too long: 210000 tokens > 200000 maximum', '', Kind.TOO_LONG),
    (400, 'Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length', '', Kind.TOO_LONG),
    (400, "The input (5000 tokens) is longer than the model's context length (4096 tokens).", '', Kind.TOO_LONG),
    (400, 'Invalid request: Your request exceeded model token limit: 8192', 'invalid_request_error', Kind.TOO_LONG),
    (400, 'Prompt exceeds max length', '1261', Kind.TOO_LONG),
    (422, 'Input validation error: `inputs` must have less than 4096 tokens. Given: 5000', '', Kind.TOO_LONG),
    (400, 'max_tokens: 8192 > 4096, which is the maximum allowed number of output tokens for claude-3', '', Kind.LIMIT),
    (400, 'Invalid max_tokens value, the valid range of max_tokens is [1, 8192]', '', Kind.LIMIT),
    (400, 'Range of max_tokens should be [1, 2000]', '', Kind.LIMIT),
    (400, 'Content Exists Risk', '', Kind.FILTERED),
    (400, '<400> InternalError.Algo.DataInspectionFailed: Input data may contain inappropriate content.', 'data_inspection_failed', Kind.FILTERED),
    (403, 'Project does not have access to model gpt-5', 'model_not_found', Kind.ACCESS),
    (403, 'Country, region, or territory not supported', 'unsupported_country_region_territory', Kind.PLACE),
    (400, 'User location is not supported for the API use.', '', Kind.PLACE),
    (400, 'API key not valid. Please pass a valid API key.', 'API_KEY_INVALID', Kind.KEY),
    (401, 'Incorrect API key provided', 'invalid_api_key', Kind.KEY),
    (401, 'nope', '', Kind.KEY),
    (403, 'forbidden', '', Kind.OTHER),
    (400, 'Arrearage', 'Arrearage', Kind.QUOTA),
    (429, 'You exceeded your current quota, please check your plan and billing details', 'RESOURCE_EXHAUSTED', Kind.TEMPORARY),
    (429, 'x', 'insufficient_quota', Kind.QUOTA),
    (429, 'Request too large for gpt-4 on tokens per min (TPM): Limit 10000, Requested 12000', 'rate_limit_exceeded', Kind.TOO_LONG),
    (400, 'Your account has been flagged for potentially violating our usage policies', '', Kind.ACCESS),
    (400, 'model output limit was reached: Could not finish the message because max_tokens or model output limit was reached. Please try again with higher max_tokens.', '', Kind.UNFINISHED),
    (403, 'Your input was blocked due to moderation on x', '', Kind.FILTERED),
    (404, 'The model `x` does not exist', 'model_not_found', Kind.MODEL),
    (422, 'what is this', '', Kind.OTHER),
    (400, 'Prompt tokens limit exceeded: 5000 > 4096', '', Kind.TOO_LONG),
    (400, "This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 tokens (5000 of text input, 4000 in the output).", '', Kind.TOO_LONG),
    (400, 'Input length 5000 exceeds the maximum length 4096', '', Kind.TOO_LONG),
    (400, 'The conversation must start with a user message; only user and assistant roles are supported', '', Kind.ROLES),
    (400, 'Unrecognized request argument supplied: max_completion_tokens', '', Kind.TOKEN_FIELD),
    (400, 'Too many input tokens. Max input tokens: 128000, request input token count: 150000', '', Kind.TOO_LONG),
    (400, 'Developer instruction is not enabled for models/gemma-3-27b-it', 'INVALID_ARGUMENT', Kind.ROLES),
    (400, 'failed to apply chat template: Unexpected role: system', '', Kind.ROLES),
    (400, 'The request was rejected because it was considered high risk', '', Kind.FILTERED),
    (413, "Request Entity Too Large", "", Kind.TOO_LONG),
    (402, "This request requires more credits", "", Kind.QUOTA),
    (503, "busy", "", Kind.TEMPORARY),
    (429, "slow down", "", Kind.TEMPORARY),
]  # fmt: skip


@pytest.mark.parametrize(("status", "said", "code", "kind"), SAID)
def test_kinds(status: int, said: str, code: str, kind: Kind) -> None:
    assert classify(status, said, code, logprobs=True).kind is kind


def test_options_that_omit_a_setting() -> None:
    assert classify(400, "Unsupported value: 'temperature'").option == "temperature=false"
    assert classify(400, "bad 'seed'").option == "seed=false"
    assert classify(400, "System role not supported").option == "system=false"


def test_log_probabilities_are_a_kind_only_where_they_are_requested() -> None:
    assert classify(400, "logprobs is not supported").kind is Kind.OTHER


def test_daily_limits() -> None:
    assert is_daily("Rate limit reached on requests per day (RPD)")
    assert is_daily("free-models-per-day")
    assert not is_daily("tokens per min (TPM)")
