"""`huggingface_hub.InferenceClient`, as it talks to text-embeddings-inference."""

import asyncio
from typing import Any

import numpy as np
import pytest

from tests.clients.conftest import Embed
from tests.clients.contract import DIM, TEXTS

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]
hub = pytest.importorskip("huggingface_hub", reason="needs huggingface_hub (requirements/clients.txt)")


@pytest.mark.parametrize("path", ["", "/embed"])
def test_features_of_the_root_and_of_embed_are_embeddings(url: str, embed: Embed, path: str) -> None:
    client = hub.InferenceClient(model=f"{url}{path}", provider="hf-inference")
    found = client.feature_extraction("bread", normalize=True, truncate=True, truncation_direction="Right")
    assert (found.shape, found.dtype) == ((1, DIM), np.float32)
    np.testing.assert_allclose(found, embed(["bread"]), atol=1e-6)


def test_similarity_is_asked_for_at_its_own_address(url: str, embed: Embed) -> None:
    client = hub.InferenceClient(model=f"{url}/similarity", provider="hf-inference")
    found = client.sentence_similarity("bread", other_sentences=list(TEXTS))
    np.testing.assert_allclose(found, embed(list(TEXTS)) @ embed(["bread"])[0], atol=1e-5)


def test_the_endpoint_describes_itself_and_is_healthy(url: str) -> None:
    client = hub.InferenceClient(model=url, provider="hf-inference")
    info = client.get_endpoint_info()
    assert (info["model_type"], info["max_client_batch_size"]) == ({"embedding": {"pooling": "mean"}}, 64)
    assert client.health_check()


def test_a_mistake_is_an_error_with_our_sentence(url: str) -> None:
    client = hub.InferenceClient(model=f"{url}/embed", provider="hf-inference")
    with pytest.raises(hub.errors.HfHubHTTPError, match="this model has no named prompts") as caught:
        client.feature_extraction("bread", prompt_name="query")
    assert caught.value.response.status_code == 400


def test_the_asynchronous_client_gets_the_same(url: str, embed: Embed) -> None:
    async def ask() -> Any:
        client = hub.AsyncInferenceClient(model=f"{url}/embed", provider="hf-inference")
        try:
            return await client.feature_extraction("bread")
        finally:
            await client.close()

    np.testing.assert_allclose(asyncio.run(ask()), embed(["bread"]), atol=1e-6)
