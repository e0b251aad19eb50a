"""`POST /v1/embeddings`, `GET /v1/models`: OpenAI's wire format, `instruction` and `input_type` as extra keys."""

from collections.abc import Sequence

from fastapi import APIRouter, Response

from infembed.errors import BadInputError, NotFoundError
from infembed.tokenization import TruncationDirection
from service.answers import EmbeddingsResponse, ModelList, ServedModel
from service.callers import CallerOf
from service.embed import width_of
from service.pipeline import Pipeline, make_inputs
from service.routes import READ_ERRORS, WORK_ERRORS, JsonRoute, documented, json_response
from service.schemas import Cut, OpenAIEmbeddingsRequest
from service.settings import Settings
from service.wire import base64_of

_TOKEN_IDS = (
    "input holds token ids, but this model has a tokenizer of its own and cannot read another's; send text "  # noqa: S105
    "(langchain: OpenAIEmbeddings(..., check_embedding_ctx_length=False))"
)
_LONGEST_NAME = 60


def openai_routes(
    pipeline: Pipeline, settings: Settings, *, model: str, widths: Sequence[int], max_tokens: int, created: int
) -> APIRouter:
    """Make the router of the OpenAI-compatible routes."""
    router = APIRouter(route_class=JsonRoute, tags=["openai"])
    responses = documented(*WORK_ERRORS, openai=True)

    @router.post("/v1/embeddings", response_model=EmbeddingsResponse, responses=responses)
    async def embeddings(request: OpenAIEmbeddingsRequest, caller: CallerOf) -> Response:
        """Embed texts as OpenAI's clients expect it; unknown keys are ignored."""
        width = width_of(request.dimensions or None, widths)
        items = make_inputs(
            _texts(request.input),
            instruction=request.instruction,
            input_type=request.input_type,
            max_inputs=settings.max_client_batch,
            field="input",
        )
        embedded = await pipeline.embed(
            items,
            width=width,
            truncate=request.truncate not in {False, Cut.NONE},
            direction=TruncationDirection.LEFT if request.truncate is Cut.START else TruncationDirection.RIGHT,
            caller=caller,
        )
        as_base64 = request.encoding_format == "base64"
        vectors = [base64_of(vector) for vector in embedded.vectors] if as_base64 else embedded.vectors
        data = [
            {"object": "embedding", "index": index, **described}
            for index, described in enumerate(embedded.described(vectors))
        ]
        usage = {"prompt_tokens": embedded.n_tokens, "total_tokens": embedded.n_tokens}
        content = {"object": "list", "data": data, "model": request.model or model, "usage": usage}
        return json_response(content, headers=embedded.headers())

    router.add_api_route(
        "/embeddings", embeddings, methods=["POST"], response_model=EmbeddingsResponse, responses=responses
    )

    entry = {"id": model, "object": "model", "created": created, "owned_by": "inf-embed", "max_model_len": max_tokens}

    @router.get("/v1/models", response_model=ModelList, responses=documented(*READ_ERRORS, openai=True))
    async def models() -> Response:
        """List the one model this service has."""
        return json_response({"object": "list", "data": [entry]})

    @router.get(
        "/v1/models/{name:path}", response_model=ServedModel, responses=documented(404, *READ_ERRORS, openai=True)
    )
    async def model_named(name: str) -> Response:
        """Describe a model by its name."""
        if name != model:
            raise NotFoundError(f"no model {name[:_LONGEST_NAME]!r}; there is {model}", param="model")
        return json_response(entry)

    return router


def _texts(value: str | list[str] | list[int] | list[list[int]]) -> str | list[str]:
    if isinstance(value, str):
        return value
    texts = [text for text in value if isinstance(text, str)]
    if len(texts) != len(value):
        raise BadInputError(_TOKEN_IDS, param="input")
    return texts
