"""The collections a service answers from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from index.collection import Collection, Hit
from index.generation import CURRENT_FILE, current_name
from infembed.errors import BadConfigError, BadInputError, MissingArtefactError, NotFoundError
from infembed.vectors import FloatArray


class SearchedCollection(Protocol):
    """What the service needs of a collection; `index.collection.Collection` is one."""

    @property
    def name(self) -> str: ...

    @property
    def n_documents(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def generation(self) -> str: ...

    @property
    def built_at(self) -> str: ...

    def search(self, vectors: FloatArray, *, k: int, offset: int = 0) -> list[list[Hit]]: ...

    def close(self) -> None: ...


def open_collections(
    directory: Path | None, *, document_fingerprint: str, opened: Sequence[SearchedCollection] = ()
) -> list[SearchedCollection]:
    """Open every collection below `directory`; None: there are none.

    One of `opened`, which must hold vectors of the same model, is used again where it is still the current generation.
    """
    if directory is None:
        return []
    if not directory.is_dir():
        raise MissingArtefactError(f"no directory of collections at {directory}; make one with `infembed index build`")
    at_hand = {(collection.name, collection.generation): collection for collection in opened}
    found: list[SearchedCollection] = []
    try:
        for path in sorted(path.parent for path in directory.glob(f"*/{CURRENT_FILE}")):
            again = at_hand.get((path.resolve().name, current_name(path) or ""))
            found.append(again or Collection.open(path, document_fingerprint=document_fingerprint))
    except BaseException:
        close_collections(found, but=opened)
        raise
    return found


def close_collections(collections: Iterable[SearchedCollection], *, but: Iterable[SearchedCollection] = ()) -> None:
    """Close collections, except those that are still in use."""
    used = {id(collection) for collection in but}
    for collection in collections:
        if id(collection) not in used:
            collection.close()


class Catalogue:
    """Finds a collection by name, or the default one."""

    def __init__(self, collections: Iterable[SearchedCollection], *, default: str | None) -> None:
        self._by_name: Mapping[str, SearchedCollection] = {found.name: found for found in collections}
        if default is not None and default not in self._by_name:
            raise BadConfigError(f"default_collection is {default!r}; there is {self._names()}")
        self._default = default or (next(iter(self._by_name)) if len(self._by_name) == 1 else None)

    def __iter__(self) -> Iterator[SearchedCollection]:
        return iter(self._by_name.values())

    def find(self, name: str | None) -> SearchedCollection:
        """Return a collection; an unknown name lists the known ones."""
        wanted = name if name is not None else self._default
        if wanted is None and self._by_name:
            raise BadInputError(f"several collections are served: name one of {self._names()}", param="collection")
        if wanted is None or wanted not in self._by_name:
            what = "no collection is served" if wanted is None else f"no collection {wanted!r}"
            raise NotFoundError(f"{what}; there is {self._names()}", param="collection")
        return self._by_name[wanted]

    def _names(self) -> str:
        return ", ".join(sorted(self._by_name)) or "none"
