"""Load what is served: verified, and only if model and collections belong together."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from infembed.artefacts import sha256_file
from infembed.bundle import MANIFEST_FILE, Bundle
from infembed.cpu import available_cpus
from infembed.encoder import OnnxEncoder
from infembed.signatures import verify_signature
from service.collections import SearchedCollection, close_collections, open_collections
from service.pipeline import ServedEncoder
from service.settings import Settings

MOST_RUNS = 8
"""Unless asked for. Of many threads one each would leave a long text to one of them as soon as two wait."""


class Loaded(NamedTuple):
    """A model and the collections whose vectors are its own."""

    encoder: ServedEncoder
    collections: Sequence[SearchedCollection]


Load = Callable[[Loaded | None], Loaded]
"""Loads what the settings name; what has not changed since the given one is taken from it, not read again."""


def load(settings: Settings, now: Loaded | None = None) -> Loaded:
    """Verify signature, files and fingerprints before the model takes any memory."""
    path = settings.bundle.parent.resolve() / settings.bundle.name  # `current` may move on while this reads
    if settings.bundle_public_key is not None:
        verify_signature(path, settings.bundle_public_key)
    same = now.encoder if now is not None and _is_served(path, now.encoder.bundle) else None
    bundle = same.bundle if same else Bundle.open(path)
    fingerprint = bundle.manifest.document_fingerprint
    reusable = now.collections if now and now.encoder.bundle.manifest.document_fingerprint == fingerprint else ()
    collections = open_collections(settings.collections, document_fingerprint=fingerprint, opened=reusable)
    try:
        return Loaded(same or _open(bundle, settings), collections)
    except BaseException:
        close_collections(collections, but=reusable)
        raise


def describe(loaded: Loaded, settings: Settings) -> Iterator[str]:
    """Say in lines what is served."""
    if settings.bundle_public_key is not None:
        yield f"bundle {settings.bundle} is signed by {settings.bundle_public_key}"
    manifest = loaded.encoder.bundle.manifest
    yield f"model {manifest.name}, {' or '.join(map(str, manifest.widths))} dimensions, {settings.precision}"
    for collection in loaded.collections:
        yield f"collection {collection.name}: {collection.n_documents:,} passages"
    if not loaded.collections:
        yield "no collections: /embed works, /search has nothing to search"


def _open(bundle: Bundle, settings: Settings) -> OnnxEncoder:
    n_threads = settings.threads or available_cpus()
    return OnnxEncoder(
        bundle,
        precision=settings.precision,
        n_threads=n_threads,
        provider=settings.provider,
        footprint=settings.footprint,
        n_runs=min(settings.runs or MOST_RUNS, n_threads),
    )


def _is_served(path: Path, bundle: Bundle) -> bool:
    """Whether the bundle at `path` is the one in memory: its manifest carries the digest of every file."""
    manifest = path / MANIFEST_FILE
    return manifest.is_file() and sha256_file(manifest) == bundle.digest
