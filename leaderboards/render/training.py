"""Training curves as one self-contained page: one chart per figure of training_log.json.

The page loads nothing and runs no script. A chart shows every update as a thin line and, for long
trainings, the mean of neighbouring updates as a thick one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from markupsafe import Markup

from harness.core.text import visible
from leaderboards.render.page import asset, policy, templates
from leaderboards.render.text import detail, number

WIDTH, HEIGHT = 380, 150
MOST_POINTS = 400  # of a line; longer ones are thinned
SMOOTHED = 40  # updates from which on a mean is drawn
WITHIN = 20  # number of windows of that mean
PLACES = ("step", "epoch")  # fields that say where an entry is, not what was measured

View = dict[str, object]
Series = list[tuple[float, float]]


def series_of(log: Sequence[Mapping[str, Any]]) -> dict[str, Series]:
    """Figure -> (update, value) pairs; values that are no finite numbers are left out.

    >>> series_of([{"step": 1, "loss": 0.7}, {"step": 2, "loss": 0.5, "note": "x"}])
    {'loss': [(1.0, 0.7), (2.0, 0.5)]}
    """
    found: dict[str, Series] = {}
    for number_, entry in enumerate(log, 1):
        step = entry.get("step", number_)
        for name, value in entry.items():
            if name not in PLACES and _is_number(value) and _is_number(step):
                found.setdefault(name, []).append((float(step), float(value)))
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def render(title: str, log: Mapping[str, Any], facts: Sequence[tuple[str, str]], id: str) -> str:
    """The page, ending in a newline.

    Args:
        log: training_log.json.
        facts: what the training was made from, as (name, value).
        id: of the artifact.
    """
    style = asset("board.css.jinja") + "\n" + asset("analysis.css.jinja")
    found = series_of(log.get("log") or ())
    page = templates().get_template("training.html.jinja")
    return (
        page.render(
            title=visible(title, 120),
            policy=policy(style, ""),
            style=Markup(style),
            tiles=_tiles(log, found),
            charts=[_chart(name, found[name]) for name in sorted(found, key=_order)],
            facts=[(name, visible(value, 2000)) for name, value in facts],
            id=id[:12],
        ).rstrip()
        + "\n"
    )


def _order(name: str) -> tuple[bool, bool, str]:
    """The loss first, then its terms, then what belongs to the optimiser."""
    return (name != "loss", name in ("grad_norm", "learning_rate"), name)


def _tiles(log: Mapping[str, Any], found: Mapping[str, Series]) -> list[tuple[str, str]]:
    tiles = [("updates", f"{log.get('updates', len(found.get('loss', ()))):,}")]
    if loss := found.get("loss"):
        tiles += [("first loss", detail(loss[0][1])), ("last loss", detail(loss[-1][1]))]
    return tiles


def _chart(name: str, series: Series) -> View:
    low, high = min(v for _, v in series), max(v for _, v in series)
    first, last = series[0][0], series[-1][0]
    span = high - low or 1.0

    def points(pairs: Series) -> str:
        return " ".join(
            f"{number(WIDTH * (x - first) / (last - first or 1.0), 1)},"
            f"{number(HEIGHT * (high - y) / span, 1)}"
            for x, y in pairs
        )

    return {
        "name": visible(name, 60),
        "line": points(series[:: -(-len(series) // MOST_POINTS)]),
        "mean": points(means(series)) if len(series) >= SMOOTHED else "",
        "low": _short(low),
        "high": _short(high),
        "first": f"{first:g}",
        "last": f"{last:g}",
        "said": f"{visible(name, 60)}: from {_short(series[0][1])} to {_short(series[-1][1])}",
        "width": WIDTH,
        "height": HEIGHT,
    }


def means(series: Series, windows: int = WITHIN) -> Series:
    """Means of neighbouring updates.

    >>> means([(1, 1.0), (2, 3.0), (3, 5.0), (4, 7.0)], windows=2)
    [(1.5, 2.0), (3.5, 6.0)]
    """
    size = -(-len(series) // windows)
    parts = [series[start : start + size] for start in range(0, len(series), size)]
    return [
        (sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts
    ]


def _short(value: float) -> str:
    """Three significant digits.

    >>> _short(0.000012345), _short(1234.5), _short(0.5)
    ('1.23e-05', '1.23e+03', '0.5')
    """
    return f"{value:.3g}"
