"""Batch scripts for Slurm: values for a template, with everything quoted for its place.

    text = script(Job(command=("crucible", "reproduce", "wrpo"), ...))

The template is jinja; the packaged one is templates/slurm.sh.jinja. Its filters: `quote` for one
word of the shell, `array` for several, `directive` for a value in an #SBATCH line.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from harness.core.errors import BadRecord, EnvironmentProblem, UserError
from harness.core.records import Record

TEMPLATE = Path(__file__).parent / "templates" / "slurm.sh.jinja"
TIME = re.compile(
    r"(?:(?P<days>\d+)-(?P<hours>\d+)(?::(?P<minutes>\d+)(?::(?P<seconds>\d+))?)?"
    r"|(?P<h>\d+):(?P<m>\d+):(?P<s>\d+)|(?P<only>\d+)(?::(?P<rest>\d+))?)",
    re.ASCII,
)
FORMS = "minutes, minutes:seconds, hours:minutes:seconds, days-hours or days-hours:minutes:seconds"
SIGNALS = ("USR1", "USR2", "HUP")  # TERM and INT are how jobs are cancelled


class Job(Record):
    """Everything that a script says.

    Attributes:
        command: words of the command that the job runs.
        origin: how the script was made.
        remarks: lines of comments, for example where its sizes come from.
        nodes: more than one become a cluster of Ray.
        ray, python: programs that start and examine that cluster.
        gpus: number of GPUs of a node, or TYPE:NUMBER; "" for none.
        memory: of a node, such as 64G; "" for Slurm's default.
        folder: working folder.
        log: file of the output; %j is the job's number, %% a per cent sign.
        signal, notice: the signal that Slurm sends this many seconds before the time limit.
        requeues: most times that the job queues itself again.
        options: further options of sbatch, such as --qos=high.
        environment: variables of the command.
        setup: lines of shell before the command.
    """

    command: tuple[str, ...]
    origin: str = ""
    remarks: tuple[str, ...] = ()
    job_name: str
    nodes: int = Field(default=1, ge=1)
    ray: str = "ray"
    python: str = "python"
    gpus: str = ""
    cpus: int = Field(ge=1)
    memory: str = Field(default="", pattern=r"^(\d+[KMGT]?)?$")
    time: str
    partition: str = ""
    account: str = ""
    folder: str
    log: str
    signal: str = SIGNALS[0]
    notice: int = Field(default=120, ge=1, le=65535)
    requeues: int = Field(default=20, ge=0)
    options: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    setup: tuple[str, ...] = ()

    @field_validator("gpus")
    @classmethod
    def _counts_gpus(cls, value: str) -> str:
        if not re.fullmatch(r"|(?:[\w.-]+:)?[1-9]\d*", value):
            raise ValueError("a number of GPUs, or TYPE:NUMBER such as a100:1")
        return value

    @field_validator("options")
    @classmethod
    def _are_options(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not re.fullmatch(r"-{1,2}[A-Za-z][^\n\r]*", value):
                raise ValueError("options of sbatch, each like --qos=high on one line")
        return values

    @field_validator("job_name", "partition", "account", "folder", "log", "origin")
    @classmethod
    def _is_one_line(cls, value: str) -> str:
        if re.search(r"[\n\r\0]", value):
            raise ValueError("one line")
        return value

    @field_validator("job_name")
    @classmethod
    def _is_part_of_a_file_name(cls, value: str) -> str:
        if not value or "/" in value or "%" in value:
            raise ValueError("a name without / and %, which is part of the log's name")
        return value


def seconds_of(time: str) -> int:
    """Seconds of a time in one of Slurm's forms.

    Raises:
        UserError: another form, or no time at all.

    >>> seconds_of("90"), seconds_of("1-12"), seconds_of("02:30:00")
    (5400, 129600, 9000)
    """
    found = TIME.fullmatch(time.strip())
    parts = {
        key: int(value) for key, value in (found.groupdict() if found else {}).items() if value
    }
    hours = 24 * parts.get("days", 0) + parts.get("hours", 0) + parts.get("h", 0)
    minutes = 60 * hours + sum(parts.get(key, 0) for key in ("minutes", "m", "only"))
    seconds = 60 * minutes + sum(parts.get(key, 0) for key in ("seconds", "s", "rest"))
    if not seconds:
        raise UserError(f'--time is "{time}"; expected {FORMS}, for example 24:00:00')
    return seconds


def signal_of(text: str) -> tuple[str, int]:
    """Signal and seconds of "[NAME@]SECONDS".

    Raises:
        UserError: another form.

    >>> signal_of("300"), signal_of("USR2@60")
    (('USR1', 300), ('USR2', 60))
    """
    name, at, seconds = text.rpartition("@")
    name = name.removeprefix("SIG") if at else SIGNALS[0]
    if name not in SIGNALS or not seconds.isascii() or not seconds.isdigit() or not int(seconds):
        raise UserError(
            f'--signal is "{text}"; expected SECONDS or SIGNAL@SECONDS with one of '
            f"{', '.join(SIGNALS)}, for example USR1@300"
        )
    return name, int(seconds)


def script(job: Job, template: Path | None = None) -> str:
    """The batch script of a job.

    Raises:
        BadRecord: the template cannot be read, is not jinja, uses a variable that does not exist,
            or gives no script.
    """
    from jinja2 import Environment, StrictUndefined, TemplateError, TemplateSyntaxError

    path = template or TEMPLATE
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadRecord(f"template {path} cannot be read: {why}") from None
    shell = Environment(
        undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    shell.filters |= {"quote": quoted, "array": _array, "directive": directive}
    values: Mapping[str, Any] = dict(job)
    try:
        text = shell.from_string(source).render(values)
    except TemplateSyntaxError as error:
        raise BadRecord(f"template {path}, line {error.lineno}: {error.message}") from None
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise BadRecord(
            f"template {path}: {error}; its variables are {', '.join(values)}"
        ) from None
    if not text.startswith("#!"):
        raise BadRecord(
            f"template {path} begins with {text[:20]!r}; expected a script, whose first line is "
            "#!/bin/bash (crucible launch slurm --print-template)"
        )
    return text


def quoted(value: object) -> str:
    """A value as one word of the shell.

    >>> quoted("it's $5")
    '\\'it\\'"\\'"\\'s $5\\''
    """
    return shlex.quote(str(value))


def _array(words: Sequence[str]) -> str:
    return f"({shlex.join(words)})"


def directive(value: object) -> str:
    """A value in an #SBATCH line, which knows quotation marks and backslashes.

    >>> directive("wrpo"), directive('my "run"')
    ('wrpo', '"my \\\\"run\\\\""')
    """
    text = str(value)
    if re.fullmatch(r"[\w./%:@+,=-]+", text):
        return text
    escaped = re.sub(r'([\\"])', r"\\\1", text)
    return f'"{escaped}"'


def submit(text: str) -> str:
    """Submit a script; returns the number of the job.

    Raises:
        EnvironmentProblem: there is no sbatch, or it refuses the script.
    """
    program = shutil.which("sbatch")
    if program is None:
        raise EnvironmentProblem(
            "sbatch is not on PATH; expected a machine of the cluster (without --submit the script "
            "is printed, --out FILE writes it)"
        )
    try:
        done = subprocess.run(
            [program, "--parsable"], input=text, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise EnvironmentProblem(f"{program} cannot be run: {error.strerror}") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()) or "no reason given"
        raise EnvironmentProblem(f"sbatch refused the job (exit code {done.returncode}): {said}")
    return done.stdout.strip().partition(";")[0]
