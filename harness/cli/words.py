"""The group of all commands: names of two words, and suggestions for what people type instead."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from harness.core.errors import CrucibleError, nearest

# Common verbs of other tools -> the command that does it here.
VERBS = {
    "run": "reproduce METHOD, or crucible eval MODEL",
    "evaluate": "eval",
    "score": "eval",
    "test": "eval",
    "bench": "eval",
    "benchmark": "eval",
    "judge": "eval MODEL --judge JUDGE",
    "list": "methods, suites, models, judges or board",
    "ls": "methods, suites, models, judges or board",
    "boards": "board",
    "leaderboard": "board",
    "leaderboards": "board",
    "results": "board",
    "diff": "compare",
    "view": "show",
    "open": "show",
    "inspect": "show",
    "cat": "show",
    "sample": "show",
    "samples": "show",
    "export": "board NAME --format csv",
    "fit": "train",
    "finetune": "train",
    "fine-tune": "train",
    "serve": "nano serve",
    "clean": "store gc",
    "gc": "store gc",
    "cache": "store",
    "check": "board NAME --check, or crucible doctor",
    "config": "recipe METHOD",
    "recipes": "methods",
    "init": "new-method NAME",
    "new": "new-method NAME, or crucible new-suite NAME",
    "help": "--help",
    "version": "--version",
    "add": "board add BOARD MODEL",
    "merge": "board make NAME --from BOARDS",
    "estimate": "plan METHOD",
    "cost": "plan METHOD",
    "dry-run": "plan METHOD",
}


class WordsGroup(TyperGroup):
    """Commands whose name may be two words ("board add"), found in any case."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        two = " ".join(args[:2])
        if two in self.commands:
            return two, self.commands[two], args[2:]
        word = args[0]
        if len(args) > 2 and not args[1].startswith("-") and not args[2].startswith("-"):
            seconds = [name.split()[1] for name in self.commands if name.startswith(f"{word} ")]
            if meant := nearest(args[1], seconds):
                ctx.fail(f"No such command '{two}'. Did you mean '{word} {meant}'?")
        if word not in self.commands and not word.startswith("-"):
            ctx.fail(_unknown(word, list(self.commands)))
        return super().resolve_command(ctx, args)


def _unknown(word: str, known: list[str]) -> str:
    """The error for a word that is no command."""
    lower = word.lower()
    meant = lower if lower in known else None
    if meant is None and (typed := VERBS.get(lower) or _of_catalogue(word)):
        return f"No such command '{word}'. Type: crucible {typed}"
    meant = meant or nearest(word, known)
    hint = f"Did you mean '{meant}'?" if meant else "crucible --help lists the commands."
    return f"No such command '{word}'. {hint}"


def _of_catalogue(word: str) -> str:
    """What to do with a method, a suite, a model or a file that was typed as a command."""
    from harness.engine import registry

    try:
        groups = {
            group: {name.lower(): name for name in registry.entries(group)}
            for group in ("methods", "suites")
        }
    except CrucibleError:
        return ""
    lower = word.lower()
    if lower in groups["methods"]:
        return f"reproduce {groups['methods'][lower]}"
    if lower in groups["suites"]:
        return f"eval MODEL --suite {groups['suites'][lower]}"
    if lower.endswith(".toml"):
        return f"reproduce {word} (a recipe), or crucible eval -f {word} (a board file)"
    family = lower.partition(":")[0]
    if ":" in lower and family in ("nano", "openai", "vllm", "hf"):
        return f"eval {word}"
    return f"eval {word}" if lower.endswith((".json", ".jsonl", ".json.gz", ".jsonl.gz")) else ""
