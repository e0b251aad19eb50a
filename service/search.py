"""`POST /search`: encode the query as `/embed` does and go on to the index in the same hop."""

import asyncio
import time

import numpy as np
from fastapi import APIRouter, Response

from index.collection import Hit
from infembed.errors import BadInputError, EmptyInputError, TooManyInputsError
from infembed.inputs import InputType, TextInput, has_words
from service.answers import InstructionEffect, SearchResponse
from service.callers import CallerOf
from service.collections import Catalogue, SearchedCollection
from service.metrics import Metrics, Stage
from service.pipeline import Embedded, Pipeline
from service.routes import WORK_ERRORS, JsonRoute, documented, json_response
from service.schemas import SearchRequest
from service.settings import Settings

_EXPLAIN_DEPTH = 100
"""How far down the ranking without the instruction is looked at."""


def search_routes(pipeline: Pipeline, catalogue: Catalogue, metrics: Metrics, settings: Settings) -> APIRouter:
    """Make the router of search."""
    router = APIRouter(route_class=JsonRoute, tags=["search"])
    sample = Sample(settings.effect_sample_ratio)

    @router.post("/search", response_model=SearchResponse, responses=documented(404, *WORK_ERRORS))
    async def search(request: SearchRequest, caller: CallerOf) -> Response:
        """Find the documents of a collection that answer the query as the instruction wants it."""
        _check(request, settings)
        collection = catalogue.find(request.collection)
        queries = [TextInput(request.query, InputType.QUERY, request.instruction)]
        is_instructed = has_words(request.instruction or "")
        is_compared = request.explain or (is_instructed and sample.is_due())
        if is_compared:
            queries.append(TextInput(request.query, InputType.QUERY))
        embedded = await pipeline.embed(queries, caller=caller, name_of=lambda _: "query")
        started = time.perf_counter()
        found = await asyncio.to_thread(_search, collection, embedded, request)
        seconds = time.perf_counter() - started
        metrics.stage(Stage.SEARCH, seconds, lane=embedded.lane)
        content: dict[str, object] = {
            "results": _results(request, found),
            "collection": collection.name,
            "truncated": embedded.n_truncated > 0,
        }
        effect = _effect(request, found, embedded) if is_compared else None
        if effect and is_instructed:
            metrics.instruction_effect(query_shift=effect.query_shift, rank_churn=effect.rank_churn)
        if effect and request.explain:
            content["effect"] = effect.model_dump()
        return json_response(content, headers=embedded.headers() | {"x-search-time": f"{seconds * 1000:.3f}"})

    return router


class Sample:
    """Says yes to a share of the times it is asked, evenly spread."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._due = 0.0

    def is_due(self) -> bool:
        """Count one time."""
        self._due += self._ratio
        if self._due < 1:
            return False
        self._due -= 1
        return True


def _check(request: SearchRequest, settings: Settings) -> None:
    if not has_words(request.query):
        raise EmptyInputError("query is empty; give at least one word", param="query")
    if request.k + request.offset > settings.max_k:
        raise TooManyInputsError(
            f"k + offset is {request.k + request.offset}, at most {settings.max_k} can be reached; ask for fewer",
            param="k",
        )
    if request.mode != "dense":
        raise BadInputError(f"mode {request.mode!r} is not built yet; only 'dense' is", param="mode")
    if request.filter is not None:
        raise BadInputError("filter is not built yet; leave it out", param="filter")


def _search(collection: SearchedCollection, embedded: Embedded, request: SearchRequest) -> list[list[Hit]]:
    """Rank documents for the query, and where there is a second vector, for the query without its instruction."""
    results = collection.search(embedded.vectors[:1], k=request.k, offset=request.offset)
    if len(embedded.vectors) > 1:
        depth = max(_EXPLAIN_DEPTH, request.k + request.offset)
        results += collection.search(embedded.vectors[1:], k=depth)
    return results


def _results(request: SearchRequest, found: list[list[Hit]]) -> list[dict[str, object]]:
    hits = found[0]
    if request.score_threshold is not None:
        hits = [hit for hit in hits if hit.score >= request.score_threshold]
    if not request.explain:
        return [hit._asdict() for hit in hits]
    plain = {hit.id: rank for rank, hit in enumerate(found[1], start=1)}
    return [hit._asdict() | {"rank_without_instruction": plain.get(hit.id)} for hit in hits]


def _effect(request: SearchRequest, found: list[list[Hit]], embedded: Embedded) -> InstructionEffect:
    instructed, plain = found
    before = {hit.id for hit in plain[: request.k + request.offset]}
    new = [hit for hit in instructed if hit.id not in before]
    return InstructionEffect(
        query_shift=max(0.0, 1 - float(np.dot(embedded.vectors[0], embedded.vectors[1]))),
        rank_churn=len(new) / len(instructed) if instructed else 0.0,
    )
