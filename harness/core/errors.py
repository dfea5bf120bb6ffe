"""Every error Crucible raises, drawn as one tree.

    CrucibleError                 exit code 1
    ├── UserError                 2   something typed or supplied is wrong
    │   ├── UnknownName               a name that no registry or record knows
    │   ├── BadRecord                 a recipe, setting or option of the wrong shape
    │   ├── BadData                   rows, annotations or answers that cannot be used
    │   └── StoreProblem              the chosen store is full, of a newer version or unreadable
    │       └── DamagedArtifact           a file of an artifact is not what was written
    ├── EnvironmentProblem        3   the machine lacks something
    │   └── MissingExtra              an optional dependency is not installed
    └── ClaimContradicted         4   a claim failed under --strict

A message is one line: what was found, what was expected, the nearest valid choice, and what to
type next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CrucibleError(Exception):
    """Base of all errors; `exit_code` is what the command line returns."""

    exit_code = 1


class UserError(CrucibleError):
    exit_code = 2


class UnknownName(UserError):
    pass


class BadRecord(UserError):
    pass


class BadData(UserError):
    pass


class EnvironmentProblem(CrucibleError):
    exit_code = 3


class MissingExtra(EnvironmentProblem):
    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"needs {package}: pip install 'crucible-bench[{extra}]'")


class StoreProblem(UserError):
    pass


class DamagedArtifact(StoreProblem):
    """An artifact whose files are not those that were written.

    Attributes:
        id: of the artifact.
        problem: file, what was found and what was expected.
    """

    def __init__(self, id: str, problem: str, root: object) -> None:
        super().__init__(
            f"artifact {id[:10]} in {root} is damaged: {problem}; the command that made it "
            "computes it again, and crucible store verify --repair sets it aside"
        )
        self.id = id
        self.problem = problem


class ClaimContradicted(CrucibleError):
    exit_code = 4


def check_planned(what: str, found: str, planned: str | None) -> None:
    """Refuse an input that changed since the plan was made.

    Args:
        planned: identity in the plan; None or "" accepts anything.

    Raises:
        BadData: with both identities.
    """
    if planned and found != planned:
        raise BadData(
            f"{what} changed since the plan was made: found {found}, planned {planned}; run the "
            "command again"
        )


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that `name` most likely meant, or None.

    >>> nearest("arena_hrd", ["alpaca_eval2", "arena_hard"])
    'arena_hard'
    >>> nearest("MT-Bench", ["alpaca_eval2", "mt_bench"])
    'mt_bench'
    """
    known = list(choices)
    plain = {_plain(choice): choice for choice in known}
    if _plain(name) in plain:
        return plain[_plain(name)]
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if found:
        return found[0]
    found = difflib.get_close_matches(_plain(name), list(plain), n=1, cutoff=0.5)
    return plain[found[0]] if found else None


def _plain(name: str) -> str:
    """A name without case, hyphens and underscores, which people type differently."""
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")


def unknown(kind: str, name: str, choices: Iterable[str], command: str = "") -> UnknownName:
    """Build the error for a name that does not exist.

    >>> str(unknown("suite", "arena_hrd", ["arena_hard"], "crucible suites"))
    'no suite named "arena_hrd"; did you mean "arena_hard"? (crucible suites)'
    """
    options = sorted(choices)
    guess = nearest(name, options)
    if guess:
        hint = f'did you mean "{guess}"?'
    elif len(options) > 12:
        hint = "known: " + ", ".join(options[:12]) + ", ..."
    else:
        hint = "known: " + (", ".join(options) or "none")
    tail = f" ({command})" if command else ""
    return UnknownName(f'no {kind} named "{name}"; {hint}{tail}')


def kind_of(error: BaseException) -> str:
    """Name of the class in this module that an error belongs to; "" if it is none of Crucible's."""
    classes = (kind for kind in type(error).__mro__ if kind.__module__ == __name__)
    return next((kind.__name__ for kind in classes), "")


def remade(kind: str, text: str) -> CrucibleError:
    """An error of another process, from its kind and its message.

    >>> remade(kind_of(BadData("row 7")), "row 7")
    BadData('row 7')
    """
    found = globals().get(kind, CrucibleError)
    made: CrucibleError = CrucibleError.__new__(found)
    Exception.__init__(made, text)
    return made
