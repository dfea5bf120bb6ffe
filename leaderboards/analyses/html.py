"""An analysis as one self-contained page: figures, bars of the commonest pairs, overlap curves."""

from __future__ import annotations

from markupsafe import Markup

from harness.core.text import visible
from harness.data.instructions.analysis import Analysis, SetAnalysis
from leaderboards.analyses.figures import facts, lines, names, notes, shared_table
from leaderboards.render.page import asset, policy, templates
from leaderboards.render.text import number

BAR_WIDTH, BAR_STEP, BAR_LABEL = 220, 20, 190
PLOT_WIDTH, PLOT_HEIGHT = 720, 220
COLOURS = 6  # classes c0 to c5 of the style; further data sets repeat them

View = dict[str, object]


def render(analysis: Analysis, title: str, command: str = "") -> str:
    """The page, ending in a newline; it loads nothing."""
    style = asset("board.css.jinja") + "\n" + asset("analysis.css.jinja")
    heads = names(analysis)
    page = templates().get_template("analysis.html.jinja")
    return (
        page.render(
            title=title,
            policy=policy(style, ""),
            style=Markup(style),
            tiles=_tiles(analysis),
            heads=heads,
            lines=lines(analysis),
            shared=list(zip(heads, shared_table(analysis), strict=True)) if analysis.shared else [],
            charts=_charts(analysis, heads),
            plot=_plot(analysis, heads),
            notes=notes(analysis),
            provenance=facts(analysis, command),
        ).rstrip()
        + "\n"
    )


def _tiles(analysis: Analysis) -> list[tuple[str, str]]:
    return [
        ("data sets", str(len(analysis.sets))),
        ("instructions", f"{sum(each.instructions for each in analysis.sets):,}"),
        ("parser", visible(analysis.parser, 80)),
    ]


def _charts(analysis: Analysis, heads: list[str]) -> list[View]:
    """Bars of the commonest pairs; one scale for all data sets."""
    most = max((each.top[0].share for each in analysis.sets if each.top), default=1.0)
    return [
        _chart(place, head, each, most)
        for place, (head, each) in enumerate(zip(heads, analysis.sets, strict=True))
        if each.top
    ]


def _chart(place: int, head: str, found: SetAnalysis, most: float) -> View:
    bars = [
        {
            "name": visible(f"{pair.verb} {pair.noun}", 28),
            "y": BAR_STEP * line,
            "width": number(BAR_WIDTH * pair.share / most, 1),
            "text": f"{pair.count:,} ({number(100 * pair.share, 1)} %)",
            "text_x": number(BAR_LABEL + 8 + BAR_WIDTH * pair.share / most, 1),
        }
        for line, pair in enumerate(found.top)
    ]
    return {
        "name": head,
        "colour": f"c{place % COLOURS}",
        "bars": bars,
        "label": BAR_LABEL,
        "width": BAR_LABEL + BAR_WIDTH + 110,
        "height": BAR_STEP * len(bars),
    }


def _plot(analysis: Analysis, heads: list[str]) -> View | None:
    """Density of the overlap with the nearest instruction: share per bin over the bin's width."""
    shown = [
        (place, head, each)
        for place, (head, each) in enumerate(zip(heads, analysis.sets, strict=True))
        if each.compared
    ]
    if not shown:
        return None
    densities = [_density(each) for _, _, each in shown]
    top = max(map(max, densities))
    curves = []
    for (place, head, each), density in zip(shown, densities, strict=True):
        width = PLOT_WIDTH / len(density)
        points = [
            f"{number(width * (bin + 0.5), 1)},{number(PLOT_HEIGHT * (1 - value / top), 1)}"
            for bin, value in enumerate(density)
        ]
        curves.append(
            {
                "name": head,
                "colour": f"c{place % COLOURS}",
                "points": " ".join(points),
                "count": f"{each.compared:,}",
            }
        )
    return {
        "width": PLOT_WIDTH,
        "height": PLOT_HEIGHT,
        "ticks": [(number(PLOT_WIDTH * tick / 5, 1), number(tick / 5, 1)) for tick in range(6)],
        "threshold": number(PLOT_WIDTH * min(max(analysis.threshold, 0), 1), 1),
        "top": number(top, 1),
        "curves": curves,
    }


def _density(found: SetAnalysis) -> list[float]:
    bins = len(found.histogram)
    return [bins * count / found.compared for count in found.histogram]
