"""Cells from published judgments of Arena-Hard and MT-Bench.

Input is the originals' model_judgment: for Arena-Hard one file per model with a row per prompt
(uid or question_id, model, judge, games), for MT-Bench one file per judge with a row per rated turn
(question_id, model, judge, turn, score) or per pair (model_1, model_2, g1_winner, g2_winner). A
board has one judge; a folder that mixes them is an error. Scores are those of
`harness.suites.arena_hard.cells` and `harness.suites.mt_bench.cells`, which agree with the
originals' show_result; style control needs the answers and is left out.

Faults in the rows of a model:

    judgment failed, or row absent        counted as failed; an error above 1 % of the prompts
    prompt repeated with another verdict  error
    prompt outside the questions          error, if the questions are given

With `allow_partial` the last and the first are counts in the cells' details instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.core.records import Cell
from harness.engine.io import read_objects
from harness.engine.operations import Row
from harness.judging.frames import Kind
from harness.judging.records import BASELINE, MODEL, Game, Judged, JudgedTurn
from harness.judging.verdict_sets import JudgedItem, JudgmentForm, form_items, judge_of
from harness.suites.arena_hard.cells import ScoreArenaParams, arena_cells
from harness.suites.arena_hard.judgment_files import FORM as ARENA
from harness.suites.mt_bench.cells import ScoreMTBenchParams, pairwise_cells, rating_cells
from harness.suites.mt_bench.judgment_files import CHOICES, RATINGS
from harness.suites.mt_bench.metrics import CATEGORIES
from harness.suites.scoring import CellMaker
from leaderboards.annotations import MISSING_LIMIT

SUITES = ("arena_hard", "mt_bench")
_FIRST_QUESTION = 81  # of MT-Bench, ten for each category
_FORMS = {"arena_hard": (ARENA,), "mt_bench": (RATINGS, CHOICES)}
_ABSENT = "no row in the published judgments"
_UNREADABLE = "no verdict in the published judgments"


@dataclass(frozen=True)
class _Read:
    """A row of a file, and the judgment in it."""

    row: Row
    form: JudgmentForm
    item: JudgedItem
    source: str

    @property
    def games(self) -> tuple[Game, ...]:
        """The games, or the rating; those without a verdict say so."""
        games = self.item.games or (Game("", self.item.value),)
        return tuple(
            game if game.verdict is not None else replace(game, failure=_UNREADABLE)
            for game in games
        )


@dataclass
class _Model:
    """Games of one model by prompt and turn."""

    name: str
    kind: Kind
    games: dict[tuple[str, int], tuple[Game, ...]] = field(default_factory=dict)

    def add(self, prompt: str, turn: int, games: tuple[Game, ...], source: str) -> None:
        """Add a row; one that failed is replaced by one that did not.

        Raises:
            BadData: the prompt has another verdict.
        """
        known = self.games.get((prompt, turn))
        verdicts = [game.verdict for game in games]
        if known is None or None in [game.verdict for game in known]:
            self.games[prompt, turn] = games
        elif None not in verdicts and verdicts != [game.verdict for game in known]:
            raise BadData(
                f'{source}: {self.name} has different verdicts on prompt "{prompt}", turn {turn}; '
                "expected one: keep the judgments of one run"
            )


@dataclass(frozen=True)
class _Questions:
    """Expected prompts: id -> fields of the prompt, and the turns of each."""

    fields: Mapping[str, Mapping[str, Any]]
    turns: tuple[int, ...]
    given: bool


def published_judgments(
    path: Path,
    suite: str,
    *,
    questions: Path | None = None,
    judge: str | None = None,
    baseline: str | None = None,
    allow_partial: bool = False,
    rounds: int = 1000,
) -> list[Cell]:
    """Cells of every model judged below `path`, with scale "published".

    Args:
        path: a .json or .jsonl file (.gz too), or a folder that is searched for .jsonl files.
        suite: "arena_hard" or "mt_bench".
        questions: the originals' question file, for categories, clusters and the number of prompts;
            without it, the prompts are those on which any model was judged.
        judge: use only its judgments.
        baseline: of pairwise verdicts; default: the model that is in every pair.
        allow_partial: also score models with more than 1 % of failed or absent judgments.
        rounds: bootstrap resamples.

    Raises:
        BadData: no judgments, several judges or baselines, or faulty rows.
    """
    rows = _of_one_judge(_read(path, suite), path, judge)
    if suite == "arena_hard":
        return _arena_board(rows, questions, path, allow_partial, rounds)
    rated = [one for one in rows if one.form is RATINGS]
    paired = [one for one in rows if one.form is CHOICES]
    cells = _rating_board(rated, questions, path, allow_partial, rounds) if rated else []
    if paired:
        cells += _pair_board(paired, questions, path, baseline, allow_partial, rounds)
    return cells


def _read(path: Path, suite: str) -> list[_Read]:
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.name.endswith((".jsonl", ".jsonl.gz")))
    found: list[_Read] = []
    others: list[Row] = []
    for file in files:
        for number, row in enumerate(read_objects(file), 1):
            form = next((form for form in _FORMS[suite] if form.fits(row)), None)
            if form is None:
                others.append(row)
                continue
            found += [
                _Read(row, form, item, str(file))
                for item in form_items(form, row, number, str(file))
            ]
    if not found or (len(files) == 1 and others):
        keys = ", ".join(sorted(others[0])[:8]) if others else "no rows"
        raise BadData(
            f"{path}: no judgments of {suite} ({keys}); expected its model_judgment files"
        )
    return found


def _of_one_judge(rows: list[_Read], path: Path, judge: str | None) -> list[_Read]:
    if judge is not None:
        rows = [one for one in rows if judge_of(one.row) == judge]
    names = list(dict.fromkeys(judge_of(one.row) for one in rows))
    if len(names) != 1:
        listed = ", ".join(names) or f"none of {judge}"
        raise BadData(f"{path}: judgments of {listed}; expected one judge: name it with --judge")
    return rows


def _arena_board(
    rows: Sequence[_Read], questions: Path | None, path: Path, allow_partial: bool, rounds: int
) -> list[Cell]:
    """Arena-Hard: one score, or one per category of prompts, which have baselines of their own."""
    by_category: dict[str, list[_Read]] = {}
    for one in rows:
        by_category.setdefault(str(one.row.get("category") or ""), []).append(one)
    cells: list[Cell] = []
    for category, among in by_category.items():
        models = _models(among, "arena")
        found = _scored(
            models, _expected(models.values(), questions, category), "arena_hard",
            judge_of(among[0].row), path, allow_partial, rounds, _arena_cells, mark=category,
        )  # fmt: skip
        if len(by_category) > 1:
            found = [c.model_copy(update={"metric": f"{c.metric}:{category}"}) for c in found]
        cells += found
    return cells


def _models(rows: Iterable[_Read], kind: Kind) -> dict[str, _Model]:
    models: dict[str, _Model] = {}
    for one in rows:
        model = models.setdefault(one.item.system, _Model(one.item.system, kind))
        model.add(one.item.prompt, one.item.turn, one.games, one.source)
    return models


def _arena_cells(maker: CellMaker, rows: list[Judged], about: dict[str, Any]) -> list[Cell]:
    return arena_cells(maker, ScoreArenaParams(**about, style_features=()), rows)


def _rating_board(
    rows: Sequence[_Read], questions: Path | None, path: Path, allow_partial: bool, rounds: int
) -> list[Cell]:
    models = _models(rows, "rating")
    return _scored(
        models, _expected(models.values(), questions), "mt_bench", judge_of(rows[0].row), path,
        allow_partial, rounds,
        lambda maker, rows, about: rating_cells(maker, ScoreMTBenchParams(**about), rows),
    )  # fmt: skip


def _pair_board(
    rows: Sequence[_Read],
    questions: Path | None,
    path: Path,
    baseline: str | None,
    allow_partial: bool,
    rounds: int,
) -> list[Cell]:
    base = _baseline_of(rows, path, baseline)
    models = _models((_against(one, base) for one in rows if base in _names(one)), "pairwise")
    return _scored(
        models, _expected(models.values(), questions), "mt_bench", judge_of(rows[0].row), path,
        allow_partial, rounds, lambda maker, rows, _: pairwise_cells(maker, rows), mark=base,
    )  # fmt: skip


def _names(one: _Read) -> list[str]:
    """Both models of a pair; the item's model is the first."""
    return sorted((str(one.row["model_1"]), str(one.row["model_2"])))


def _against(one: _Read, base: str) -> _Read:
    """The pair as one of the other model against the baseline."""
    names, games = _names(one), one.item.games
    if names[0] == base:
        other = {MODEL: BASELINE, BASELINE: MODEL}
        games = tuple(replace(game, first=other[game.first]) for game in games)
    system = names[1] if names[0] == base else names[0]
    return replace(one, item=replace(one.item, system=system, games=games))


def _baseline_of(rows: Sequence[_Read], path: Path, baseline: str | None) -> str:
    sides = [set(_names(one)) for one in rows]
    common = sorted(set.intersection(*sides))
    if baseline is None and len(common) == 1:
        return common[0]
    if baseline is not None and any(baseline in pair for pair in sides):
        return baseline
    known = ", ".join(sorted(set.union(*sides))[:8])
    raise BadData(f"{path}: which baseline? name one of {known} with --baseline")


def _prompt_id(row: Row, questions: Path) -> str:
    id = next((row[key] for key in ("uid", "question_id") if row.get(key) is not None), None)
    if id is None:
        raise BadData(f"{questions}: a question without uid or question_id; expected one of them")
    return str(id)


def _expected(models: Iterable[_Model], questions: Path | None, category: str = "") -> _Questions:
    keys = [key for model in models for key in model.games]
    turns = tuple(sorted({turn for _, turn in keys}))
    if questions is not None:
        rows = list(read_objects(questions))
        fields = {_prompt_id(row, questions): row for row in rows}
        if category and any(row.get("category") == category for row in rows):
            fields = {id: row for id, row in fields.items() if row.get("category") == category}
        return _Questions(fields, turns, True)
    ids = sorted({prompt for prompt, _ in keys})
    return _Questions({id: _known_fields(id) for id in ids}, turns, False)


def _known_fields(id: str) -> dict[str, Any]:
    """The category of an MT-Bench question by its number, as the original assigns it."""
    place = int(id) - _FIRST_QUESTION if id.isdecimal() and len(id) <= 3 else -1
    if 0 <= place < 10 * len(CATEGORIES):
        return {"category": CATEGORIES[place // 10]}
    return {}


Scorer = Callable[[CellMaker, list[Judged], dict[str, Any]], list[Cell]]


def _scored(
    models: Mapping[str, _Model],
    expected: _Questions,
    suite: str,
    judge: str,
    path: Path,
    allow_partial: bool,
    rounds: int,
    scorer: Scorer,
    mark: str = "",
) -> list[Cell]:
    """Cells of all models on the same prompts.

    Args:
        mark: what else distinguishes the judgments (category or baseline), for the fingerprint.
    """
    ids = sorted(expected.fields)
    prompt_set = digest([suite, mark, ids, list(expected.turns)])
    cells: list[Cell] = []
    for name in sorted(models):
        model = models[name]
        notes = _faults(model, expected, path, allow_partial)
        about = {
            "suite": suite,
            "system": name,
            "scale": "published",
            "judge": judge or "unknown judge",
            "judge_fingerprint": digest(["published", judge, mark]),
            "rounds": rounds,
        }
        rows = [_judged(model, id, expected) for id in ids]
        maker = CellMaker(ScoreArenaParams(**about), prompt_set, {})
        cells += [
            cell.model_copy(update={"details": {**cell.details, **notes}})
            for cell in scorer(maker, rows, about)
        ]
    return cells


def _judged(model: _Model, id: str, expected: _Questions) -> Judged:
    turns = []
    for turn in expected.turns:
        sides = {"rating": ("",), "arena": (BASELINE, MODEL), "pairwise": (MODEL, BASELINE)}
        absent = tuple(Game(side, None, failure=_ABSENT) for side in sides[model.kind])
        games = model.games.get((id, turn), absent)
        turns.append(JudgedTurn("", None, None, games))
    wanted = ("category", "cluster")
    about = {name: expected.fields[id][name] for name in wanted if expected.fields[id].get(name)}
    return Judged(model.kind, id, model.name, tuple(turns), prompt_fields=about)


def _faults(
    model: _Model, expected: _Questions, path: Path, allow_partial: bool
) -> dict[str, int | bool]:
    """Counts for the details of a model's cells.

    Raises:
        BadData: too many faults, unless `allow_partial`.
    """
    wanted = {(id, turn) for id in expected.fields for turn in expected.turns}
    foreign = sorted(model.games.keys() - wanted)
    absent = len(wanted - model.games.keys())
    known = [games for key, games in model.games.items() if key in wanted]
    unjudged = sum(any(game.verdict is None for game in games) for games in known)
    faults = []
    if foreign:
        faults.append(f"{len(foreign)} judgments of other prompts (e.g. {foreign[0][0]})")
    if absent + unjudged > MISSING_LIMIT * len(wanted):
        faults.append(f"{absent + unjudged} of {len(wanted)} judgments absent or without verdict")
    if faults and not allow_partial:
        raise BadData(
            f"{model.name} ({path}): {'; '.join(faults)}; correct the file, or score the remaining "
            "rows with --allow-partial"
        )
    counts = {"n_absent": absent, "n_unjudged": unjudged, "n_foreign": len(foreign)}
    return {"partial": bool(faults), **counts}
