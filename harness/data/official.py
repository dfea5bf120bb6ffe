"""Published sets by name: found, read into one form, and checked against the table of sets.

Prompts are rows. Their ids are those of the set; ids of AlpacaEval are the first 16 digits of the
SHA-256 of the instruction, which also join its tables. Rows of Arena-Hard are sorted by id, rows of
MT-Bench by number, and rows of AlpacaEval are in the published order, so that the first N do not
depend on the origin of a file. Answers are texts by turn under the id of their prompt.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from harness.core.errors import BadData, EnvironmentProblem, UserError, unknown
from harness.core.hashing import digest
from harness.data.files import FOLDER_VARIABLE, download, hub_reachable, local_file
from harness.data.forms import Answers, Row
from harness.data.sets import SETS, Content, OfficialSet, Piece

PREFIX = "official:"


def is_official(ref: str) -> bool:
    return ref.startswith(PREFIX)


def prompts(ref: str, folder: Path | None = None) -> list[Row]:
    """Prompt rows of a set: `id`, `messages` and the other columns of the set.

    Args:
        ref: "official:<set>".
        folder: default: $CRUCIBLE_DATA.

    Raises:
        UnknownName: no such set.
        EnvironmentProblem: its file is not on this machine and cannot be downloaded.
        BadData: the content of the file is not that of the published set.
    """
    name, official = _set(ref)
    return load_piece(f"{PREFIX}{name}", official.prompts, folder)


def answers(ref: str, folder: Path | None = None) -> Answers:
    """Answers by prompt id, one text per turn; see `prompts` for errors.

    Args:
        ref: "official:<set>", or "official:<set>/<model>" if a set has answers of several models.
    """
    return load_piece(ref, _answers_piece(ref), folder)


def gamed_table(ref: str, folder: Path | None = None) -> Path:
    """Path of the checked df_gamed.csv of a set; see `prompts` for errors."""
    piece = _tables_piece(ref)
    load_piece(ref, piece, folder)
    return _path(ref, piece, folder)


def prompts_identity(ref: str, folder: Path | None = None) -> str:
    """Reference and content digest of the prompts.

    If the table lists the digest, a plan can be made without the data.
    """
    name, official = _set(ref)
    return piece_identity(f"{PREFIX}{name}", official.prompts, folder)


def answers_identity(ref: str, folder: Path | None = None) -> str:
    """Reference and content digest of the answers; see `prompts_identity`."""
    return piece_identity(ref, _answers_piece(ref), folder)


def table_identity(ref: str, folder: Path | None = None) -> str:
    """Reference and content digest of the published tables; see `prompts_identity`."""
    return piece_identity(ref, _tables_piece(ref), folder)


def check_corrected(source: str) -> None:
    """Refuse uncorrected MT-Bench references, whatever the name of their file.

    Args:
        source: a file, or "official:<set>".

    Raises:
        UserError: the references are uncorrected, or another set.
    """
    piece = SETS["mt_bench_corrected"].answers["corrected"]
    path = Path(source).expanduser()
    problem = None
    if is_official(source):
        known = source.startswith(f"{PREFIX}mt_bench_corrected")
        problem = None if known else "it is another set of references"
    elif path.is_file():
        # `import_answers` reads or refuses files of other forms.
        with suppress(KeyError, IndexError, TypeError, ValueError):
            problem = piece.problem(piece.read(path))
    if problem is not None:
        raise UserError(
            f"{source} is not {piece.what} of MT-Bench: {problem}; use the suite mt_bench for it"
        )


def count(ref: str, categories: Iterable[str] = ()) -> int | None:
    """Number of prompts of a set, in some categories or in all; None where it is unknown."""
    _, official = _set(ref)
    chosen = set(categories)
    if not chosen:
        return official.prompts.rows
    return sum(n for name, n in official.categories.items() if name in chosen)


def _set(ref: str) -> tuple[str, OfficialSet]:
    name = ref.removeprefix(PREFIX).partition("/")[0]
    if name not in SETS:
        raise unknown("official set", name, SETS)
    return name, SETS[name]


def _answers_piece(ref: str) -> Piece[Answers]:
    name, official = _set(ref)
    model = ref.removeprefix(PREFIX).partition("/")[2]
    if not model and len(official.answers) == 1:
        model = next(iter(official.answers))
    if not model:
        choices = " or ".join(f"{PREFIX}{name}/{model}" for model in official.answers)
        raise UserError(f"{ref} has answers of several models; expected {choices}")
    if model not in official.answers:
        raise unknown(f"answers in {PREFIX}{name}", model, official.answers)
    return official.answers[model]


def _tables_piece(ref: str) -> Piece[list[Row]]:
    name, official = _set(ref)
    if official.tables is None:
        having = [known for known, item in SETS.items() if item.tables is not None]
        raise unknown("official set with tables", name, having)
    return official.tables


def piece_identity(ref: str, piece: Piece[Content], folder: Path | None) -> str:
    """Reference and content digest of a piece, or the revision of the hub if that is unknown."""
    if piece.digest is not None:
        return f"{ref}@{piece.digest}"
    if local_file(piece.files, folder) is not None:
        return f"{ref}@{digest(load_piece(ref, piece, folder))}"
    if piece.hub is not None and hub_reachable(piece.hub):
        return f"{ref}@hub:{piece.hub.revision}"
    raise _missing(ref, piece, folder, "the hub is switched off (HF_HUB_OFFLINE) or not installed")


def _path(ref: str, piece: Piece[Content], folder: Path | None) -> Path:
    found = local_file(piece.files, folder)
    if found is not None:
        return found
    try:
        if piece.hub is not None:
            return download(piece.hub)
        reason = ""
    except EnvironmentProblem as error:
        reason = str(error)
    raise _missing(ref, piece, folder, reason)


def _missing(
    ref: str, piece: Piece[Content], folder: Path | None, reason: str
) -> EnvironmentProblem:
    root = folder or os.environ.get(FOLDER_VARIABLE)
    hub = "" if piece.hub is None else f", and {piece.hub} cannot be fetched: {reason}"
    ways = f"put one of these files there (.gz too): {', '.join(piece.files)}"
    if root is None:
        ways = f"set {FOLDER_VARIABLE} to a folder and " + ways
    online = "" if piece.hub is None else "; or unset HF_HUB_OFFLINE and check the network"
    return EnvironmentProblem(
        f"{ref}: {piece.what} not found below ${FOLDER_VARIABLE} ({root or 'not set'}){hub}; "
        f"{ways}{online}{piece.instead}"
    )


def load_piece(ref: str, piece: Piece[Content], folder: Path | None) -> Content:
    """Content of a piece, checked against the table; see `prompts` for errors."""
    path = _path(ref, piece, folder)
    try:
        content = piece.read(path)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BadData(
            f"{path} does not contain {piece.what}: {type(error).__name__} {error}; expected "
            f"the published form of {ref}"
        ) from None
    found, problem = digest(content), piece.problem(content)
    if piece.rows is not None and len(content) != piece.rows:
        problem = f"{len(content)} rows, expected {piece.rows}"
    elif piece.digest is not None and found != piece.digest:
        problem = f"content {found}, expected {piece.digest}"
    if problem is not None:
        raise BadData(
            f"{path} is not {piece.what} of {ref}: {problem}. To use it anyway, give the path of "
            f"the file instead of {ref}; its scores are not comparable with official ones"
        )
    return content
