"""Options that several commands of runs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import completion

MethodName = Annotated[
    str,
    typer.Argument(
        help="A method of `crucible methods`, e.g. wrpo, or a recipe file (.toml).",
        autocompletion=completion.methods,
    ),
]
Scale = Annotated[
    str,
    typer.Option(
        "--scale",
        help="Profile of the recipe: nano (CPU), small (one GPU), paper. Default: nano, of a "
        "rehearsal paper, of a file with one profile that one.",
        autocompletion=completion.scales,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a recipe key: train.settings.beta=0.1"
    ),
]
Fit = Annotated[
    str | None,
    typer.Option(
        "--fit",
        metavar="GPUS",
        help="Say how each stage fits these GPUs, such as 8x80GB: processes, batches, memory.",
    ),
]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Number of seeds.")]
Seed = Annotated[
    int | None, typer.Option("--seed", help="First seed (default: that of the recipe).")
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", min=2, help="Largest number of training prompts and of prompts per suite."
    ),
]
Suites = Annotated[
    str,
    typer.Option(
        "--suite",
        help="Only these suites, separated by commas; the recipe need not list them.",
        autocompletion=completion.suites,
    ),
]
Replace = Annotated[
    bool,
    typer.Option("--replace", help="Replace the board of another recipe that has this name."),
]
ByJudge = Annotated[
    bool,
    typer.Option(
        "--by-judge", help="Give each judge columns of its own; then judges are compared."
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show the plan, as crucible plan does; run nothing."),
]
Tracker = Annotated[
    str,
    typer.Option(
        "--tracker",
        metavar="NAME",
        help="Send curves and scores to trackio, wandb, tensorboard or mlflow (default: none).",
    ),
]
Push = Annotated[
    str,
    typer.Option(
        "--push",
        metavar="OWNER/NAME",
        help="Also upload the folder to the Hugging Face hub; a new repository is private.",
    ),
]
Fresh = Annotated[
    list[str] | None,
    typer.Option(
        "--fresh",
        metavar="STAGE",
        help="Compute these stages again, and all that use them: a name of crucible plan, the "
        "beginning of an id, or all.",
    ),
]
Home = Annotated[
    Path | None, typer.Option("--store", help="Store folder (default: $CRUCIBLE_HOME or .crucible)")
]
