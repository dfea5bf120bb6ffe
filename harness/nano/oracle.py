"""The oracle: judge of the nano world with access to the ground truth and documented biases.

It parses a judge frame (`harness.judging.frames`) or a prompt of the installed alpaca_eval package
(`harness.judging.published_frames`), finds the world's item by the quoted question, grades the
quoted answers with `world.grade` and replies in the frame's protocol. In a comparison the answer
shown first (or A) wins with probability sigma(z),

    z = scale * (g1 - g2)                                       verdict of a perfect judge
      + position_bias                                           in favour of the first answer
      + verbosity_bias * exp(-|g1 - g2| / tie_width) * tanh((l1 - l2) / verbosity_chars)
      + noise * e,        e ~ N(0, 1), antisymmetric in the pair

with grades g in [0, 1] and lengths l in characters. Alpaca replies give sigma(z) by the token's
log-probabilities; the five labels and the three choices are intervals of z with the limits
`slight`, `clear` and `tie`. A rating is 1 + 8 g, plus half the verbosity bias for a long answer,
plus rating_noise, rounded to half points. Setting a bias to zero switches it off; without biases,
order swapping and length control have nothing to correct.

The draw e depends only on the quoted texts and `seed`, not on the order of calls or of the two
answers. A question outside the world has no ground truth. By default the reply is an error, which
counts as a failed judgment. `unknown = "generic"` grades such answers by their length, which tests
the code path only.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import Field

from harness.backends.base import (
    Backend,
    Completion,
    Request,
    Response,
    Score,
    ScoreRequest,
    plain_messages,
)
from harness.core.errors import UserError
from harness.core.hashing import digest, seed_from
from harness.core.records import Record, parse
from harness.engine.calls import Services
from harness.judging.frames import Frame, parse_frame
from harness.judging.published_frames import parse_published_frame
from harness.nano import fact_checking, world

VERSION = 1


class OracleSettings(Record):
    """Accuracy and biases of the oracle; in logits unless stated otherwise.

    Attributes:
        scale: logits per unit of grade difference; with 4 a perfect answer beats an empty one with
            probability 98 %.
        position_bias: bias for the answer shown first.
        verbosity_bias: bias for a much longer answer if the grades are equal.
        verbosity_chars: length difference, in characters, at which 76 % of the bias apply.
        tie_width: grade difference at which the verbosity bias has fallen to 37 %.
        noise: standard deviation in comparisons.
        rating_noise: standard deviation of ratings, in points of 1 to 10.
        slight, clear: minimum |z| of a slight and of a clear verdict.
        tie: |z| below which a pairwise verdict is a tie.
        unknown: for a question outside the world, fail or grade by length.
        judge_error: share of verdicts on hallucination that are turned round.
        seed: seed of all draws.
    """

    scale: float = Field(default=4.0, gt=0)
    position_bias: float = 0.4
    verbosity_bias: float = 0.8
    verbosity_chars: float = Field(default=60.0, gt=0)
    tie_width: float = Field(default=0.25, gt=0)
    noise: float = Field(default=0.4, ge=0)
    rating_noise: float = Field(default=0.5, ge=0)
    slight: float = Field(default=0.25, ge=0)
    clear: float = Field(default=2.0, ge=0)
    tie: float = Field(default=0.25, ge=0)
    unknown: Literal["fail", "generic"] = "fail"
    judge_error: float = Field(default=0.0, ge=0, le=1, exclude_if=lambda value: value == 0)
    seed: int = 0


def open_oracle(options: Mapping[str, str], services: Services) -> OracleBackend:
    """Open the judge `nano:oracle`, with options as in "nano:oracle?position_bias=0&noise=0.1"."""
    return OracleBackend(parse(OracleSettings, options, "judge nano:oracle"))


class OracleBackend(Backend):
    """A backend that answers judge frames and nothing else."""

    def __init__(self, settings: OracleSettings | None = None) -> None:
        self.settings = settings or OracleSettings()

    @property
    def fingerprint(self) -> str:
        """Digest of settings, version of the rules, and the world's version and weights."""
        parts = ["oracle", VERSION, self.settings.model_dump(), world.VERSION, world.WEIGHTS]
        return "nano:oracle/" + digest(parts)[:16]

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        """Yield the verdict of each request, or a response with `error`."""
        for request in requests:
            yield self._answer(request)

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        """Raise UserError, because the oracle is not a language model."""
        raise UserError(
            "nano:oracle judges answers and has no log-probabilities of texts; expected a language "
            "model such as nano:target"
        )

    def _answer(self, request: Request) -> Response:
        messages = plain_messages(request.messages)
        frame = parse_frame(messages) or parse_published_frame(messages)
        if frame is None:
            return Response(id=request.id, error="the oracle reads judge frames only; found none")
        try:
            completion = _REPLIES[frame.kind](self.settings, frame, request.sampling.top_logprobs)
        except (KeyError, LookupError) as error:
            return Response(id=request.id, error=str(error.args[0] if error.args else error))
        words_in = sum(len(message.content.split()) for message in request.messages)
        n = request.sampling.n
        return Response(
            id=request.id,
            completions=(completion,) * n,
            tokens_in=words_in,
            tokens_out=n * len(completion.text.split()),
        )


def preference_logit(
    settings: OracleSettings, questions: Sequence[str], first: Sequence[str], second: Sequence[str]
) -> float:
    """z of the module's docstring for two dialogues; above 0 the first one wins.

    Raises:
        LookupError: the question is outside the world and `unknown` is "fail".
    """
    gap = quality(settings, questions, first[-1]) - quality(settings, questions, second[-1])
    longer = math.tanh((len(first[-1]) - len(second[-1])) / settings.verbosity_chars)
    near = math.exp(-abs(gap) / settings.tie_width)
    return (
        settings.scale * gap
        + settings.position_bias
        + settings.verbosity_bias * near * longer
        + settings.noise * _pair_draw(settings.seed, questions, first, second)
    )


def quality(settings: OracleSettings, questions: Sequence[str], answer: str) -> float:
    """Grade in [0, 1] of an answer to the last question.

    Raises:
        LookupError: the question is outside the world and `unknown` is "fail".
    """
    found = world.find_conversation(questions)
    if found is not None:
        item, turn = found
        return world.grade(item, answer, turn).total
    if settings.unknown == "fail":
        raise LookupError(f"the nano world does not know the question {questions[0][:60]!r}")
    length = len(answer.strip())
    return 0.3 + 0.4 * min(1.0, length / 400) if length else 0.0


def rating(settings: OracleSettings, questions: Sequence[str], answers: Sequence[str]) -> float:
    """Rating of the last answer, from 1 to 10 in half points; raises as `quality`."""
    draw = _draw(settings.seed, "rating", *questions, *answers)
    verbosity = (
        settings.verbosity_bias / 2 * math.tanh(len(answers[-1]) / 4 / settings.verbosity_chars)
    )
    points = 1 + 8 * quality(settings, questions, answers[-1])
    points += verbosity + settings.rating_noise * draw
    return min(10.0, max(1.0, round(2 * points) / 2))


def _pair_draw(
    seed: int, questions: Sequence[str], first: Sequence[str], second: Sequence[str]
) -> float:
    """Standard normal draw, negated if the answers are exchanged; 0 for equal answers."""
    a, b = list(first), list(second)
    if a == b:
        return 0.0
    low, high = sorted((a, b))
    draw = _draw(seed, "pair", *questions, *low, *high)
    return draw if a == low else -draw


def _draw(seed: int, *parts: str) -> float:
    return random.Random(seed_from(seed, *parts)).gauss(0, 1)


def _alpaca(settings: OracleSettings, frame: Frame, top: int | None) -> Completion:
    texts = frame.sections
    z = preference_logit(settings, [texts["instruction"]], [texts["answer m"]], [texts["answer M"]])
    leak = math.log1p(-1e-4)  # log of the probability of the two identifiers together
    tokens = [("m", leak - _softplus(-z)), ("M", leak - _softplus(z))]
    tokens += [(token, math.log(1e-4 / 3)) for token in ("A", "The", "B")]
    tokens.sort(key=lambda entry: -entry[1])
    listed = None if top is None else (tuple(tokens[:top]),)
    return Completion(text="m" if z >= 0 else "M", finish="stop", top_logprobs=listed)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _arena(settings: OracleSettings, frame: Frame, top: int | None) -> Completion:
    texts = frame.sections
    questions = [texts["prompt"]]
    a, b = [texts["answer A"]], [texts["answer B"]]
    z = preference_logit(settings, questions, a, b)
    if abs(z) < settings.slight:
        label = "A=B"
    else:
        sign = ">>" if abs(z) >= settings.clear else ">"
        label = f"A{sign}B" if z > 0 else f"B{sign}A"
    text = f"{_compared(settings, questions, a, b)} My verdict: [[{label}]]"
    return Completion(text=text, finish="stop")


def _pairwise(settings: OracleSettings, frame: Frame, top: int | None) -> Completion:
    questions, a, b = (_turns(frame, name) for name in ("question", "answer A", "answer B"))
    z = preference_logit(settings, questions, a, b)
    choice = "C" if abs(z) < settings.tie else "A" if z > 0 else "B"
    text = f"{_compared(settings, questions, a, b)} My verdict: [[{choice}]]"
    return Completion(text=text, finish="stop")


def _ordering(settings: OracleSettings, frame: Frame, top: int | None) -> Completion:
    texts = frame.sections
    questions = [texts["question"]]
    a, b = ([texts[f"answer of Assistant {number}"]] for number in (1, 2))
    z = preference_logit(settings, questions, a, b)
    sign, names = (">", (1, 2) if z > 0 else (2, 1)) if abs(z) >= settings.tie else ("=", (1, 2))
    remarks = [_remark(settings, questions, answers[-1]) for answers in (a, b)]
    lines = [f"Assistant {number} is {text}." for number, text in enumerate(remarks, 1)]
    lines.append(f"Assistant {names[0]} {sign} Assistant {names[1]}")
    return Completion(text="\n".join(lines), finish="stop")


def _rating(settings: OracleSettings, frame: Frame, top: int | None) -> Completion:
    questions, answers = _turns(frame, "question"), _turns(frame, "answer")
    points = rating(settings, questions, answers)
    remark = _remark(settings, questions, answers[-1])
    text = f"The answer is {remark}. Rating: [[{points:g}]]"
    return Completion(text=text, finish="stop")


def _fact_check(settings: OracleSettings, frame: Frame, top: int | None) -> Completion:
    return Completion(text=fact_checking.reply(settings, frame), finish="stop")


_REPLIES = {"alpaca": _alpaca, "arena": _arena, "rating": _rating, "pairwise": _pairwise}
_REPLIES["ordering"] = _ordering
_REPLIES |= dict.fromkeys(fact_checking.KINDS, _fact_check)


def _turns(frame: Frame, name: str) -> list[str]:
    return [frame.sections[key] for key in (f"{name} 1", f"{name} 2") if key in frame.sections]


def _compared(
    settings: OracleSettings, questions: Sequence[str], a: Sequence[str], b: Sequence[str]
) -> str:
    found = world.find_conversation(questions)
    own = ""
    if found is not None:
        truth = found[0].truths[found[1]]
        own = f"My own answer: {truth.main}, {truth.second}. "
    remarks = (_remark(settings, questions, answers[-1]) for answers in (a, b))
    return own + "A is {}. B is {}.".format(*remarks)


def _remark(settings: OracleSettings, questions: Sequence[str], answer: str) -> str:
    """Description of one answer's grade, without brackets (which mark verdicts)."""
    found = world.find_conversation(questions)
    if found is None:
        return f"graded {quality(settings, questions, answer):.2f} by its length"
    if not answer.strip():
        return "empty"
    grade = world.grade(found[0], answer, found[1])
    right = "right" if grade.correct == 1 else "half right" if grade.correct else "wrong"
    form = "in the form asked for" if grade.formatted else "not in the form asked for"
    size = "concise" if grade.concise == 1 else "rather long" if grade.concise else "far too long"
    return f"{right}, {form}, {size} (grade {grade.total:.2f})"
