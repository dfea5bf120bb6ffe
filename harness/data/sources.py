"""Sources of data: what a reference stands for, and the rows it leads to, for each kind of data.

    "nano:train", "official:mt_bench"   a scheme and a name
    "questions.jsonl"                   a file
    "org/name"                          a data set of the hub

Prompts, answers, authors, preferences and documents are kinds. A kind has its own sources for
files, folders, the hub and some schemes. Other rooms and packages add schemes in their catalogue,
where a table maps a scheme to "module:attribute" of a mapping from names of kinds to `Source`s:

    SOURCES = {"nano": "harness.nano.sources:SOURCES"}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from harness.core.errors import UserError
from harness.core.hashing import file_digest
from harness.engine import registry

P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Source(Generic[P, R]):
    """Data of one kind under one scheme, from files, or from the hub.

    Attributes:
        form: what references look like, for messages: "nano:<split>".
        identity: (reference, revision) -> version or digest of the content, part of the stage id.
        rows: parameters of the operation -> the data.
        count: parameters -> number of rows, where it is known without reading much.
        at_hand: whether the data can be read while a plan is made.
    """

    form: str
    identity: Callable[[str, str | None], str]
    rows: Callable[[P], R]
    count: Callable[[P], int | None] = lambda params: None
    at_hand: bool = False


@dataclass(frozen=True)
class Kind(Generic[P, R]):
    """A kind of data and its own sources.

    Attributes:
        name: plural noun for messages, and the key in the mapping of a registered scheme.
        folder: of data sets on disk; None if the kind has no such form.
        is_hub: whether a reference that is no file looks like a data set of the hub.
    """

    name: str
    file: Source[P, R]
    schemes: Mapping[str, Source[P, R]] = field(default_factory=dict)
    hub: Source[P, R] | None = None
    folder: Source[P, R] | None = None
    is_hub: Callable[[str], bool] = lambda ref: False

    def source(self, ref: str) -> Source[P, R]:
        """The source of a reference.

        Raises:
            UserError: the reference leads nowhere.
        """
        scheme, colon, _ = ref.partition(":")
        found = self.schemes.get(scheme) or registered(self.name, scheme) if colon else None
        if found is None and Path(ref).expanduser().is_file():
            found = self.file
        if found is None and Path(ref).expanduser().is_dir():
            found = self.folder
        if found is None and self.is_hub(ref):
            found = self.hub
        if found is None:
            raise UserError(f'no {self.name} "{ref}"; expected {self._forms()}')
        return found

    def identity(self, ref: str, revision: str | None = None) -> str:
        """Version or content digest of what a reference leads to; see `source` for errors.

        Args:
            revision: of a data set of the hub.
        """
        return self.source(ref).identity(ref, revision)

    def _forms(self) -> str:
        others = (registered(self.name, scheme) for scheme in registry.table("SOURCES"))
        found = [*others, *self.schemes.values(), self.file, self.folder, self.hub]
        *first, last = [source.form for source in found if source is not None]
        return f"{', '.join(first)} or {last}"


def registered(kind: str, scheme: str) -> Source[Any, Any] | None:
    """The source of a kind under a scheme of some catalogue, None if there is none."""
    target = registry.table("SOURCES").get(scheme)
    if target is None:
        return None
    sources: Mapping[str, Source[Any, Any]] = registry.load_target(target)
    return sources.get(kind)


def file_identity(ref: str, revision: str | None = None) -> str:
    """Digest of a file's name and content."""
    return file_digest(Path(ref).expanduser())


def hub_identity(ref: str, revision: str | None) -> str:
    """Identity of a data set of the hub."""
    return f"hub:{ref}@{revision or 'main'}"
