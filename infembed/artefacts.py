"""Files that are written once and verified before use: digests, atomic writes, atomic directories."""

import fcntl
import glob
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field

from infembed.config import Config, shown
from infembed.errors import AlteredArtefactError, BadArtefactError, MissingArtefactError

_TEMPORARY_PREFIX = ".tmp-"


class FileEntry(Config):
    """One file of an artefact as its manifest records it; `name` is relative, with forward slashes."""

    name: str
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_file(root: Path, name: str) -> FileEntry:
    """Record size and digest of `root/name`."""
    path = root / name
    return FileEntry(name=name, size_bytes=path.stat().st_size, sha256=sha256_file(path))


def verify_files(root: Path, entries: Iterable[FileEntry], *, remedy: str) -> None:
    """Check every file against its entry, sizes first; `remedy` ends the message of a failure."""
    entries = list(entries)
    for entry in entries:
        path = safe_child(root, entry.name)
        if not path.is_file():
            raise MissingArtefactError(f"{root} has no file {entry.name}; {remedy}")
        size = path.stat().st_size
        if size != entry.size_bytes:
            raise AlteredArtefactError(f"{path} has {size} bytes, its manifest records {entry.size_bytes}; {remedy}")
    for entry in entries:
        digest = sha256_file(root / entry.name)
        if digest != entry.sha256:
            raise AlteredArtefactError(
                f"{root / entry.name} has SHA-256 {digest}, its manifest records {entry.sha256}; {remedy}"
            )


def safe_child(root: Path, name: str) -> Path:
    """Return `root/name`, refusing names that would leave `root`."""
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise BadArtefactError(f"{root}: the file name {shown(name)} leaves the artefact's directory; make it again")
    return root / relative


def fsync_directory(path: Path) -> None:
    """Make renames and new names inside `path` survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old contents or the new, never a part."""
    with new_file(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def new_file(final: Path) -> Iterator[Path]:
    """Yield a temporary path beside `final`; the file written there replaces `final` on success, else vanishes."""
    temporary = final.with_name(f"{_TEMPORARY_PREFIX}{final.name}-{uuid.uuid4().hex[:8]}")
    try:
        yield temporary
        _fsync_file(temporary)
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_directory(final.parent)


def refuse_existing(final: Path) -> None:
    """Refuse a name that is taken; long work asks this first, lest it be lost."""
    if os.path.lexists(final):  # a link that leads nowhere takes a name too
        raise BadArtefactError(f"{final} exists already; choose another name or remove it")


@contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """Yield a temporary directory beside `final` that becomes `final` on success and vanishes on failure.

    `final` must not exist. Files are fsynced before the rename, the parent after it. What killed writers of the same
    name left is removed: a living one holds a lock on its directory.
    """
    refuse_existing(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    for abandoned in final.parent.glob(f"{_TEMPORARY_PREFIX}{glob.escape(final.name)}-*"):
        with _locked(abandoned) as is_ours:
            if is_ours:
                shutil.rmtree(abandoned, ignore_errors=True)
    temporary = final.parent / f"{_TEMPORARY_PREFIX}{final.name}-{uuid.uuid4().hex[:8]}"
    temporary.mkdir()
    with _locked(temporary):
        try:
            yield temporary
            _fsync_tree(temporary)
            _rename_to_new(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    fsync_directory(final.parent)


@contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Yield whether this process holds the directory; a file, a lost race and a file system without locks say no."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield False
        return
    try:
        is_ours = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            is_ours = False
        yield is_ours
    finally:
        os.close(descriptor)


def _rename_to_new(temporary: Path, final: Path) -> None:
    try:
        temporary.rename(final)
    except OSError:
        refuse_existing(final)  # somebody else was faster
        raise


def remove_leftovers(parent: Path) -> None:
    """Delete what interrupted writers left in `parent`; the caller holds the lock that makes this safe."""
    for path in parent.glob(f"{_TEMPORARY_PREFIX}*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _fsync_tree(root: Path) -> None:
    for path in sorted(root.rglob("*")):
        if path.is_dir():
            fsync_directory(path)
        else:
            _fsync_file(path)
    fsync_directory(root)


def _fsync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
