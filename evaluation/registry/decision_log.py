"""The decision log as a file: one entry a line, fsynced; a copy of the chain that the registry itself cannot rewrite.

The chain in MLflow decides. This file trails it by at most what a killed process left undone, and is a witness: an
entry here that the registry no longer has, or has differently, is proof that the registry was altered or restored.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from evaluation.registry.entries import Entry, fold, read_line, write_line
from infembed.artefacts import fsync_directory
from infembed.errors import AlteredArtefactError

LOG_FILE = "decisions.jsonl"
_LOCK_FILE = "LOCK"


class Contents(NamedTuple):
    """What the file holds: whole entries, and the bytes of a last line that was not finished."""

    entries: tuple[Entry, ...]
    torn: bytes


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Wait for the directory's lock and hold it: one process at a time repairs and appends."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / _LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_log(path: Path) -> Contents:
    """Read and verify the file; a line without its newline is torn, anything else that is wrong is an alteration."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return Contents((), b"")
    whole, newline, torn = raw.rpartition(b"\n")
    lines = whole.split(b"\n") if newline else []
    entries = [
        read_line(line.decode(errors="replace"), where=f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
    ]
    state = fold(entries, where=str(path))
    if state.void:
        raise AlteredArtefactError(f"{path} repeats entry {state.void[0].number}; restore it from another copy")
    return Contents(state.entries, torn)


def missing_from(path: Path, contents: Contents, committed: Sequence[Entry]) -> Sequence[Entry]:
    """Return the committed entries that the file lacks; a file that contradicts them is refused."""
    known = len(contents.entries)
    if known > len(committed):
        raise AlteredArtefactError(
            f"{path} holds {known} decisions, the registry only {len(committed)}: the registry was restored from an "
            "older state or its log was cut; restore it, or move the file away to start a new one"
        )
    for ours, theirs in zip(contents.entries, committed, strict=False):
        if ours.hash != theirs.hash:
            raise AlteredArtefactError(
                f"decision {ours.number} differs between {path} and the registry: one of them was altered; "
                "compare both with another copy"
            )
    missing = committed[known:]
    expected = write_line(missing[0]).encode() if missing else b""
    if not expected.startswith(contents.torn):
        raise AlteredArtefactError(
            f"{path} ends in {len(contents.torn)} bytes that are no part of decision {known + 1}: it was altered; "
            "compare it with another copy"
        )
    return missing


def append(path: Path, contents: Contents, missing: Sequence[Entry]) -> None:
    """Cut a torn last line off and append entries, on disk before this returns; the caller holds the lock."""
    with path.open("ab") as file:
        if contents.torn:
            file.truncate(file.tell() - len(contents.torn))
        file.write(b"".join(write_line(entry).encode() + b"\n" for entry in missing))
        file.flush()
        os.fsync(file.fileno())
    fsync_directory(path.parent)
