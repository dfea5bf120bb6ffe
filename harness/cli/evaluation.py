"""`crucible eval`: one model on suites, planned, estimated, run and printed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.backends.joins import stored_joins
from harness.core.errors import BadRecord, UserError, unknown
from harness.core.records import Cell, Record, parse
from harness.engine import registry
from harness.engine.calls import Account, CallSettings, Services
from harness.engine.plan import Handle, Plan
from harness.engine.recipe import parse_override, set_key
from harness.engine.store import Store
from harness.models.references import model_identity, split_engine
from harness.reproduce import checked
from harness.suites.base import Suite, System
from harness.suites.editions import NANO, OFFICIAL, default_edition, resolve_settings, scale_of

AUTO = "auto"
EDITIONS = (AUTO, OFFICIAL, NANO)
FULL = "paper"  # the scale of the papers' own question sets and judges


class Evaluation(Record):
    """What `crucible eval` was asked for.

    Attributes:
        judge: "" takes each suite's own.
        data: edition of the question sets, see EDITIONS.
        overrides: "suite.key=value" settings.
    """

    ref: str
    suites: tuple[str, ...]
    judge: str = ""
    data: str = "auto"
    name: str = ""
    overrides: tuple[str, ...] = ()
    seed: int = 42
    limit: int | None = None

    @property
    def title(self) -> str:
        """What tables call the model: its reference, or the name of a file of stored outputs."""
        if self.name or split_engine(self.ref)[0] != "stored":
            return self.name or self.ref
        return Path(self.ref).name.partition(".json")[0]


def evaluate_model(
    console: Console,
    wanted: Evaluation,
    store: Store,
    calls: CallSettings,
    *,
    out: Path | None = None,
    plan_only: bool = False,
    retry_failed: bool = False,
) -> list[Cell]:
    """Plan, run and print the cells of one model.

    Raises:
        UnknownName: for a suite, judge, edition or nano model that does not exist.
        BadRecord: for a setting that a suite does not have.
    """
    from harness.cli.estimate import check_keys, show_estimate
    from harness.cli.progress import ProgressReporter
    from harness.engine.run import InlineExecutor

    plan, targets = planned(wanted)
    suites = ", ".join(wanted.suites)
    console.print(f"[bold]{escape(wanted.title)}[/bold] on {suites}", highlight=False)
    scores = dict(zip(wanted.suites, targets, strict=True))
    for join in stored_joins(plan, scores):
        console.print(str(join), highlight=False, markup=False, soft_wrap=True)
    if retry_failed:
        from harness.cli.retries import forget_failures

        forget_failures(console, plan, store)
    with Services(calls) as services:
        show_estimate(console, plan, targets, store, calls)
        if plan_only:
            return []
        check_keys(plan, targets, store, calls)
        try:
            with ProgressReporter(console) as reporter:
                InlineExecutor(services).execute(plan, targets, store, reporter)
        finally:
            show_account(console, services.account)
    cells = [
        parse(Cell, data, f"artifact {handle.id}")
        for handle in targets
        for data in store.artifact(handle.id).read_json("cells.json")
    ]
    console.print(cells_table(cells))
    show_judges(console, cells)
    _show_hints(console, cells, targets)
    if out is not None:
        _write_board(console, out, wanted, cells)
    return cells


def planned(wanted: Evaluation) -> tuple[Plan, list[Handle]]:
    """The plan of an evaluation and the stages that write its cells, one for each suite."""
    if not wanted.suites:
        raise UserError("no suite given; for example --suite alpaca_eval2,mt_bench")
    if wanted.data not in EDITIONS:
        raise unknown("data edition", wanted.data, EDITIONS, "crucible eval --help")
    plan = Plan()
    settings = _settings_by_suite(wanted)
    identity = model_identity(wanted.ref)
    label = f"model {wanted.ref}"
    scale = NANO if wanted.ref.startswith("nano:") else FULL
    model = plan.stage("import_model", ref=wanted.ref, digest=identity, label=label)
    targets: list[Handle] = []
    for name in wanted.suites:
        suite: Suite = registry.load("suites", name)
        resolved = resolve_settings(suite, edition_of(suite, wanted), settings[name])
        system = System(
            name=wanted.title,
            model=model,
            scale=scale_of(resolved, scale),
            seed=wanted.seed,
            stored=split_engine(wanted.ref)[0] == "stored",
        )
        targets.append(checked(suite.plan(system, resolved, plan.stage), f'suite "{name}"'))
    return plan, targets


def edition_of(suite: Suite, wanted: Evaluation) -> str:
    """Which question set: asked for, else the official one unless the judge knows nano only."""
    if wanted.data != AUTO:
        return wanted.data
    real = wanted.judge and not wanted.judge.startswith("nano:")
    return OFFICIAL if real and OFFICIAL in suite.editions else default_edition(suite)


def _settings_by_suite(wanted: Evaluation) -> dict[str, dict[str, Any]]:
    """Settings given on the command line, for each suite."""
    found: dict[str, dict[str, Any]] = {name: {} for name in wanted.suites}
    for name, values in found.items():
        fields = registry.load("suites", name).settings.model_fields
        if wanted.judge and "judge" in fields:
            values["judge"] = wanted.judge
        if wanted.limit:
            values["limit"] = wanted.limit
    if wanted.judge and not any("judge" in values for values in found.values()):
        raise UserError(f"no judge has a part in {', '.join(found)}; leave --judge away")
    for text in wanted.overrides:
        key, value = parse_override(text)
        suite = next((name for name in found if key.startswith(name + ".")), None)
        if suite is None:
            raise BadRecord(
                f"--set {text}: expected SUITE.KEY=VALUE with a suite of {', '.join(found)}"
            )
        found[suite] = set_key(found[suite], key.removeprefix(suite + "."), value)
    return found


def cells_table(cells: Sequence[Cell]) -> Table:
    """Scores of one system as a table; the judge is named once, below it, see `show_judges`."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("suite", "metric", "value", "interval", "scored", "failed"):
        right = heading in ("value", "scored", "failed")
        name = heading in ("suite", "metric")
        table.add_column(
            heading, justify="right" if right else "left", no_wrap=not name, overflow="fold"
        )
    last = ""
    for cell in cells:
        value = "—" if cell.value is None else f"{cell.value:.2f}"
        span = cell.interval
        between = f"{span.low:.2f} to {span.high:.2f}" if span else "—"
        if cell.value is None and cell.bounds is not None:
            between = f"bounds {cell.bounds[0]:.2f} to {cell.bounds[1]:.2f}"
        scored = f"{cell.n_scored}/{cell.n_expected}"
        suite = "" if cell.suite == last else cell.suite
        style = None if cell.primary else "dim"
        table.add_row(
            escape(suite),
            escape(cell.metric),
            value,
            between,
            scored,
            str(cell.n_failed),
            style=style,
        )
        last = cell.suite
    return table


def show_judges(console: Console, cells: Sequence[Cell]) -> None:
    """Who judged each suite, on which data: what makes two scores comparable."""
    for suite in dict.fromkeys(cell.suite for cell in cells):
        own = [cell for cell in cells if cell.suite == suite]
        sets = list(dict.fromkeys(cell.prompt_set[:10] for cell in own))
        parts = [f"prompts {sets[0]}" if len(sets) == 1 else f"{len(sets)} prompt sets"]
        if own[0].details.get("data"):
            parts.append(f"data {own[0].details['data']}")
        if own[0].judge:
            parts.append(f"judge {own[0].judge} ({own[0].judge_fingerprint})")
        console.print(f"{suite}: {', '.join(parts)}", highlight=False, markup=False, soft_wrap=True)


def show_account(console: Console, account: Account) -> None:
    """What hosted models were asked in this run, one line for each."""
    for model, spent in account.models.items():
        cost = "unpriced" if spent.cost_usd is None else f"{spent.cost_usd:.4f} USD"
        console.print(
            f"{model}: {spent.requests:,} requests, {spent.cached:,} from stored responses, "
            f"{spent.tokens_in:,} tokens in, {spent.tokens_out:,} out, {cost}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _show_hints(console: Console, cells: Sequence[Cell], targets: Sequence[Handle]) -> None:
    if any(cell.scale == NANO for cell in cells):
        console.print("[dim]nano: a check of methods, not a figure to publish[/dim]")
    suspicious = sum(int(cell.details.get("n_suspicious") or 0) for cell in cells if cell.primary)
    if suspicious:
        console.print(
            f"{suspicious} answers look like attacks on the judge's prompt (suspicious in "
            "`crucible show`)",
            highlight=False,
        )
    if any(cell.n_failed and cell.judge is not None for cell in cells):
        console.print("some judgments failed; the same command with --retry-failed asks again")
    for name, handle in zip(dict.fromkeys(cell.suite for cell in cells), targets):
        address = shlex.quote(f"{handle.id[:10]}:{cells[0].system}/{name}")
        console.print(
            f"samples: crucible show {address} --html",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _write_board(console: Console, out: Path, wanted: Evaluation, cells: list[Cell]) -> None:
    from harness.cli.runs import command_line
    from leaderboards.files import write_board
    from leaderboards.spec import BoardSpec, ColumnSpec, Provenance, SystemSpec

    columns = [ColumnSpec(suite=c.suite, metric=c.metric) for c in cells if c.primary]
    spec = BoardSpec(
        name=out.name,
        title=f"Evaluation of {wanted.title}",
        scale=cells[0].scale if len({cell.scale for cell in cells}) == 1 else None,
        systems=(SystemSpec(name=cells[0].system),),
        columns=tuple(columns),
        provenance=Provenance(
            command=command_line(),
            libraries=registry.plugin_versions(("suites", name) for name in wanted.suites),
        ),
    )
    write_board(out, spec, cells)
    console.print(f"board: {out / 'board.html'}", highlight=False, soft_wrap=True)
