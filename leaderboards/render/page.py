"""What every html page of ours has in common: its policy, its assets, escaped templates.

A page loads nothing and sends nothing. Style and script stand in it and are allowed by their
hashes; the policy forbids everything else, so that even an escaping mistake runs no script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.core.text import visible

FOLDER = Path(__file__).parent

# "<" could end the script element or open a comment in it; the line separators end a line in old
# readers; half characters have no UTF-8. JSON reads all of them back from their codes.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff\x7f-\x9f]")


@cache
def asset(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8").strip()


def policy(style: str, script: str) -> Markup:
    """The Content-Security-Policy of a page with one style and one script."""
    return Markup(
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def embedded_json(value: object) -> Markup:
    """JSON that is safe inside a script element of type application/json.

    >>> print(embedded_json(["</script>"]))
    ["\\u003c/script\\u003e"]
    """
    data = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", data))


@cache
def templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )


def _finalize(value: object) -> object:
    """Every string that enters a page has its hidden characters shown; then it is escaped."""
    return visible(value) if type(value) is str else value
