"""`POST /v1/embeddings` and `GET /v1/models`: OpenAI's wire format, `instruction` and `input_type` as extra keys."""

import base64

from fastapi import APIRouter, Response

from infembed.errors import BadInputError
from infembed.vectors import FloatArray
from service.callers import CallerOf
from service.embed import refuse_dimensions
from service.pipeline import Pipeline, make_inputs
from service.routes import WORK_ERRORS, JsonRoute, documented, json_response
from service.schemas import OpenAIEmbeddingsRequest
from service.settings import Settings

_TOKEN_IDS = (
    "input holds token ids, but this model has a tokenizer of its own and cannot read another's; send text "  # noqa: S105
    "(langchain: OpenAIEmbeddings(..., check_embedding_ctx_length=False))"
)


def openai_routes(
    pipeline: Pipeline, settings: Settings, *, model: str, dim: int, max_tokens: int, created: int
) -> APIRouter:
    """Make the router of the OpenAI-compatible routes."""
    router = APIRouter(route_class=JsonRoute, tags=["openai"])
    responses = documented(*WORK_ERRORS, openai=True)

    @router.post("/v1/embeddings", responses=responses)
    async def embeddings(request: OpenAIEmbeddingsRequest, caller: CallerOf) -> Response:
        """Embed texts as OpenAI's clients expect it; unknown keys are ignored."""
        refuse_dimensions(request.dimensions, dim)
        items = make_inputs(
            _texts(request.input),
            instruction=request.instruction,
            input_type=request.input_type,
            max_inputs=settings.max_client_batch,
            field="input",
        )
        embedded = await pipeline.embed(items, caller=caller)
        as_base64 = request.encoding_format == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if as_base64 else vector}
            for index, vector in enumerate(embedded.vectors)
        ]
        usage = {"prompt_tokens": embedded.n_tokens, "total_tokens": embedded.n_tokens}
        content = {"object": "list", "data": data, "model": request.model or model, "usage": usage}
        return json_response(content, headers=embedded.headers())

    router.add_api_route("/embeddings", embeddings, methods=["POST"], responses=responses)

    @router.get("/v1/models")
    async def models() -> Response:
        """List the one model this service has."""
        entry = {
            "id": model, "object": "model", "created": created, "owned_by": "inf-embed", "max_model_len": max_tokens
        }  # fmt: skip
        return json_response({"object": "list", "data": [entry]})

    return router


def _texts(value: str | list[str] | list[int] | list[list[int]]) -> str | list[str]:
    if isinstance(value, str):
        return value
    texts = [text for text in value if isinstance(text, str)]
    if len(texts) != len(value):
        raise BadInputError(_TOKEN_IDS, param="input")
    return texts


def _base64(vector: FloatArray) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
