"""A page for each command, made from the command: usage, help, arguments and options.

Pages are written to docs/catalogue/commands, which is not committed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from catalogue_pages import PAGES, table

from harness.cli.main import app

EXAMPLE = re.compile(r"^(.*?:  +)?(crucible .*)$")
MARKUP = re.compile(r"\[/?(?:bold|dim|italic)\]")
COMMON = ("--store", "--quiet", "--json", "--help")


def write_commands(folder: Path = PAGES) -> None:
    """Write the overview and all pages."""
    pages = list(commands(typer.main.get_command(app), "crucible"))
    (folder / "commands").mkdir(parents=True, exist_ok=True)
    for name, command in pages:
        text = "\n\n".join(part for part in page(name, command) if part)
        (folder / "commands" / f"{file_name(name)}.md").write_text(text + "\n", encoding="utf-8")
    (folder / "commands.md").write_text(overview(pages), encoding="utf-8")


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Name and command of everything that can be typed, groups with their own action included."""
    inner = getattr(command, "commands", {})
    if not inner or (name != "crucible" and command.invoke_without_command):
        yield name, command
    for key, value in inner.items():
        yield from commands(value, f"{name} {key}")


def file_name(name: str) -> str:
    """
    >>> file_name("crucible store ls")
    'store-ls'
    """
    return name.removeprefix("crucible ").replace(" ", "-")


def overview(pages: list[tuple[str, Any]]) -> str:
    rows = [
        (f"[{name}](commands/{file_name(name)}.md)", plain(first_line(command)))
        for name, command in pages
    ]
    names = "\n".join(f"commands/{file_name(name)}" for name, _ in pages)
    return (
        "# Commands\n\n"
        "Every command takes `--store FOLDER` (default: `$CRUCIBLE_HOME` or `.crucible`), "
        "`--quiet` (results and errors only), `--json` (results as JSON) and `-h`. Results are on "
        "stdout; progress is on stderr, where there is no terminal as a line per stage and one "
        "every 30 seconds. Exit codes: 0 done, 2 your input, 3 this machine, 4 a claim "
        "contradicted (`--strict`). `crucible --install-completion` sets up the shell; "
        "`CRUCIBLE_WARNINGS=1` shows the warnings of libraries, which are hidden otherwise.\n\n"
        f"{table(('command', 'what it does'), rows)}\n\n"
        f"```{{toctree}}\n:hidden:\n\n{names}\n```\n"
    )


def first_line(command: Any) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


def page(name: str, command: Any) -> Iterator[str]:
    """The parts of a page, some of them empty."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    yield f"# {name}"
    usage = " ".join([name, *(["[OPTIONS]"] * bool(options)), *map(usage_of, arguments)])
    yield f"```text\n{usage}\n```"
    yield "\n\n".join(map(paragraph, (command.help or "").split("\n\n")))
    yield section("Arguments", [(f"`{usage_of(p)}`", plain(p.help or "")) for p in arguments])
    context = command.context_class(command)
    panels: dict[str, list[Any]] = {}
    for option in options:
        panels.setdefault(getattr(option, "rich_help_panel", None) or "Options", []).append(option)
    for title, members in panels.items():
        members.sort(key=lambda option: option.opts[0] in COMMON)
        rows = [
            (flags(option, context), default(option), plain(option.help or ""))
            for option in members
        ]
        yield section(title, rows, ("option", "default", "meaning"))


def section(title: str, rows: list[Any], headings: Any = ("argument", "meaning")) -> str:
    return f"## {title}\n\n{table(headings, rows)}" if rows else ""


def usage_of(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name = name.replace("\\", "")
    return name if argument.required else f"[{name}]"


def flags(option: Any, context: Any) -> str:
    """Names of an option, and what its value is: its own word, or the type as the help names it."""
    names = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
    if option.is_flag:
        return names
    shown, _ = option.get_help_record(context)  # "-o, --out <path>" or "-o, --out PATH"
    kind = shown.rpartition("-" + option.opts[-1].rpartition("-")[2])[2].strip(" <>")
    return f"{names} {plain(option.metavar or kind.upper())}"


def default(option: Any) -> str:
    value = option.default
    if option.is_flag or value in (None, "", []) or callable(value):
        return ""
    return f"`{value}`"


def paragraph(text: str) -> str:
    """A paragraph of a command's help; a line of shell becomes a block."""
    line = " ".join(text.split("\n"))
    found = EXAMPLE.match(line.strip())
    if found is None:
        return plain(" ".join(line.split()))
    before = plain(found[1].strip()) + "\n\n" if found[1] else ""
    shell, _, remark = re.sub(r" {2,}", "  ", found[2].strip()).partition("  ")
    return f"{before}```sh\n{shell}{remark and f'  # {remark}'}\n```"


def plain(text: str) -> str:
    """Help without rich's marks, as Markdown."""
    text = MARKUP.sub("", text).replace("\\[", "[")
    return re.sub(r"(?<!`)([<>*])", r"\\\1", text) if "`" not in text else text


def setup(app: Any) -> dict[str, bool]:
    # After the catalogue's pages, whose writing clears the folder.
    app.connect("builder-inited", lambda app: write_commands(), priority=600)
    return {"parallel_read_safe": True}
