"""All claims of all papers on one page: what each paper reports, what the committed boards show.

    mechanism   a board of the world in which the cause of the paper's effect exists
    control     a board of the world without that cause, where no claim should hold

A profile without a committed board is "not run"; a method without such a profile has "no profile".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.core.records import Record
from leaderboards.board import build_board
from leaderboards.claims import AnyClaim, ClaimOutcome, ClaimResult, summary
from leaderboards.files import CELLS, read_board, read_spec_of
from leaderboards.render.md import escape

NOT_RUN, NO_PROFILE, NOT_CLAIMED = "not run", "no profile", "not claimed"
RESULTS = Path(__file__).parent / "results"
TITLE = "Claims of the papers"
SIGNS = 4  # significant digits of differences
VERDICTS: tuple[tuple[ClaimOutcome, str], ...] = (
    ("holds", "hold"),
    ("contradicted", "contradicted"),
    ("not shown", "not shown"),
    ("not tested", "not tested"),
)


class Side(Record):
    """One column of verdicts.

    Attributes:
        profile: of the recipe; "" if the recipe has none.
        results: verdicts of the committed board; None without a board.
        seeds: number of seeds of that board.
    """

    profile: str = ""
    board: str = ""
    results: tuple[ClaimResult, ...] | None = None
    seeds: int = 0

    @property
    def short(self) -> str:
        """The number of claims per verdict."""
        if self.results is None:
            return NOT_RUN if self.profile else NO_PROFILE
        return summary(self.results)

    def count(self, verdict: ClaimOutcome) -> int:
        """Number of claims with a verdict on the committed board."""
        return sum(result.verdict == verdict for result in self.results or ())

    def verdict(self, claim: AnyClaim) -> str:
        """The verdict with the difference or slope: "holds (+2.1 [0.4, 3.8], detectable 2.4)"."""
        if self.results is None:
            return NOT_RUN if self.profile else NO_PROFILE
        found = {result.claim.id: result for result in self.results}.get(claim.id)
        if found is None:
            return NOT_CLAIMED
        if found.effect is None or found.interval is None:
            return found.label
        low, high = (_number(end) for end in (found.interval.low, found.interval.high))
        least = f", detectable {found.detectable:.2g}" if found.detectable else ""
        shown = f"{_number(found.effect, sign=True)} [{low}, {high}]{_rate(found.claim)}{least}"
        return f"{found.label} ({shown})"


class PaperClaims(Record):
    """The claims of one recipe and the verdicts on them.

    Attributes:
        prediction: path, from the root of the repository, of the page that was written before the
            recipe was run; "" if there is none.
    """

    method: str
    title: str = ""
    paper: str = ""
    claims: tuple[AnyClaim, ...]
    mechanism: Side
    control: Side
    prediction: str = ""

    @property
    def without_cause(self) -> tuple[ClaimResult, ...]:
        """Tested claims on the control's board whose cause the control takes away."""
        kept = {claim.id for claim in self.claims if claim.cause_in_control}
        return tuple(
            result
            for result in self.control.results or ()
            if result.claim.id not in kept and result.verdict != "not tested"
        )

    @property
    def false_holds(self) -> int | None:
        """Of these the ones that hold, where none should; None without the control's board."""
        if self.control.results is None:
            return None
        return sum(result.verdict == "holds" for result in self.without_cause)


def side(recipe: str, profile: str, results: Path = RESULTS) -> Side:
    """Verdicts of the committed board that was made from a profile of a recipe.

    Raises:
        UserError: a board's folder is broken.
    """
    if not profile:
        return Side()
    for folder in sorted(path.parent for path in results.glob(f"*/{CELLS}")):
        if read_spec_of(folder).provenance.recipe == f"{recipe}/{profile}":
            spec, cells = read_board(folder)
            seeds = len({cell.seed for cell in cells})
            found = build_board(spec, cells).claims
            return Side(profile=profile, board=folder.name, results=found, seeds=seeds)
    return Side(profile=profile)


def page(papers: Iterable[PaperClaims], title: str = TITLE, root: str = "..") -> str:
    """The page as Markdown: verdicts of all methods together and of each, then the claims.

    Args:
        root: of the repository, as seen from the page's folder.
    """
    papers = list(papers)
    parts = [f"# {title}", INTRODUCTION, totals(papers), overview(papers)]
    for paper in papers:
        heading = f"## {escape(paper.title or paper.method)}"
        parts += [heading, _origin(paper, root), _claims(paper)]
    return "\n\n".join(part for part in parts if part) + "\n"


INTRODUCTION = """\
Made from the recipes and the committed boards by `crucible board --claims`. *Expected* is the claim
and *paper* its figure; *mechanism* is the verdict in a nano world that has the cause of the effect,
*control* in one without it, with the paired difference, its interval, and the difference that a
comparison with these prompts and seeds finds with 80 % probability (*detectable*). A claim that
holds in a control that takes its cause away is a *false hold*; claims marked † keep their cause
there (for example DPO over SFT, where the reward model is the same). Verdicts at nano say whether
the implementation shows the effect, not whether the paper is right."""


def totals(papers: Iterable[PaperClaims]) -> str:
    """Verdicts of all methods together, and the number of false holds in the controls."""
    papers = list(papers)
    rows = []
    for name, sides in (
        ("mechanism", [paper.mechanism for paper in papers]),
        ("control", [paper.control for paper in papers]),
    ):
        run = [one for one in sides if one.results is not None]
        boards = f"{len(run)} of {sum(bool(one.profile) for one in sides)}"
        counts = [str(sum(one.count(verdict) for one in run)) for verdict, _ in VERDICTS]
        rows.append((name, boards, *counts))
    heads = ("all methods", "boards", *(label for _, label in VERDICTS))
    return f"{_table(heads, rows)}\n\n{_false_holds(papers)}"


def _false_holds(papers: Sequence[PaperClaims]) -> str:
    known = [(paper, paper.false_holds) for paper in papers]
    found = {paper.method: count for paper, count in known if count is not None}
    if not found:
        return "False holds in controls: unknown, because no control has a committed board yet."
    judged = sum(len(paper.without_cause) for paper in papers)
    where = ", ".join(f"`{method}` {count}" for method, count in found.items() if count)
    total = sum(found.values())
    return f"False holds in controls: {total} of {judged} tested claims without their cause" + (
        f" ({where})." if where else "."
    )


def overview(papers: Iterable[PaperClaims]) -> str:
    """One row for each recipe: its number of claims, of verdicts, and of false holds."""
    rows = []
    for p in papers:
        seeds = p.mechanism.seeds or p.control.seeds
        count = str(seeds) if seeds else ""
        name = f"`{p.method}`"
        rows.append(
            (
                *(name, escape(p.paper), str(len(p.claims))),
                *(p.mechanism.short, p.control.short, count),
                "" if p.false_holds is None else str(p.false_holds),
            )
        )
    heads = ("method", "paper", "claims", "mechanism", "control", "seeds", "false holds")
    return _table(heads, rows)


def _origin(paper: PaperClaims, root: str) -> str:
    boards = [
        f"{name}: profile `{found.profile}`" + (f", board `{found.board}`" if found.board else "")
        for name, found in (("mechanism", paper.mechanism), ("control", paper.control))
        if found.profile
    ]
    parts = [f"`{paper.method}`", *([escape(paper.paper)] if paper.paper else []), *boards]
    if paper.prediction:
        parts.append(f"[prediction, written before the run]({root}/{paper.prediction})")
    return "; ".join(parts)


def _claims(paper: PaperClaims) -> str:
    rows = [
        (
            escape(claim.statement + _doses(claim)) + _margin(claim),
            _figure(claim),
            escape(claim.source),
            escape(paper.mechanism.verdict(claim)),
            escape(paper.control.verdict(claim)) + (" †" if claim.cause_in_control else ""),
        )
        for claim in paper.claims
    ]
    return _table(("expected", "paper", "source", "mechanism", "control"), rows)


def _margin(claim: AnyClaim) -> str:
    return f" (by more than {_number(claim.margin)}{_rate(claim)})" if claim.margin else ""


def _doses(claim: AnyClaim) -> str:
    """The systems of a dose-response, ": dpo 0, wrpo 0.1"."""
    if claim.kind == "difference":
        return ""
    return ": " + ", ".join(f"{name} {_number(dose)}" for name, dose in claim.pairs)


def _rate(claim: AnyClaim) -> str:
    return f" {claim.rate}" if claim.kind == "slope" else ""


def _figure(claim: AnyClaim) -> str:
    """The paper's values and their difference, as far as it gives them."""
    gain = claim.paper_effect
    if gain is None:
        return "no figure"
    if claim.kind == "slope" or claim.paper_better is None or claim.paper_worse is None:
        return _number(gain, sign=True) + _rate(claim)
    pair = f"{_number(claim.paper_better)} / {_number(claim.paper_worse)}"
    return f"{_number(gain, sign=True)} ({pair})"


def _number(value: float, sign: bool = False) -> str:
    """
    >>> _number(12.345678, sign=True), _number(0.0)
    ('+12.35', '0')
    """
    return f"{value:{'+' if sign else ''}.{SIGNS}g}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
