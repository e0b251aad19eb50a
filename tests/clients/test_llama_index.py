"""LlamaIndex's embedding classes."""

import asyncio
from typing import Any

import numpy as np
import pytest

from tests.clients.conftest import Embed
from tests.clients.contract import TEXTS

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]
DOCUMENTS = list(TEXTS)


def _library(name: str) -> Any:
    return pytest.importorskip(name, reason=f"needs {name.replace('_', '-')} (requirements/clients.txt)")


def _check(model: Any, embed: Embed) -> None:
    np.testing.assert_allclose(model.get_text_embedding_batch(DOCUMENTS), embed(DOCUMENTS), atol=1e-5)
    np.testing.assert_allclose(model.get_query_embedding("bread"), embed(["bread"])[0], atol=1e-5)
    later = asyncio.run(model.aget_text_embedding_batch(DOCUMENTS))
    np.testing.assert_allclose(later, embed(DOCUMENTS), atol=1e-5)


def test_text_embeddings_inference(url: str, embed: Embed) -> None:
    made = _library("llama_index.embeddings.text_embeddings_inference").TextEmbeddingsInference
    _check(made(model_name="tiny", base_url=url, query_instruction="", text_instruction=""), embed)


def test_openai_like(url: str, embed: Embed) -> None:
    made = _library("llama_index.embeddings.openai_like").OpenAILikeEmbedding
    _check(made(model_name="tiny", api_base=f"{url}/v1", api_key="unused"), embed)


def test_openai_like_carries_an_instruction(url: str, embed: Embed) -> None:
    made = _library("llama_index.embeddings.openai_like").OpenAILikeEmbedding
    extra = {"extra_body": {"instruction": "for a child"}}
    model = made(model_name="tiny", api_base=f"{url}/v1", api_key="unused", additional_kwargs=extra)
    expected = embed(["bread"], instruction="for a child")[0]
    np.testing.assert_allclose(model.get_query_embedding("bread"), expected, atol=1e-5)


def test_openai_with_a_model_name_of_ours(url: str, embed: Embed) -> None:
    made = _library("llama_index.embeddings.openai").OpenAIEmbedding
    _check(made(model_name="tiny", api_base=f"{url}/v1", api_key="unused"), embed)
