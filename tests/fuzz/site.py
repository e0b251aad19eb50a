"""What is served while it is fuzzed: a tiny real model and a small collection, without keys or with one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from index.build import build_collection
from infembed.encoder import OnnxEncoder
from service.keys import Scope, hash_key, new_key
from tests.service.app import TEXTS
from tests.service.processes import Service, serving
from tests.tiny import CONFIG, make_tiny_bundle

COLLECTION = "words"
MODEL = "tiny-prefix"
DIM = CONFIG["hidden_size"]


class Site(NamedTuple):
    """Where a bundle and its collections are."""

    bundle: Path
    collections: Path


def build(directory: Path) -> Site:
    """Make the model and the collection below `directory`."""
    site = Site(make_tiny_bundle(directory), directory / "collections")
    passages = directory / "passages.jsonl"
    rows = [{"id": f"d{number}", "text": text, "number": number} for number, text in enumerate(TEXTS)]
    passages.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    encoder = OnnxEncoder.open(site.bundle, n_threads=1)
    build_collection(passages, site.collections / COLLECTION, encoder=encoder, bundle_name="tiny")
    return site


class Guarded(NamedTuple):
    """A running service, and the key it asks for; None: it asks for none."""

    service: Service
    key: str | None


@contextmanager
def running(site: Site, *, has_keys: bool) -> Iterator[Guarded]:
    """Serve a site in a process of its own, with one key for everything or with none."""
    key = new_key() if has_keys else None
    environment = {"INFEMBED_LOG_LEVEL": "error"}
    if key is not None:
        stored = {"fuzz": {"scopes": list(Scope), "hash": hash_key(key)}}
        environment["INFEMBED_KEYS"] = json.dumps(stored)
    with serving("--bundle", site.bundle, "--collections", site.collections, environment=environment) as service:
        yield Guarded(service, key)
