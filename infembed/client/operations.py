"""Everything the client can ask, without any HTTP: generators that yield requests and are sent the replies.

`infembed.client.http` runs them, blocking or on an event loop; logic and documentation stand here once.
"""

import base64
import json
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from infembed.client.answers import CollectionInfo, EmbeddedText, Embeddings, SearchAnswer, ServiceInfo, Token
from infembed.config import explain
from infembed.errors import BadInputError, EmptyInputError, ServiceFailureError
from infembed.inputs import InputType
from infembed.vectors import FloatArray

T = TypeVar("T")
_TOKENS: TypeAdapter[list[list[Token]]] = TypeAdapter(list[list[Token]])
_SCORES: TypeAdapter[list[float]] = TypeAdapter(list[float])
_EMBEDDED: TypeAdapter[list[EmbeddedText]] = TypeAdapter(list[EmbeddedText])
_INFO = TypeAdapter(ServiceInfo)
_SEARCH = TypeAdapter(SearchAnswer)


class Request(NamedTuple):
    """What is asked; `body` None: a GET."""

    path: str
    body: dict[str, Any] | None = None

    @property
    def content(self) -> bytes | None:
        return None if self.body is None else json.dumps(self.body).encode()


class Reply(NamedTuple):
    """What came back, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Operation = Generator[Request, Reply, T]


def embed(
    texts: str | Sequence[str],
    *,
    instruction: str | Sequence[str | None] | None = None,
    input_type: InputType | str | None = None,
    normalize: bool = True,
    truncate: bool = True,
    dimensions: int | None = None,
    batch_size: int = 256,
) -> Operation[FloatArray]:
    """Embed texts as an array (N, D) in their order, at most `batch_size` of them in one request.

    An instruction, one for all or one each, makes them queries; without one they are documents unless
    `input_type="query"` says otherwise. `truncate=False` refuses texts that are longer than the model reads.
    `dimensions` cuts the vectors to one of the widths that `info().dimensions` names.
    """
    found = yield from embed_with_details(
        texts,
        instruction=instruction,
        input_type=input_type,
        normalize=normalize,
        truncate=truncate,
        dimensions=dimensions,
        batch_size=batch_size,
    )
    return found.vectors


def embed_with_details(
    texts: str | Sequence[str],
    *,
    instruction: str | Sequence[str | None] | None = None,
    input_type: InputType | str | None = None,
    normalize: bool = True,
    truncate: bool = True,
    dimensions: int | None = None,
    batch_size: int = 256,
) -> Operation[Embeddings]:
    """Embed texts as `embed` does, and say of each how many tokens were read and whether it was cut."""
    many = [texts] if isinstance(texts, str) else list(texts)
    if not many:
        raise EmptyInputError("texts is empty; give at least one", param="texts")
    if batch_size < 1:
        raise BadInputError(f"batch_size is {batch_size}; it must be at least 1", param="batch_size")
    is_shared = instruction is None or isinstance(instruction, str)
    instructions = [instruction] * len(many) if is_shared else list(instruction or ())
    if len(instructions) != len(many):
        raise BadInputError(
            f"instruction has {len(instructions)} entries for {len(many)} texts; give one string for all, or one each",
            param="instruction",
        )
    found: list[EmbeddedText] = []
    for start in range(0, len(many), batch_size):
        part = slice(start, start + batch_size)
        # An instruction anywhere makes every text a query, also in a part that has none.
        side = input_type or (InputType.QUERY if any(instructions) else InputType.DOCUMENT)
        body = {
            "inputs": many[part],
            "instruction": instruction if is_shared else instructions[part],
            "input_type": side,
            "normalize": normalize,
            "truncate": truncate,
            "dimensions": dimensions,
            "encoding_format": "base64",
            "details": True,
        }
        reply = yield Request("/embed", body)
        rows = _parsed(_EMBEDDED, reply, "/embed")
        if len(rows) != len(many[part]):
            raise ServiceFailureError(f"/embed answered {len(many[part])} texts with {len(rows)} vectors")
        found += rows
    return Embeddings(
        vectors=_vectors(found),
        tokens=tuple(row.tokens for row in found),
        truncated=tuple(row.truncated for row in found),
    )


def search(
    query: str,
    *,
    instruction: str | None = None,
    k: int = 10,
    offset: int = 0,
    collection: str | None = None,
    score_threshold: float | None = None,
    explain: bool = False,
) -> Operation[SearchAnswer]:
    """Find the `k` best documents for a query as the instruction wants them; `offset` skips the first ones.

    `explain` adds each document's rank without the instruction, and how far the instruction moved the query.
    """
    body = {
        "query": query,
        "instruction": instruction,
        "k": k,
        "offset": offset,
        "collection": collection,
        "score_threshold": score_threshold,
        "explain": explain,
    }
    reply = yield Request("/search", {name: value for name, value in body.items() if value is not None})
    return _parsed(_SEARCH, reply, "/search")


def similarity(source: str, sentences: Sequence[str]) -> Operation[FloatArray]:
    """Return the cosine similarity of one text with each of many, (N,)."""
    reply = yield Request("/similarity", {"inputs": {"source_sentence": source, "sentences": list(sentences)}})
    return np.array(_parsed(_SCORES, reply, "/similarity"), dtype=np.float32)


def tokenize(texts: str | Sequence[str], *, add_special_tokens: bool = True) -> Operation[list[list[Token]]]:
    """Return the tokens of each text, however long it is: how to see before embedding what would be cut off."""
    inputs = texts if isinstance(texts, str) else list(texts)
    reply = yield Request("/tokenize", {"inputs": inputs, "add_special_tokens": add_special_tokens})
    return _parsed(_TOKENS, reply, "/tokenize")


def info() -> Operation[ServiceInfo]:
    """Describe the model, its limits and the collections."""
    reply = yield Request("/info")
    return _parsed(_INFO, reply, "/info")


def collections() -> Operation[dict[str, CollectionInfo]]:
    """Return the collections by name."""
    found = yield from info()
    return found.collections


def _vectors(rows: Sequence[EmbeddedText]) -> FloatArray:
    try:
        vectors = [np.frombuffer(base64.b64decode(row.embedding, validate=True), dtype="<f4") for row in rows]
    except ValueError as error:
        raise ServiceFailureError(f"/embed answered with something that is no vector: {error}") from error
    if len({len(vector) for vector in vectors}) != 1:
        raise ServiceFailureError(
            "/embed answered with vectors of different lengths; was its model replaced meanwhile?"
        )
    return np.stack(vectors).astype(np.float32, copy=False)


def _parsed(kind: TypeAdapter[T], reply: Reply, path: str) -> T:
    try:
        return kind.validate_json(reply.body)
    except ValidationError as error:
        raise ServiceFailureError(f"{path} answered with something unexpected: {explain(error)}") from error
