"""`GET /health`, `/ready`, `/info`, `/metrics`: what operators and their machines ask."""

import hashlib
import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, Response

from infembed import version
from infembed.bundle import Bundle, Precision
from infembed.errors import InfEmbedError
from infembed.inputs import InputType, TextInput
from infembed.vectors import FloatArray, normalize
from service.answers import Alive, Info, Ready
from service.collections import Catalogue
from service.errors import retry_headers
from service.metrics import Metrics
from service.pipeline import Pipeline, ServedEncoder
from service.routes import READ_ERRORS, documented, json_response
from service.settings import Settings

_log = logging.getLogger(__name__)
_DTYPE = {Precision.FP32: "float32", Precision.FP16: "float16", Precision.INT8: "int8"}
_METRICS_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
PROBE_TEXTS = (
    TextInput("The quick brown fox jumps over the lazy dog."),
    TextInput("how to debug a liveness probe", InputType.QUERY),
    TextInput("how to debug a liveness probe", InputType.QUERY, "leave out reference pages"),
)
"""Fixed texts whose vectors show at `/info` whether two instances serve the same model."""


@dataclass
class Life:
    """Whether the service has been told to stop."""

    is_draining: bool = False


def probe_vectors(encoder: ServedEncoder) -> FloatArray:
    """Encode the fixed texts; also the first forward pass after loading."""
    return normalize(encoder.encode(encoder.tokenizer.tokenize(PROBE_TEXTS)))


def probe_shift(probes: FloatArray) -> float:
    """Return how far the instruction of the last fixed text moves its query, 1 - cosine."""
    return 1 - float(np.dot(probes[-2], probes[-1]))


def process_routes(metrics: Metrics) -> APIRouter:
    """Make the router of what the process answers from its first moment on, model or not."""
    router = APIRouter(tags=["operations"])

    @router.get("/health", response_model=Alive, responses=documented(*READ_ERRORS))
    async def health() -> Response:
        """Say that the process answers."""
        return json_response({"status": "alive"})

    @router.get("/metrics", response_class=Response, responses=_METRICS_TEXT | documented(*READ_ERRORS))
    async def metrics_text() -> Response:
        """Write all metrics in Prometheus text format."""
        return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def operations_routes(
    pipeline: Pipeline,
    catalogue: Catalogue,
    settings: Settings,
    *,
    bundle: Bundle,
    probes: FloatArray,
    life: Life,
) -> APIRouter:
    """Make the router of the operators' routes that need a model."""
    router = APIRouter(tags=["operations"])

    @router.get("/ready", response_model=Ready, responses=documented(*READ_ERRORS))
    async def ready() -> Response:
        """Say whether requests would be served: a forward pass not long ago, or one made now."""
        if life.is_draining:
            return _unready("the service is shutting down")
        if time.monotonic() - pipeline.queue.last_forward_at > settings.ready_within_s:
            try:
                await pipeline.probe()
            except InfEmbedError as error:
                return _unready(str(error))
            except Exception:  # noqa: BLE001 - whatever is wrong with the model, requests would not be served
                _log.exception("the readiness probe failed")
                return _unready("the model failed on a probe; the log has the details")
        return json_response({"status": "ready"})

    @router.get("/info", response_model=Info, responses=documented(*READ_ERRORS))
    async def info() -> Response:
        """Describe the model, its limits and the collections."""
        return json_response(_facts(bundle, catalogue, settings, pipeline.max_batch_tokens, probes))

    return router


def _unready(reason: str) -> Response:
    content = {"error": reason, "error_type": "Unhealthy"}
    return json_response(content, status=503, headers=retry_headers(1.0))


def _facts(
    bundle: Bundle, catalogue: Catalogue, settings: Settings, max_batch_tokens: int, probes: FloatArray
) -> dict[str, object]:
    manifest = bundle.manifest
    return {
        "model_id": manifest.name,
        "model_sha": bundle.digest,
        "model_dtype": _DTYPE[settings.precision],
        "precision": settings.precision,
        "model_type": {"embedding": {"pooling": manifest.pooling}},
        "max_concurrent_requests": settings.max_queued_tokens,
        "max_input_length": manifest.max_tokens.document,
        "max_batch_tokens": max_batch_tokens,
        "max_client_batch_size": settings.max_client_batch,
        "auto_truncate": True,
        "version": version(),
        "fusion": manifest.fusion,
        "tower": manifest.tower,
        "dim": manifest.dim,
        "dimensions": manifest.widths,
        "max_tokens": manifest.max_tokens.model_dump(),
        "document_fingerprint": manifest.document_fingerprint,
        "probes": {"sha256": _probe_digest(probes), "first_values": np.round(probes[:, :4], 4).tolist()},
        "limits": {"max_k": settings.max_k, "max_body_bytes": settings.max_body_bytes},
        "collections": {
            found.name: {
                "documents": found.n_documents,
                "generation": found.generation,
                "built_at": found.built_at,
                "size_bytes": found.size_bytes,
            }
            for found in catalogue
        },
    }


def _probe_digest(probes: FloatArray) -> str:
    """Digest the probes at two decimals: equal across machines but for values on a rounding edge."""
    return hashlib.sha256(np.round(probes, 2).astype("<f4").tobytes()).hexdigest()
