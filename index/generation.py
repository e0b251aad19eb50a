"""Index generations: immutable directories, published by one atomic swap of the file CURRENT.

<collection>/CURRENT  LOCK  passages-<source>.sqlite
<collection>/generations/gen-000042-<uuid8>/MANIFEST.json  index.faiss  vectors.f16  ids.i64
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field

from infembed.artefacts import FileEntry, new_directory, remove_leftovers, verify_files, write_atomically
from infembed.config import Config, parse_json
from infembed.errors import BadArtefactError, MismatchedArtefactError, MissingArtefactError

CURRENT_FILE = "CURRENT"
LOCK_FILE = "LOCK"
GENERATIONS = "generations"
MANIFEST_FILE = "MANIFEST.json"
INDEX_FILE = "index.faiss"
VECTORS_FILE = "vectors.f16"
IDS_FILE = "ids.i64"
_KEPT = 2
_REMEDY = "build the index again (`infembed index build`)"


class GenerationManifest(Config):
    """What a generation holds and what made it."""

    schema_version: Literal[1] = 1
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
    store: str
    files: tuple[FileEntry, ...]
    made_with: dict[str, str]


class Generation(Config):
    """A verified generation on disk."""

    name: str
    path: Path
    manifest: GenerationManifest


@contextmanager
def exclusive(collection: Path) -> Iterator[None]:
    """Hold the collection's writer lock; a second writer is refused at once."""
    collection.mkdir(parents=True, exist_ok=True)
    with (collection / LOCK_FILE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadArtefactError(f"another process is writing {collection}; wait for it to end") from error
        (collection / GENERATIONS).mkdir(exist_ok=True)
        remove_leftovers(collection)
        remove_leftovers(collection / GENERATIONS)
        yield


@contextmanager
def new_generation(collection: Path) -> Iterator[Path]:
    """Yield a directory to fill; on success it is a generation, not yet current."""
    numbers = [int(path.name.split("-")[1]) for path in (collection / GENERATIONS).glob("gen-*")]
    name = f"gen-{max(numbers, default=0) + 1:06d}-{uuid.uuid4().hex[:8]}"
    with new_directory(collection / GENERATIONS / name) as directory:
        yield directory


def newest(collection: Path) -> str:
    """Return the name of the generation written last."""
    return max(path.name for path in (collection / GENERATIONS).glob("gen-*"))


def publish(collection: Path, name: str) -> None:
    """Make a generation the current one; readers see the old or the new, nothing between."""
    write_atomically(collection / CURRENT_FILE, f"{name}\n".encode())


def current_name(collection: Path) -> str | None:
    """Return the current generation's name, or None where nothing was published yet."""
    try:
        return (collection / CURRENT_FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def read_manifest(collection: Path, name: str) -> GenerationManifest:
    """Read one generation's manifest."""
    path = collection / GENERATIONS / name / MANIFEST_FILE
    if not path.is_file():
        raise MissingArtefactError(f"{collection} has no generation {name!r}; {_REMEDY}")
    return parse_json(GenerationManifest, path)


def open_current(collection: Path, *, document_fingerprint: str) -> Generation:
    """Verify the current generation, and that it holds this model's vectors."""
    name = current_name(collection)
    if name is None:
        raise MissingArtefactError(f"{collection} is not a collection (no {CURRENT_FILE} there); {_REMEDY}")
    if os.sep in name or not name.startswith("gen-"):
        raise BadArtefactError(f"{collection / CURRENT_FILE} names {name!r}, not a generation; {_REMEDY}")
    manifest = read_manifest(collection, name)
    require_fingerprint(collection, manifest, document_fingerprint)
    path = collection / GENERATIONS / name
    verify_files(path, manifest.files, remedy=_REMEDY)
    return Generation(name=name, path=path, manifest=manifest)


def require_fingerprint(collection: Path, manifest: GenerationManifest, document_fingerprint: str) -> None:
    """Refuse an index that holds another model's vectors."""
    if manifest.document_fingerprint != document_fingerprint:
        raise MismatchedArtefactError(
            f"index {collection} was built with another model ({manifest.bundle_name}, document fingerprint "
            f"{manifest.document_fingerprint[:12]}), the bundle has {document_fingerprint[:12]}; "
            "rebuild the index with this bundle or serve the bundle it was built with"
        )


def remove_old(collection: Path) -> None:
    """Keep the last generations and the stores they use."""
    names = sorted(path.name for path in (collection / GENERATIONS).glob("gen-*"))
    kept = {*names[-_KEPT:], current_name(collection)}
    for name in set(names) - kept:
        shutil.rmtree(collection / GENERATIONS / name)
    stores = {read_manifest(collection, name).store for name in kept if name}
    for path in collection.glob("passages-*.sqlite*"):
        if path.name.removesuffix("-wal").removesuffix("-shm") not in stores:
            path.unlink()
