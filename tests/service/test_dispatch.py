"""The short way to a route: all work takes it, and what it does not know is answered as before."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.service.app import make_client


def test_every_route_that_takes_work_is_in_the_table(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle)
    with client:
        table = client.app.state.releases.current.table  # type: ignore[attr-defined]
    assert set(table) == {
        ("POST", path)
        for path in ("/", "/embed", "/similarity", "/tokenize", "/search", "/v1/embeddings", "/embeddings")
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/embed", 405, "/embed takes POST, not GET"),
        ("PUT", "/v1/embeddings", 405, "/v1/embeddings takes POST, not PUT"),
        ("POST", "/embed/", 307, ""),
        ("POST", "/EMBED", 404, "there is no /EMBED"),
    ],
)
def test_what_is_not_in_the_table_is_answered_by_the_application(
    tiny_bundle: Path, method: str, path: str, status: int, words: str
) -> None:
    client, _, _ = make_client(tiny_bundle)
    with client:
        answer = client.request(method, path, json={"inputs": "bread"}, follow_redirects=False)
    assert answer.status_code == status
    assert words in answer.text


@pytest.mark.parametrize(
    ("content", "headers", "status", "words"),
    [
        (b"", {}, 422, "body: Field required"),
        (b"{", {}, 400, "not valid JSON"),
        (b"[1]", {}, 422, "body: Input should be an object (got [1])"),
        (b'{"inputs": NaN}', {}, 400, "not valid JSON"),
        (b'{"inputs": "bread"}', {"x-request-timeout-ms": "soon"}, 422, "x-request-timeout-ms"),
        (b'{"inputs": "bread"}', {"x-request-timeout-ms": "0"}, 422, "x-request-timeout-ms"),
        (b'{"inputs": "bread"}', {"content-type": "text/plain"}, 415, "send JSON"),
    ],
)
def test_bad_requests_on_the_short_way_say_what_is_wrong(
    client: TestClient, content: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    answer = client.post("/embed", content=content, headers=headers)
    assert answer.status_code == status
    assert words in answer.json()["error"]


@pytest.fixture(scope="module")
def client(tiny_bundle: Path) -> Iterator[TestClient]:
    made, _, _ = make_client(tiny_bundle)
    with made:
        yield made
