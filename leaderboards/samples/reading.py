"""From a cell, or an artifact of rows, to samples.

Judgment rows are told apart by their shape, not by the operation that made them, so that a suite
of a plugin is read as well as ours:

    games of a prompt, with `preference`     AlpacaEval
    games of a prompt, labels as verdicts    Arena-Hard
    `turns` with games                       MT-Bench against a baseline
    `turns` with a verdict each              MT-Bench ratings
    anything else                            a table of its fields

A cell that measures a part of its judgments (`category:math`, `turn_2`) gets that part.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.errors import BadData, UserError
from harness.core.records import Cell
from harness.engine.operations import Artifact, Row
from harness.engine.store import Store
from harness.judging.labels import EMPHASIS
from harness.judging.verdict_sets import first_share, model_share
from leaderboards.samples.records import FAILED, RATING_STEPS, Game, Sample, Samples, Turn
from leaderboards.samples.rows import labels_of, samples_of_rows
from leaderboards.samples.suspicion import suspicion

# Where a cell's samples are looked for, in this order, before any other artifact with rows.
ROLES = ("judgments", "results", "samples", "rows", "generations")


def samples_of_cell(store: Store, cell: Cell) -> Samples:
    """The samples that a cell's number was made from.

    Raises:
        UserError: the cell names no artifact, or the store has none of them.
    """
    title = f"{cell.system} / {cell.suite} / {cell.metric}"
    judging = _rows_behind(store, cell, title)
    generations = cell.artifacts.get("generations")
    other = None
    if generations and generations != judging.id and _has_rows(store, generations):
        other = store.artifact(generations)
    weight = cell.details.get("weight")
    weight = weight if isinstance(weight, int) else EMPHASIS
    kind, samples = _read(store, judging, other, cell.metric, weight)
    category = cell.metric.removeprefix("category:")
    if category != cell.metric:
        samples = [s for s in samples if s.labels.get("category") == category]
    baseline = _baseline(store, judging.id)
    return Samples(title, kind, cell, tuple(samples), judging, dict(cell.artifacts), baseline)


def samples_of_artifact(store: Store, id: str) -> Samples:
    """The rows of an artifact as samples, without a cell.

    Raises:
        UserError: the artifact holds no rows.
    """
    if not _has_rows(store, id):
        raise UserError(
            f"artifact {id[:10]} holds no rows; expected judgments, generations or other rows "
            f"(crucible show {id[:10]} lists its files)"
        )
    judging = store.artifact(id)
    inputs = store.manifest(id)["inputs"]
    name = next((inputs[k] for k in ("generations", "responses") if k in inputs), None)
    known = isinstance(name, str) and _has_rows(store, name)
    kind, samples = _read(store, judging, store.artifact(str(name)) if known else None)
    label = f"{store.manifest(id)['label']} {id[:10]}"
    artifacts = {judging.operation: id}
    return Samples(label, kind, None, tuple(samples), judging, artifacts, _baseline(store, id))


def _baseline(store: Store, judgments: str) -> str:
    """Where the other side's answers came from; "" where there is no other side."""
    id = store.manifest(judgments)["inputs"].get("baseline")
    if not isinstance(id, str) or not store.has(id):
        return ""
    manifest = store.manifest(id)
    return str(manifest["params"].get("source") or manifest["label"])


def _rows_behind(store: Store, cell: Cell, title: str) -> Artifact:
    roles = [*ROLES, *sorted(set(cell.artifacts) - set(ROLES))]
    named = [cell.artifacts[role] for role in roles if role in cell.artifacts]
    for id in named:
        if _has_rows(store, id):
            return store.artifact(id)
    if not named:
        raise UserError(
            f"the cell {title} names no artifact: its judgments were published elsewhere and are "
            "not in a store; samples can be shown of cells that Crucible made"
        )
    absent = ", ".join(f"{role} {id[:10]}" for role, id in cell.artifacts.items())
    raise UserError(
        f"the cell {title} stands on {absent}, none with rows in the store {store.root}; give the "
        "store it was made in (--store, or CRUCIBLE_HOME), or run its command again"
    )


def _has_rows(store: Store, id: str) -> bool:
    return store.has(id) and (store.folder(id) / "rows.jsonl").is_file()


def _read(
    store: Store,
    judging: Artifact,
    generations: Artifact | None,
    metric: str = "",
    weight: int = EMPHASIS,
) -> tuple[str, list[Sample]]:
    rows = judging.rows()
    kind = _kind(rows)
    if kind == "rows":
        return kind, samples_of_rows(judging, rows, metric)
    made = {row["id"]: row for row in generations.rows()} if generations else {}
    guides = _references(store, judging)
    samples = []
    for number, row in enumerate(rows):
        try:
            guide = guides.get(str(row["id"]), [])
            samples.append(_judged(row, made.get(row["id"], {}), guide, metric, weight))
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise BadData(
                f'artifact {judging.id[:10]}, row "{row.get("id", number)}": '
                f"no judgment can be read from it ({type(error).__name__} {error}); expected games "
                "or turns as the judging operations write them"
            ) from None
    return kind, samples


def _kind(rows: Sequence[Row]) -> str:
    if not rows:
        return "rows"
    row = rows[0]
    if isinstance(row.get("games"), list):
        return "pair"
    turns = row.get("turns")
    if isinstance(turns, list) and turns and isinstance(turns[0], dict):
        return "pair" if "games" in turns[0] else "rating"
    return "rows"


def _references(store: Store, judging: Artifact) -> dict[str, list[str]]:
    """The reference answers the judge was given, by prompt id."""
    id = store.manifest(judging.id)["inputs"].get("references") if store.has(judging.id) else None
    if not isinstance(id, str) or not _has_rows(store, id):
        return {}
    return {str(row["id"]): row.get("answers") or [] for row in store.artifact(id).rows()}


def _judged(row: Row, made: Row, guide: Sequence[str], metric: str, weight: int) -> Sample:
    single = "turns" not in row
    parts = [{**row, "question": row["prompt"]}] if single else row["turns"]
    turns = tuple(_turn(part, guide[n] if n < len(guide) else "") for n, part in enumerate(parts))
    chosen = _chosen(parts, metric)
    ratings = "games" not in parts[0]
    if ratings:
        value = _mean([parts[n]["verdict"] for n in chosen])
    elif "preference" in row:
        value = row["preference"]
    else:
        value = _mean([model_share(parts[n]["games"], weight) for n in chosen])
    told = (row["suspicious"],) if row.get("suspicious") else ()
    said = [turn.answer for turn in turns if turn.answer]
    return Sample(
        id=str(row["id"]),
        outcome=_outcome(value, ratings),
        value=value,
        turns=turns,
        labels=labels_of(row),
        suspicions=tuple(dict.fromkeys((*told, *suspicion(said)))),
        rendered=made.get("rendered") or "",
        fields=_remarks(made),
    )


def _chosen(parts: Sequence[Row], metric: str) -> list[int]:
    """Which turns the metric is about: the one it names, else all."""
    named = metric.removeprefix("turn_")
    found = [n for n, part in enumerate(parts) if metric != named and str(part["turn"]) == named]
    return found or list(range(len(parts)))


def _turn(part: Row, reference: str) -> Turn:
    if "games" in part:
        games = tuple(_game(game) for game in part["games"])
        answers = part["answers"]
        return Turn(part["question"], answers["model"], answers["baseline"], games, reference)
    game = _game({**part, "first": ""})
    guided = reference if part.get("guided") else ""
    return Turn(part["question"], part["answer"], None, (game,), guided)


def _game(game: Row) -> Game:
    first, verdict = game.get("first", ""), game["verdict"]
    if verdict is None:
        outcome = FAILED
    elif not first:
        outcome = ""
    else:
        ahead = first_share(verdict) - 0.5
        outcome = "tie" if ahead == 0 else "win" if (ahead > 0) == (first == "model") else "loss"
    return Game(
        first=first,
        verdict="" if verdict is None else _number(verdict),
        outcome=outcome,
        reply=game.get("reply") or "",
        attempts=int(game.get("attempts") or 0),
        failure=game.get("failure") or "",
        logprobs=tuple((str(token), float(logp)) for token, logp in game.get("logprobs") or ()),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found and len(found) == len(values) else None


def _outcome(value: float | None, rating: bool) -> str:
    if value is None:
        return FAILED
    if rating:
        low, high = RATING_STEPS
        return "low" if value < low else "middle" if value < high else "high"
    return "tie" if value == 0.5 else "win" if value > 0.5 else "loss"


def _remarks(made: Row) -> dict[str, str]:
    """What the generation says of itself that a reader of the judgment wants to know."""
    found = {}
    if made.get("error"):
        found["generation failed"] = str(made["error"])
    finish = [str(reason) for reason in made.get("finish") or ()]
    if finish and set(finish) != {"stop"}:
        found["generation ended"] = ", ".join(finish)
    if made.get("system_prompt"):
        found["system prompt"] = str(made["system_prompt"])
    return found


def _number(verdict: float | str) -> str:
    """A verdict as text.

    >>> _number(0.69872), _number(7.0), _number("A>B")
    ('0.699', '7', 'A>B')
    """
    if isinstance(verdict, str):
        return verdict
    return f"{verdict:.3f}".rstrip("0").rstrip(".")
