"""Index generations: immutable directories, published by one atomic swap of the file CURRENT.

<collection>/CURRENT  LOCK  unfinished/  pins/
<collection>/generations/gen-000042-<uuid8>/MANIFEST.json  index.faiss  vectors.f16  ids.i64  passages.sqlite
"""

import fcntl
import re
import shlex
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field

from infembed.artefacts import FileEntry, describe_file, remove_leftovers, verify_files, write_atomically
from infembed.config import Config, shown
from infembed.errors import AlteredArtefactError, BadArtefactError, MismatchedArtefactError, MissingArtefactError
from infembed.manifests import read_sealed, write_sealed

CURRENT_FILE = "CURRENT"
LOCK_FILE = "LOCK"
UNFINISHED = "unfinished"
GENERATIONS = "generations"
PINS = "pins"
"""Holds an empty file by the name of each generation that a model registry may go back to."""
MANIFEST_FILE = "MANIFEST.json"
INDEX_FILE = "index.faiss"
VECTORS_FILE = "vectors.f16"
IDS_FILE = "ids.i64"
STORE_FILE = "passages.sqlite"
FILES = (INDEX_FILE, VECTORS_FILE, IDS_FILE, STORE_FILE)
SCHEMA_VERSION: Literal[2] = 2
REMEDY = "build the index again (`infembed index build`)"
_KEPT = 2
_NAME = re.compile(r"gen-(\d{6,})-[0-9a-f]{8}")


class GenerationManifest(Config):
    """What a generation holds and what made it."""

    schema_version: Literal[2] = SCHEMA_VERSION
    created_at: str
    document_fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")
    bundle_name: str
    dim: int = Field(gt=0)
    metric: Literal["inner_product"] = "inner_product"
    is_normalized: Literal[True] = True
    factory: str
    nlist: int = Field(ge=0, description="0 means flat: every vector is looked at")
    nprobe: int = Field(gt=0, description="raising it finds more of the exact neighbours and costs time")
    recall_at_10: float = Field(ge=0, le=1, description="against exact search, on queries not used for tuning")
    n_documents: int = Field(gt=0)
    source_name: str
    source_sha256: str
    files: tuple[FileEntry, ...] = ()
    made_with: dict[str, str]


class Generation(Config):
    """A verified generation on disk."""

    name: str
    path: Path
    manifest: GenerationManifest


@contextmanager
def exclusive(collection: Path) -> Iterator[None]:
    """Hold the collection's writer lock; a second writer, or a directory of something else, is refused at once."""
    _require_collection_or_nothing(collection)
    collection.mkdir(parents=True, exist_ok=True)
    with (collection / LOCK_FILE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadArtefactError(f"another process is writing {collection}; wait for it to end") from error
        (collection / GENERATIONS).mkdir(exist_ok=True)
        remove_leftovers(collection)
        remove_leftovers(collection / GENERATIONS)
        yield


def _require_collection_or_nothing(path: Path) -> None:
    if not path.exists() or (path / GENERATIONS).is_dir():
        return
    if not path.is_dir():
        raise BadArtefactError(f"{path} is a file; give a new or an empty directory")
    ours = {CURRENT_FILE, LOCK_FILE, UNFINISHED}
    others = [entry.name for entry in path.iterdir() if entry.name not in ours]
    if others:
        raise BadArtefactError(
            f"{path} is no collection and holds {shown(sorted(others))}; give a new or an empty directory"
        )


def next_name(collection: Path) -> str:
    """Name a new generation after all that are there."""
    newest = max(_numbers(collection).values(), default=0)
    return f"gen-{newest + 1:06d}-{uuid.uuid4().hex[:8]}"


def directory_of(collection: Path, name: str) -> Path:
    """Return where a generation lies."""
    return collection / GENERATIONS / name


def write_manifest(directory: Path, manifest: GenerationManifest) -> GenerationManifest:
    """Describe the files of a generation and write its manifest, last."""
    files = tuple(describe_file(directory, name) for name in FILES)
    whole = manifest.model_copy(update={"files": files})
    write_sealed(directory / MANIFEST_FILE, whole)
    return whole


def publish(collection: Path, name: str) -> None:
    """Make a generation the current one; readers see the old or the new, nothing between."""
    write_atomically(collection / CURRENT_FILE, f"{name}\n".encode())


def touch(collection: Path) -> None:
    """Note that the current generation was found up to date, for tools such as make that compare times."""
    (collection / CURRENT_FILE).touch()


def current_name(collection: Path) -> str | None:
    """Return the current generation's name, or None where nothing was published yet."""
    path = collection / CURRENT_FILE
    try:
        name = path.read_bytes().decode(errors="replace").strip()
    except FileNotFoundError:
        return None
    if not _NAME.fullmatch(name):
        raise AlteredArtefactError(f"{path} names {shown(name)}, not a generation; {REMEDY}")
    return name


def read_manifest(collection: Path, name: str) -> GenerationManifest:
    """Read one generation's manifest."""
    path = directory_of(collection, name) / MANIFEST_FILE
    if not path.is_file():
        raise MissingArtefactError(f"{collection} has no generation {name}; {REMEDY}")
    return read_sealed(
        GenerationManifest,
        path,
        version=SCHEMA_VERSION,
        remedy=REMEDY,
        renew=f"build it again: {build_command(collection)}",
    )


def build_command(collection: Path, passages: str = "PASSAGES") -> str:
    """Spell out the command that makes a collection anew."""
    options = f"--bundle BUNDLE --passages {shlex.quote(passages)} --out {shlex.quote(str(collection))}"
    return f"`infembed index build {options}`"


def open_current(collection: Path, *, document_fingerprint: str) -> Generation:
    """Verify the current generation, and that it holds this model's vectors."""
    name = current_name(collection)
    if name is None:
        raise MissingArtefactError(f"{collection} is not a collection (no {CURRENT_FILE} there); {REMEDY}")
    manifest = read_manifest(collection, name)
    require_fingerprint(collection, manifest, document_fingerprint)
    path = directory_of(collection, name)
    if {entry.name for entry in manifest.files} != set(FILES):
        raise AlteredArtefactError(f"{path / MANIFEST_FILE} does not list {', '.join(FILES)}; {REMEDY}")
    verify_files(path, manifest.files, remedy=REMEDY)
    return Generation(name=name, path=path, manifest=manifest)


def require_fingerprint(collection: Path, manifest: GenerationManifest, document_fingerprint: str) -> None:
    """Refuse an index that holds another model's vectors."""
    if manifest.document_fingerprint != document_fingerprint:
        raise MismatchedArtefactError(
            f"index {collection} was built with another model ({manifest.bundle_name}, document fingerprint "
            f"{manifest.document_fingerprint[:12]}), the bundle has {document_fingerprint[:12]}; "
            f"build it with this one, {build_command(collection, manifest.source_name)}, "
            "or serve the one it was built with"
        )


def remove_old(collection: Path) -> None:
    """Keep the current generation, the last ones, and those that a registry has pinned.

    A service that has an older one open does not need its files.
    """
    numbers = _numbers(collection)
    pinned = {path.name for path in (collection / PINS).glob("*")}
    kept = {*sorted(numbers, key=lambda name: numbers[name])[-_KEPT:], current_name(collection), *pinned}
    for name in numbers.keys() - kept:
        shutil.rmtree(directory_of(collection, name))


def _numbers(collection: Path) -> dict[str, int]:
    """Return the number of each generation by name; what is named otherwise is not ours."""
    names = (path.name for path in (collection / GENERATIONS).iterdir())
    return {name: int(match[1]) for name in names if (match := _NAME.fullmatch(name))}
