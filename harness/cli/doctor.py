"""`crucible doctor`: checks of the installation."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import typer

from harness.cli import screen
from harness.core.errors import CrucibleError, EnvironmentProblem


class Check(NamedTuple):
    name: str
    ok: bool | None
    found: str


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Help")(doctor)


def doctor() -> None:
    """Check this installation: packages, extras, plugins, store, disk and GPU.

    Exits with 3 if an essential part is broken.
    """
    from rich.markup import escape

    console = screen.results()
    checks = [*_packages(), *_extras(), *_plugins(), _store(), _disk(), _gpu(), _weights()]
    marks = {True: "[green]ok[/green]  ", False: "[red]bad[/red] ", None: "[yellow]--[/yellow]  "}
    for check in checks:
        found = escape(check.found)
        console.print(
            f"{marks[check.ok]} {check.name:<22} {found}", highlight=False, soft_wrap=True
        )
    screen.data([check._asdict() for check in checks])
    broken = [check.name for check in checks if check.ok is False]
    if broken:
        raise EnvironmentProblem(f"broken: {', '.join(broken)} (see the lines marked bad)")


def _packages() -> list[Check]:
    """The three packages must come from this distribution, not from another of the same name."""
    checks = [Check("python", sys.version_info >= (3, 11), sys.version.split()[0])]
    home = Path(__file__).resolve().parent.parent.parent
    for name in ("harness", "methods", "leaderboards"):
        origin = importlib.import_module(name).__file__
        found = Path(origin).resolve().parent.parent if origin else None
        note = str(found) if found == home else f"comes from {found}, expected {home}"
        checks.append(Check(name, found == home, note))
    return checks


def _extras() -> list[Check]:
    from harness.engine.extras import install, packages, versions_of

    checks = []
    for extra in packages():
        found = versions_of(extra)
        whole = None not in found.values()
        said = ", ".join(f"{name} {v}" if v else f"no {name}" for name, v in found.items())
        hint = "" if whole else f"  ({install([extra])})"
        checks.append(Check(f"extra {extra}", True if whole else None, said + hint))
    return checks


def _plugins() -> list[Check]:
    from harness.core.text import plain
    from harness.engine import plugins, registry

    checks = []
    for group in plugins.GROUPS:
        for entry in registry.entries(group).values():
            if entry.origin == registry.BUILT_IN:
                continue
            try:
                registry.load(group, entry.name)
                checks.append(Check(f"plugin {plain(entry.name)}", True, plain(entry.origin)))
            except CrucibleError as error:
                checks.append(Check(f"plugin {plain(entry.name)}", None, plain(str(error))))
        checks += [Check("plugins", None, plain(note)) for note in registry.notes(group)]
    problems = (*plugins.offers()[1], *registry.catalogue_problems())
    return checks + [Check("plugins", None, plain(problem)) for problem in problems]


def _store() -> Check:
    from harness.engine.store import Store, default_root

    root = default_root()
    if not (root / "store.json").exists():
        return Check("store", True, f"{root} (not yet there; the first run creates it)")
    try:
        return Check("store", True, f"{root}, {len(Store(root).ids())} artifacts")
    except CrucibleError as error:
        return Check("store", False, str(error))


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return Check("disk", True if free > 2 else None, f"{free:.0f} GiB free in the current folder")


def _gpu() -> Check:
    try:
        import torch
    except ImportError:
        return Check("gpu", None, "torch is not installed")
    if not torch.cuda.is_available():
        return Check("gpu", None, "torch finds none; the nano profile needs none")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Check("gpu", True, ", ".join(names))


def _weights() -> Check:
    import harness.nano.zoo as zoo

    wrong = [name for name, facts in zoo.manifest().items() if zoo.digest(name) != facts["digest"]]
    if wrong:
        return Check("nano models", False, f"damaged: {', '.join(wrong)}; reinstall crucible-bench")
    return Check("nano models", True, ", ".join(zoo.names()))
