"""The `openai` package, with its defaults: base64 unless told otherwise, retries on 429."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.clients.conftest import Embed
from tests.clients.contract import CUT_DIM, DIM, MODEL_TOKENS

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]
openai = pytest.importorskip("openai", reason="needs openai (requirements/clients.txt)")


@pytest.fixture
def client(url: str) -> Any:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="unused")


def test_the_default_asks_for_base64_and_gets_the_same_vectors(client: Any, embed: Embed) -> None:
    found = client.embeddings.create(model="tiny", input=["bread", "oven"])
    assert (found.model, found.usage.prompt_tokens) == ("tiny", 6)
    np.testing.assert_allclose([item.embedding for item in found.data], embed(["bread", "oven"]), atol=1e-6)


def test_floats_are_the_same_as_base64(client: Any, embed: Embed) -> None:
    found = client.embeddings.create(model="tiny", input="bread", encoding_format="float", dimensions=DIM)
    np.testing.assert_allclose([found.data[0].embedding], embed(["bread"]), atol=1e-6)


def test_a_width_the_model_was_trained_for_gives_the_cut_vector_at_unit_length(client: Any, embed: Embed) -> None:
    found = client.embeddings.create(model="tiny", input="bread", dimensions=CUT_DIM)
    whole = embed(["bread"], normalize=False)[0, :CUT_DIM]
    np.testing.assert_allclose(found.data[0].embedding, whole / np.linalg.norm(whole), atol=1e-5)


def test_an_instruction_travels_in_extra_body(client: Any, embed: Embed) -> None:
    found = client.embeddings.create(model="tiny", input=["bread"], extra_body={"instruction": "for a child"})
    np.testing.assert_allclose([found.data[0].embedding], embed(["bread"], instruction="for a child"), atol=1e-6)
    assert np.abs(np.array(found.data[0].embedding) - embed(["bread"])[0]).max() > 1e-3


def test_each_item_says_how_many_tokens_were_read_and_whether_any_were_cut(client: Any) -> None:
    found = client.embeddings.create(model="tiny", input=["bread", "bread " * 100])
    told = [(item.model_extra["tokens"], item.model_extra["truncated"]) for item in found.data if item.model_extra]
    assert told == [(3, False), (MODEL_TOKENS, True)]


def test_the_asynchronous_client_gets_many_at_once(url: str, embed: Embed) -> None:
    async def ask() -> list[list[float]]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused") as client:
            answers = [client.embeddings.create(model="tiny", input=word) for word in ("bread", "oven", "road")]
            return [answer.data[0].embedding for answer in await asyncio.gather(*answers)]

    np.testing.assert_allclose(asyncio.run(ask()), embed(["bread", "oven", "road"]), atol=1e-5)


def test_a_busy_service_is_asked_again_as_soon_as_it_says(url: str, busy: Path, embed: Embed) -> None:
    statuses: list[int] = []

    def heard(response: Any) -> None:
        statuses.append(response.status_code)
        busy.unlink(missing_ok=True)

    http = openai.DefaultHttpxClient(event_hooks={"response": [heard]})
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", http_client=http) as client:
        found = client.embeddings.create(model="tiny", input="bread")
    assert statuses == [429, 200]
    np.testing.assert_allclose([found.data[0].embedding], embed(["bread"]), atol=1e-6)


def test_a_service_that_stays_busy_is_a_rate_limit_error_with_its_sentence(client: Any, busy: Path) -> None:
    with pytest.raises(openai.RateLimitError, match="1000 tokens are waiting") as caught:
        client.with_options(max_retries=1).embeddings.create(model="tiny", input="bread")
    assert (caught.value.code, caught.value.type) == ("overloaded", "rate_limit_exceeded")


def test_a_mistake_is_a_bad_request_error_with_our_sentence(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="this model's vectors have 32") as caught:
        client.embeddings.create(model="tiny", input="bread", dimensions=8)
    assert (caught.value.param, caught.value.code) == ("dimensions", "validation")


def test_token_ids_are_refused_with_the_way_out(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        client.embeddings.create(model="tiny", input=[[1, 2, 3]])


def test_the_model_is_listed_and_found_by_its_name(client: Any) -> None:
    (model,) = client.models.list().data
    assert client.models.retrieve(model.id) == model
    with pytest.raises(openai.NotFoundError, match=f"no model 'other'; there is {model.id}"):
        client.models.retrieve("other")
