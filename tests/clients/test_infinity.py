"""`infinity-client`, generated from Infinity's own OpenAPI description."""

from typing import Any

import numpy as np
import pytest

from tests.clients.conftest import Embed

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]
infinity = pytest.importorskip("infinity_client", reason="needs infinity-client (requirements/clients.txt)")


@pytest.fixture(params=["", "/v1"])
def client(url: str, request: pytest.FixtureRequest) -> Any:
    return infinity.Client(base_url=f"{url}{request.param}", raise_on_unexpected_status=True)


def _body(*texts: str, **options: Any) -> Any:
    from infinity_client.models import OpenAIEmbeddingInputText

    return OpenAIEmbeddingInputText(input_=list(texts), **options)


def test_embeddings_with_every_default_it_sends(client: Any, embed: Embed) -> None:
    from infinity_client.api.default import embeddings

    found = embeddings.sync(client=client, body=_body("bread", "oven"))
    np.testing.assert_allclose([item.embedding for item in found.data], embed(["bread", "oven"]), atol=1e-5)
    assert found.usage.prompt_tokens == 6


def test_a_refused_request_says_why(client: Any) -> None:
    from infinity_client.api.default import embeddings

    with pytest.raises(infinity.errors.UnexpectedStatus, match="this model's vectors have 32"):
        embeddings.sync(client=client, body=_body("bread", dimensions=8))


def test_health_is_understood(url: str) -> None:
    from infinity_client.api.default import health

    assert health.sync(client=infinity.Client(base_url=url, raise_on_unexpected_status=True))["status"] == "alive"
