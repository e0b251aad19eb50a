"""Every answer that was paid for, in one SQLite file, written before anybody reads it."""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from infembed.errors import BadArtefactError, ConflictError, StorageError
from training.synthesis.questions import Question
from training.synthesis.usage import Usage, estimate_tokens, read_usage

LAYOUT = 1
_CREATE = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    stage TEXT NOT NULL,
    model TEXT NOT NULL,
    prompt TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    body TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    is_counted INTEGER NOT NULL,
    usd REAL NOT NULL
) STRICT
"""
_COLUMNS = "body, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, is_counted, usd"


class Answer(NamedTuple):
    """The body of a response, its tokens and its money at the prices of the day.

    `is_counted` is False where the endpoint did not count the tokens and we estimate them.
    """

    body: str
    usage: Usage
    is_counted: bool
    usd: float


class AnswerStore:
    """Answers by the key of their question. One process at a time; what `put` returned from survives a power cut."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, question: Question) -> Answer | None:
        """Return the answer to a question that was asked before, by this run or an earlier one."""
        found = self._connection.execute(
            f"SELECT {_COLUMNS} FROM answers WHERE key = ?",  # noqa: S608 - our own column names
            (question.key,),
        ).fetchone()
        return None if found is None else Answer(found[0], Usage(*found[1:5]), bool(found[5]), found[6])

    def put(self, question: Question, body: str, *, is_paid: bool = True) -> Answer:
        """Keep an answer; returns once it is on the disk. A request that was refused outright is not paid."""
        said = read_usage(body)
        usage = said or (_estimate(question, body) if is_paid else Usage())
        answer = Answer(body, usage, is_counted=said is not None or not is_paid, usd=question.price.of(usage))
        values = (
            *(question.key, question.stage.value, str(question.request["model"]), question.prompt_id, question.attempt),
            *(body, *usage, answer.is_counted, answer.usd),
        )
        try:
            self._connection.execute(f"INSERT INTO answers VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608
        except sqlite3.OperationalError as error:
            raise StorageError(
                f"an answer cannot be kept: {error}; free some space and run the command again"
            ) from error
        return answer

    def spent_usd(self) -> float:
        """Return what all answers in the file have cost together."""
        (spent,) = self._connection.execute("SELECT COALESCE(SUM(usd), 0) FROM answers").fetchone()
        return float(spent)

    def knows_model(self, model: str) -> bool:
        """Say whether a model has ever given an answer that has tokens."""
        found = self._connection.execute("SELECT 1 FROM answers WHERE model = ? AND completion_tokens > 0", (model,))
        return found.fetchone() is not None

    def __len__(self) -> int:
        (n,) = self._connection.execute("SELECT COUNT(*) FROM answers").fetchone()
        return int(n)


@contextmanager
def open_answers(path: Path) -> Iterator[AnswerStore]:
    """Open the file of answers for this process alone, making it where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(f"another run is using {path}; wait for it to end, or name other `answers`") from error
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            _prepare(connection)
            yield AnswerStore(connection)
        except sqlite3.DatabaseError as error:
            raise BadArtefactError(f"{path} cannot be used as a file of answers: {error}; name another") from error
        finally:
            connection.close()


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    if layout not in {0, LAYOUT}:
        raise sqlite3.DatabaseError(f"it has layout {layout}, expected {LAYOUT}")
    connection.execute(_CREATE)
    connection.execute(f"PRAGMA user_version = {LAYOUT}")


def _estimate(question: Question, body: str) -> Usage:
    return Usage(prompt=question.at_most.prompt, completion=min(estimate_tokens(body), question.max_tokens))
