"""What kind of refusal a server's error is: by status, code and words, for any provider.

Providers word the same refusal differently and change their words, so each kind is recognised by
what every wording of it names: a prompt that is too long names a length and its limit, a filter
names a policy. The order of `_RULES` decides between kinds that share words.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What a refusal is about; `TOO_LONG` to `UNFINISHED` are of one prompt, see `OF_THE_ROW`."""

    TOO_LONG = "the prompt is too long for the model"
    FILTERED = "the server's content filter refused the prompt"
    UNFINISHED = "the model stopped before its answer"
    TOKEN_FIELD = "the server uses the other name for the limit of an answer's length"
    LIMIT = "the limit of an answer's length is above the model's"
    LOGPROBS = "no log-probabilities"
    ROLES = "the server does not take these roles"
    SETTING = "the server does not take a setting"
    KEY = "the key is refused"
    PLACE = "the server does not answer from this country"
    ACCESS = "the account may not use the model"
    QUOTA = "the account has no quota left"
    DAILY = "the limit of a day is used up"
    MODEL = "unknown model or path"
    TEMPORARY = "a temporary failure"
    OTHER = "refused"


OF_THE_ROW = (Kind.TOO_LONG, Kind.FILTERED, Kind.UNFINISHED)

# A word in the refusal -> the option that omits the setting.
_OPTIONS = (
    (re.compile(r"temperature|top_p\b"), "temperature=false"),
    (re.compile(r"\bseed\b"), "seed=false"),
    (re.compile(r"""['"`]n['"`]"""), "n=false"),
)
_LIMIT_NAMES = r"\bmax[_ ]?(?:completion[_ ]?|output[_ ]?|new[_ ]?)?tokens\b"
_PROMPT = r"(?:prompt|inputs?|messages?|context|conversation|request(?:ed)?|query|instruction)"


def _rule(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_TOO_LONG = _rule(
    r"context_length_exceeded|string_(?:above_max_length|too_long)|(?:prompt|request|input|payload)"
    r"_too_(?:long|large)|context_window_exceeded",
    r"\bcontext (?:length|window|size|limit)|max_model_len|maximum (?:model|sequence) length",
    r"max(?:imum)? (?:allowed |supported |total )?(?:prompt|input|context|sequence)[ _](?:token )?"
    r"(?:length|size|limit)",
    rf"\b{_PROMPT}\b[^.]{{0,70}}(?:too (?:long|large|big)|over the limit)",
    rf"\b{_PROMPT}\b[^.]{{0,80}}(?:exceed\w*|longer than|larger than|surpass\w*|greater than"
    r"|more than)[^.]{0,60}(?:length|limit|max\w*|tokens?|window|size|characters)",
    r"(?:exceed\w*|beyond|over)[^.]{0,60}\btokens? (?:limit|count)|tokens? limit[^.]{0,40}exceed",
    r"tokens?[^.]{0,80}exceed\w*[^.]{0,40}(?:maximum|limit|context|length)",
    r"\binputs?\b[^.]{0,60}(?:must be|must have|should be|less than)[^.]{0,20}\d",
    r"range of input length|input length|too many (?:input |prompt )?tokens",
    r"(?:reduce|shorten|decrease|truncate)[^.]{0,20}(?:length|prompt|input|messages?|text)",
    r"request (?:entity )?too large|payload too large|header or cookie too large|超长|过长",
)
_OVER_LIMIT = re.compile(
    rf"{_LIMIT_NAMES}[^.]{{0,120}}(?:too large|too high|at most|less than|<=?|exceed|greater than"
    rf"|maximum|range|between|\[\d|>)|range of {_LIMIT_NAMES}|(?:invalid|valid)[^.]{{0,30}}"
    rf"{_LIMIT_NAMES}|supports at most \d+ (?:completion|output) tokens",
    re.IGNORECASE,
)
_OF_PROMPT = _rule(
    r"\bprompt\b|\binputs?\b|\bmessages\b|context length|context limit|context size|model length"
)
_OTHER_FIELD = re.compile(
    rf"(?:unsupported|unrecogni[sz]ed|unknown|unexpected|extra|deprecated|not (?:supported"
    rf"|permitted|allowed|accepted|recognized))[^.]{{0,80}}{_LIMIT_NAMES}|{_LIMIT_NAMES}[^.]{{0,80}}(?:not"
    rf" (?:supported|permitted|allowed|accepted|recognized)|unsupported|instead|deprecated"
    rf"|extra inputs|forbidden)|(?:use|with)\W+{_LIMIT_NAMES}\W+instead",
    re.IGNORECASE,
)
_FORBIDDEN_FIELD = re.compile(r"extra_forbidden|extra inputs are not permitted", re.IGNORECASE)
_FILTERED = _rule(
    r"content[_ -]?(?:filter|policy|management|moderation|exists risk|violation|blocked)",
    r"contentfilter|responsible[_ ]?ai|data[_ ]?inspection|safety (?:system|reason|check|setting"
    r"|polic|filter|guideline)|safety_|moderat(?:ed|ion)",
    r"usage (?:polic|guideline)|(?:acceptable|prohibited|harm\w*|sensitive|inappropriate|unsafe)"
    r"[_ ](?:use|content|input|prompt|text|words?|material|information)",
    r"(?:prompt|input|content|request|message|output|text|response)s?\b[^.]{0,60}(?:violat\w+|flagged"
    r"|blocked|prohibited|unsafe|harmful|inappropriate|sensitive|jailbreak)",
    r"(?:violat\w+|flagged|blocked)[^.]{0,60}(?:prompt|input|content|message|output|text)\b",
    r"invalid_prompt|jailbreak|high risk|limited access to this content|敏感|违规",
)
_OF_ACCOUNT = _rule(
    r"\b(?:your|the|this) (?:account|organi[sz]ation|project|api key|ip)\b[^.]{0,60}"
    r"(?:flagged|suspend\w*|deactivat\w*|disabled|banned|terminated|restricted|violat\w+)"
)
_UNFINISHED = _rule(r"max_tokens or model output limit was reached")
_LOGPROBS = _rule(r"\b(?:top_?)?log_?probs?\b|log[ -]probabilit|logprob")
_ROLES = _rule(
    r"(?:system|developer) (?:role|prompt|message|instruction)s?\b[^.]{0,40}(?:not|un|isn't|never)",
    r"(?:no|not|unsupported|unexpected|invalid|unknown)[^.]{0,40}\b(?:system|developer) (?:role"
    r"|prompt|message|instruction)",
    r"roles? must alternate|alternate (?:between )?user|only user and assistant|first message must",
    r"(?:unexpected|invalid|unsupported|unknown)[^.]{0,20}\broles?\b|\brole\b[^.]{0,30}(?:system|developer)"
    r"[^.]{0,40}(?:not|invalid|unsupported|allowed)|developer instruction is not enabled",
)
_KEY = _rule(
    r"\b(?:api[ _-]?key|(?:access|auth|bearer) token|credential|authorization header)s?\b[^.]{0,50}"
    r"(?:invalid|not valid|incorrect|expired|revoked|missing|wrong|malformed|not provided"
    r"|not found)",
    r"(?:invalid|incorrect|expired|revoked|missing|wrong|no)[^.]{0,30}\b(?:api[ _-]?key"
    r"|access token|bearer|credential|authorization|x-api-key)",
    r"invalid_api_key|API_KEY_INVALID|unauthenticated|authentication_error|invalid authentication",
)
_PLACE = _rule(
    r"\b(?:country|countries|region|territory|territories|location)\b[^.]{0,60}(?:not (?:supported"
    r"|available|allowed|permitted)|unsupported|unavailable|blocked|restricted)",
    r"unsupported_country|not available in your (?:country|region)",
    r"geo[- ]?(?:block|restrict|fenc)",
)
_ACCESS = _rule(
    r"(?:access to|allowed to use|permission[^.]{0,30}|authori[sz]ed to[^.]{0,20}"
    r"|verified to[^.]{0,20}|entitled[^.]{0,20}|not have access[^.]{0,30}|subscri\w+[^.]{0,30}"
    r"|enabled for[^.]{0,20})(?:this |the |requested |that )?(?:model|deployment|endpoint)",
    r"model[^.]{0,60}(?:not available (?:for|to|on) your|requires? (?:a |an )?(?:paid|higher"
    r"|verified|subscription|tier|license|licence))|model_not_(?:allowed|permitted)|gated",
)
_QUOTA = _rule(
    r"insufficient[_ ](?:quota|balance|credits?|funds)|exceeded_current_quota|billing_(?:hard_limit"
    r"|not_active)|billing hard limit|out of credits|credit balance is too low|not enough credits"
    r"|arrearage|overdue|余额不足|欠费"
)
_DAILY = _rule(r"per[- _]day|\bdaily\b|\b[RT]PD\b|24[ -]hours?\b|per[- _]month|monthly")


class Refusal(NamedTuple):
    """A kind, and the option that omits the refused setting ("" without one)."""

    kind: Kind
    option: str = ""


def classify(status: int, said: str, code: str = "", logprobs: bool = False) -> Refusal:
    """The kind of an error.

    Args:
        status: of HTTP.
        said, code: the server's message and its code or type.
        logprobs: whether log-probabilities were requested.

    >>> classify(400, "prompt is too long: 210000 tokens > 200000 maximum").kind.name
    'TOO_LONG'
    >>> classify(403, "Content violates usage guidelines.").kind.name
    'FILTERED'
    """
    text = f"{code} {said}"
    if status == 402 or _QUOTA.search(text if status != 429 else f"{code} {_strict(said)}"):
        return Refusal(Kind.QUOTA)
    if status == 429:
        too_large = re.search(r"request too large", said, re.IGNORECASE)
        return Refusal(Kind.TOO_LONG if too_large else Kind.TEMPORARY)
    kind = _kind_of_text(status, text, said, logprobs)
    if kind is not None:
        return kind
    if status == 413:
        return Refusal(Kind.TOO_LONG)
    if status in (408, 409, 425) or status >= 500:
        return Refusal(Kind.TEMPORARY)
    if status == 404:
        return Refusal(Kind.MODEL)
    if status == 401:
        return Refusal(Kind.KEY)
    return Refusal(Kind.OTHER)


def is_daily(said: str) -> bool:
    """Whether a rate limit is one of a day or a month, which waiting does not outlast."""
    return _DAILY.search(said) is not None


def _strict(said: str) -> str:
    """Words that mean an empty account also with status 429, whose "quota" is often a rate."""
    return said if re.search(r"balance|credit|billing hard|欠费|余额", said, re.IGNORECASE) else ""


def _kind_of_text(status: int, text: str, said: str, logprobs: bool) -> Refusal | None:
    if _OF_ACCOUNT.search(said):
        return Refusal(Kind.KEY if status == 401 else Kind.ACCESS)
    if status < 500:
        if _PLACE.search(said):
            return Refusal(Kind.PLACE)
        if _KEY.search(text):
            return Refusal(Kind.KEY)
        if _OTHER_FIELD.search(said) or (
            _FORBIDDEN_FIELD.search(said) and re.search(_LIMIT_NAMES, said)
        ):
            return Refusal(Kind.TOKEN_FIELD)
        if _OVER_LIMIT.search(said) and not _OF_PROMPT.search(said):
            return Refusal(Kind.LIMIT)
        if logprobs and _LOGPROBS.search(said):
            return Refusal(Kind.LOGPROBS)
    if _UNFINISHED.search(said):
        return Refusal(Kind.UNFINISHED)
    if _ROLES.search(said):
        return Refusal(Kind.ROLES, "system=false")
    if status == 401 or (status in (403, 404) and _ACCESS.search(said)):
        return Refusal(Kind.ACCESS if _ACCESS.search(said) else Kind.KEY)
    if _TOO_LONG.search(text):
        return Refusal(Kind.TOO_LONG)
    if _FILTERED.search(text):
        return Refusal(Kind.FILTERED)
    if status in (400, 422):
        option = next((option for word, option in _OPTIONS if word.search(said)), "")
        if option:
            return Refusal(Kind.SETTING, option)
    return None
