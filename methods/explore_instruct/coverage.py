"""Which skills of a known domain the instruction data of a checkpoint cover.

    training rows, checkpoint ──> keep_instructions ──> the same checkpoint with instructions.jsonl
    checkpoint with instructions.jsonl ──> suite `skill_coverage` ──> share of covered skills

The nano world knows the skill of every instruction, see `harness.nano.skills`. Skills are the units
of the interval. A checkpoint without instructions has no such cell.
"""

from __future__ import annotations

import os
import shutil
from typing import Annotated

from pydantic import Field

from harness.core.hashing import digest
from harness.core.records import Cell, Record
from harness.engine.io import read_objects, write_rows
from harness.engine.operations import Artifact, Context, Estimate, operation
from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Refers
from harness.nano import skills
from harness.suites.base import Metric, PromptSuiteSettings, Suite, System
from harness.suites.scoring import CellParams, cell_maker, write_cells

INSTRUCTIONS = "instructions.jsonl"


class KeepInstructionsParams(Record):
    """No settings."""


@operation(
    "keep_instructions",
    version=1,
    params=KeepInstructionsParams,
    estimate=lambda params, model, rows: Estimate(parameters_b=model.parameters_b),
)
def keep_instructions(
    context: Context, params: KeepInstructionsParams, *, model: Artifact, rows: Artifact
) -> None:
    """The checkpoint (hard links) with the instructions it was trained on."""
    hidden = shutil.ignore_patterns("manifest.json")
    shutil.copytree(
        model.path, context.directory, copy_function=_link, dirs_exist_ok=True, ignore=hidden
    )
    kept = [{"id": row["id"], "messages": row["messages"]} for row in rows.rows()]
    write_rows(context.directory / INSTRUCTIONS, kept)


def _link(source: str, target: str) -> str:
    os.link(source, target)
    return target


class CoverageSettings(PromptSuiteSettings):
    """Settings of the suite.

    Attributes:
        least: number of instructions that cover a skill.
    """

    prompts: Annotated[str, Refers("prompts")] = "nano:skills/test"
    least: int = Field(default=10, ge=1)


def plan(system: System, settings: CoverageSettings, stage: StageMaker) -> Handle:
    """The one stage of the suite; it asks nothing."""
    system.program_for("instructions", "skill_coverage")  # refuses programs
    return stage(
        "score_skill_coverage",
        **system.links(),
        least=settings.least,
        suite="skill_coverage",
        system=system.name,
        scale=system.scale,
        seed=system.seed,
        judge="",
        judge_fingerprint=digest(["skill coverage", skills.VERSION, settings.least])[:16],
        decode_fingerprint=digest(["instructions"])[:16],
        rounds=settings.rounds,
    )


class ScoreCoverageParams(CellParams):
    """least: see `CoverageSettings`."""

    least: int = 10


@operation("score_skill_coverage", version=1, params=ScoreCoverageParams)
def score_skill_coverage(context: Context, params: ScoreCoverageParams, *, model: Artifact) -> None:
    """Write the share of skills with enough instructions, and the numbers as details."""
    path = model.path / INSTRUCTIONS
    if not path.exists():
        write_cells(context, [])
        return
    asked = [str(row["messages"][-1]["content"]) for row in read_objects(path)]
    found = skills.covered(asked, params.least)
    counts = skills.counted(asked)
    maker = cell_maker(params, {name: [name] for name in found}, checkpoint=model)
    cell: Cell = maker.mean_cell(
        "covered",
        [float(covered) for covered in found.values()],
        list(found),
        factor=100,
        unit="%",
        details={
            "instructions": len(asked),
            "of no skill": len(asked) - sum(counts.values()),
            **{f"n {name}": count for name, count in counts.items()},
        },
    )
    write_cells(context, [cell])


SUITE = Suite(
    name="skill_coverage",
    version=1,
    summary="skills of a nano domain that the instruction data of a checkpoint cover",
    metrics=(Metric("covered", "%", "skills with enough instructions"),),
    settings=CoverageSettings,
    plan=plan,
    paper="arXiv 2310.09168",
    editions={"nano": {}},
)
