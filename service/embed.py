"""`POST /embed`, `/`, `/similarity`, `/tokenize`: the routes of text-embeddings-inference, with instructions."""

from collections.abc import Sequence

import numpy as np
from fastapi import APIRouter, Response

from infembed.errors import BadInputError, EmptyInputError, TooManyInputsError
from infembed.inputs import TextInput
from service.answers import EmbedResponse, TokenShown
from service.callers import CallerOf
from service.pipeline import Pipeline, make_inputs
from service.routes import WORK_ERRORS, JsonRoute, documented, json_response
from service.schemas import EmbedRequest, SimilarityParameters, SimilarityRequest, TokenizeRequest
from service.settings import Settings
from service.wire import base64_of


def embed_routes(pipeline: Pipeline, settings: Settings, *, widths: Sequence[int]) -> APIRouter:
    """Make the router of the native embedding routes."""
    router = APIRouter(route_class=JsonRoute, tags=["embed"])

    @router.post("/embed", response_model=EmbedResponse, responses=documented(*WORK_ERRORS))
    async def embed(request: EmbedRequest, caller: CallerOf) -> Response:
        """Embed texts, each with its own instruction, a common one, or none; always a list of vectors."""
        refuse_prompt(request.prompt_name)
        width = width_of(request.dimensions, widths)
        items = make_inputs(
            request.inputs,
            instruction=request.instruction,
            input_type=request.input_type,
            max_inputs=settings.max_client_batch,
        )
        embedded = await pipeline.embed(
            items,
            caller=caller,
            width=width,
            normalized=request.normalize,
            truncate=request.truncate is not False,
            direction=request.truncation_direction,
        )
        as_base64 = request.encoding_format == "base64"
        vectors = [base64_of(vector) for vector in embedded.vectors] if as_base64 else embedded.vectors
        content = embedded.described(vectors) if request.details else vectors
        return json_response(content, headers=embedded.headers())

    router.add_api_route(
        "/", embed, methods=["POST"], response_model=EmbedResponse, responses=documented(*WORK_ERRORS)
    )  # fmt: skip

    @router.post("/similarity", response_model=list[float], responses=documented(*WORK_ERRORS))
    async def similarity(request: SimilarityRequest, caller: CallerOf) -> Response:
        """Return the cosine similarity of one sentence with each of many."""
        parameters = request.parameters or SimilarityParameters()
        refuse_prompt(parameters.prompt_name)
        sentences = request.inputs.sentences
        if not sentences:
            raise EmptyInputError("sentences is an empty list; give at least one text", param="sentences")
        if len(sentences) + 1 > settings.max_client_batch:
            raise TooManyInputsError(
                f"sentences has {len(sentences)} texts, at most {settings.max_client_batch - 1} fit one request"
            )
        texts = [TextInput(text) for text in (request.inputs.source_sentence, *sentences)]
        embedded = await pipeline.embed(
            texts,
            caller=caller,
            truncate=parameters.truncate is not False,
            direction=parameters.truncation_direction,
            name_of=lambda i: f"sentence {i - 1}" if i else "source_sentence",
        )
        scores = np.ascontiguousarray(embedded.vectors[1:] @ embedded.vectors[0])
        return json_response(scores, headers=embedded.headers())

    @router.post("/tokenize", response_model=list[list[TokenShown]], responses=documented(*WORK_ERRORS))
    async def tokenize(request: TokenizeRequest, caller: CallerOf) -> Response:
        """Show the tokens of texts, whole: what /embed reads is the first of them."""
        refuse_prompt(request.prompt_name)
        items = make_inputs(request.inputs, instruction=None, input_type=None, max_inputs=settings.max_client_batch)
        texts = [item.text for item in items]
        tokens = await pipeline.tokens(texts, caller=caller, add_special_tokens=request.add_special_tokens)
        return json_response(tokens)

    return router


def refuse_prompt(name: str | None) -> None:
    """Refuse a named prompt: this model has none, and asking for one is a mistake worth hearing about."""
    if name is not None:
        raise BadInputError(
            f"prompt_name is {name!r}, but this model has no named prompts; use instruction instead",
            param="prompt_name",
        )


def width_of(wanted: int | None, widths: Sequence[int]) -> int:
    """Return how many values vectors get: a width the model was trained for, or all; another would cost quality."""
    whole, *cuts = widths
    if wanted is None or wanted in widths:
        return wanted or whole
    may = f"may be cut to {', '.join(map(str, cuts))}" if cuts else "were not trained to be cut"
    what = f"ask for one of {', '.join(map(str, widths))}, or leave it out" if cuts else "leave it out"
    raise BadInputError(
        f"dimensions is {wanted}, but this model's vectors have {whole} and {may}; {what}", param="dimensions"
    )
