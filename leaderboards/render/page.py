"""Shared parts of the HTML pages: content security policy, assets, escaping templates.

A page loads nothing and sends nothing. Its style and script are inline and allowed by their hashes;
the policy forbids everything else, so that no other script runs even after an escaping mistake.
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

# "<" could end the script element or open a comment in it, line separators end a line in old
# JavaScript, and lone surrogates have no UTF-8 encoding. JSON parsers decode all \u escapes.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff\x7f-\x9f]")


@cache
def asset(name: str) -> str:
    """The text of a file in this folder."""
    return (FOLDER / name).read_text(encoding="utf-8").strip()


def script(*names: str) -> str:
    """One script of several files of this folder, which share a scope of their own."""
    parts = "\n".join((FOLDER / name).read_text(encoding="utf-8").rstrip() for name in names)
    return f'"use strict";\n(() => {{\n{parts}\n}})();'


def policy(style: str, *scripts: str) -> Markup:
    """The Content-Security-Policy of a page with one inline style and these inline scripts."""
    allowed = " ".join(f"'{_hash(script)}'" for script in scripts)
    return Markup(
        f"default-src 'none'; style-src '{_hash(style)}'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def embedded_json(value: object) -> Markup:
    """A value as JSON that is safe inside a script element of type application/json.

    >>> print(embedded_json(["</script>"]))
    ["\\u003c/script\\u003e"]
    """
    data = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", data))


@cache
def templates() -> Environment:
    """The Jinja environment of the templates in this folder; values are escaped."""
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )


def _finalize(value: object) -> object:
    """Make hidden characters of strings visible, before they are escaped."""
    return visible(value) if type(value) is str else value
