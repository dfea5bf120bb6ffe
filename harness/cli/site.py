"""`crucible board NAME --site FOLDER`: a board with its samples as a folder to publish."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli import screen
from harness.cli.contents import size_text
from harness.core.errors import UserError
from harness.core.text import plain

if TYPE_CHECKING:
    from rich.console import Console

HUB = "hub:"


def check_options(site: Path | None, without_texts: bool, push: str, overwrite: bool) -> None:
    """Refuse options of a site without one.

    Raises:
        UserError: naming the option.
    """
    given = {"--without-texts": without_texts, "--push": push, "--overwrite": overwrite}
    wrong = next((name for name, value in given.items() if value), "")
    if wrong and site is None:
        raise UserError(f"{wrong} needs --site FOLDER, the folder to publish")


def publish(
    console: Console, folder: Path, out: Path, *, without_texts: bool, push: str, overwrite: bool
) -> None:
    """Write the site of a board's folder, and upload it if `push` names a space.

    Raises:
        UserError, EnvironmentProblem: before anything is written, if the upload cannot work.
    """
    from harness.api import hub
    from harness.engine.store import Store
    from leaderboards.files import read_rows
    from leaderboards.site import WRITTEN, write_site

    space = push.removeprefix(HUB)
    if push:
        if not push.startswith(HUB):
            raise UserError(f'--push "{push}": expected hub:OWNER/SPACE')
        hub.check_push(space)
    if out.absolute().resolve() == folder.absolute().resolve():
        raise UserError(f"{out} is the board itself; choose another folder for its site")
    screen.begin(f"writing the site of {folder.name}")
    spec, cells, rows = read_rows(folder)
    made = write_site(
        out,
        spec,
        cells,
        store=Store(),
        rows=rows,
        without_texts=without_texts,
        overwrite=overwrite,
    )
    screen.say(f"{made.pages} pages of samples")
    without = "; without texts" if without_texts else ""
    console.out(
        f"{out / 'index.html'}: {made.linked:,} of {made.scores:,} scores lead to their samples, "
        f"{size_text(made.bytes)}{without}",
        highlight=False,
    )
    for reason, count in made.reasons.items():
        console.out(f"{count:,} scores have no samples: {plain(reason)}", highlight=False)
    address = ""
    if push:
        address = hub.push(out, space, "space", f"board {spec.name}", WRITTEN)
        console.out(f"pushed: {address}", highlight=False)
    screen.data(
        {
            "site": str(out),
            "pages": made.pages,
            "scores": made.scores,
            "linked": made.linked,
            "bytes": made.bytes,
            "without_samples": made.reasons,
            "pushed": address,
        }
    )
