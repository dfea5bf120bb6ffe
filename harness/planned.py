"""A plan and the stages that end it: what a reproduction and an evaluation have in common.

`PlannedRun` runs what is missing of its plan, then gives cells and board. What would stop the run
is checked before its first stage, see `harness.api.hosted_models`.
"""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.api.executors import check_machines, executor_of
from harness.api.hosted_models import check_keys
from harness.api.results import Scored, results_html
from harness.core.errors import UserError, unknown
from harness.core.records import Cell, parse
from harness.engine.calls import Account, CallSettings, Services
from harness.engine.code import changed
from harness.engine.mending import examine
from harness.engine.operations import Row
from harness.engine.plan import Handle, Plan, Stage, StageMaker
from harness.engine.run import Reporter, RunSummary
from harness.engine.store import Store
from harness.judging.frames import Kind
from harness.judging.operations import kind_of_rows
from harness.judging.records import Judged
from leaderboards.board import Board, build_board
from leaderboards.growth import Grown, grow, recipe_in
from leaderboards.render import render
from leaderboards.spec import BoardSpec


@dataclass
class PlannedRun(Scored):
    """Stages planned, not yet run.

    Attributes:
        store: store of the last run; None before.
        account: requests, tokens and money spent on hosted models by the last run.
    """

    plan: Plan = field(default_factory=Plan, kw_only=True)
    store: Store | None = field(default=None, kw_only=True)
    account: Account = field(default_factory=Account, kw_only=True)
    _read: dict[str, list[Cell]] = field(default_factory=dict, kw_only=True, repr=False)

    @property
    @abstractmethod
    def targets(self) -> list[Handle]:
        """The stages that write cells."""

    @property
    @abstractmethod
    def cells(self) -> list[Cell]:
        """The scores.

        Raises:
            UserError: before `run`.
        """

    @abstractmethod
    def board_spec(self, command: str = "") -> BoardSpec:
        """Rows, columns and claims of the board; `command` goes into its provenance."""

    @property
    def result_cells(self) -> Sequence[Cell]:
        """The scores; stages that the default store lacks are executed, reported on stderr."""
        if self.store is None or not all(self.store.has(handle.id) for handle in self.targets):
            from rich.console import Console

            from harness.cli.progress import ProgressReporter

            with ProgressReporter(Console(stderr=True)) as reporter:
                self.run(self.store, reporter)
        return self.cells

    @property
    def result_store(self) -> Store | None:
        return self.store

    def _repr_html_(self) -> str:
        """For notebooks: the main scores, or what a run would do."""
        if self.store is not None:
            return results_html([r for r in self.results if r.combined.primary])
        return (
            f"<p>{len(self.plan.stages)} stages planned, none run: "
            "<code>.run()</code> or <code>.score</code> runs them</p>"
        )

    def run(
        self,
        store: Store | Path | str | None = None,
        progress: Reporter | None = None,
        calls: CallSettings | None = None,
    ) -> RunSummary:
        """Execute the stages that the store lacks.

        Args:
            store: a store or its folder (default: $CRUCIBLE_HOME, else .crucible).
            progress: object that receives the progress of each stage (default: none).
            calls: settings for hosted models; responses are stored beside the artifacts.

        Raises:
            EnvironmentProblem: a key or an extra is missing; nothing was run.
            UserError: the run needs a permission that `calls` does not give.
        """
        return self._execute(self.targets, store, progress, calls)

    def _execute(
        self,
        targets: Sequence[Handle],
        store: Store | Path | str | None,
        progress: Reporter | None = None,
        calls: CallSettings | None = None,
    ) -> RunSummary:
        self.store = store = opened(store)
        calls = calls or CallSettings()
        if calls.responses is None:
            calls = calls.model_copy(update={"responses": store.root / "responses.sqlite"})
        finished = examine(self.plan, targets, store)[0]
        if todo := self.plan.needed(targets, finished):
            self.check(todo, calls)
        self._read.clear()
        with Services(calls) as services:
            self.account = services.account
            executor = executor_of(services, self.plan)
            return executor.execute(self.plan, targets, store, progress)

    def check(self, todo: Sequence[Stage], calls: CallSettings) -> None:
        """Refuse a run that could not finish, before its first stage.

        Raises:
            EnvironmentProblem, UserError: see `check_keys` and `check_machines`.
        """
        check_machines(todo, calls)
        check_keys(self.plan, todo, calls)

    def todo(self, store: Store | None) -> list[Stage]:
        """Stages that a run would execute; None is an empty store."""
        finished = [] if store is None else examine(self.plan, self.targets, store)[0]
        return self.plan.needed(self.targets, finished)

    def changes(self, store: Store | None) -> list[str]:
        """Sentences about plugins whose code changed since earlier runs of these stages."""
        return changed(store.root, self.todo(store)) if store is not None else []

    def forget(self, store: Store, which: str) -> int:
        """Discard finished stages, so that a run computes them again, with all that use them.

        Args:
            which: "all", or a name or label of an operation, or the beginning of a stage's id.

        Returns:
            Number of discarded artifacts.

        Raises:
            UserError: no stage of the plan is called that.
        """
        stages = self.plan.needed(self.targets, [])
        chosen = {s.id for s in stages if which in ("all", s.operation.name, s.label)}
        chosen |= {s.id for s in stages if len(which) >= 6 and s.id.startswith(which)}
        if not chosen:
            names = {name for s in stages for name in (s.operation.name, s.label)}
            raise unknown("stage", which, {"all", *names})
        for stage in stages:  # each after its inputs
            if chosen & {*stage.input_ids()}:
                chosen.add(stage.id)
        found = [id for id in chosen if store.has(id)]
        for id in found:
            store.discard(id)
        for id in chosen:
            shutil.rmtree(store.partial(id), ignore_errors=True)
        return len(found)

    @property
    def board(self) -> Board:
        """The scores as a board.

        Raises:
            UserError: before `run`.
        """
        return build_board(self._spec(), self.cells)

    def _spec(self, command: str = "") -> BoardSpec:
        """The board's specification with what its stages noted."""
        return self.board_spec(command).model_copy(update={"stage_notes": self.stage_notes})

    @property
    def stage_notes(self) -> tuple[str, ...]:
        """What the stages of the plan said at their end, each with the label of its stage.

        Raises:
            UserError: before `run`.
        """
        store = self._done()
        stored = (s for s in self.plan.needed(self.targets, []) if store.has(s.id))
        notes = [
            f"{stage.label}: {note}"
            for stage in stored
            for note in store.manifest(stage.id).get("notes", ())
        ]
        return tuple(dict.fromkeys(notes))

    def render(self, format: str = "terminal") -> str:
        """The board as text, in one of the formats of `leaderboards.render.render`."""
        return render(self.board, format)

    def write_board(self, folder: Path | None = None, command: str = "") -> Path:
        """Write the board's folder: cells, specification, html, md, csv, json and tex.

        A board that the folder has already grows, see `grow_board`.

        Args:
            folder: default: boards/<name of the board> in the store.
            command: command that makes the board again, for its provenance.
        """
        return self.grow_board(folder, command).folder

    def grow_board(
        self,
        folder: Path | None = None,
        command: str = "",
        *,
        replace: bool = False,
        by_judge: bool = False,
    ) -> Grown:
        """As `write_board`; says how the board grew.

        Cells of other systems stay. Without a folder, a board of another recipe under the same name
        stays as well, and this one gets a name with the recipe's id.

        Args:
            replace: replace the board of another recipe.
            by_judge: give each judge columns of its own.

        Raises:
            UserError: the folder has the board of another recipe, or scores that are not ranked
                with these; the folder is then unchanged.
        """
        spec, cells = self._spec(command), self.cells
        boards = self._done().root / "boards"
        there, own = recipe_in(boards / spec.name), spec.provenance.recipe_id
        if folder is None and not replace and there is not None and there != own:
            spec = spec.model_copy(update={"name": f"{spec.name}+{own[:8] or 'evaluation'}"})
        return grow(folder or boards / spec.name, spec, cells, replace=replace, judges=by_judge)

    def forget_failures(self, store: Store) -> int:
        """Discard finished stages with failed rows and what was made from them; count these rows.

        Responses of hosted models stay stored, so that a run asks for the failed rows alone.
        """
        gone: set[str] = set()
        total = 0
        for stage in self.plan.stages.values():
            if not store.has(stage.id) or store.problem(stage.id):
                continue  # a damaged one is computed again in any case
            failed = 0
            if stage.operation.rows is not None:
                rows = store.artifact(stage.id).rows()
                kind = kind_of_rows(rows, stage.operation.name)
                failed = sum(has_failed(row, kind) for row in rows)
            if failed or gone.intersection(stage.input_ids()):
                store.discard(stage.id)
                gone.add(stage.id)
                total += failed
        return total

    def _done(self) -> Store:
        if self.store is None:
            raise UserError("nothing has been run yet; expected a call of run() first")
        return self.store

    def _cells_of(self, handle: Handle) -> list[Cell]:
        """The scores of one stage; read once per run."""
        if handle.id not in self._read:
            artifact = self._done().artifact(handle.id)
            listed = artifact.read_json("cells.json")
            where = f"artifact {artifact.id}"
            self._read[handle.id] = [parse(Cell, data, where) for data in listed]
        return self._read[handle.id]


def opened(store: Store | Path | str | None) -> Store:
    """A store from itself or its folder."""
    return store if isinstance(store, Store) else Store(None if store is None else Path(store))


def checked(planned: Any, whose: str, *others: type) -> Any:
    """The result of a plan, if it is a handle or one of `others`.

    Raises:
        UserError: it is something else; plugins may return anything.
    """
    if not isinstance(planned, (Handle, *others)):
        raise UserError(
            f"the plan of {whose} returned {type(planned).__name__}; expected the handle that "
            "stage(...) gives (harness.testing checks a plugin)"
        )
    return planned


def labelled_stage(stage: StageMaker, prefix: str) -> StageMaker:
    """The same stage maker, with a prefix on every label."""

    def named(name: str, /, *, label: str = "", **arguments: Any) -> Handle:
        return stage(name, label=f"{prefix}: {label or name}", **arguments)

    return named


def has_failed(row: Row, kind: Kind | None = None) -> bool:
    """Whether a row contains a failed answer, or a judgment without a verdict.

    Args:
        kind: of judged rows, see `kind_of_rows`.
    """
    if row.get("error") and ("responses" in row or "labels" in row):
        return True
    # Outcomes of `ask`, under whatever name; a row without a question was never asked.
    outcomes = [value for value in row.values() if isinstance(value, dict) and "attempts" in value]
    if any(value.get("failure") and value["attempts"] for value in outcomes):
        return True
    games = Judged.read(row, kind).games if kind is not None else ()
    return any(game.verdict is None and game.attempts for game in games)
