"""The passage store of a generation: texts and metadata in SQLite, keyed by row id, never changed once written."""

import json
import queue
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from index.generation import REMEDY
from index.metadata import Metadata
from index.passages import Passage
from infembed.artefacts import new_file
from infembed.errors import AlteredArtefactError, MissingArtefactError, StorageError
from infembed.versions import refuse_newer, refuse_older

SCHEMA_VERSION = 1
_CONNECTIONS = 8
"""Reads that run at the same time; a read of a page of results takes a fraction of a millisecond."""
_SCHEMA = f"""
PRAGMA journal_mode=OFF;
PRAGMA synchronous=OFF;
PRAGMA user_version={SCHEMA_VERSION};
CREATE TABLE passages (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL
);
"""


class StoredPassage(NamedTuple):
    """A passage as the store returns it."""

    id: str
    text: str
    metadata: Metadata


def write_store(path: Path, passages: Iterable[Passage]) -> None:
    """Write a store; it appears at `path` once it holds all passages, so it needs no journal."""
    rows = ((p.id, p.text, json.dumps(p.metadata, ensure_ascii=False)) for p in passages)
    with new_file(path) as temporary:
        try:
            with closing(sqlite3.connect(temporary)) as connection:
                connection.executescript(_SCHEMA)
                with connection:
                    connection.executemany("INSERT INTO passages (id, text, metadata) VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            raise StorageError(f"cannot write {path}: {error}; free some space or choose another place") from error


class PassageStore:
    """Reads a store from any thread, and goes on reading it whatever becomes of the file's name.

    All connections are opened at once: a rebuild may remove the file while it is being served.
    """

    def __init__(self, path: Path, connections: Sequence[sqlite3.Connection]) -> None:
        self._path = path
        self._connections = connections
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        for connection in connections:
            self._idle.put(connection)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a store for reading; neither the directory nor the file is written to."""
        if not path.is_file():
            raise MissingArtefactError(f"the collection has no passage store {path}; {REMEDY}")
        store = cls(path, [_connect(path) for _ in range(_CONNECTIONS)])
        try:
            ((version,),) = store._read("PRAGMA user_version")
            refuse_older(str(path), version, reads=SCHEMA_VERSION, remedy=REMEDY, data={})
            refuse_newer(str(path), version, reads=SCHEMA_VERSION, data={})
            store.count()
        except BaseException:
            store.close()
            raise
        return store

    def is_sound(self) -> bool:
        """Read every page, for a store that no manifest vouches for yet."""
        try:
            return self._read("PRAGMA integrity_check(1)") == [("ok",)]
        except AlteredArtefactError:
            return False

    def count(self) -> int:
        ((count,),) = self._read("SELECT count(*) FROM passages")
        return int(count)

    def rows(self) -> list[int]:
        """Return all row ids in ascending order."""
        return [row for (row,) in self._read("SELECT row FROM passages ORDER BY row")]

    def texts_between(self, first: int, last: int) -> list[str]:
        """Return the texts of the rows from `first` to `last`, both included, in ascending order."""
        found = self._read("SELECT text FROM passages WHERE row BETWEEN ? AND ? ORDER BY row", (first, last))
        return [text for (text,) in found]

    def get(self, rows: Sequence[int]) -> dict[int, StoredPassage]:
        """Return passages by row id; ids that are not there are missing from the result."""
        marks = ",".join("?" * len(rows))
        found = self._read(
            f"SELECT row, id, text, metadata FROM passages WHERE row IN ({marks})",  # noqa: S608 - marks only
            rows,
        )
        return {row: StoredPassage(id_, text, json.loads(metadata)) for row, id_, text, metadata in found}

    def close(self) -> None:
        """Close every connection as soon as the read that uses it has ended; later reads fail."""
        for connection in [self._idle.get() for _ in self._connections]:
            connection.close()
            self._idle.put(connection)

    def _read(self, query: str, parameters: Sequence[object] = ()) -> list[Any]:
        with self._connection() as connection:
            try:
                return connection.execute(query, parameters).fetchall()
            except sqlite3.DatabaseError as error:
                raise AlteredArtefactError(f"{self._path} is not a passage store: {error}; {REMEDY}") from error

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = self._idle.get()
        try:
            yield connection
        finally:
            self._idle.put(connection)


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file now; `immutable` makes SQLite trust it: no locks, and no look at other files by name."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
