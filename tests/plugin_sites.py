"""Plugins as pip leaves them, without pip: a module and a dist-info folder."""

from __future__ import annotations

from pathlib import Path


def plugin(
    site: Path, distribution: str, points: dict[str, str], source: str = "", summary: str = ""
) -> None:
    """Write one installed distribution.

    Args:
        points: "group:name" -> "module:attribute", in groups such as "methods".
        source: of its module, `distribution` with underscores.
    """
    module = distribution.replace("-", "_")
    if source:
        (site / f"{module}.py").write_text(source)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    about = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\nSummary: {summary}\n"
    (info / "METADATA").write_text(about)
    lines = [
        f"[crucible.{k.partition(':')[0]}]\n{k.partition(':')[2]} = {v}\n"
        for k, v in points.items()
    ]
    (info / "entry_points.txt").write_text("".join(lines))
