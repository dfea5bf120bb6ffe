"""A process that renders chat templates on trial, within limits; see `template_limits`.

Arguments: address space in MB, seconds per rendering. Input lines: JSON {"template", "variables",
"date", "longest"}; output lines: "ended", "refused" or "too long". It makes the environment that
transformers makes.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from datetime import datetime
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    """The block `{% generation %}`, which marks answers."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_shown")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _shown(self, caller: Any) -> Any:
        return caller()


def environment(date: datetime) -> ImmutableSandboxedEnvironment:
    """The environment of a chat template on a given day."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )

    def refuse(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    made.filters["tojson"] = to_json
    made.globals["raise_exception"] = refuse
    made.globals["strftime_now"] = date.strftime
    return made


def tried(request: dict[str, Any], compiled: dict[str, Any]) -> str:
    """Result of one rendering."""
    try:
        text, date = request["template"], datetime.fromisoformat(request["date"])
        if text not in compiled:
            compiled.clear()
            compiled[text] = environment(date).from_string(text)
        length = 0
        for piece in compiled[text].generate(strftime_now=date.strftime, **request["variables"]):
            length += len(piece)
            if length > request["longest"]:
                return "too long"
    except MemoryError:
        return "too long"
    except Exception:
        return "refused"
    return "ended"


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main() -> None:
    memory, seconds = int(sys.argv[1]) << 20, int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    compiled: dict[str, Any] = {}
    say("ready")
    for line in sys.stdin:
        signal.alarm(seconds + 1)  # nobody may be left to end this process
        found = tried(json.loads(line), compiled)
        signal.alarm(0)
        say(found)


if __name__ == "__main__":
    main()
