"""Hosted models that a plan asks: how often, at what price, and whether they can be asked at all.

Keys, permissions and servers are checked before the first stage, so that nothing is spent on a run
that cannot finish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.backends.hosted import open_backend
from harness.core.errors import UserError
from harness.engine.calls import CallSettings, Services
from harness.engine.operations import Estimate
from harness.engine.plan import Handle, Plan, Stage
from harness.engine.prices import BATCH_SHARE, PROVIDER, Price, PriceList
from harness.models.references import split_engine


@dataclass
class Asked:
    """Estimated requests and tokens of one model; `unknown` counts stages without an estimate."""

    stages: int = 0
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    unknown: int = 0

    def add(self, estimate: Estimate) -> None:
        self.stages += 1
        if estimate.requests is None or estimate.tokens is None or estimate.tokens_out is None:
            self.unknown += 1
            return
        self.requests += estimate.requests
        self.tokens_in += estimate.tokens - estimate.tokens_out
        self.tokens_out += estimate.tokens_out


def hosted(plan: Plan, todo: Sequence[Stage]) -> dict[str, Asked]:
    """Most requests and tokens that stages send to hosted models, by "model" or "model@url".

    Stored responses are not subtracted: a resumed run sends less.
    """
    estimates = plan.estimates()
    found: dict[str, Asked] = {}
    for stage in todo:
        ref = asked_ref(plan, stage)
        if ref is not None and is_hosted(ref):
            found.setdefault(model_of(ref), Asked()).add(estimates[stage.id])
    return found


def model_of(ref: str) -> str:
    """Name of an asked model in lists: "model" or "model@url" if it is hosted, else its reference.

    >>> model_of("openai:my@http://x/v1?key=MY_KEY"), model_of("nano:target")
    ('my@http://x/v1', 'nano:target')
    """
    return split_engine(ref)[1].partition("?")[0] if is_hosted(ref) else ref


def price_of(model: str, calls: CallSettings) -> Price | None:
    """Price of a model named as in `hosted`; None where it is unknown."""
    name, at, _ = model.partition("@")
    price = PriceList.load(calls.prices).of(name, "elsewhere" if at else PROVIDER)
    return price.share(BATCH_SHARE) if price is not None and calls.batch else price


_CHEAP = ("import_", "score_")  # beginnings of the names of operations that take seconds


def check_keys(plan: Plan, todo: Sequence[Stage], calls: CallSettings) -> None:
    """Notice a missing key or permission before hours of sampling.

    Raises:
        EnvironmentProblem: a hosted model of the stages needs a key that is not set, or its server
            cannot be reached.
        UserError: a stage runs code that a model wrote, and `calls` does not allow it.
    """
    for stage in todo if not calls.allow_code_execution else ():
        if stage.operation.name == "verify_code" and not getattr(stage.params, "static_only", 0):
            raise UserError(
                f"{stage.label} runs code that models wrote, in confinement; add "
                "--allow-code-execution, or leave that stage out"
            )
    if calls.offline:
        return
    refs = {stage.id: asked_ref(plan, stage) for stage in todo}
    asked = {id: ref for id, ref in refs.items() if ref and is_hosted(ref)}
    backends = [open_backend(ref, Services()) for ref in sorted({*asked.values()})]
    for backend in backends:
        backend.check_access()
    # Work that would be in vain; without any, the stored responses may be enough.
    if any(s.id not in asked and not s.operation.name.startswith(_CHEAP) for s in todo):
        for backend in backends:
            backend.check_reach()


def asked_ref(plan: Plan, stage: Stage) -> str | None:
    """The model that a stage asks: its judge, or its model; None for stored answers."""
    if stage.operation.rows is None and not stage.operation.asks:
        return None
    ref, model = getattr(stage.params, "judge", None), stage.inputs.get("model")
    if ref is None and isinstance(model, Handle):
        ref = getattr(plan.stages[model.id].params, "ref", None)
    return None if not ref or split_engine(ref)[0] == "stored" else str(ref)


def is_hosted(ref: str) -> bool:
    """Whether a model is asked over the network."""
    return not ref.startswith("nano:") and split_engine(ref)[0] not in ("hf", "vllm", "stored")
