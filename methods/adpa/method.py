"""ADPA: advantage-guided distillation for preference alignment (arXiv 2502.17927).

    base teacher ──> SFT: reference r ──> DPO on pairs: teacher q
    base student ──> SFT ──> DCKD on (chosen, rejected) with q ──> student_dckd
                      └──> own answer y to every prompt ──> ADPA on (chosen, y) with q and r

With p the student, NLL that of the chosen answer, and A = beta log(q / r) the teacher's advantage,

    DCKD   L = NLL(y_w) + alpha_w KL(q || p)(y_w) + alpha_l KL(q || p)(y_l)
    ADPA   L = NLL(y_w) - gamma mean_t E_p[A(s_t, .)],  s_t along the student's own answer

ADPA+ starts from the DCKD student and lets it answer anew. `harness.distillation.advantage` has the
losses and reads the teachers: beside the student, or from a cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from harness.data.pairs import pairs_identity
from harness.distillation.advantage.choice import Choice, choose
from harness.distillation.advantage.settings import ANSWER, CHOSEN
from harness.distillation.corpus import documents_identity
from harness.engine.operations import Estimate
from harness.engine.preconditions import Preconditions
from harness.engine.recipe import Method
from harness.suites.alpaca_eval2.suite import SUITE as ALPACA
from harness.suites.base import System, answers_of, import_prompts
from harness.suites.editions import resolve_settings
from harness.suites.preconditions.planning import answers_compared
from harness.training.from_responses import model
from harness.training.settings import PromptLimit, RunSettings
from methods.adpa.preconditions import GAIN
from methods.adpa.settings import Adpa, AdpaRecipe

RECIPE = Path(__file__).with_name("recipe.toml")
REJECTED = "rejected"


def pairs(recipe: AdpaRecipe, stage: Any) -> Any:
    data = recipe.data
    return stage(
        "import_pairs",
        ref=data.pairs,
        split=data.pairs_split,
        limit=data.limit,
        digest=pairs_identity(data.pairs),
        label="pairs",
        hint=Estimate(rows=data.limit or data.pairs_rows, responses=2),
    )


def sft_rows(recipe: AdpaRecipe, stage: Any) -> Any:
    data = recipe.data
    if not data.sft:
        return pairs(recipe, stage)
    return stage(
        "import_documents",
        ref=data.sft,
        split=data.sft_split,
        limit=data.limit,
        digest=documents_identity(data.sft),
        label="SFT rows",
        hint=Estimate(rows=data.limit or data.sft_rows),
    )


def after_sft(recipe: AdpaRecipe, stage: Any, who: Literal["teacher", "student"]) -> Any:
    """Teacher or student after SFT on the same rows."""
    spec = recipe.models.teacher if who == "teacher" else recipe.models.student
    settings = (recipe.teacher_sft if who == "teacher" else None) or recipe.sft
    return stage(
        "train_sft",
        rows=sft_rows(recipe, stage),
        model=model(spec, stage),
        label=f"SFT {who}",
        **{**settings.model_dump(), "seed": recipe.seed},
    )


def after_dpo(recipe: AdpaRecipe, stage: Any, who: Literal["teacher", "student"]) -> Any:
    """Teacher or student after SFT and DPO on the pairs."""
    settings = (recipe.student_dpo if who == "student" else None) or recipe.dpo
    rows, start = pairs(recipe, stage), after_sft(recipe, stage, who)
    limits = settings.model_dump(include=set(PromptLimit.model_fields))
    reference = stage(
        "reference_logps", rows=rows, model=start, label=f"reference log-probs {who}", **limits
    )
    chosen = {"settings": settings.settings_for(settings.loss), "responses": (CHOSEN, REJECTED)}
    return stage(
        "train_preference",
        rows=rows,
        model=start,
        reference=reference,
        label=f"DPO {who}",
        **{**settings.model_dump(), **chosen, "seed": recipe.seed},
    )


def answered(recipe: AdpaRecipe, stage: Any, of: Any, name: str) -> Any:
    """The pairs with one more answer, by a model."""
    rows = pairs(recipe, stage)
    answers = stage(
        "sample",
        prompts=rows,
        model=of,
        system=name,
        seed=recipe.seed,
        label=f"answers of {name}",
        keep_ids=True,
        **recipe.answers.model_dump(),
    )
    return stage("answer_pairs", pairs=rows, answers=answers, label=f"pairs with {name}")


def access(recipe: AdpaRecipe, models: int, sides: int) -> Choice:
    """How teachers are read; see `harness.distillation.advantage.choice`."""
    data, epochs = recipe.data, recipe.train.epochs
    # The whole set, whatever the limit: a rehearsal on a few rows must make the same choice.
    rows = data.pairs_rows or data.limit
    return choose(recipe.teachers, models=models, sides=sides, rows=rows, epochs=epochs)


def distilled(
    recipe: AdpaRecipe,
    stage: Any,
    rows: Any,
    start: Any,
    loss: dict[str, Any],
    *,
    name: str,
    response: str | None,
    models: dict[str, Any],
    uniform: bool = False,
) -> Any:
    """A student after training on pairs with live or cached teachers."""
    train, limits = recipe.train, set(PromptLimit.model_fields)
    sides = [train.anchor] * bool(loss.get("kl_chosen")) + [response] * (response is not None)
    chosen = access(recipe, 1 if uniform else len(models), len(sides))
    given = {"uniform": True} if uniform else {}
    read = {"teacher", "reference"} & models.keys()
    if read and chosen.form != "live":
        own = recipe.teachers
        student = {"student": start} if chosen.form == "lists" and own.student_k else {}
        lists = {"k": own.k, "student_k": own.student_k, "lists": own.lists}
        cache = stage(
            "cache_teachers",
            rows=rows,
            **models,
            **student,
            **given,
            sides=tuple(sides),
            anchor=train.anchor,
            values="ratios" if loss.get("gamma") else "logps",
            form=chosen.form,
            **(lists if chosen.form == "lists" else {}),
            **own.model_dump(include={"batch_tokens", "shard_rows", "dtype"}),
            **train.model_dump(include=limits),
            label=f"teachers for {name} by {chosen.form} ({chosen.reason})",
        )
        models = {"cache": cache, **({} if chosen.form == "lists" else models)}
    shared = {"sft": train.sft, "reduction": train.reduction, "end_token": train.end_token}
    settings = train.model_dump(include=set(RunSettings.model_fields) | limits)
    how = f"teachers {chosen.form}, {chosen.reason}" if read else "no teacher beside it"
    return stage(
        "train_on_pairs",
        rows=rows,
        model=start,
        **models,
        **given,
        loss={**shared, **loss},
        anchor=train.anchor,
        response=response,
        teacher_dtype=recipe.teachers.dtype,
        **{**settings, "seed": recipe.seed},
        label=f"train {name} ({how})",
    )


def imitated(recipe: AdpaRecipe, stage: Any, *, rejected: bool) -> Any:
    """The student after DCKD, or after KD on the preferred answers alone."""
    weights = recipe.dckd
    loss = {"distill": weights.distill, "kl_chosen": weights.chosen}
    if rejected:
        loss["kl_response"] = weights.rejected
    return distilled(
        recipe,
        stage,
        pairs(recipe, stage),
        after_sft(recipe, stage, "student"),
        loss,
        name="DCKD" if rejected else "KD",
        response=REJECTED if rejected else None,
        models={"teacher": after_dpo(recipe, stage, "teacher")},
    )


def advised(recipe: AdpaRecipe, stage: Any, start: Any, name: str) -> Any:
    """A student after ADPA on its own answers."""
    own = recipe.adpa
    rows = answered(recipe, stage, start, name)
    q, r = after_dpo(recipe, stage, "teacher"), after_sft(recipe, stage, "teacher")
    if own.teachers != "given":
        q = r
        r = after_dpo(recipe, stage, "teacher") if own.teachers == "swapped" else r
    if own.reference == "student_init":
        r = start
    uniform = own.reference == "none"
    models = {"teacher": q} if uniform else {"teacher": q, "reference": r}
    if not own.gamma:  # the likelihood of the chosen answers alone
        models, uniform = {}, False
    level = "span" if own.align == "spans" and own.level == "token" else own.level
    if level != "token" and models:
        weights = stage(
            "span_advantages",
            rows=rows,
            student=start,
            **models,
            level=level,
            anchor=recipe.train.anchor,
            uniform=uniform,
            **recipe.train.model_dump(include=set(PromptLimit.model_fields)),
            label=f"advantages of {level}s",
        )
        models, uniform = {"weights": weights}, False
    loss = {"gamma": own.gamma, "beta": own.beta, "advantage_clip": own.advantage_clip}
    return distilled(
        recipe,
        stage,
        rows,
        start,
        loss,
        name=f"ADPA {_variant(own)}from {name}",
        response=ANSWER,
        models=models,
        uniform=uniform,
    )


def _variant(settings: Adpa) -> str:
    """What distinguishes settings of ADPA in labels."""
    found = [f"gamma {settings.gamma:g}"]
    found += [f"reference {settings.reference}"] * (settings.reference != "teacher")
    found += [f"teachers {settings.teachers}"] * (settings.teachers != "given")
    found += [f"by {settings.level}"] * (settings.level != "token")
    found += [f"clip {settings.advantage_clip}"] * (settings.advantage_clip is not None)
    return f"{', '.join(found)} "


def adpa(recipe: AdpaRecipe, stage: Any) -> Any:
    return advised(recipe, stage, after_sft(recipe, stage, "student"), "student SFT")


def adpa_plus(recipe: AdpaRecipe, stage: Any) -> Any:
    """ADPA from the DCKD student, on answers of that student."""
    return advised(recipe, stage, imitated(recipe, stage, rejected=True), "student DCKD")


def seqkd(recipe: AdpaRecipe, stage: Any) -> Any:
    """SFT on the answers of the teacher after DPO."""
    rows = answered(recipe, stage, after_dpo(recipe, stage, "teacher"), "teacher DPO")
    own = recipe.model_copy(update={"train": recipe.train.model_copy(update={"anchor": ANSWER})})
    start = after_sft(recipe, stage, "student")
    return distilled(own, stage, rows, start, {}, name="SeqKD", response=None, models={})


def _fixed(**settings: Any) -> Any:
    """ADPA with settings of its own."""

    def plan(recipe: AdpaRecipe, stage: Any) -> Any:
        own = recipe.adpa.model_copy(update=settings)
        return adpa(recipe.model_copy(update={"adpa": own}), stage)

    return plan


def measured(recipe: AdpaRecipe, stage: Any, planned: Any, **about: Any) -> tuple[Any, ...]:
    """The answers of the teacher before and after DPO to the questions of the recipe's suite."""
    spec = next((spec for spec in recipe.suites if spec.name == ALPACA.name), None)
    if spec is None:
        return ()
    settings: Any = resolve_settings(ALPACA, spec.edition, spec.settings)

    def answers(name: str, made: Any) -> Any:
        # Named as the recipe's systems, whose answers these are where it has them.
        system = System.of(name, made, seed=recipe.seed)
        prompts = import_prompts(settings, stage)
        return answers_of(system, prompts, settings, settings.decode, stage, ALPACA.name)

    return answers_compared(
        stage,
        settings.prompts,
        lambda: [answers("teacher_sft", after_sft(recipe, stage, "teacher"))],
        lambda: [answers("teacher_dpo", after_dpo(recipe, stage, "teacher"))],
        "teacher_sft",
        about,
    )


PRECONDITIONS = Preconditions(GAIN, measured)
ADPA = Method("adpa", AdpaRecipe, adpa, RECIPE, preconditions=PRECONDITIONS)
ADPA_PLUS = Method("adpa_plus", AdpaRecipe, adpa_plus, preconditions=PRECONDITIONS)
ADPA_NO_REFERENCE = Method("adpa_no_reference", AdpaRecipe, _fixed(reference="none"))
ADPA_SEQUENCE = Method("adpa_sequence", AdpaRecipe, _fixed(level="sequence"))
DCKD = Method(
    "dckd",
    AdpaRecipe,
    lambda recipe, stage: imitated(recipe, stage, rejected=True),
    preconditions=PRECONDITIONS,
)
KD = Method("kd", AdpaRecipe, lambda recipe, stage: imitated(recipe, stage, rejected=False))
SEQKD = Method("seqkd", AdpaRecipe, seqkd)
STUDENT_SFT = Method("student_sft", AdpaRecipe, lambda r, stage: after_sft(r, stage, "student"))
STUDENT_DPO = Method("student_dpo", AdpaRecipe, lambda r, stage: after_dpo(r, stage, "student"))
TEACHER_SFT = Method("teacher_sft", AdpaRecipe, lambda r, stage: after_sft(r, stage, "teacher"))
TEACHER_DPO = Method("teacher_dpo", AdpaRecipe, lambda r, stage: after_dpo(r, stage, "teacher"))
