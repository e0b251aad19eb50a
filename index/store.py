"""The passage store: texts and metadata in SQLite, keyed by row ids that are never reused."""

import json
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

from index.passages import Metadata, Passage
from infembed.errors import AlteredArtefactError, BadArtefactError, MissingArtefactError

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS passages (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class StoredPassage(NamedTuple):
    """A passage as the store returns it."""

    id: str
    text: str
    metadata: Metadata


class PassageStore:
    """Reads from any thread (a connection each); one writer at a time, guarded by the collection's lock."""

    def __init__(self, path: Path, *, mode: Literal["rwc", "ro"]) -> None:
        self._uri = f"{path.resolve().as_uri()}?mode={mode}"
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    @classmethod
    def create(cls, path: Path) -> Self:
        """Open a store for writing, making it if it is not there."""
        store = cls(path, mode="rwc")
        connection = store._connection()
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.commit()
        return store

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing store for reading; the directory may be read-only."""
        if not path.is_file():
            raise MissingArtefactError(f"the collection has no passage store {path}; build the index again")
        store = cls(path, mode="ro")
        try:
            (version,) = store._connection().execute("PRAGMA user_version").fetchone()
            store.count()
        except sqlite3.DatabaseError as error:
            raise AlteredArtefactError(f"{path} is not a passage store: {error}; build the index again") from error
        if version != SCHEMA_VERSION:
            raise BadArtefactError(f"{path} has schema version {version}, this release reads {SCHEMA_VERSION}")
        return store

    def replace_all(self, passages: Iterable[Passage]) -> int:
        """Put these passages in place of all others, in one transaction; returns their number."""
        rows = ((p.id, p.text, json.dumps(p.metadata, ensure_ascii=False)) for p in passages)
        with self._connection() as connection:
            connection.execute("DELETE FROM passages")
            connection.executemany("INSERT INTO passages (id, text, metadata) VALUES (?, ?, ?)", rows)
        return self.count()

    def count(self) -> int:
        (count,) = self._connection().execute("SELECT count(*) FROM passages").fetchone()
        return int(count)

    def rows(self) -> list[int]:
        """Return all row ids in ascending order."""
        return [row for (row,) in self._connection().execute("SELECT row FROM passages ORDER BY row")]

    def texts_between(self, first: int, last: int) -> list[str]:
        """Return the texts of the rows from `first` to `last`, both included, in ascending order."""
        found = self._connection().execute(
            "SELECT text FROM passages WHERE row BETWEEN ? AND ? ORDER BY row", (first, last)
        )
        return [text for (text,) in found]

    def get(self, rows: Sequence[int]) -> dict[int, StoredPassage]:
        """Return passages by row id; ids that are not there are missing from the result."""
        marks = ",".join("?" * len(rows))
        found = self._connection().execute(
            f"SELECT row, id, text, metadata FROM passages WHERE row IN ({marks})",  # noqa: S608 - marks only
            list(rows),
        )
        return {row: StoredPassage(id_, text, json.loads(metadata)) for row, id_, text, metadata in found}

    def fact(self, name: str) -> str | None:
        """Return a remembered value, such as the digest of the source file."""
        found = self._connection().execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def remember(self, name: str, value: str) -> None:
        """Store a value under a name."""
        with self._connection() as connection:
            connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def close(self) -> None:
        """Close every thread's connection."""
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._uri, uri=True, check_same_thread=False, timeout=30)
            self._local.connection = connection
            with self._lock:
                self._connections.append(connection)
        return connection
