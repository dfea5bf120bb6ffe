"""`crucible new-method | new-suite`: working plugin packages from `harness/cli/templates`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import screen
from harness.core.errors import UserError

TEMPLATES = Path(__file__).resolve().parent / "templates"
SUFFIX = ".template"  # so that tools do not treat templates as code of this package

Out = Annotated[
    Path | None, typer.Option("--out", help="Folder to create (default: crucible-NAME).")
]


def register(app: typer.Typer) -> None:
    app.command("new-method", rich_help_panel="Help")(new_method)
    app.command("new-suite", rich_help_panel="Help")(new_suite)


def new_method(
    name: Annotated[str, typer.Argument(help="Name of the method, e.g. my_method.")],
    out: Out = None,
) -> None:
    """Write a plugin package with a working method, its recipe and its test.

    After pip install, `crucible methods` lists it; Crucible itself stays unchanged.
    """
    _write("method", name, out, f"crucible reproduce {name}")


def new_suite(
    name: Annotated[str, typer.Argument(help="Name of the suite, e.g. my_suite.")],
    out: Out = None,
) -> None:
    """Write a plugin package with a working benchmark suite, its prompts and its test.

    After pip install, `crucible suites` lists it; Crucible itself stays unchanged.
    """
    _write("suite", name, out, f"crucible eval nano:target --suite {name}")


def _write(kind: str, name: str, out: Path | None, then: str) -> None:
    from harness.engine import registry

    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}[a-z0-9]", name):
        raise UserError(f'"{name}" cannot name a {kind}; use lower-case letters, digits and _')
    if name in registry.entries(f"{kind}s"):
        raise UserError(f'a {kind} "{name}" exists already (crucible {kind}s)')
    dashed = name.replace("_", "-")
    folder = out or Path(f"crucible-{dashed}")
    if folder.exists():
        raise UserError(f"{folder} exists already; choose another with --out")

    def filled(text: str) -> str:
        return text.replace(f"my_{kind}", name).replace(f"my-{kind}", dashed)

    try:
        for source in sorted((TEMPLATES / kind).rglob(f"*{SUFFIX}")):
            relative = str(source.relative_to(TEMPLATES / kind)).removesuffix(SUFFIX)
            path = folder / filled(relative)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(filled(source.read_text(encoding="utf-8")), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; choose another folder with --out") from None
    screen.data({"folder": str(folder), "next": f"pip install -e {folder} && {then}"})
    screen.results().print(
        f"written: {folder}\nnext: pip install -e {folder} && {then}",
        highlight=False,
        soft_wrap=True,
    )
