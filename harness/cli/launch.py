"""`crucible launch slurm`: a command of Crucible as a batch job."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import screen
from harness.cli.common_options import HOME
from harness.core.errors import MissingExtra, StoreProblem, UserError, unknown
from harness.core.records import parse
from harness.core.text import visible

if TYPE_CHECKING:
    from harness.cli.slurm import Job

app = typer.Typer(
    name="launch",
    help="Run commands of Crucible as batch jobs.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


# Where the job finds data, plugins and vLLM, as this shell does; keys are never written.
PASSED_ON = ("CRUCIBLE_DATA", "CRUCIBLE_DEVICE", "CRUCIBLE_OVERRIDE", "CRUCIBLE_VLLM_PYTHON")
OWN = ("launch",)  # commands that cannot be launched


@app.command("slurm", context_settings={"allow_interspersed_args": False})
def slurm(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- COMMAND...", help="A command of crucible with its options."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the script to this file; not printed.")
    ] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Submit it with sbatch.")] = False,
    nodes: Annotated[
        int, typer.Option("--nodes", min=1, help="Number of nodes; several become a cluster.")
    ] = 1,
    gpus: Annotated[
        str,
        typer.Option(
            "--gpus",
            metavar="[TYPE:]NUMBER",
            help="GPUs of a node; 0 for none (default: 1 if the command uses a GPU).",
        ),
    ] = "",
    cpus: Annotated[
        int | None, typer.Option("--cpus", min=1, help="CPU cores (default: 8; without GPU 4).")
    ] = None,
    memory: Annotated[
        str, typer.Option("--memory", metavar="SIZE", help="Memory of a node, such as 64G.")
    ] = "",
    time: Annotated[
        str,
        typer.Option(
            "--time",
            help="Time limit, such as 24:00:00 or 1-12 (default: twice the plan's GPU time, at "
            "most 24 hours).",
        ),
    ] = "",
    partition: Annotated[str, typer.Option("--partition", help="Partition.")] = "",
    account: Annotated[str, typer.Option("--account", help="Account.")] = "",
    name: Annotated[
        str, typer.Option("--job-name", help="Name (default: crucible and the command's words).")
    ] = "",
    logs: Annotated[
        Path | None, typer.Option("--logs", help="Folder of the log (default: this folder).")
    ] = None,
    signal: Annotated[
        str,
        typer.Option(
            "--signal",
            metavar="[SIGNAL@]SECONDS",
            help="Stop cleanly this many seconds before the time limit, and queue again.",
        ),
    ] = "USR1@120",
    requeues: Annotated[
        int, typer.Option("--requeues", min=0, help="Most times that it is queued again.")
    ] = 20,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="Further option of sbatch: --option=--qos=high"),
    ] = None,
    setup: Annotated[
        list[str] | None,
        typer.Option("--setup", help="Line of shell before the command: 'module load cuda'"),
    ] = None,
    online: Annotated[
        bool,
        typer.Option("--online", help="Let the job download models and data from the hub."),
    ] = False,
    template: Annotated[
        Path | None, typer.Option("--template", help="Template of the script (jinja).")
    ] = None,
    print_template: Annotated[
        bool, typer.Option("--print-template", help="Print the packaged template, and stop.")
    ] = False,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            help="Store folder, on a file system that the nodes share (default: $CRUCIBLE_HOME or "
            ".crucible).",
        ),
    ] = None,
) -> None:
    """Print a batch script for Slurm that runs a command of Crucible; or write or submit it.

    crucible launch slurm -- reproduce wrpo --scale small

    crucible launch slurm --partition gpu --time 12:00:00 --out run.sh -- train dpo --out folder

    crucible launch slurm --print-template > my.sh.jinja

    crucible launch slurm --nodes 4 --gpus 8 -- reproduce wrpo --scale paper

    Put -- before the command. One job runs the command on one node, or on a cluster of Ray that
    it starts on several. It stops cleanly before the
    time limit and is queued again: the same command continues from the store. GPUs and time come
    from the command's plan where it has estimates; models and data must be in the caches before,
    unless --online is given.
    """
    from harness.cli import slurm as scripts
    from harness.cli.job_sizes import Sizes

    if print_template:
        source = scripts.TEMPLATE.read_text(encoding="utf-8")
        if not screen.wants_json():
            typer.echo(source, nl=False)
        screen.data({"template": source})
        return
    inner, called, words = _command(context, command or [])
    if nodes > 1:
        _check_nodes(nodes, inner, called, words)
    limit = scripts.seconds_of(time) if time else None
    sent, notice = scripts.signal_of(signal)
    screen.begin(f"planning crucible {called}")
    sizes = Sizes.of(inner, called, words[len(called.split()) :])
    screen.end_line()
    limit = limit or 3600 * sizes.hours
    if notice >= limit:
        raise UserError(
            f"--signal is {notice} seconds before a time limit of {limit} seconds; expected less"
        )
    chosen = sizes.gpus if not gpus else "" if gpus == "0" else gpus
    remarks = sizes.remarks(bool(time), chosen, requeues)
    job = parse(
        scripts.Job,
        {
            "command": (_beside("crucible"), *words),
            "origin": visible(shlex.join(["crucible", *sys.argv[1:]])),
            "remarks": [visible(line) for line in remarks],
            "nodes": nodes,
            "ray": _beside("ray"),
            "python": sys.executable,
            "job_name": name or _slug("crucible", *words[:2]),
            "gpus": chosen,
            "cpus": cpus or (8 if chosen else 4),
            "memory": memory,
            "time": time.strip() or f"{sizes.hours}:00:00",
            "partition": partition,
            "account": account,
            "folder": str(Path.cwd()),
            "log": str((logs or Path.cwd()).absolute()).replace("%", "%%") + "/%x-%j.log",
            "signal": sent,
            "notice": notice,
            "requeues": requeues,
            "options": option or (),
            "environment": _environment(online),
            "setup": setup or (),
        },
        "launch slurm",
    )
    for line in remarks:
        screen.say(line)
    _hand_over(job, scripts.script(job, template), out, submit, logs)


def _command(context: typer.Context, words: Sequence[str]) -> tuple[Any, str, list[str]]:
    """The command of click, its name, and all words of a command line.

    Raises:
        UserError: it is no command of crucible, or one that is no job.
    """
    rest = list(words[1:] if words[:1] == ["crucible"] else words)
    if not rest:
        raise UserError(
            "no command to launch; expected one such as: crucible launch slurm -- reproduce wrpo"
        )
    command: Any = context.find_root().command
    if rest[0] not in command.commands:
        raise unknown("command of crucible", rest[0], command.commands, "crucible --help")
    if rest[0] in OWN or {"-h", "--help"} & set(rest):
        raise UserError(f"{shlex.join(rest)} is no job; expected a run such as: reproduce wrpo")
    command = command.commands[rest[0]]
    depth = 1
    while hasattr(command, "commands") and rest[depth:] and rest[depth] in command.commands:
        command = command.commands[rest[depth]]
        depth += 1
    return command, " ".join(rest[:depth]), rest


def _check_nodes(nodes: int, command: Any, called: str, words: Sequence[str]) -> None:
    """A run on several nodes needs Ray, and is told of its cluster by the script."""
    from harness.engine.extras import missing

    if not any("--executor" in option.opts for option in command.params):
        raise UserError(f"--nodes is {nodes}, but {called} runs on one node; leave --nodes out")
    if any(word.partition("=")[0] == "--executor" for word in words):
        raise UserError("with --nodes the script adds --executor itself; leave that option out")
    if missing(["ray"]):
        raise MissingExtra("ray", "ray")


def _beside(program: str) -> str:
    """A program installed beside this interpreter, else on PATH."""
    beside = Path(sys.executable).with_name(program)
    return str(beside) if beside.is_file() else shutil.which(program) or program


def _slug(*words: str) -> str:
    return "-".join(re.sub(r"[^\w.-]+", "-", word).strip("-")[-40:] for word in words)


def _environment(online: bool) -> dict[str, str]:
    """Variables of the job: store, caches of models and data, and what this shell sets."""
    from harness.engine.store import default_root

    home = default_root().absolute()
    if home.is_relative_to(tempfile.gettempdir()):
        screen.say(f"the store {home} may exist on this machine alone; --store FOLDER chooses one")
    cache = os.environ.get("HF_HOME") or str(Path("~/.cache/huggingface").expanduser())
    made = {HOME: str(home), "HF_HOME": cache}
    if not online:
        made |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return made | {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}


def _hand_over(job: Job, text: str, out: Path | None, submit: bool, logs: Path | None) -> None:
    """Print, write or submit a script."""
    from harness.cli import slurm as scripts
    from harness.engine.io import disk_errors

    console = screen.results()
    if logs is not None and not logs.is_dir():
        if out is None and not submit:
            screen.say(f"Slurm needs the folder of the log: mkdir -p {shlex.quote(str(logs))}")
        else:
            with disk_errors(logs):
                logs.mkdir(parents=True)
    if out is not None:
        try:
            out.write_text(text, encoding="utf-8")
            out.chmod(0o755)
        except OSError as error:
            raise StoreProblem(f"{out} cannot be written: {error.strerror}") from None
        console.print(f"script: {out}", highlight=False, markup=False, soft_wrap=True)
    number = scripts.submit(text) if submit else ""
    if submit:
        console.print(f"job: {number}", highlight=False, markup=False)
    elif out is None and not screen.wants_json():
        typer.echo(text, nl=False)
    log = job.log.replace("%x", job.job_name).replace("%%", "%")
    log = log.replace("%j", number) if number else log
    screen.data({"script": text, "file": out and str(out), "job": number or None, "log": log})
