"""The application around fakes, and a client for it."""

import socket
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from index.collection import Hit
from infembed.bundle import Bundle
from infembed.encoder import OnnxEncoder, StatesOf, TokenIds
from infembed.tokenization import BundleTokenizer, TokenizedInput
from infembed.vectors import FloatArray
from service.app import create_app
from service.loading import Load
from service.settings import Settings
from service.tracing import Tracing


class FaultyEncoder:
    """The tiny real model, which can be told to fail or to wait, and keeps the lengths of its batches."""

    def __init__(self, path: Path) -> None:
        self._real = OnnxEncoder.open(path, n_threads=1)
        self.fault: Exception | float | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[list[int]] = []

    @property
    def bundle(self) -> Bundle:
        return self._real.bundle

    @property
    def tokenizer(self) -> BundleTokenizer:
        return self._real.tokenizer

    def encode_instructions(self, instructions: Iterable[TokenIds]) -> Mapping[TokenIds, FloatArray]:
        return self._real.encode_instructions(instructions)

    @property
    def n_runs(self) -> int:
        return self._real.n_runs

    @property
    def most_run_tokens(self) -> int:
        return self._real.most_run_tokens

    def encode(
        self, items: Sequence[TokenizedInput], *, states_of: StatesOf | None = None, is_alone: bool = True
    ) -> FloatArray:
        if isinstance(self.fault, Exception):
            raise self.fault
        self.batches.append([len(item.ids) for item in items])
        self.gate.wait(timeout=60)
        vectors = self._real.encode(items, states_of=states_of, is_alone=is_alone)
        return vectors if self.fault is None else np.full_like(vectors, self.fault)


class ListCollection:
    """A collection that ranks its documents by inner product, one by one."""

    def __init__(self, name: str, vectors: FloatArray, texts: Sequence[str]) -> None:
        self.name = name
        self._vectors = vectors
        self._texts = list(texts)
        self.generation = "gen-000001-00000000"
        self.built_at = "2026-01-01T00:00:00+00:00"
        self.size_bytes = vectors.nbytes
        self.is_closed = False

    @property
    def n_documents(self) -> int:
        return len(self._texts)

    def search(self, vectors: FloatArray, *, k: int, offset: int = 0) -> list[list[Hit]]:
        found = []
        for query in vectors:
            scores = self._vectors @ query
            order = np.argsort(-scores, kind="stable")[offset : offset + k]
            found.append([Hit(f"d{i}", float(scores[i]), self._texts[i], {"number": int(i)}) for i in order])
        return found

    def close(self) -> None:
        self.is_closed = True


TEXTS = ["bread dough for a child", "bread dough for an expert", "bike chain", "road", "oven and yeast"]


def make_app(
    path: Path, *, reload: Load | None = None, tracing: Tracing | None = None, **settings: Any
) -> tuple[FastAPI, FaultyEncoder, ListCollection]:
    """Make the application on a tiny real model and a list of documents."""
    encoder = FaultyEncoder(path)
    vectors = OnnxEncoder.open(path, n_threads=1).encode_documents(TEXTS)
    collection = ListCollection("words", vectors, TEXTS)
    app = create_app(Settings(**settings), encoder=encoder, collections=[collection], reload=reload, tracing=tracing)
    return app, encoder, collection


def make_client(
    path: Path, *, host: str = "testclient", **settings: Any
) -> tuple[TestClient, FaultyEncoder, ListCollection]:
    """Make the application and a client that needs no socket; `host` is where it calls from."""
    app, encoder, collection = make_app(path, **settings)
    return TestClient(app, raise_server_exceptions=False, client=(host, 50_000)), encoder, collection


@contextmanager
def listening(app: FastAPI) -> Iterator[tuple[str, int]]:
    """Serve an application on a real socket, for as long as the block lasts."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            thread.join()
