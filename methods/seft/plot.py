"""The table of rounds as a picture: small panels, one line each, as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, GAP, TOP = 190, 110, 34, 26
COLOURS = ("#2f6db3", "#c4622d", "#3d8a4f")
# Title of each panel -> its lines.
PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("score of answers and of targets", ("source_score", "target_score")),
    ("labels, %", ("no_revise", "minor_revise", "major_revise")),
    ("accepted and worse revisions, %", ("accepted", "worse")),
    ("length, tokens", ("source_tokens", "target_tokens")),
    ("entropy, nats per token", ("entropy",)),
    ("tokens written by the reviser", ("decoded", "decoded_without")),
)

Table = Sequence[Mapping[str, float | None]]


def rounds_svg(table: Table) -> str:
    """The panels side by side, three per line; undefined values leave gaps."""
    columns, lines = 3, -(-len(PANELS) // 3)
    width, height = columns * (WIDTH + GAP) + GAP, lines * (HEIGHT + TOP + GAP + 14)
    found = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, (title, names) in enumerate(PANELS):
        x = GAP + (number % columns) * (WIDTH + GAP)
        y = TOP + (number // columns) * (HEIGHT + TOP + GAP)
        found.append(f'<g transform="translate({x},{y})">{_panel(table, title, names)}</g>')
    return "\n".join([*found, "</svg>\n"])


def _panel(table: Table, title: str, names: Sequence[str]) -> str:
    values = [line[name] for line in table for name in names]
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    parts = [
        f'<text y="-8" font-weight="bold">{escape(title)}</text>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#bbb"/>',
        f'<text x="-4" y="8" text-anchor="end">{high:.3g}</text>',
        f'<text x="-4" y="{HEIGHT}" text-anchor="end">{low:.3g}</text>',
    ]
    step = WIDTH / max(1, len(table) - 1)
    for place, line in enumerate(table):
        x = place * step if len(table) > 1 else WIDTH / 2
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT + 12}" text-anchor="middle">{line["round"]}</text>'
        )
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        points = [
            (place * step if len(table) > 1 else WIDTH / 2, HEIGHT * (high - value) / (high - low))
            for place, line in enumerate(table)
            if (value := line[name]) is not None
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points]
        label = escape(name.replace("_", " "))
        at = 62 * number
        parts.append(f'<text x="{at}" y="{HEIGHT + 25}" fill="{colour}">{label}</text>')
    return "".join(parts)
