"""Model cards: README.md beside a trained checkpoint, with recipe, data, scores and provenance.

The header is what model hubs read. Texts of recipes and stores are escaped; host names are left
out, because cards are published.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.core.errors import DamagedArtifact
from harness.core.records import Cell, parse
from harness.core.text import code_span, markdown, visible
from harness.engine.store import Store, inputs_of
from harness.reproduce import Reproduction

CARD = "README.md"
SHOWN = ("operation", "version", "libraries", "python", "platform", "revision", "finished")


def model_card(made: Reproduction, id: str, store: Store, command: str = "") -> str:
    """The card of a trained checkpoint.

    Args:
        made: the reproduction that it belongs to.
        id: artifact of the checkpoint.
        command: command that trains it again.
    """
    recipe, manifest = made.recipe, store.manifest(id)
    sources = list(_sources(store, id))
    bases = [params["ref"] for name, params in sources if name == "import_model"]
    title = f"{recipe.title or recipe.method}: {made.method}"
    nano = any(str(base).startswith("nano:") for base in bases)
    parts = [_header(made, bases), f"# {markdown(visible(title, 200))}"]
    if nano:
        parts.append("> **nano: a tiny model of a synthetic world, for checks of methods alone.**")
    parts.append(
        f"Trained by the method {code_span(made.method)} of Crucible"
        + (f" ({markdown(recipe.paper)})" if recipe.paper else "")
        + f", profile {code_span(made.scale)}, seed {recipe.seed}, recipe {code_span(recipe.id())}."
    )
    parts += ["## Data and models behind it", _data(sources)]
    parts += ["## Scores", _scores(_cells(made, id, store), made.method)]
    parts += ["## Recipe", _fenced(recipe.model_dump(mode="json", exclude_none=True))]
    facts = {"artifact": id, **{name: manifest.get(name) for name in SHOWN}}
    facts |= {"command": command}
    lines = [f"- {name}: {code_span(_text(value))}" for name, value in facts.items() if value]
    parts += ["## Provenance", "\n".join(lines)]
    parts += [
        "## Licence",
        "The licences of the models and data named above decide what this checkpoint may be used "
        "for; `license: other` above stands until you choose one.",
    ]
    return "\n\n".join(parts) + "\n"


def write_model_card(
    folder: Path, made: Reproduction, id: str, store: Store, command: str = ""
) -> Path:
    """Write the card into a checkpoint's folder."""
    path = folder / CARD
    text = model_card(made, id, store, command)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def _header(made: Reproduction, bases: Sequence[str]) -> str:
    """Metadata for hubs: YAML whose values are JSON."""
    published = [base for base in dict.fromkeys(map(str, bases)) if ":" not in base and "/" in base]
    header: dict[str, Any] = {"license": "other", "library_name": "transformers"}
    header["tags"] = ["crucible", made.method]
    if published and not any(Path(base).is_absolute() for base in published):
        header["base_model"] = published[0]
    lines = [f"{key}: {json.dumps(value)}" for key, value in header.items()]
    return "\n".join(["---", *lines, "---"])


def _sources(store: Store, id: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """Operation and parameters of every import that an artifact was made from, nearest first."""
    waiting, seen = [id], set[str]()
    while waiting:
        current = waiting.pop(0)
        if current in seen or not store.has(current):
            continue
        seen.add(current)
        try:
            manifest = store.manifest(current)
        except DamagedArtifact:  # the next run computes it again
            continue
        if str(manifest["operation"]).startswith("import_"):
            yield str(manifest["operation"]), dict(manifest.get("params", {}))
        waiting += inputs_of(manifest)


def _data(sources: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    rows = []
    for operation, params in sources:
        named = str(params.get("ref") or params.get("source") or "?")
        digest = str(params.get("digest") or params.get("revision") or "")
        rows.append((operation.removeprefix("import_"), named, digest[:16]))
    if not rows:
        return "The store no longer has what it was made from."
    lines = [
        f"| {kind} | {markdown(ref, 200)} | {markdown(digest)} |" for kind, ref, digest in rows
    ]
    return "\n".join(["| kind | source | digest |", "|---|---|---|", *dict.fromkeys(lines)])


def _cells(made: Reproduction, id: str, store: Store) -> list[Cell]:
    """Scores of this checkpoint that the store has already."""
    found = []
    for run in made.runs:
        model = made.models.get((run.seed, run.system.name))
        if model is not None and model.id == id and store.has(run.cells.id):
            with suppress(DamagedArtifact):
                listed = store.artifact(run.cells.id).read_json("cells.json")
                found += [parse(Cell, data, f"artifact {run.cells.id}") for data in listed]
    return found


def _scores(cells: Sequence[Cell], method: str) -> str:
    if not cells:
        return f"None yet: {code_span(f'crucible reproduce {method}')} evaluates it."
    lines = [
        "| suite | metric | value | interval | scored | judge |",
        "|---|---|---:|---|---:|---|",
    ]
    for cell in cells:
        value = "—" if cell.value is None else f"{cell.value:.2f}"
        span = cell.interval
        between = "—" if span is None else f"{span.low:.2f} to {span.high:.2f}"
        counts = f"{cell.n_scored}/{cell.n_expected}"
        names = [markdown(name, 120) for name in (cell.suite, cell.metric, cell.judge or "")]
        lines.append(f"| {' | '.join([*names[:2], value, between, counts, names[2]])} |")
    return "\n".join(lines)


def _fenced(value: object) -> str:
    """A value as JSON between fences; JSON text cannot begin a line with a fence."""
    return f"```json\n{json.dumps(value, indent=1, sort_keys=True, default=str)}\n```"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
