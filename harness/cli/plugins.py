"""`crucible new-method`: a plugin package that passes the conformance kit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import UserError

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "crucible-{dashed}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["crucible-bench[train]"]

[project.entry-points."crucible.methods"]
{name} = "{package}.method:METHOD"

[tool.setuptools]
packages = ["{package}"]

[tool.setuptools.package-data]
{package} = ["*.toml"]
"""

METHOD = '''\
"""{name}: DPO whose preferred response is the mean of the best source's and the best own reward.

Change the loss below; everything else (sampling, rewards, SFT, evaluation, board) is shared.
"""

from pathlib import Path

from torch.nn.functional import logsigmoid

from harness.recipe import Method
from harness.train import fusion
from harness.train.losses import preference_loss


@preference_loss("{name}", responses=("source", "target", "rejected"))
def {name}_loss(logps, reference, lengths, *, alpha, settings):
    """L = -log sigmoid(beta (h(source)/2 + h(target)/2 - h(rejected))), h = logps - reference.

    All arguments have shape (B, 3), columns in the order of `responses`.
    """
    source, target, rejected = (settings.beta * (logps - reference)).unbind(dim=1)
    margin = (source + target) / 2 - rejected
    return -logsigmoid(margin), {{"margin": margin.detach()}}


def plan(recipe, stage):
    return fusion.preference_model(recipe, stage, loss="{name}")


METHOD = Method("{name}", fusion.FusionRecipe, plan, Path(__file__).with_name("recipe.toml"))
'''

TEST = """\
from harness.testing import check_method

from {package}.method import METHOD


def test_conformance():
    check_method(METHOD)
"""

README = """\
# crucible-{dashed}

    pip install -e .
    crucible methods          # {name} is listed as a plugin
    crucible reproduce {name}
    pytest
"""


def register(app: typer.Typer) -> None:
    app.command("new-method", rich_help_panel="Help")(new_method)


def new_method(
    name: Annotated[str, typer.Argument(help="Name of your method, e.g. my_method.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to create (default: crucible-NAME).")
    ] = None,
) -> None:
    """Write a plugin package with a working method, its recipe and its test.

    Install it with pip and it appears in `crucible methods`; no change to Crucible is needed.
    """
    from rich.console import Console

    if not re.fullmatch(r"[a-z][a-z0-9_]{1,40}", name):
        raise UserError(f'"{name}" cannot name a method; use small letters, digits and _')
    _refuse_taken(name)
    dashed, package = name.replace("_", "-"), f"crucible_{name}"
    folder = out or Path(f"crucible-{dashed}")
    if folder.exists():
        raise UserError(f"{folder} exists already; choose another with --out")
    words = {"name": name, "dashed": dashed, "package": package}
    files = {
        "pyproject.toml": PYPROJECT.format(**words),
        "README.md": README.format(**words),
        f"{package}/__init__.py": "",
        f"{package}/method.py": METHOD.format(**words),
        f"{package}/recipe.toml": _recipe(name),
        f"tests/test_{name}.py": TEST.format(**words),
    }
    for relative, text in files.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    Console().print(
        f"written: {folder}\nnext: pip install -e {folder} && crucible reproduce {name}",
        highlight=False,
        soft_wrap=True,
    )


def _refuse_taken(name: str) -> None:
    from harness import registry

    if name in registry.entries("methods"):
        raise UserError(f'there is a method "{name}" already (crucible methods)')


def _recipe(name: str) -> str:
    """The nano profile of the WRPO recipe, with the new method beside target, SFT and DPO."""
    import tomli_w

    from harness import registry
    from harness.recipe import Method, read_toml

    host: Method = registry.load("methods", "wrpo")
    assert host.recipe_file is not None
    data = read_toml(host.recipe_file)
    kept = [s for s in data["systems"] if s["name"] in ("target", "sft", "dpo")]
    data |= {
        "method": name,
        "title": name,
        "paper": "",
        "systems": [*kept, {"name": name, "method": name}],
        "claims": [],
        "profile": {"nano": data["profile"]["nano"]},
    }
    data["profile"]["nano"].pop("systems", None)
    return tomli_w.dumps(data)
