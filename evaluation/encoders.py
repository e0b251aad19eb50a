"""What can be scored: a bundle, a running service, or any sentence-transformers model; and a cache around each."""

import hashlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from evaluation.report import ModelIdentity
from infembed.artefacts import sha256_file, write_atomically
from infembed.encoder import Encoder, OnnxEncoder
from infembed.errors import BadArtefactError, BadInputError, MissingArtefactError, UnavailableError
from infembed.inputs import Fusion, TextInput, render
from infembed.vectors import FloatArray, normalize, require_finite

OnEncoded = Callable[[int], None]
_CHUNK = 256
_HTTP_CHUNK = 64
_HTTP_TRIES = 8
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class ScoredModel:
    """A model and who it is."""

    identity: ModelIdentity
    encoder: Encoder


def open_bundle(path: Path) -> ScoredModel:
    """Score the ONNX bundle that would be served."""
    encoder = OnnxEncoder.open(path)
    manifest = encoder.bundle.manifest
    identity = ModelIdentity(
        name=manifest.name,
        digest=encoder.bundle.digest,
        document_fingerprint=encoder.document_fingerprint,
        kind="bundle",
        fusion=manifest.fusion,
    )
    return ScoredModel(identity, encoder)


def open_service(url: str) -> ScoredModel:
    """Score what a running service answers on `POST /embed`."""
    client = _Service(url.rstrip("/"))
    info = client.get("/info")
    try:
        identity = ModelIdentity(
            name=info["model_id"],
            digest=info["model_sha"],
            document_fingerprint=info["document_fingerprint"],
            kind="url",
            fusion=info["fusion"],
        )
        encoder = ServiceEncoder(client, dim=info["dim"], document_fingerprint=info["document_fingerprint"])
    except KeyError as error:
        raise BadInputError(f"{url}/info has no {error}; it is not an InF-Embed service") from error
    return ScoredModel(identity, encoder)


def open_sentence_transformers(path: str, *, kind: str = "sentence-transformers") -> ScoredModel:
    """Score a sentence-transformers model, or a plain Hugging Face checkpoint with mean pooling.

    Such a model reads one text, so instruction and query are given as `concat` renders them.
    """
    from sentence_transformers import SentenceTransformer

    if kind == "checkpoint" and not Path(path).is_dir():
        raise MissingArtefactError(f"no checkpoint at {path}")
    model = SentenceTransformer(path, device="cpu", local_files_only=Path(path).is_dir())
    digest = _directory_digest(Path(path)) if Path(path).is_dir() else hashlib.sha256(path.encode()).hexdigest()
    identity = ModelIdentity.model_validate(
        {"name": Path(path).name, "digest": digest, "document_fingerprint": digest, "kind": kind, "fusion": "concat"}
    )
    return ScoredModel(identity, SentenceTransformersEncoder(model, document_fingerprint=digest))


class ServiceEncoder:
    """Encodes through `POST /embed`; waits as long as a busy service asks for."""

    def __init__(self, client: "_Service", *, dim: int, document_fingerprint: str) -> None:
        self._client = client
        self.dim = dim
        self.document_fingerprint = document_fingerprint

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        return self._embed([{"inputs": text, "input_type": "document"} for text in texts])

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        rows = [{"inputs": q.text, "instruction": q.instruction, "input_type": "query"} for q in queries]
        return self._embed(rows)

    def _embed(self, rows: Sequence[dict[str, Any]]) -> FloatArray:
        parts = [np.empty((0, self.dim), dtype=np.float32)]
        for start in range(0, len(rows), _HTTP_CHUNK):
            part = rows[start : start + _HTTP_CHUNK]
            body: dict[str, Any] = {
                "inputs": [row["inputs"] for row in part],
                "input_type": part[0]["input_type"],
            }
            if "instruction" in part[0]:
                body["instruction"] = [row["instruction"] for row in part]
            parts.append(np.array(self._client.post("/embed", body), dtype=np.float32))
        return np.concatenate(parts)


class SentenceTransformersEncoder:
    """Encodes through sentence-transformers; queries and instructions joined as `concat` joins them."""

    def __init__(self, model: Any, *, document_fingerprint: str) -> None:
        self._model = model
        self.dim = int(model.get_sentence_embedding_dimension())
        self.document_fingerprint = document_fingerprint

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        return self._encode(texts, self._model.encode_document)

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        return self._encode(
            [render(query, fusion=Fusion.CONCAT, prompts={}).text for query in queries], self._model.encode_query
        )

    def _encode(self, texts: Sequence[str], encode: Callable[..., Any]) -> FloatArray:
        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        return normalize(require_finite(np.asarray(encode(list(texts), show_progress_bar=False), dtype=np.float32)))


class CachedEncoder:
    """Remembers vectors on disk by a digest of the model and the texts; encodes the rest in chunks, longest first.

    Documents are filed under the document fingerprint: a model that only changed its query side encodes none again.
    """

    def __init__(self, model: ScoredModel, directory: Path | None, *, on_encoded: OnEncoded = lambda _: None) -> None:
        self._encoder = model.encoder
        self._digest = model.identity.digest
        self._directory = directory
        self._on_encoded = on_encoded

    @property
    def dim(self) -> int:
        return self._encoder.dim

    @property
    def document_fingerprint(self) -> str:
        return self._encoder.document_fingerprint

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        key = _digest_of(["documents", self.document_fingerprint, *texts])
        return self._remembered(key, texts, texts, self._encoder.encode_documents)

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        key = _digest_of(["queries", self._digest, *(f"{q.text}\0{q.instruction}" for q in queries)])
        lengths = [q.text + (q.instruction or "") for q in queries]
        return self._remembered(key, queries, lengths, self._encoder.encode_queries)

    def _remembered(
        self, key: str, items: Sequence[_Item], texts: Sequence[str], encode: Callable[[Sequence[_Item]], FloatArray]
    ) -> FloatArray:
        path = self._directory / f"{key}.f32" if self._directory else None
        if path is not None and path.is_file() and path.stat().st_size == len(items) * self.dim * 4:
            self._on_encoded(len(items))
            return np.fromfile(path, dtype="<f4").reshape(len(items), self.dim).astype(np.float32)
        vectors = np.empty((len(items), self.dim), dtype=np.float32)
        order = sorted(range(len(items)), key=lambda number: -len(texts[number]))
        for start in range(0, len(order), _CHUNK):
            chunk = order[start : start + _CHUNK]
            found = encode([items[number] for number in chunk])
            if found.shape != (len(chunk), self.dim):
                raise BadArtefactError(f"the model gave vectors of shape {found.shape} for {len(chunk)} texts")
            vectors[chunk] = require_finite(found)
            self._on_encoded(len(chunk))
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, vectors.astype("<f4").tobytes())
        return vectors


class _Reads(Protocol):
    def read(self) -> bytes: ...


class _Service:
    """The little HTTP that scoring needs."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise BadInputError(f"{url!r} is not the address of a service; it must begin with http:// or https://")
        self._url = url

    def get(self, path: str) -> Any:
        return self._request(path, None)

    def post(self, path: str, body: object) -> Any:
        return self._request(path, json.dumps(body).encode())

    def _request(self, path: str, body: bytes | None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked above
            self._url + path, body, {"content-type": "application/json"}
        )
        for _ in range(_HTTP_TRIES):
            try:
                with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310
                    return json.load(response)
            except urllib.error.HTTPError as error:
                if error.code not in {429, 503}:
                    raise BadInputError(f"{self._url}{path} answered {error.code}: {_text(error)}") from error
                time.sleep(float(error.headers.get("retry-after", "1")))
            except (OSError, ValueError) as error:
                raise UnavailableError(f"{self._url} does not answer: {error}", retry_after_s=1.0) from error
        raise UnavailableError(f"{self._url} was busy {_HTTP_TRIES} times in a row", retry_after_s=10.0)


def _text(error: _Reads) -> str:
    return error.read().decode("utf-8", errors="replace")[:500]


def _digest_of(parts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", errors="surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _directory_digest(directory: Path) -> str:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return _digest_of([f"{path.relative_to(directory)}:{sha256_file(path)}" for path in files])
