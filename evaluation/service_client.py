"""A running service as something that can be scored: `GET /info` and `POST /embed`, with patience for a busy one."""

import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from infembed.bundle import Precision
from infembed.config import explain
from infembed.errors import BadInputError, UnavailableError
from infembed.inputs import InputType, TextInput
from infembed.vectors import FloatArray, normalize

_CHUNK = 32
_TRIES = 8
_LONGEST_WAIT_S = 60.0
_BUSY = frozenset({429, 503})
_TIMEOUT_S = 120.0

Sleep = Callable[[float], None]


class ServiceInfo(BaseModel):
    """What scoring reads of `GET /info`."""

    model_id: str
    model_sha: str
    precision: Precision = Precision.FP32
    document_fingerprint: str
    fusion: str
    dim: int = Field(gt=0)
    max_client_batch_size: int = Field(gt=0)


class ServiceClient:
    """The little HTTP that scoring needs; 429 and 503 are waited for, everything else is an error at once."""

    def __init__(self, url: str, *, sleep: Sleep = time.sleep) -> None:
        try:
            is_http = urlsplit(url).scheme in {"http", "https"} and bool(urlsplit(url).hostname)
        except ValueError:
            is_http = False
        if not is_http:
            raise BadInputError(f"{url!r} is not the address of a service; it must begin with http:// or https://")
        self.url = url.rstrip("/")
        self._sleep = sleep

    def info(self) -> ServiceInfo:
        """Ask who the service is; refuses a server that is not an InF-Embed service."""
        try:
            return ServiceInfo.model_validate(self._request("/info", None))
        except BadInputError as error:
            raise BadInputError(f"{self.url} is not an InF-Embed service: {error}") from error
        except ValidationError as error:
            raise BadInputError(f"{self.url} is not an InF-Embed service: its /info has {explain(error)}") from error

    def embed(self, body: dict[str, Any]) -> object:
        """Ask for embeddings; returns the answer as it came."""
        return self._request("/embed", json.dumps(body).encode())

    def _request(self, path: str, body: bytes | None) -> object:
        waited_s = 0.0
        for _ in range(_TRIES):
            try:
                return self._parsed(_fetch(self.url + path, body), path)
            except urllib.error.HTTPError as error:
                if error.code not in _BUSY:
                    raise BadInputError(f"{path} answered {error.code}: {_text(error)}") from error
                wait_s = _retry_after_s(error)
            except (OSError, HTTPException, UnicodeError) as error:
                raise UnavailableError(f"{self.url} does not answer: {error}", retry_after_s=1.0) from error
            waited_s += wait_s
            if waited_s > _LONGEST_WAIT_S:
                break
            self._sleep(wait_s)
        raise UnavailableError(
            f"{self.url} is too busy: it still answered 429 or 503 to {path} after {_TRIES} tries or "
            f"{_LONGEST_WAIT_S:.0f} s; score it when it has less to do",
            retry_after_s=_LONGEST_WAIT_S,
        )

    def _parsed(self, raw: bytes, path: str) -> object:
        try:
            found: object = json.loads(raw)
        except ValueError as error:
            raise BadInputError(f"{self.url}{path} answered with something that is not JSON") from error
        return found


class ServiceEncoder:
    """Encodes through `POST /embed`; every answer is checked for shape and for numbers."""

    def __init__(self, client: ServiceClient, info: ServiceInfo) -> None:
        self._client = client
        self._chunk = min(_CHUNK, info.max_client_batch_size)
        self.dim = info.dim
        self.document_fingerprint = info.document_fingerprint

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        return self._embed([TextInput(text) for text in texts])

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        return self._embed(queries)

    def _embed(self, items: Sequence[TextInput]) -> FloatArray:
        parts = [np.empty((0, self.dim), dtype=np.float32)]
        for start in range(0, len(items), self._chunk):
            part = items[start : start + self._chunk]
            body: dict[str, Any] = {"inputs": [item.text for item in part], "input_type": part[0].input_type}
            if part[0].input_type is InputType.QUERY:
                body["instruction"] = [item.instruction for item in part]
            parts.append(self._vectors(self._client.embed(body), len(part)))
        return normalize(np.concatenate(parts))

    def _vectors(self, answer: object, n: int) -> FloatArray:
        try:
            with np.errstate(over="ignore"):  # a value float32 cannot hold becomes infinite, which is refused below
                vectors = np.array(answer, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise self._unusable(f"no list of {n} vectors") from error
        if vectors.shape != (n, self.dim):
            raise self._unusable(f"shape {vectors.shape}, expected {(n, self.dim)}")
        if not np.isfinite(vectors).all():
            raise self._unusable("vectors with values that are not finite numbers")
        return vectors

    def _unusable(self, found: str) -> BadInputError:
        return BadInputError(f"{self._client.url}/embed answered with {found}; its answers cannot be scored")


def _fetch(url: str, body: bytes | None) -> bytes:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})  # noqa: S310 - checked before
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
        raw: bytes = response.read()
    return raw


def _retry_after_s(error: urllib.error.HTTPError) -> float:
    """Read Retry-After; a second where it is missing, a date, or nonsense."""
    try:
        seconds = float(error.headers.get("retry-after", "1"))
    except ValueError:
        return 1.0
    return max(0.1, seconds) if math.isfinite(seconds) else 1.0


def _text(error: urllib.error.HTTPError) -> str:
    return " ".join(error.read().decode("utf-8", errors="replace").split())[:200]
