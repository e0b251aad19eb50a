"""LangChain's embedding classes."""

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


def _check(embeddings: Any, embed: Embed, **of_queries: str) -> None:
    """Documents, a query, and documents again on an event loop: all as plain HTTP gives them."""
    np.testing.assert_allclose(embeddings.embed_documents(DOCUMENTS), embed(DOCUMENTS), atol=1e-5)
    np.testing.assert_allclose(embeddings.embed_query("bread"), embed(["bread"], **of_queries)[0], atol=1e-5)
    later = asyncio.run(embeddings.aembed_documents(DOCUMENTS))
    np.testing.assert_allclose(later, embed(DOCUMENTS), atol=1e-5)


def _openai(url: str, **options: Any) -> Any:
    made = _library("langchain_openai").OpenAIEmbeddings
    return made(base_url=f"{url}/v1", api_key="unused", model="tiny", check_embedding_ctx_length=False, **options)


def test_openai_embeddings_of_text(url: str, embed: Embed) -> None:
    _check(_openai(url), embed)


def test_openai_embeddings_carry_an_instruction(url: str, embed: Embed) -> None:
    instructed = _openai(url, model_kwargs={"extra_body": {"instruction": "for a child"}})
    expected = embed(["bread"], instruction="for a child")[0]
    np.testing.assert_allclose(instructed.embed_query("bread"), expected, atol=1e-5)


def test_openai_embeddings_of_token_ids_are_refused_with_the_way_out(url: str) -> None:
    """What the class sends unless told otherwise, once it has its vocabulary from the network."""
    client = _openai(url).client
    with pytest.raises(_library("openai").BadRequestError, match="check_embedding_ctx_length=False"):
        client.create(model="tiny", input=[[9906, 1917]])


def test_hugging_face_endpoint_embeddings_with_a_client_of_their_own(url: str, embed: Embed) -> None:
    hub = _library("huggingface_hub")
    embeddings = _library("langchain_huggingface").HuggingFaceEndpointEmbeddings(model="any/name")
    embeddings.client = hub.InferenceClient(model=f"{url}/embed", provider="hf-inference")
    embeddings.async_client = hub.AsyncInferenceClient(model=f"{url}/embed", provider="hf-inference")
    _check(embeddings, embed)


def test_infinity_embeddings_keep_the_order_of_their_texts(url: str, embed: Embed) -> None:
    community = _library("langchain_community.embeddings")
    _check(community.InfinityEmbeddings(model="tiny", infinity_api_url=url), embed)


def test_nvidia_embeddings_say_which_side_a_text_is_on(url: str, embed: Embed) -> None:
    embeddings = _library("langchain_nvidia_ai_endpoints").NVIDIAEmbeddings(base_url=f"{url}/v1", model="tiny")
    _check(embeddings, embed, input_type="query")


def test_nvidia_embeddings_refuse_a_long_text_when_told_to(url: str) -> None:
    made = _library("langchain_nvidia_ai_endpoints").NVIDIAEmbeddings
    with pytest.raises(Exception, match="102 tokens, the model takes 48"):
        made(base_url=f"{url}/v1", model="tiny", truncate="NONE").embed_documents(["bread " * 100])
    assert made(base_url=f"{url}/v1", model="tiny", truncate="START").embed_documents(["bread " * 100])
