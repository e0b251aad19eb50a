"""Pull a release: bundle, signature and index together in a directory that a service can be started on.

OUT/current -> releases/v2-1a2b3c4d        swapped in one step, after everything behind it was verified
OUT/releases/v2-1a2b3c4d/release.json  bundle/  bundle.sig  collections/<name>/
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

from evaluation.registry.decision_log import exclusive
from evaluation.registry.entries import Release
from evaluation.registry.index_pointer import check_pointer, lay_out
from evaluation.registry.store import Store
from infembed.artefacts import fsync_directory, new_directory, remove_leftovers
from infembed.bundle import Bundle
from infembed.config import parse_json
from infembed.errors import AlteredArtefactError, BadArtefactError, InfEmbedError, MissingArtefactError
from infembed.signatures import verify_signature

_RELEASES = "releases"
_CURRENT = "current"
_RELEASE_FILE = "release.json"
_BUNDLE = "bundle"
_COLLECTIONS = "collections"


class Pulled(NamedTuple):
    """What a pull made; `collections` is None where the release has no index or none was wanted."""

    release: Release
    bundle: Path
    collections: Path | None
    is_new: bool
    is_signature_checked: bool


def pull(
    store: Store, release: Release, out: Path, *, public_key: Path | None = None, with_index: bool = True
) -> Pulled:
    """Fetch and verify a release below `out` and make it the current one there; a failure changes nothing."""
    wanted = release if with_index else release.model_copy(update={"index": None})
    place = out / _RELEASES / _name(wanted)
    with exclusive(out):
        (out / _RELEASES).mkdir(exist_ok=True)
        remove_leftovers(out)
        remove_leftovers(out / _RELEASES)
        is_new = not place.exists()
        if is_new:
            with new_directory(place) as directory:
                _fill(store, wanted, directory, public_key)
        else:
            _verify(wanted, place, public_key)
        _make_current(out, place)
    current = out / _CURRENT
    return Pulled(
        release=wanted,
        bundle=current / _BUNDLE,
        collections=current / _COLLECTIONS if wanted.index else None,
        is_new=is_new,
        is_signature_checked=public_key is not None,
    )


def _name(release: Release) -> str:
    content = hashlib.sha256(release.model_dump_json().encode()).hexdigest()
    return f"v{release.version}-{content[:8]}"


def _fill(store: Store, release: Release, directory: Path, public_key: Path | None) -> None:
    store.fetch(release, directory, public_key=public_key)
    if release.index is not None:
        try:
            lay_out(release.index, directory / _COLLECTIONS)
        except MissingArtefactError as error:
            raise MissingArtefactError(
                f"{error}. The release needs this index on this machine; copy it there, or pull --without-index"
            ) from error
    (directory / _RELEASE_FILE).write_text(release.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _verify(release: Release, place: Path, public_key: Path | None) -> None:
    """Check what an earlier pull left; it is never repaired in place, since a service may be running on it."""
    try:
        if parse_json(Release, place / _RELEASE_FILE) != release or (
            Bundle.open(place / _BUNDLE).digest != release.bundle_digest
        ):
            raise AlteredArtefactError(f"{place} holds another release than its name says")
        if public_key is not None:
            verify_signature(place / _BUNDLE, public_key)
        if release.index is not None:
            check_pointer(release.index)
    except (BadArtefactError, OSError) as error:
        if isinstance(error, InfEmbedError) and str(place) not in str(error):
            raise
        raise AlteredArtefactError(
            f"{place}, pulled earlier, is damaged ({error}); remove it and pull again"
        ) from error


def _make_current(out: Path, place: Path) -> None:
    link = out / f".tmp-{_CURRENT}"
    link.unlink(missing_ok=True)
    link.symlink_to(place.relative_to(out))
    link.replace(out / _CURRENT)
    fsync_directory(out)
