import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from infembed.encoder import OnnxEncoder
from infembed.inputs import InputType, TextInput
from tests.service.app import TEXTS, FaultyEncoder, ListCollection, make_client

LIMITS: dict[str, Any] = {"max_client_batch": 8, "max_body_bytes": 20_000, "max_k": 50}


@pytest.fixture(scope="module")
def served(tiny_bundle: Path) -> Iterator[tuple[TestClient, FaultyEncoder, ListCollection]]:
    client, encoder, collection = make_client(tiny_bundle, **LIMITS)
    with client:
        yield client, encoder, collection


@pytest.fixture
def client(served: tuple[TestClient, FaultyEncoder, ListCollection]) -> TestClient:
    return served[0]


@pytest.fixture
def encoder(served: tuple[TestClient, FaultyEncoder, ListCollection]) -> Iterator[FaultyEncoder]:
    yield served[1]
    served[1].fault = None


@pytest.mark.parametrize("path", ["/embed", "/"])
def test_a_single_text_gives_a_list_of_one_vector(client: TestClient, path: str) -> None:
    response = client.post(path, json={"inputs": "bread"})
    assert (response.status_code, np.array(response.json()).shape) == (200, (1, 32))


def test_vectors_are_those_of_the_encoder(client: TestClient, tiny_bundle: Path) -> None:
    queries = [TextInput("bread", InputType.QUERY, why) for why in ("no yeast", "for a child", None)]
    body = {"inputs": ["bread"] * 3, "instruction": ["no yeast", "for a child", None], "input_type": "query"}
    found = client.post("/embed", json=body).json()
    np.testing.assert_allclose(found, OnnxEncoder.open(tiny_bundle).encode_queries(queries), atol=1e-5)


def test_normalize_false_keeps_the_length(client: TestClient) -> None:
    raw = np.array(client.post("/embed", json={"inputs": "bread", "normalize": False}).json())
    unit = np.array(client.post("/embed", json={"inputs": "bread"}).json())
    assert abs(np.linalg.norm(raw) - 1) > 1e-3
    np.testing.assert_allclose(raw / np.linalg.norm(raw), unit, atol=1e-5)


def test_an_instruction_alone_makes_the_input_a_query(client: TestClient) -> None:
    alone = client.post("/embed", json={"inputs": "bread", "instruction": "no yeast"}).json()
    named = client.post("/embed", json={"inputs": "bread", "instruction": "no yeast", "input_type": "query"}).json()
    assert alone == named


@pytest.mark.parametrize("name", ["passage", "document", "Document"])
def test_passage_is_another_word_for_document(client: TestClient, name: str) -> None:
    assert client.post("/embed", json={"inputs": "bread", "input_type": name}).status_code == 200


def test_timing_and_truncation_are_told_in_headers(client: TestClient) -> None:
    response = client.post("/embed", json={"inputs": ["bread", "bread " * 100]})
    assert response.headers["x-truncated-inputs"] == "1"
    assert int(response.headers["x-compute-tokens"]) == 3 + 48
    for name in ("x-compute-time", "x-total-time", "x-tokenization-time", "x-queue-time", "x-inference-time"):
        assert float(response.headers[name]) >= 0


def test_a_request_id_is_kept_or_made(client: TestClient) -> None:
    assert client.post("/embed", json={"inputs": "a"}, headers={"x-request-id": "r1"}).headers["x-request-id"] == "r1"
    assert len(client.get("/health").headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"inputs": []}, 400, "inputs is an empty list"),
        ({"inputs": ""}, 400, "input 0 is empty"),
        ({"inputs": ["bread", "  "]}, 400, "input 1 is empty"),
        ({"inputs": 5}, 422, "inputs"),
        ({"inputs": None}, 422, "inputs"),
        ({"inputs": [1, 2]}, 422, "inputs"),
        ({"inputs": {"a": 1}}, 422, "inputs"),
        ({}, 422, "inputs: Field required"),
        ([], 422, "body"),
        ({"inputs": "a", "normalize": "yes"}, 422, "normalize"),
        ({"inputs": "a", "nromalize": True}, 422, "nromalize"),
        ({"inputs": ["a"] * 9}, 422, "inputs has 9 texts, at most 8 fit one request"),
        ({"inputs": "bread " * 100, "truncate": False}, 422, "has 102 tokens, the model takes 48"),
        ({"inputs": ["a", "b"], "instruction": ["c"]}, 422, "instruction has 1 entries for 2 texts"),
        ({"inputs": "a", "instruction": 5}, 422, "instruction"),
        ({"inputs": "a", "instruction": "b", "input_type": "document"}, 400, "belongs to queries"),
        ({"inputs": "a", "input_type": "image"}, 422, "must be one of query, document"),
        ({"inputs": "a", "truncation_direction": "up"}, 422, "must be one of right, left"),
        ({"inputs": "a", "dimensions": 16}, 400, "this model's vectors have 32"),
        ({"inputs": "a", "dimensions": 0}, 422, "dimensions"),
        ({"inputs": "a", "prompt_name": "query"}, 400, "no named prompts"),
        ({"inputs": "\u200b"}, 400, "input 0 is empty"),
        ({"inputs": "a", "input_type": 5}, 422, "input_type: must be one of query, document (got 5)"),
        ({"inputs": "a", **{f"k{i}": 0 for i in range(400)}}, 400, "the body has 401 keys"),
    ],
)
def test_bad_input_to_embed_is_a_clear_4xx(client: TestClient, body: object, status: int, words: str) -> None:
    response = client.post("/embed", json=body)
    assert response.status_code == status
    assert set(response.json()) == {"error", "error_type"}
    assert words in response.json()["error"]


def test_a_flood_of_wrong_elements_gives_one_short_message(client: TestClient) -> None:
    for path, field in (("/embed", "inputs"), ("/v1/embeddings", "input")):
        response = client.post(path, json={field: [None] * 3000})
        assert response.status_code == 422
        assert len(response.text) < 600


@pytest.mark.parametrize("path", ["/embed", "/v1/embeddings"])
def test_a_deeply_nested_value_is_refused_in_a_short_message(client: TestClient, path: str) -> None:
    body = b'{"inputs": ' + b"[" * 1010 + b"]" * 1010 + b"}"
    body = body.replace(b"inputs", b"input") if path != "/embed" else body
    response = client.post(path, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert len(response.text) < 600


@pytest.mark.parametrize("content_type", [None, "application/json", "application/vnd.api+json; charset=utf-8"])
def test_json_is_taken_with_and_without_saying_so(client: TestClient, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    assert client.post("/embed", content=b'{"inputs": "bread"}', headers=headers).status_code == 200


@pytest.mark.parametrize("content_type", ["text/json", "application/jsonx", "json", "application/x-ndjson"])
def test_what_only_looks_like_json_is_refused(client: TestClient, content_type: str) -> None:
    response = client.post("/embed", content=b'{"inputs": "bread"}', headers={"content-type": content_type})
    assert (response.status_code, response.json()["error_type"]) == (415, "Validation")
    assert content_type in response.json()["error"]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"", 422),
        (b'{"inputs": NaN}', 400),
        (b'{"inputs": "\xff"}', 400),
        (b'{"inputs": "\\ud800"}', 400),
        (b"null", 422),
        (b"[" * 5000, 400),
    ],
)
def test_a_body_that_is_not_json_is_refused(client: TestClient, content: bytes, status: int) -> None:
    response = client.post("/embed", content=content, headers={"content-type": "application/json"})
    assert response.status_code == status
    assert set(response.json()) == {"error", "error_type"}


def test_a_body_of_another_type_is_refused(client: TestClient) -> None:
    response = client.post("/embed", data={"inputs": "a"})
    assert response.status_code == 415
    assert "send JSON with content-type" in response.json()["error"]


def test_a_huge_body_is_refused_whether_or_not_it_says_its_size(client: TestClient) -> None:
    body = b'{"inputs": "' + b"a" * 30_000 + b'"}'
    headers = {"content-type": "application/json"}
    for content in (body, iter([body[:15_000], body[15_000:]])):
        response = client.post("/embed", content=content, headers=headers)
        assert response.status_code == 413
        assert "larger than 20000 bytes" in response.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("get", "/nothing", 404, "there is no /nothing"),
        ("get", "/embed", 405, "/embed takes POST, not GET"),
        ("post", "/health", 405, "/health takes GET, not POST"),
    ],
)
def test_unknown_routes_and_methods_are_told_what_there_is(
    client: TestClient, method: str, path: str, status: int, words: str
) -> None:
    response = client.request(method, path)
    assert (response.status_code, set(response.json())) == (status, {"error", "error_type"})
    assert words in response.json()["error"]
    assert "GET /docs lists the routes" in response.json()["error"]


@pytest.mark.parametrize("fault", [RuntimeError("secret path"), float("nan")])
def test_a_failing_model_is_a_500_without_details(
    client: TestClient, encoder: FaultyEncoder, fault: Exception | float
) -> None:
    encoder.fault = fault
    response = client.post("/embed", json={"inputs": "bread"})
    assert response.status_code == 500
    assert response.json()["error_type"] == "Backend"
    assert len(response.headers["x-request-id"]) == 32
    assert "secret" not in response.text
    encoder.fault = None
    assert client.post("/embed", json={"inputs": "bread"}).status_code == 200


def test_search_ranks_by_similarity(client: TestClient) -> None:
    response = client.post("/search", json={"query": "bike chain", "k": 2})
    results = response.json()["results"]
    assert results[0]["text"] == "bike chain"
    assert results[0]["score"] == pytest.approx(1, abs=1e-5)
    assert results[0]["metadata"] == {"number": 2}
    assert response.json()["collection"] == "words"


def test_an_offset_continues_the_ranking(client: TestClient) -> None:
    whole = client.post("/search", json={"query": "bread", "k": 4}).json()["results"]
    page = client.post("/search", json={"query": "bread", "k": 2, "offset": 2}).json()["results"]
    assert page == whole[2:]


def test_a_threshold_leaves_out_what_is_below(client: TestClient) -> None:
    results = client.post("/search", json={"query": "bike chain", "score_threshold": 0.999}).json()["results"]
    assert [result["id"] for result in results] == ["d2"]


def test_explain_tells_ranks_without_the_instruction(client: TestClient) -> None:
    body = {"query": "bread", "instruction": "for an expert with yeast", "explain": True, "k": 3}
    answer = client.post("/search", json=body).json()
    plain = client.post("/search", json={"query": "bread", "k": 5}).json()["results"]
    order = [result["id"] for result in plain]
    assert [r["rank_without_instruction"] for r in answer["results"]] == [
        order.index(r["id"]) + 1 for r in answer["results"]
    ]
    assert 0 < answer["effect"]["query_shift"] < 2
    assert 0 <= answer["effect"]["rank_churn"] <= 1


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"query": "a", "collection": "absent"}, 404, "no collection 'absent'; there is words"),
        ({"query": "a", "k": 0}, 422, "k"),
        ({"query": "a", "k": -1}, 422, "k"),
        ({"query": "a", "k": 51}, 422, "at most 50"),
        ({"query": "a", "k": 40, "offset": 20}, 422, "k + offset is 60"),
        ({"query": "a", "k": 1.5}, 422, "k"),
        ({"query": "a", "k": True}, 422, "k"),
        ({"query": ""}, 400, "empty"),
        ({"query": ["a"]}, 422, "query"),
        ({"query": "a", "mode": "hybrid"}, 400, "not built yet"),
        ({"query": "a", "mode": "magic"}, 422, "mode"),
        ({"query": "a", "filter": {"x": 1}}, 400, "not built yet"),
        ({"query": "a", "score_threshold": 2}, 422, "score_threshold"),
    ],
)
def test_bad_input_to_search_is_a_clear_4xx(client: TestClient, body: object, status: int, words: str) -> None:
    response = client.post("/search", json=body)
    assert response.status_code == status, response.text
    assert words in response.json()["error"]


def test_openai_embeddings_have_openais_shape(client: TestClient) -> None:
    answer = client.post("/v1/embeddings", json={"input": ["bread", "oven"], "model": "any", "extra": 1}).json()
    assert (answer["object"], answer["model"]) == ("list", "any")
    assert [item["index"] for item in answer["data"]] == [0, 1]
    assert answer["usage"] == {"prompt_tokens": 6, "total_tokens": 6}


def test_base64_holds_the_same_vector(client: TestClient) -> None:
    body = {"input": "bread", "instruction": "no yeast"}
    plain = client.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    packed = client.post("/embeddings", json=body | {"encoding_format": "base64"}).json()["data"][0]["embedding"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(packed), dtype="<f4"), plain, atol=1e-7)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"input": [1, 2, 3]}, 400, "check_embedding_ctx_length=False"),
        ({"input": [[1, 2], [3]]}, 400, "check_embedding_ctx_length=False"),
        ({"input": []}, 400, "empty list"),
        ({"input": ""}, 400, "empty"),
        ({"input": "a", "encoding_format": "hex"}, 422, "encoding_format"),
        ({"model": "a"}, 422, "input: Field required"),
    ],
)
def test_bad_input_to_openai_has_openais_error_shape(client: TestClient, body: object, status: int, words: str) -> None:
    response = client.post("/v1/embeddings", json=body)
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"


def test_unknown_v1_routes_have_openais_error_shape(client: TestClient) -> None:
    assert set(client.get("/v1/nothing").json()["error"]) == {"message", "type", "param", "code"}


def test_similarity_is_the_cosine(client: TestClient) -> None:
    body = {"inputs": {"source_sentence": TEXTS[0], "sentences": TEXTS}}
    scores = client.post("/similarity", json=body).json()
    assert scores[0] == pytest.approx(1, abs=1e-5)
    assert len(scores) == len(TEXTS)


def test_models_lists_the_one_model(client: TestClient) -> None:
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["object"], model["max_model_len"]) == ("model", 48)


def test_info_names_model_limits_and_collections(client: TestClient) -> None:
    info = client.get("/info").json()
    assert (info["dim"], info["fusion"], info["max_client_batch_size"]) == (32, "prefix", 8)
    assert info["collections"]["words"]["documents"] == len(TEXTS)
    assert (info["precision"], info["model_dtype"]) == ("fp32", "float32")
    assert len(info["document_fingerprint"]) == len(info["probes"]["sha256"]) == 64


def test_documentation_is_served(client: TestClient) -> None:
    assert client.get("/docs").status_code == 200
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/embed", "/", "/search", "/v1/embeddings", "/health", "/ready", "/info", "/metrics"} <= set(paths)


def test_readiness_needs_a_working_model(tiny_bundle: Path) -> None:
    client, encoder, collection = make_client(tiny_bundle, ready_within_s=1e-9)
    with client:
        assert client.get("/ready").status_code == 200
        for fault in (float("nan"), RuntimeError("broken")):
            encoder.fault = fault
            assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200
        encoder.fault = None
        client.app.state.life.is_draining = True  # type: ignore[attr-defined]
        assert client.get("/ready").status_code == 503
    assert collection.is_closed


def test_metrics_count_what_happened(tiny_bundle: Path) -> None:
    client, encoder, _ = make_client(tiny_bundle)
    with client:
        client.post("/embed", json={"inputs": ["bread", "bread " * 100]})
        client.post("/embed", json={"inputs": []})
        client.post("/search", json={"query": "bread", "instruction": "no yeast", "explain": True})
        client.get("/wp-login.php")
        encoder.fault = float("nan")
        client.post("/embed", json={"inputs": "bread"})
        text = client.get("/metrics").text
    for line in (
        'infembed_requests_total{route="/embed",status="200"} 1.0',
        'infembed_requests_total{route="/embed",status="400"} 1.0',
        'infembed_requests_total{route="/embed",status="500"} 1.0',
        'infembed_requests_total{route="unmatched",status="404"} 1.0',
        'infembed_index_documents{collection="words"} 5.0',
        "infembed_truncated_inputs_total 1.0",
        "infembed_non_finite_vectors_total 1.0",
        'infembed_errors_total{error_type="Empty"} 1.0',
        "infembed_queue_tokens 0.0",
        'infembed_stage_duration_seconds_count{lane="interactive",stage="search"} 1.0',
    ):
        assert line in text
    assert 'infembed_model_info{digest="' in text


def test_a_full_queue_is_a_429_with_both_headers(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle, max_queued_tokens=64)
    with client:
        pipeline_queue_is_full(client)


def pipeline_queue_is_full(client: TestClient) -> None:
    """Fill the queue from another request while one is refused."""
    import threading

    statuses: list[int] = []
    headers: list[Any] = []

    def send() -> None:
        response = client.post("/embed", json={"inputs": ["bread " * 40] * 200})
        statuses.append(response.status_code)
        headers.append(response.headers)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 200 in statuses
    for status, found in zip(statuses, headers, strict=True):
        assert status in {200, 429}
        if status == 429:
            assert int(found["retry-after"]) >= 1
            assert int(found["retry-after-ms"]) >= 1
