"""SEFT: self-evolution fine-tuning with an adaptive reviser (arXiv 2406.10813), a reconstruction.

A reviser R is trained to say how much an answer y to a prompt x has to be revised, and then to
write the improved answer; it leaves good answers alone. The policy pi answers prompts that nobody
has annotated, the reviser improves the answers, and the policy is fine-tuned on them:

    R(label, y' | x, y),     label in {no_revise, minor_revise, major_revise}
    y ~ pi_k(. | x),   y' ~ R(. | x, y),   pi_{k+1} = argmin -E log pi(y' | x), from pi_k

First within the policy's own answers (internal evolution: targets of the reviser are the policy's
best answers), then towards those of stronger models (external evolution). If R never lowers the
expected reward of any answer, then no round lowers that of the policy (`tabular.py`).

The paper's code, settings and figures are not public: rules and settings here are choices of this
reconstruction, which README.md lists. Rules are in `labels.py`, stages in `evolution.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.engine.preconditions import Precondition, Preconditions
from harness.engine.recipe import Method, with_settings
from methods.seft import evolution
from methods.seft.labels import NO
from methods.seft.recipe import SeftRecipe

RECIPE = Path(__file__).with_name("recipe.toml")


def seft(recipe: SeftRecipe, stage: Any) -> Any:
    evolution.check_disjoint(recipe)
    return evolution.evolved(recipe, stage)


def variant(**settings: Any) -> Callable[[SeftRecipe, Any], Any]:
    """SEFT with some settings of the recipe replaced; "__" in a key is a dot."""
    dotted = {key.replace("__", "."): value for key, value in settings.items()}

    def plan(recipe: SeftRecipe, stage: Any) -> Any:
        return seft(with_settings(recipe, dotted, "variant of seft"), stage)

    return plan


def preference(loss: str) -> Callable[[SeftRecipe, Any], Any]:
    def plan(recipe: SeftRecipe, stage: Any) -> Any:
        return evolution.preference_tuned(recipe, stage, loss)

    return plan


def reconstruction(name: str, plan: Callable[[SeftRecipe, Any], Any]) -> Method:
    """A variant of SEFT."""
    return Method(name, SeftRecipe, plan, fidelity="reconstruction")


def of_round(text: str, metric: str, needs: str = "") -> Precondition:
    """A figure of the first round, which the suite `seft_rounds` measures."""
    metric = f"{metric}:1"
    return Precondition(
        text=text, metric=metric, needs=needs, suite="seft_rounds", systems=("seft",)
    )


PRECONDITIONS = Preconditions(
    (
        of_round("score of the policy's answers in round 1", "source_score"),
        of_round(
            "score of the training targets of round 1",
            "target_score",
            "higher: the reviser improves answers",
        ),
        of_round("revisions that score below their source", "worse", "few"),
        of_round(
            "answers that the reviser leaves alone", NO, "neither 0 nor 100 %: it is adaptive"
        ),
    )
)
SEFT = Method(
    "seft", SeftRecipe, seft, RECIPE, fidelity="reconstruction", preconditions=PRECONDITIONS
)
INTERNAL = reconstruction("seft_internal", variant(rounds__schedule="internal"))
EXTERNAL = reconstruction("seft_external", variant(rounds__schedule="external"))
GATED = reconstruction("seft_gated", variant(gate__min_gain=0.0, gate__max_length_ratio=2.0))
BY_DPO = reconstruction("seft_by_dpo", variant(rounds__update="dpo"))
ALWAYS = reconstruction("seft_always_revise", variant(revision__decide="always"))
NEVER = reconstruction("seft_never_revise", variant(revision__decide="never"))
ORACLE = reconstruction("seft_oracle_label", variant(revision__decide="oracle"))
POLICY = Method("seft_policy", SeftRecipe, evolution.policy)
SFT_BEST = Method("seft_sft_best", SeftRecipe, evolution.fine_tuned)
DPO = Method("seft_dpo", SeftRecipe, preference("dpo"))
ORPO = Method("seft_orpo", SeftRecipe, preference("orpo"))
