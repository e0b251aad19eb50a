"""Wire the service together. Importing this loads no model and opens no socket."""

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from infembed import version
from infembed.errors import InfEmbedError
from service.collections import Catalogue, SearchedCollection
from service.embed import embed_routes
from service.errors import Problem, body_of, http_problem, problem_of, validation_problem
from service.metrics import Metrics
from service.openai import openai_routes
from service.operations import Life, operations_routes, probe_vectors
from service.pipeline import Pipeline, ServedEncoder
from service.routes import json_response
from service.search import search_routes
from service.settings import Settings
from service.shell import Shell

_log = logging.getLogger(__name__)
_DESCRIPTION = "Retrieval that follows instructions: say what you look for, and how the result must be."


def create_app(settings: Settings, *, encoder: ServedEncoder, collections: Iterable[SearchedCollection]) -> FastAPI:
    """Build the application around a loaded model and opened collections."""
    metrics = Metrics()
    catalogue = Catalogue(collections, default=settings.default_collection)
    pipeline = Pipeline(encoder, metrics, settings)
    life = Life()
    manifest = encoder.bundle.manifest
    probes = probe_vectors(encoder)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await pipeline.warm_up()
        yield
        await pipeline.drain()
        for collection in catalogue:
            collection.close()

    app = FastAPI(title="InF-Embed", version=version(), description=_DESCRIPTION, lifespan=lifespan)
    app.state.life = life
    app.include_router(embed_routes(pipeline, settings, dim=manifest.dim))
    app.include_router(search_routes(pipeline, catalogue, metrics, settings))
    app.include_router(
        openai_routes(
            pipeline,
            settings,
            model=manifest.name,
            dim=manifest.dim,
            max_tokens=manifest.max_tokens.document,
            created=int(datetime.now(UTC).timestamp()),
        )
    )
    app.include_router(
        operations_routes(pipeline, catalogue, metrics, settings, bundle=encoder.bundle, probes=probes, life=life)
    )
    app.add_middleware(
        Shell, metrics=metrics, max_body_bytes=settings.max_body_bytes, body_timeout_s=settings.body_timeout_s
    )
    _handle_errors(app, metrics)
    metrics.model(name=manifest.name, fusion=manifest.fusion, digest=encoder.bundle.digest, version=version())
    for collection in catalogue:
        metrics.collection(collection.name, documents=collection.n_documents, size_bytes=collection.size_bytes)
    return app


def _handle_errors(app: FastAPI, metrics: Metrics) -> None:
    def answer(request: Request, problem: Problem) -> Response:
        metrics.error(problem.error_type)
        return json_response(body_of(problem, request.url.path), status=problem.status, headers=problem.headers)

    @app.exception_handler(InfEmbedError)
    async def ours(request: Request, error: InfEmbedError) -> Response:
        problem = problem_of(error)
        if problem.status == 500:
            _log.error("request_id=%s failed: %s", request.state.request_id, error)
        return answer(request, problem)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(request, validation_problem(error.errors()))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return answer(request, http_problem(error, request.method, request.url.path))
