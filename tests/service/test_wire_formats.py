"""The wire formats of text-embeddings-inference, OpenAI, NIM and Infinity that their clients rely on."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.service.app import make_client

LONG = "road " + "bread " * 100 + "oven"


@pytest.fixture(scope="module")
def client(tiny_bundle: Path) -> Iterator[TestClient]:
    made, _, _ = make_client(tiny_bundle, max_client_batch=8)
    with made:
        yield made


def test_tokens_are_shown_as_they_stand_in_the_text(client: TestClient) -> None:
    shown = client.post("/tokenize", json={"inputs": "Bread oven"}).json()
    (first, second, third, last) = shown[0]
    assert set(second) == {"id", "text", "special", "start", "stop"}
    assert (second["text"], second["start"], second["stop"]) == ("Bread", 0, 5)
    assert (third["text"], third["start"], third["stop"]) == ("oven", 6, 10)
    assert [(token["text"], token["special"], token["start"]) for token in (first, last)] == [
        ("[CLS]", True, None),
        ("[SEP]", True, None),
    ]


def test_tokens_are_not_cut_where_embeddings_are(client: TestClient) -> None:
    many = client.post("/tokenize", json={"inputs": [LONG, "oven"], "add_special_tokens": False}).json()
    assert [len(tokens) for tokens in many] == [102, 1]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"inputs": []}, 400, "inputs is an empty list"),
        ({"inputs": ["a"] * 9}, 422, "at most 8 fit"),
        ({"inputs": "a" * 300_000}, 422, "300000 characters, the tokens of at most 262144 are shown"),
        ({"inputs": "a", "prompt_name": "query"}, 400, "no named prompts"),
        ({"inputs": [1, 2]}, 422, "inputs"),
    ],
)
def test_bad_input_to_tokenize_is_a_clear_4xx(client: TestClient, body: object, status: int, words: str) -> None:
    response = client.post("/tokenize", json=body)
    assert response.status_code == status
    assert words in response.json()["error"]


def test_native_embeddings_come_in_base64_on_request(client: TestClient) -> None:
    body = {"inputs": ["bread", "oven"], "instruction": "no yeast", "normalize": False}
    packed = client.post("/embed", json=body | {"encoding_format": "base64"}).json()
    vectors = [np.frombuffer(base64.b64decode(row), dtype="<f4") for row in packed]
    np.testing.assert_allclose(vectors, client.post("/embed", json=body).json(), atol=1e-6)


def _openai(client: TestClient, **body: Any) -> Any:
    response = client.post("/v1/embeddings", json={"input": LONG, **body})
    assert response.status_code == 200, response.text
    return response.json()["data"][0]


@pytest.mark.parametrize(
    ("truncate", "direction"), [("END", "right"), ("start", "left"), (True, "right"), (None, "right")]
)
def test_nims_truncate_says_which_end_is_lost(client: TestClient, truncate: object, direction: str) -> None:
    (expected,) = client.post("/embed", json={"inputs": LONG, "truncation_direction": direction}).json()
    found = _openai(client, truncate=truncate)
    np.testing.assert_allclose(found["embedding"], expected, atol=1e-6)
    assert (found["tokens"], found["truncated"]) == (48, True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": LONG, "truncate": "NONE"}, "input 0 has 104 tokens, the model takes 48"),
        ({"input": LONG, "truncate": False}, "input 0 has 104 tokens, the model takes 48"),
        ({"input": LONG, "truncate": "middle"}, "truncate: must be one of none, start, end"),
        ({"messages": [{"role": "user", "content": "a"}]}, "use_chat_template=False"),
    ],
)
def test_what_cannot_be_done_as_asked_is_refused(client: TestClient, body: object, words: str) -> None:
    response = client.post("/v1/embeddings", json=body)
    assert response.status_code == 422
    assert words in response.json()["error"]["message"]


def test_infinitys_zero_dimensions_are_all_of_them(client: TestClient) -> None:
    assert len(_openai(client, dimensions=0, modality="text", user=None)["embedding"]) == 32


def test_a_null_encoding_format_is_the_default(client: TestClient) -> None:
    assert len(_openai(client, encoding_format=None)["embedding"]) == 32


def test_one_model_is_found_by_its_name(client: TestClient) -> None:
    (listed,) = client.get("/v1/models").json()["data"]
    assert client.get(f"/v1/models/{listed['id']}").json() == listed
    response = client.get("/v1/models/some/other")
    assert response.status_code == 404
    assert response.json()["error"]["message"] == f"no model 'some/other'; there is {listed['id']}"


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_details_put_to_each_vector_what_was_read_of_its_text(client: TestClient, encoding_format: str) -> None:
    body = {"inputs": ["bread", LONG, "oven"], "encoding_format": encoding_format}
    detailed = client.post("/embed", json=body | {"details": True})
    assert [(row["tokens"], row["truncated"]) for row in detailed.json()] == [(3, False), (48, True), (3, False)]
    assert [row["embedding"] for row in detailed.json()] == client.post("/embed", json=body).json()
    assert detailed.headers["x-compute-tokens"] == "54"
    assert detailed.headers["x-truncated-inputs"] == "1"


def test_details_and_usage_count_the_instruction(client: TestClient) -> None:
    (alone,) = client.post("/embed", json={"inputs": "bread", "instruction": "no yeast", "details": True}).json()
    assert (alone["tokens"], alone["truncated"]) == (7, False)
    (long,) = client.post("/embed", json={"inputs": "bread", "instruction": LONG, "details": True}).json()
    assert (long["tokens"], long["truncated"]) == (3 + 32, True)
    body = {"input": ["bread", "oven"], "instruction": ["no yeast", None]}
    assert client.post("/v1/embeddings", json=body).json()["usage"] == {"prompt_tokens": 10, "total_tokens": 10}
