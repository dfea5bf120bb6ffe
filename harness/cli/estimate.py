"""What is about to be asked of hosted models, before the first call: requests, tokens and money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from harness.core.errors import UserError
from harness.engine.calls import CallSettings, Services
from harness.engine.operations import Estimate
from harness.engine.plan import Handle, Plan, Stage
from harness.engine.store import Store
from harness.models.references import split_engine


@dataclass
class Asked:
    """Sums over the stages that ask one model; `unknown` counts those that tell nothing."""

    stages: int = 0
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    unknown: int = 0


def show_estimate(
    console: Console, plan: Plan, targets: Sequence[Handle], store: Store, calls: CallSettings
) -> None:
    """Print stages to do, and for each hosted model what it will be asked at most.

    Stored responses are not counted off: a resumed run asks less.
    """
    finished = [id for id in plan.stages if store.has(id)]
    todo = plan.needed(targets, finished)
    console.print(
        f"{len(plan.stages)} stages: {len(plan.stages) - len(todo)} finished or not needed, "
        f"{len(todo)} to do",
        highlight=False,
    )
    show_hosted(console, plan, todo, calls)


def show_hosted(console: Console, plan: Plan, todo: Sequence[Stage], calls: CallSettings) -> None:
    """One line for each hosted model that the stages to do will ask."""
    from harness.engine.prices import BATCH_SHARE, PROVIDER, PriceList

    table = PriceList.load(calls.prices)
    for model, asked in hosted(plan, todo).items():
        name, at, _ = model.partition("@")
        price = table.of(name, "elsewhere" if at else PROVIDER)
        money = "unpriced"
        if price is not None:
            paid = price.share(BATCH_SHARE) if calls.batch else price
            cost = paid.cost(asked.tokens_in, asked.tokens_out)
            money = f"about {cost:,.2f} USD" + (
                f" (prices of {price.as_of})" if price.as_of else ""
            )
        rest = f"; {asked.unknown} stages of unknown size more" if asked.unknown else ""
        console.print(
            f"{model}: at most {asked.requests:,} requests, about {asked.tokens_in:,} tokens in "
            f"and {asked.tokens_out:,} out, {money}{rest}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def check_keys(plan: Plan, targets: Sequence[Handle], store: Store, calls: CallSettings) -> None:
    """Notice a missing key or permission before hours of sampling, not after them.

    Raises:
        EnvironmentProblem: a hosted model of the stages to do needs a key that is not set.
        UserError: a stage to do runs code that a model wrote, and this run does not allow it.
    """
    from harness.backends.hosted import open_backend

    todo = plan.needed(targets, [id for id in plan.stages if store.has(id)])
    for stage in todo if not calls.allow_code_execution else ():
        if stage.operation.name == "verify_code" and not getattr(stage.params, "static_only", 0):
            raise UserError(
                f"{stage.label} runs, confined, code that models wrote; give "
                "--allow-code-execution, or leave that out"
            )
    if calls.offline:
        return
    refs = {_hosted_ref(plan, stage) for stage in todo}
    for ref in sorted(ref for ref in refs if ref):
        open_backend(ref, Services()).check_access()


def hosted(plan: Plan, todo: Sequence[Stage]) -> dict[str, Asked]:
    """What each hosted model is asked by the stages to do, by "model" or "model@url"."""
    estimates = plan.estimates()
    found: dict[str, Asked] = {}
    for stage in todo:
        ref = _hosted_ref(plan, stage)
        if ref is None:
            continue
        model = split_engine(ref)[1].partition("?")[0]
        _add(found.setdefault(model, Asked()), estimates[stage.id])
    return found


def _add(asked: Asked, estimate: Estimate) -> None:
    asked.stages += 1
    if estimate.requests is None or estimate.tokens is None or estimate.tokens_out is None:
        asked.unknown += 1
        return
    asked.requests += estimate.requests
    asked.tokens_in += estimate.tokens - estimate.tokens_out
    asked.tokens_out += estimate.tokens_out


def _hosted_ref(plan: Plan, stage: Stage) -> str | None:
    """The hosted model that a row stage asks: its judge, or its model."""
    if stage.operation.rows is None:
        return None
    ref, model = getattr(stage.params, "judge", None), stage.inputs.get("model")
    if ref is None and isinstance(model, Handle):
        ref = getattr(plan.stages[model.id].params, "ref", None)
    if not ref or ref.startswith("nano:"):
        return None
    return None if split_engine(ref)[0] in ("hf", "vllm", "stored") else str(ref)
