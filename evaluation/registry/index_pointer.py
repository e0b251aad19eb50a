"""The index half of a release: reads a collection through its files, pins one generation of it, lays it out again.

Evaluation and index meet through files: CURRENT names a generation, its MANIFEST.json says whose vectors it holds.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from evaluation.registry.entries import IndexPointer, Release
from infembed.artefacts import FileEntry, sha256_file, verify_files
from infembed.config import Config, explain
from infembed.errors import AlteredArtefactError, BadArtefactError, MismatchedArtefactError, MissingArtefactError

_CURRENT = "CURRENT"
_GENERATIONS = "generations"
_MANIFEST = "MANIFEST.json"
_PINS = "pins"
_REMEDY = "build the index again (`infembed index build`) and promote it"


class _Generation(Config):
    """What a promotion needs of a generation's manifest; the rest is the index's own business."""

    model_config = Config.model_config | {"extra": "ignore"}

    document_fingerprint: str
    bundle_name: str
    files: tuple[FileEntry, ...]


def point_to_current(collection: Path, release: Release) -> IndexPointer:
    """Pin the collection's current generation, which must be intact and hold this bundle's vectors.

    The pin keeps later builds from removing its files. A promotion that is then given up leaves it behind.
    """
    collection = collection.resolve()
    try:
        name = (collection / _CURRENT).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise MissingArtefactError(
            f"{collection} is not a collection (no {_CURRENT} there); build one with `infembed index build`"
        ) from error
    if not re.fullmatch(r"gen-[0-9A-Za-z-]+", name):
        raise BadArtefactError(f"{collection / _CURRENT} names {name!r}, not a generation; {_REMEDY}")
    path = collection / _GENERATIONS / name
    manifest = _read(path)
    if manifest.document_fingerprint != release.document_fingerprint:
        raise MismatchedArtefactError(
            f"index {collection} holds vectors of {manifest.bundle_name} (document fingerprint "
            f"{manifest.document_fingerprint[:12]}), the bundle to serve has {release.document_fingerprint[:12]}; "
            "build the index with that bundle first, in a directory of its own: "
            "`infembed index build --bundle BUNDLE --passages PASSAGES --out NEW`"
        )
    verify_files(path, manifest.files, remedy=_REMEDY)
    (collection / _PINS).mkdir(exist_ok=True)
    (collection / _PINS / name).touch()
    return IndexPointer(collection=str(collection), generation=name, manifest_sha256=sha256_file(path / _MANIFEST))


def release_pins(pointers: Iterable[IndexPointer], *, needed: Iterable[IndexPointer]) -> list[str]:
    """Take away the pins of generations that nothing will go back to; returns what was released."""
    kept = {(pointer.collection, pointer.generation) for pointer in needed}
    pins = {
        Path(pointer.collection) / _PINS / pointer.generation
        for pointer in pointers
        if (pointer.collection, pointer.generation) not in kept
    }
    released = sorted(pin for pin in pins if pin.is_file())
    for pin in released:
        pin.unlink(missing_ok=True)
    return [f"index generation {pin.name} of {pin.parents[1]} released" for pin in released]


def check_pointer(pointer: IndexPointer) -> None:
    """Refuse a pointer whose generation is gone or altered."""
    _resolve(pointer)


def is_here(pointer: IndexPointer) -> bool:
    """Whether the pointer's collection is on this machine at all."""
    return (Path(pointer.collection) / _CURRENT).is_file()


def lay_out(pointer: IndexPointer, directory: Path) -> Path:
    """Make a collection in `directory` that is exactly the pinned generation; files are linked, not copied."""
    _resolve(pointer)
    source = Path(pointer.collection)
    view = directory / source.name
    (view / _GENERATIONS).mkdir(parents=True)
    (view / _GENERATIONS / pointer.generation).symlink_to(source / _GENERATIONS / pointer.generation)
    (view / _CURRENT).write_text(f"{pointer.generation}\n", encoding="utf-8")
    return view


def _resolve(pointer: IndexPointer) -> None:
    path = Path(pointer.collection) / _GENERATIONS / pointer.generation
    manifest = _read(path)
    found = sha256_file(path / _MANIFEST)
    if found != pointer.manifest_sha256:
        raise AlteredArtefactError(
            f"{path / _MANIFEST} has SHA-256 {found[:12]}, promoted was {pointer.manifest_sha256[:12]}; {_REMEDY}"
        )
    lost = [entry.name for entry in manifest.files if not (path / entry.name).is_file()]
    if lost:
        raise MissingArtefactError(f"index generation {path} has lost {', '.join(lost)}; {_REMEDY}")


def _read(generation: Path) -> _Generation:
    path = generation / _MANIFEST
    if not path.is_file():
        raise MissingArtefactError(f"there is no index generation at {generation}; {_REMEDY}")
    try:
        return _Generation.model_validate(json.loads(path.read_bytes()))
    except ValidationError as error:
        raise AlteredArtefactError(f"{path}: {explain(error)}; {_REMEDY}") from error
    except ValueError as error:
        raise AlteredArtefactError(f"{path} is not valid JSON ({error}); {_REMEDY}") from error
