"""Wire the service together. Importing this loads no model and opens no socket."""

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

from infembed import version
from service.admin import admin_routes
from service.collections import Catalogue, SearchedCollection
from service.dispatch import ANSWERED_ERRORS, Dispatch
from service.documentation import documentation_routes
from service.embed import embed_routes
from service.errors import problem_of
from service.gate import HEALTH, METRICS, PAGES, Gate, needed_scope
from service.keys import Keyring
from service.loading import Load, Loaded, load
from service.logs import RequestLog
from service.metrics import Metrics
from service.openai import openai_routes
from service.operations import Life, operations_routes, probe_shift, probe_vectors, process_routes
from service.pipeline import Pipeline, ServedEncoder
from service.release import Release, Releases
from service.routes import error_response
from service.search import search_routes
from service.settings import Settings
from service.shell import Shell
from service.tracing import Tracing

_log = logging.getLogger(__name__)
_TITLE = "InF-Embed"
_DESCRIPTION = "Retrieval that follows instructions: say what you look for, and how the result must be."
_BROWSER_HEADERS = (
    "authorization",
    "content-type",
    "x-request-id",
    "x-request-timeout-ms",
    "traceparent",
    "tracestate",
)
_SHOWN_HEADERS = ("x-request-id", "retry-after", "retry-after-ms", "x-compute-tokens", "x-truncated-inputs")


def create_app(
    settings: Settings,
    *,
    encoder: ServedEncoder | None = None,
    collections: Iterable[SearchedCollection] = (),
    reload: Load | None = None,
    tracing: Tracing | None = None,
) -> FastAPI:
    """Build the application around a loaded model and opened collections.

    Without a model it begins to load one when it starts, and says so to all who ask for work until it has. `reload`
    loads that one and every successor; None reads what the settings name.
    """
    metrics = Metrics()
    life = Life()
    has_model = encoder is not None
    releases = Releases(
        Loaded(encoder, tuple(collections)) if encoder is not None else None,
        load=reload or partial(load, settings),
        make=partial(_make_release, settings=settings, metrics=metrics, life=life),
        metrics=metrics,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        starting = releases.start()
        if has_model:
            await starting
        yield
        await releases.close()
        if tracing is not None:
            tracing.close()

    app = FastAPI(
        title=_TITLE, version=version(), lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None
    )  # fmt: skip
    app.state.life = life
    app.state.releases = releases
    app.include_router(process_routes(metrics))
    app.include_router(admin_routes(releases))
    app.include_router(documentation_routes(cache(partial(_describe, app, releases, settings))))
    app.router.default = releases
    app.add_middleware(Dispatch, releases=releases, answer_error=_handle_errors(app, metrics))
    _wrap(app, settings, metrics=metrics, life=life, tracing=tracing)
    return app


def _make_release(
    loaded: Loaded, old: Release | None, *, settings: Settings, metrics: Metrics, life: Life
) -> Release:  # fmt: skip
    """Join a model and its collections; the same model keeps its pipeline."""
    catalogue = Catalogue(loaded.collections, default=settings.default_collection)
    is_same_model = old is not None and old.loaded.encoder is loaded.encoder
    pipeline = old.pipeline if old is not None and is_same_model else Pipeline(loaded.encoder, metrics, settings)
    probes = probe_vectors(loaded.encoder)
    bundle = loaded.encoder.bundle
    manifest = bundle.manifest

    def make_routes(pipeline: Pipeline, catalogue: Catalogue) -> list[BaseRoute]:
        openai = openai_routes(
            pipeline,
            settings,
            model=manifest.name,
            widths=manifest.widths,
            max_tokens=manifest.max_tokens.document,
            created=int(datetime.now(UTC).timestamp()),
        )
        return [
            *embed_routes(pipeline, settings, widths=manifest.widths).routes,
            *search_routes(pipeline, catalogue, metrics, settings).routes,
            *openai.routes,
            *operations_routes(pipeline, catalogue, settings, bundle=bundle, probes=probes, life=life).routes,
        ]

    return Release(loaded, pipeline, catalogue, make_routes, probe_shift=probe_shift(probes))


def _describe(app: FastAPI, releases: Releases, settings: Settings) -> dict[str, Any]:
    """Write the OpenAPI description; every release has the same routes."""
    routes = [*releases.current.routes, *app.routes]
    schema = get_openapi(title=_TITLE, version=version(), description=_DESCRIPTION, routes=routes)
    if settings.keys:
        _describe_keys(schema, _open_paths(settings))
    return schema


def _describe_keys(schema: dict[str, Any], open_paths: Collection[str]) -> None:
    """Add to each operation the scope that its key needs; none where no key is asked for."""
    schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            is_open = method == "get" and path in open_paths
            scope = needed_scope(method.upper(), path)
            operation["security"] = [] if is_open else [{"key": [scope] if scope else []}]


def _open_paths(settings: Settings) -> frozenset[str]:
    """Say what a GET may read without a key."""
    return PAGES | (HEALTH if settings.open_health else set()) | (METRICS if settings.open_metrics else set())


def _wrap(app: FastAPI, settings: Settings, *, metrics: Metrics, life: Life, tracing: Tracing | None) -> None:
    """Put the layers around application and dispatch, innermost first."""
    app.add_middleware(
        Gate,
        keyring=Keyring(settings.keys),
        metrics=metrics,
        open_paths=_open_paths(settings),
        origins=settings.cors_origins,
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "PUT", "DELETE"),
            allow_headers=_BROWSER_HEADERS,
            expose_headers=_SHOWN_HEADERS,
        )
    request_log = RequestLog(with_texts=settings.log_texts)
    app.add_middleware(
        Shell,
        metrics=metrics,
        max_body_bytes=settings.max_body_bytes,
        body_timeout_s=settings.body_timeout_s,
        observers=(request_log,) if tracing is None else (tracing, request_log),
        keeps_body=settings.log_texts,
        is_draining=lambda: life.is_draining,
    )


def _handle_errors(app: FastAPI, metrics: Metrics) -> Callable[[Request, Exception], Response]:
    """Have errors answered in the shape of their route; returns what does it."""

    def answer(request: Request, error: Exception) -> Response:
        problem = problem_of(error, request.method, request.url.path)
        if problem.status == 500:
            fields = {"request_id": request.state.request_id}
            _log.error("a request failed", exc_info=error, extra={"fields": fields})
        metrics.error(problem.error_type)
        return error_response(problem, request.url.path)

    async def handle(request: Request, error: Exception) -> Response:
        return answer(request, error)

    for kind in ANSWERED_ERRORS:
        app.add_exception_handler(kind, handle)
    return answer
