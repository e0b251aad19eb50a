"""`dimensions`: vectors cut to a width that the model was trained for, and no other."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from infembed.vectors import FloatArray
from tests.service.app import make_client
from tests.tiny import make_tiny_bundle

WIDTHS = (32, 16, 8)
TEXTS = ["bread dough", "a bike chain and a brake", "oven"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    bundle = make_tiny_bundle(tmp_path_factory.mktemp("cut"), dimensions=WIDTHS[1:])
    made, _, _ = make_client(bundle)
    with made:
        yield made


def _cut(vectors: FloatArray, width: int) -> FloatArray:
    kept = vectors[:, :width]
    return np.array([row / np.sqrt(np.sum(row * row)) for row in kept], dtype=np.float32)


def _embed(client: TestClient, path: str = "/embed", **body: Any) -> FloatArray:
    response = client.post(path, json={"inputs": TEXTS, **body})
    assert response.status_code == 200, response.text
    return np.array(response.json(), dtype=np.float32)


@pytest.mark.parametrize("path", ["/embed", "/"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("instruction", [None, "no yeast"])
def test_vectors_are_cut_and_made_unit_vectors_again(
    client: TestClient, path: str, width: int, instruction: str | None
) -> None:
    found = _embed(client, path, instruction=instruction, dimensions=width)
    raw = _embed(client, path, instruction=instruction, normalize=False)
    np.testing.assert_allclose(found, _cut(raw, width), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_without_normalizing_the_first_values_come_as_they_are(client: TestClient) -> None:
    raw = _embed(client, normalize=False)
    np.testing.assert_allclose(_embed(client, normalize=False, dimensions=8), raw[:, :8], atol=1e-6)


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_openais_route_cuts_alike(client: TestClient, encoding_format: str) -> None:
    body = {"input": TEXTS, "dimensions": 16, "encoding_format": encoding_format}
    data = client.post("/v1/embeddings", json=body).json()["data"]
    sent = [item["embedding"] for item in data]
    found = [np.frombuffer(base64.b64decode(one), "<f4") if isinstance(one, str) else one for one in sent]
    np.testing.assert_allclose(found, _embed(client, dimensions=16), atol=1e-6)


def test_info_names_the_widths(client: TestClient) -> None:
    assert client.get("/info").json()["dimensions"] == list(WIDTHS)


@pytest.mark.parametrize("wanted", [1, 12, 31, 33, 384])
def test_another_width_is_refused_with_those_that_there_are(client: TestClient, wanted: int) -> None:
    message = (
        f"dimensions is {wanted}, but this model's vectors have 32 and may be cut to 16, 8; "
        "ask for one of 32, 16, 8, or leave it out"
    )
    native = client.post("/embed", json={"inputs": "bread", "dimensions": wanted})
    assert (native.status_code, native.json()) == (400, {"error": message, "error_type": "Validation"})
    openai = client.post("/v1/embeddings", json={"input": "bread", "dimensions": wanted})
    assert openai.status_code == 400
    assert openai.json()["error"] == {
        "message": message,
        "type": "invalid_request_error",
        "param": "dimensions",
        "code": "validation",
    }


def test_a_model_that_was_not_trained_for_it_has_one_width(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle)
    with client:
        assert client.get("/info").json()["dimensions"] == [32]
        assert _embed(client, dimensions=32).shape == (3, 32)
        refused = client.post("/embed", json={"inputs": "bread", "dimensions": 16})
    assert refused.status_code == 400
    assert refused.json()["error"] == (
        "dimensions is 16, but this model's vectors have 32 and were not trained to be cut; leave it out"
    )


def test_search_keeps_the_whole_width(client: TestClient) -> None:
    """A collection holds vectors of full width: what it would mean to cut the query alone nobody can tell."""
    response = client.post("/search", json={"query": "bread", "dimensions": 16})
    assert response.status_code == 422
    assert "dimensions" in response.json()["error"]
